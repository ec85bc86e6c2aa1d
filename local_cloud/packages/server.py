"""The simulated Aerospike server.

    download.aerospike.com/artifacts/aerospike-server-<edition>/<version>/*.tgz, *.tgz.sha256

Layout and names follow aerospike/aerolab as of 2026-11-24.
"""

import json
from pathlib import Path

from ansible_collections.aerospike_community.pegasus.plugins.module_utils.host.distributions import (
    DEBIAN_ARCHITECTURES,
    SIMULATED,
)

from . import sources
from .archives import DebPackage, File, write_checksum, write_tgz

VERSIONS = ("8.0.0.4", "8.1.0.3")
EDITIONS = ("enterprise", "community")
TOOLS_VERSION = "11.2.2"


def build(staging: Path) -> None:
    """Build the download of each edition, version, distribution and architecture. Raises PackageBuildError."""
    deb = staging / "package.deb"
    _tools_package().build(deb)
    tools = File(deb.read_bytes())
    for edition in EDITIONS:
        for version in VERSIONS:
            _server_package(edition, version).build(deb)
            server = File(deb.read_bytes())
            for distribution in SIMULATED:
                for machine in DEBIAN_ARCHITECTURES:
                    _write_download(staging, edition, version, distribution, machine, server, tools)
    deb.unlink()


def _write_download(
    staging: Path, edition: str, version: str, distribution: str, machine: str, server: File, tools: File
) -> None:
    """Write an archive like upstream's: a folder with the server package, the tools package and `asinstall`."""
    product = f"aerospike-server-{edition}"
    folder = f"{product}_{version}_tools-{TOOLS_VERSION}_{distribution}_{machine}"
    suffix = f"-1{distribution}_{DEBIAN_ARCHITECTURES[machine]}.deb"
    server_name, tools_name = f"{product}_{version}{suffix}", f"aerospike-tools_{TOOLS_VERSION}{suffix}"
    install = (
        f"#!/bin/sh\n# {sources.NOTICE.splitlines()[0]}\n"
        f'set -e\ncd "$(dirname "$0")"\nexec dpkg -i ./{tools_name} ./{server_name}\n'
    )
    members = {
        f"{folder}/{server_name}": server,
        f"{folder}/{tools_name}": tools,
        f"{folder}/asinstall": File(install.encode(), 0o755),
    }
    target = staging / "download.aerospike.com/artifacts" / product / version / f"{folder}.tgz"
    write_tgz(target, members)
    write_checksum(target)


def _server_package(edition: str, version: str) -> DebPackage:
    folder = sources.SIMULATORS / "server"
    library = "/usr/lib/aerospike-simulated"
    release = {"version": version, "edition": edition, "simulated": True}
    return DebPackage(
        name=f"aerospike-server-{edition}",
        version=f"{version}-1+simulated",
        summary=f"Aerospike server, {edition.capitalize()} Edition (SIMULATED)",
        description=sources.NOTICE + "\nIt implements the protocols as far as official clients and asinfo use them.",
        files={
            **sources.python_files(folder / "asd_simulated", f"{library}/asd_simulated"),
            f"{library}/release.json": File((json.dumps(release) + "\n").encode()),
            "/usr/bin/asd": sources.source(folder, "asd", 0o755),
            "/usr/bin/asinfo": sources.source(folder, "asinfo", 0o755),
            "/lib/systemd/system/aerospike.service": sources.source(folder, "aerospike.service"),
            "/etc/aerospike/aerospike.conf": sources.source(folder, "aerospike.conf"),
        },
        conffiles=("/etc/aerospike/aerospike.conf",),
        directories=(
            *(f"/opt/aerospike/{name}" for name in ("smd", "usr/udf/lua", "data", "bin")),
            "/var/log/aerospike",
        ),
        unit="aerospike.service",
        python_folder=library,
        extra_control={"Conflicts": ", ".join(f"aerospike-server-{other}" for other in EDITIONS if other != edition)},
    )


def _tools_package() -> DebPackage:
    text = sources.NOTICE + "\nThe simulated server's package includes asinfo; the other tools aren't simulated.\n"
    return DebPackage(
        name="aerospike-tools",
        version=f"{TOOLS_VERSION}-1+simulated",
        summary="Aerospike tools (SIMULATED, empty)",
        description=text,
        files={"/usr/share/doc/aerospike-tools/README": File(text.encode())},
        depends=(),
    )
