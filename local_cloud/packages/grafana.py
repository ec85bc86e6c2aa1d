"""The simulated Grafana, an archive of dashboards and an archive of a panel plugin.

    dl.grafana.com/oss/release/grafana_<version>_<architecture>.deb
    dl.grafana.com/grafana/release/<version>/grafana_<version>_<build>_linux_<architecture>.deb
    github.com/aerospike/aerospike-monitoring/archive/refs/tags/<version>.tar.gz
    grafana.com/api/plugins/<id>/versions/<version>/download

Names of Grafana's packages read in aerospike/aerolab on 2026-11-24.
"""

import json
import zipfile
from pathlib import Path

from ansible_collections.aerospike_community.pegasus.plugins.module_utils.host.distributions import DEBIAN_ARCHITECTURES

from . import sources
from .archives import DebPackage, File, write_tgz

VERSION = "12.4.3"
BUILD_NUMBER = "24388279614"  # in upstream's file names (aerolab, cmdClientDoAMS.go)
DASHBOARDS_TAG = "v3.18.0"
PLUGIN, PLUGIN_VERSION = "grafana-polystat-panel", "2.1.14"


def build(staging: Path) -> None:
    """Build Grafana's package, the dashboards and the plugin. Raises PackageBuildError."""
    package = _package()
    for architecture in DEBIAN_ARCHITECTURES.values():
        # Upstream moved from the first name to the second. Pegasus may request either.
        for name in (
            f"oss/release/grafana_{VERSION}_{architecture}.deb",
            f"grafana/release/{VERSION}/grafana_{VERSION}_{BUILD_NUMBER}_linux_{architecture}.deb",
        ):
            target = staging / "dl.grafana.com" / name
            target.parent.mkdir(parents=True, exist_ok=True)
            package.build(target)
    _build_dashboards(staging)
    _build_plugin(staging)


def _package() -> DebPackage:
    folder = sources.SIMULATORS / "grafana"
    library = "/usr/share/grafana/simulated"
    return DebPackage(
        name="grafana",
        version=f"{VERSION}-1+simulated",
        summary="Grafana (SIMULATED)",
        description=sources.NOTICE
        + "\nIt reads the provisioning folder, implements a part of the HTTP API and draws plain panels.",
        files={
            **sources.python_files(folder / "grafana_simulated", f"{library}/grafana_simulated"),
            "/usr/share/grafana/VERSION": File(f"{VERSION}\n".encode()),
            "/usr/sbin/grafana-server": sources.source(folder, "grafana-server", 0o755),
            "/usr/sbin/grafana-cli": sources.source(folder, "grafana-cli", 0o755),
            "/etc/grafana/grafana.ini": sources.source(folder, "grafana.ini", 0o640),
            "/usr/lib/systemd/system/grafana-server.service": sources.source(folder, "grafana-server.service"),
        },
        depends=("python3", "python3-yaml", "passwd"),
        conffiles=("/etc/grafana/grafana.ini",),
        directories=(
            *(f"/etc/grafana/provisioning/{name}" for name in ("datasources", "dashboards", "plugins", "alerting")),
            "/var/lib/grafana",
            "/var/log/grafana",
        ),
        unit="grafana-server.service",
        configure=sources.source(folder, "configure.sh").content.decode(),
        python_folder=library,
    )


def _build_dashboards(staging: Path) -> None:
    """Write an archive with the layout of a tag of aerospike-monitoring and one dashboard of the local cloud."""
    version = DASHBOARDS_TAG.removeprefix("v")
    folder = sources.SIMULATORS / "dashboards"
    members = {
        f"aerospike-monitoring-{version}/config/grafana/dashboards/{path.name}": File(path.read_bytes())
        for path in sources.source_files(folder)
    }
    if not members:
        raise sources.missing(folder)
    write_tgz(staging / f"github.com/aerospike/aerospike-monitoring/archive/refs/tags/{DASHBOARDS_TAG}.tar.gz", members)


def _build_plugin(staging: Path) -> None:
    """Write an archive with the layout of a plugin on Grafana's site: a description without a program."""
    description = {
        "id": PLUGIN,
        "name": f"{PLUGIN} (SIMULATED)",
        "type": "panel",
        "info": {"version": PLUGIN_VERSION, "description": sources.NOTICE},
    }
    target = staging / f"grafana.com/api/plugins/{PLUGIN}/versions/{PLUGIN_VERSION}/download"
    target.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(target, "w") as archive:
        archive.writestr(zipfile.ZipInfo(f"{PLUGIN}/plugin.json"), json.dumps(description, indent=1) + "\n")
