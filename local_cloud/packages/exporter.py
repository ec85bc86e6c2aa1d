"""The simulated Prometheus exporter for Aerospike.

    download.aerospike.com/artifacts/aerospike-prometheus-exporter/<version>/*.deb, *.tgz, *.sha256

The .deb is for dpkg, the .tgz is a bare tree for /. Layout and names read in aerospike/aerospike-prometheus-exporter
(pkg/Makefile) and on its installation page on 2026-11-24.
"""

import json
from pathlib import Path

from ansible_collections.aerospike_community.pegasus.plugins.module_utils.host.distributions import DEBIAN_ARCHITECTURES

from . import sources
from .archives import DebPackage, File, write_checksum, write_tgz

PRODUCT = "aerospike-prometheus-exporter"
VERSIONS = ("1.25.0", "1.34.0")


def build(staging: Path) -> None:
    """Build the packages and archives of each version and architecture. Raises PackageBuildError."""
    for version in VERSIONS:
        package = _package(version)
        folder = staging / "download.aerospike.com/artifacts" / PRODUCT / version
        folder.mkdir(parents=True)
        for machine, architecture in DEBIAN_ARCHITECTURES.items():
            deb = folder / f"{PRODUCT}_{version}-1_{architecture}.deb"
            package.build(deb)
            write_checksum(deb)
            archive = folder / f"{PRODUCT}_{version}_{machine}.tgz"
            write_tgz(archive, {f".{path}": file for path, file in package.files.items()})
            write_checksum(archive)


def _package(version: str) -> DebPackage:
    folder = sources.SIMULATORS / "exporter"
    library = f"/usr/lib/{PRODUCT}-simulated"
    release = {"version": version, "simulated": True}
    return DebPackage(
        name=PRODUCT,
        version=f"{version}-1+simulated",
        summary="Prometheus exporter for Aerospike (SIMULATED)",
        description=sources.NOTICE + "\nIt reads its metrics over the info protocol, from a real server too.",
        files={
            **sources.python_files(folder / "exporter_simulated", f"{library}/exporter_simulated"),
            f"{library}/release.json": File((json.dumps(release) + "\n").encode()),
            f"/usr/bin/{PRODUCT}": sources.source(folder, PRODUCT, 0o755),
            f"/etc/{PRODUCT}/ape.toml": sources.source(folder, "ape.toml"),
            f"/usr/lib/systemd/system/{PRODUCT}.service": sources.source(folder, f"{PRODUCT}.service"),
        },
        conffiles=(f"/etc/{PRODUCT}/ape.toml",),
        unit=f"{PRODUCT}.service",
        python_folder=library,
    )
