"""Fills the local cloud's artifact mirror with simulated packages, laid out as the upstream download sites are.

    <mirror>/SIMULATED.json                        every file that was made here; all else in the mirror is left alone
    <mirror>/download.aerospike.com/artifacts/aerospike-server-<edition>/<version>/*.tgz, *.tgz.sha256
    <mirror>/download.aerospike.com/artifacts/aerospike-prometheus-exporter/<version>/*.deb, *.tgz, *.sha256
    <mirror>/dl.grafana.com/oss/release/grafana_<version>_<architecture>.deb
    <mirror>/dl.grafana.com/grafana/release/<version>/grafana_<version>_<build>_linux_<architecture>.deb
    <mirror>/github.com/aerospike/aerospike-monitoring/archive/refs/tags/<version>.tar.gz
    <mirror>/grafana.com/api/plugins/<id>/versions/<version>/download
    <mirror>/github.com/aerospike-community/aerospike-perseus.git      bare, for git's dumb HTTP protocol

The packages hold Python, so one file serves both architectures under both names. A package's Debian version is
`<version>-1+simulated`: its upstream part is the version that was asked for.

Layouts read in public sources on 2026-11-24: aerospike/aerospike-prometheus-exporter (pkg/Makefile: the .deb is for
dpkg, the .tgz is a bare tree for /), the exporter's installation page, aerospike/aerolab (server and Grafana names).
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import platform
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Iterable
from pathlib import Path

from ansible_collections.aerospike_community.pegasus.plugins.module_utils.host.distributions import (
    DEBIAN_ARCHITECTURES,
)
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.host.distributions import (
    SIMULATED as SIMULATED_DISTRIBUTIONS,
)

from .deb import EPOCH, DebPackage, File, PackageBuildError, require_dpkg_deb

__all__ = ["CLIENT_VERSION", "SERVER_VERSIONS", "PackageBuildError", "build_mirror", "client_wheel"]

SERVER_VERSIONS = ("8.0.0.4", "8.1.0.3")
SERVER_EDITIONS = ("enterprise", "community")
TOOLS_VERSION = "11.2.2"
EXPORTER_VERSIONS = ("1.25.0", "1.34.0")
GRAFANA_VERSION = "12.4.3"
GRAFANA_BUILD = "24388279614"  # the build number in upstream's file names (aerolab, cmdClientDoAMS.go)
DASHBOARDS_TAG = "v3.18.0"
PLUGIN, PLUGIN_VERSION = "grafana-polystat-panel", "2.1.14"
PERSEUS_TAG = "v1.0-SIMULATED"
CLIENT_VERSION = "19.3.0"  # the client on PyPI that Perseus's stand-in uses; requirements-dev.txt pins the same

SIMULATED = Path(__file__).resolve().parent.parent / "simulators"
MANIFEST = "SIMULATED.json"

_AEROSPIKE = "download.aerospike.com/artifacts"
_PERSEUS_GIT = "github.com/aerospike-community/aerospike-perseus.git"
_NOTICE = (
    "SIMULATED: a stand-in made by Pegasus for its local cloud. It isn't made, licensed or\n"
    "supported by the makers of the product that it stands for, and measures nothing about it."
)

Say = Callable[[str], None]


def build_mirror(root: Path, mirror: Path, say: Say) -> None:
    """Bring the simulated part of the mirror up to date.

    `root` is the project's folder (downloads are kept in its `.cache`), `mirror` the folder that is served. Nothing is
    built when the sources haven't changed since the last time. Files that weren't made here are never touched: a real
    package that `mirror fetch` put at the same path stays, and is named. Raises PackageBuildError.
    """
    require_dpkg_deb()
    _require_git()
    wheel = client_wheel(root / ".cache", say)
    fingerprint = _fingerprint(wheel)
    previous = _read_manifest(mirror)
    # A file that has changed since isn't ours any more; one that is gone has to be built again.
    ours = {name for name, digest in previous["files"].items() if _digest(mirror / name) in ("", digest)}
    if previous.get("fingerprint") == fingerprint and all((mirror / name).exists() for name in previous["files"]):
        return

    mirror.mkdir(parents=True, exist_ok=True)
    say("Building the simulated packages")
    # Beside the mirror's files, so that each can be renamed into place.
    with tempfile.TemporaryDirectory(prefix=".building-", dir=mirror) as temporary:
        staging = Path(temporary)
        _build_exporter(staging)
        _build_grafana(staging)
        _build_dashboards(staging)
        _build_plugin(staging)
        _build_perseus(staging, wheel)
        _build_server(staging)
        _publish(staging, mirror, ours, fingerprint, say)


def client_wheel(cache: Path, say: Say, machine: str = "") -> Path:
    """The official client's wheel for the instances' Python 3.11, downloaded from PyPI once.

    `machine` is uname's architecture (default: this machine's, which is the instances' too).
    """
    machine = machine or platform.machine()
    pattern = f"aerospike-{CLIENT_VERSION}-cp311-cp311-manylinux*_{machine}.whl"
    cached = sorted(path for path in cache.glob(pattern) if zipfile.is_zipfile(path))
    if cached:
        return cached[0]
    say(f"Downloading the official Aerospike client {CLIENT_VERSION} from PyPI")
    cache.mkdir(parents=True, exist_ok=True)
    platforms = [f"{tag}_{machine}" for tag in ("manylinux_2_28", "manylinux_2_17", "manylinux2014")]
    with tempfile.TemporaryDirectory(prefix=".downloading-", dir=cache) as temporary:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
        command += ["--only-binary=:all:", "--implementation=cp", "--python-version=3.11", "--abi=cp311"]
        command += [f"--platform={name}" for name in platforms]
        command += ["--dest", temporary, f"aerospike=={CLIENT_VERSION}"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        found = sorted(Path(temporary).glob(pattern))
        if done.returncode != 0 or not found:
            raise PackageBuildError(
                f"The wheel of aerospike {CLIENT_VERSION} (Python 3.11, {machine}), which the simulated Perseus "
                f"needs, could not be downloaded: {_last_line(done.stderr) or 'pip saved no file'}",
                f"Check that PyPI can be reached (pip's own settings and proxies apply), or put the wheel in {cache}.",
            )
        target = cache / found[0].name
        found[0].replace(target)
    return target


# --- Aerospike's server -----------------------------------------------------------------------------------------------


def _build_server(staging: Path) -> None:
    source = SIMULATED / "server"
    tools = staging / "tools.deb"
    _tools_package().build(tools)
    for edition in SERVER_EDITIONS:
        for version in SERVER_VERSIONS:
            server = staging / "server.deb"
            _server_package(source, edition, version).build(server)
            for distribution in SIMULATED_DISTRIBUTIONS:
                for machine, architecture in DEBIAN_ARCHITECTURES.items():
                    _server_archive(staging, edition, version, distribution, machine, architecture)
            server.unlink()
    tools.unlink()


def _server_archive(
    staging: Path, edition: str, version: str, distribution: str, machine: str, architecture: str
) -> None:
    """One download as upstream has it: a folder with the server's package, the tools' package and `asinstall`."""
    folder = f"aerospike-server-{edition}_{version}_tools-{TOOLS_VERSION}_{distribution}_{machine}"
    server = f"aerospike-server-{edition}_{version}-1{distribution}_{architecture}.deb"
    tools = f"aerospike-tools_{TOOLS_VERSION}-1{distribution}_{architecture}.deb"
    install = (
        f'#!/bin/sh\n# {_NOTICE.splitlines()[0]}\nset -e\ncd "$(dirname "$0")"\nexec dpkg -i ./{tools} ./{server}\n'
    )
    members = {
        f"{folder}/{server}": File((staging / "server.deb").read_bytes()),
        f"{folder}/{tools}": File((staging / "tools.deb").read_bytes()),
        f"{folder}/asinstall": File(install.encode(), 0o755),
    }
    target = staging / _AEROSPIKE / f"aerospike-server-{edition}" / version / f"{folder}.tgz"
    _write_tgz(target, members)
    _write_checksum(target)


def _server_package(source: Path, edition: str, version: str) -> DebPackage:
    """The package of simulators/server: its Python package, its programs, its unit and its configuration."""
    library = "/usr/lib/aerospike-simulated"
    release = {"version": version, "edition": edition, "simulated": True}
    files = _python_files(source / "asd_simulated", f"{library}/asd_simulated")
    files |= {
        f"{library}/release.json": File((json.dumps(release) + "\n").encode()),
        "/usr/bin/asd": File(_only(source, "asd").read_bytes(), 0o755),
        "/usr/bin/asinfo": File(_only(source, "asinfo").read_bytes(), 0o755),
        "/lib/systemd/system/aerospike.service": File(_only(source, "aerospike.service").read_bytes()),
        "/etc/aerospike/aerospike.conf": File(_only(source, "aerospike.conf").read_bytes()),
    }
    work = "/opt/aerospike"
    return DebPackage(
        name=f"aerospike-server-{edition}",
        version=f"{version}-1+simulated",
        summary=f"Aerospike server, {edition.capitalize()} Edition (SIMULATED)",
        description=_NOTICE + "\nIt speaks enough of the wire protocols for the official clients and for asinfo.",
        files=files,
        conffiles=("/etc/aerospike/aerospike.conf",),
        directories=(
            *(f"{work}/{name}" for name in ("smd", "usr/udf/lua", "data", "bin")),
            "/var/log/aerospike",
        ),
        unit="aerospike.service",
        python_folder=library,
        extra_control={
            "Conflicts": ", ".join(f"aerospike-server-{other}" for other in SERVER_EDITIONS if other != edition)
        },
    )


def _tools_package() -> DebPackage:
    text = _NOTICE + "\nThe simulated server's package carries asinfo; the other tools have no stand-in.\n"
    return DebPackage(
        name="aerospike-tools",
        version=f"{TOOLS_VERSION}-1+simulated",
        summary="Aerospike tools (SIMULATED, empty)",
        description=text,
        files={"/usr/share/doc/aerospike-tools/README": File(text.encode())},
        depends=(),
    )


# --- The exporter and Grafana -----------------------------------------------------------------------------------------


def _build_exporter(staging: Path) -> None:
    source = SIMULATED / "exporter"
    for version in EXPORTER_VERSIONS:
        library = "/usr/lib/aerospike-prometheus-exporter-simulated"
        files = _python_files(source / "exporter_simulated", f"{library}/exporter_simulated")
        files |= {
            f"{library}/release.json": File((json.dumps({"version": version, "simulated": True}) + "\n").encode()),
            "/usr/bin/aerospike-prometheus-exporter": File(
                (source / "aerospike-prometheus-exporter").read_bytes(), 0o755
            ),
            "/etc/aerospike-prometheus-exporter/ape.toml": File((source / "ape.toml").read_bytes()),
            "/usr/lib/systemd/system/aerospike-prometheus-exporter.service": File(
                (source / "aerospike-prometheus-exporter.service").read_bytes()
            ),
        }
        package = DebPackage(
            name="aerospike-prometheus-exporter",
            version=f"{version}-1+simulated",
            summary="Exporter of Aerospike's metrics for Prometheus (SIMULATED)",
            description=_NOTICE + "\nIt reads its metrics over the info protocol, also from a real server.",
            files=files,
            conffiles=("/etc/aerospike-prometheus-exporter/ape.toml",),
            unit="aerospike-prometheus-exporter.service",
            python_folder=library,
        )
        folder = staging / _AEROSPIKE / "aerospike-prometheus-exporter" / version
        folder.mkdir(parents=True)
        for machine, architecture in DEBIAN_ARCHITECTURES.items():
            deb = folder / f"aerospike-prometheus-exporter_{version}-1_{architecture}.deb"
            package.build(deb)
            _write_checksum(deb)
            archive = folder / f"aerospike-prometheus-exporter_{version}_{machine}.tgz"
            _write_tgz(archive, {f".{path}": file for path, file in files.items()})
            _write_checksum(archive)


def _build_grafana(staging: Path) -> None:
    source = SIMULATED / "grafana"
    library = "/usr/share/grafana/simulated"
    package = DebPackage(
        name="grafana",
        version=f"{GRAFANA_VERSION}-1+simulated",
        summary="Grafana (SIMULATED)",
        description=_NOTICE
        + "\nIt reads the provisioning folder and answers a part of the HTTP API; it draws plainly.",
        files={
            **_python_files(source / "grafana_simulated", f"{library}/grafana_simulated"),
            "/usr/share/grafana/VERSION": File(f"{GRAFANA_VERSION}\n".encode()),
            "/usr/sbin/grafana-server": File((source / "grafana-server").read_bytes(), 0o755),
            "/usr/sbin/grafana-cli": File((source / "grafana-cli").read_bytes(), 0o755),
            "/etc/grafana/grafana.ini": File((source / "grafana.ini").read_bytes(), 0o640),
            "/usr/lib/systemd/system/grafana-server.service": File((source / "grafana-server.service").read_bytes()),
        },
        depends=("python3", "python3-yaml", "passwd"),
        conffiles=("/etc/grafana/grafana.ini",),
        directories=(
            *(f"/etc/grafana/provisioning/{name}" for name in ("datasources", "dashboards", "plugins", "alerting")),
            "/var/lib/grafana",
            "/var/log/grafana",
        ),
        unit="grafana-server.service",
        configure=(source / "configure.sh").read_text(),
        python_folder=library,
    )
    for architecture in DEBIAN_ARCHITECTURES.values():
        # Upstream has moved from the first name to the second one; both are offered.
        for name in (
            f"oss/release/grafana_{GRAFANA_VERSION}_{architecture}.deb",
            f"grafana/release/{GRAFANA_VERSION}/grafana_{GRAFANA_VERSION}_{GRAFANA_BUILD}_linux_{architecture}.deb",
        ):
            target = staging / "dl.grafana.com" / name
            target.parent.mkdir(parents=True, exist_ok=True)
            package.build(target)


def _build_dashboards(staging: Path) -> None:
    """An archive laid out as a tag of aerospike-monitoring, with a dashboard of our own in it."""
    version = DASHBOARDS_TAG.removeprefix("v")
    source = SIMULATED / "dashboards"
    members = {
        f"aerospike-monitoring-{version}/config/grafana/dashboards/{path.name}": File(path.read_bytes())
        for path in _source_files(source)
    }
    if not members:
        raise _missing(source)
    _write_tgz(
        staging / f"github.com/aerospike/aerospike-monitoring/archive/refs/tags/{DASHBOARDS_TAG}.tar.gz", members
    )


def _build_plugin(staging: Path) -> None:
    """An archive laid out as a plugin of Grafana's site. It holds a description and no program."""
    about = {
        "id": PLUGIN,
        "name": f"{PLUGIN} (SIMULATED)",
        "type": "panel",
        "info": {"version": PLUGIN_VERSION, "description": _NOTICE},
    }
    target = staging / f"grafana.com/api/plugins/{PLUGIN}/versions/{PLUGIN_VERSION}/download"
    target.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(target, "w") as archive:
        archive.writestr(zipfile.ZipInfo(f"{PLUGIN}/plugin.json"), json.dumps(about, indent=1) + "\n")


# --- Perseus ----------------------------------------------------------------------------------------------------------


def _require_git() -> None:
    if shutil.which("git") is None:
        raise PackageBuildError(
            "The simulated Perseus can't be built: git was not found in PATH.",
            "Install it (Debian and Ubuntu: apt install git).",
        )


def _build_perseus(staging: Path, wheel: Path) -> None:
    """A bare repository with one commit: the folder simulators/perseus plus the client's wheel in lib/."""
    source = SIMULATED / "perseus"
    repository = staging / _PERSEUS_GIT
    with tempfile.TemporaryDirectory(prefix="pegasus-perseus-") as temporary:
        tree = Path(temporary)
        for path in _source_files(source):
            target = tree / path.relative_to(source)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(path.read_bytes())
            target.chmod(0o755 if path.name == "build" else 0o644)
        (tree / "lib").mkdir()
        shutil.copyfile(wheel, tree / "lib" / wheel.name)

        repository.parent.mkdir(parents=True)
        # An empty template: no sample hooks.
        _git(tree, "init", "--quiet", "--bare", "--template=", "--initial-branch=master", str(repository))
        work = [f"--git-dir={repository}", f"--work-tree={tree}", "-c", "core.fileMode=true"]
        # The wheel is compressed already.
        work += ["-c", "core.compression=0", "-c", "core.bare=false"]
        _git(tree, *work, "add", "--all", "--force", ".")
        _git(tree, *work, "commit", "--quiet", "--message", "Perseus, SIMULATED: a stand-in made by Pegasus")
        _git(tree, *work, "tag", PERSEUS_TAG)
        _git(tree, *work, "repack", "-a", "-d", "-q")
        _git(tree, *work, "update-server-info")
    (repository / "index").unlink(missing_ok=True)
    shutil.rmtree(repository / "logs", ignore_errors=True)
    (repository / "COMMIT_EDITMSG").unlink(missing_ok=True)


def _git(folder: Path, *arguments: str) -> None:
    """Run git without the user's configuration, with fixed names and times: the same commit from the same files."""
    keep = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    person = {"NAME": "Pegasus", "EMAIL": "pegasus@localhost", "DATE": f"{EPOCH} +0000"}
    identity = {f"GIT_{who}_{key}": value for who in ("AUTHOR", "COMMITTER") for key, value in person.items()}
    environment = keep | identity | {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1", "LC_ALL": "C"}
    done = subprocess.run(["git", *arguments], cwd=folder, env=environment, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise PackageBuildError(
            f"git could not make the repository of the simulated Perseus: {_last_line(done.stderr)}",
            "Check that there is space left and that git is 2.28 or newer.",
        )


# --- Files ------------------------------------------------------------------------------------------------------------


def _source_files(folder: Path) -> list[Path]:
    """All files of a source folder, without what Python and editors leave in it."""
    return sorted(
        path
        for path in folder.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts and not path.name.endswith((".pyc", "~", ".swp"))
    )


def _python_files(folder: Path, target: str) -> dict[str, File]:
    if not folder.is_dir():
        raise _missing(folder)
    return {f"{target}/{path.relative_to(folder)}": File(path.read_bytes()) for path in _source_files(folder)}


def _only(folder: Path, name: str) -> Path:
    """The one file of this name in a source folder; Python packages aren't searched."""
    found = [path for path in _source_files(folder) if path.name == name and "asd_simulated" not in path.parts]
    if len(found) != 1:
        raise _missing(folder / name)
    return found[0]


def _missing(path: Path) -> PackageBuildError:
    return PackageBuildError(
        f"A source of the simulated packages is missing: {path.relative_to(SIMULATED.parent)}.",
        "Restore the checkout (git status shows what is missing).",
    )


def _write_tgz(target: Path, members: dict[str, File]) -> None:
    """A .tgz that depends on nothing but its members: no times, owners or order of this machine."""
    target.parent.mkdir(parents=True, exist_ok=True)
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.GNU_FORMAT) as archive:
        for folder in sorted({parent for name in members for parent in _parents(name)}):
            entry = tarfile.TarInfo(folder)
            entry.type, entry.mode, entry.mtime = tarfile.DIRTYPE, 0o755, EPOCH
            entry.uname = entry.gname = "root"
            archive.addfile(entry)
        for name, file in sorted(members.items()):
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode, entry.mtime = len(file.content), file.mode, EPOCH
            entry.uname = entry.gname = "root"
            archive.addfile(entry, io.BytesIO(file.content))
    target.write_bytes(gzip.compress(buffer.getvalue(), compresslevel=1, mtime=0))


def _parents(name: str) -> Iterable[str]:
    parts = name.split("/")[:-1]
    return ("/".join(parts[: count + 1]) for count in range(len(parts)))


def _write_checksum(path: Path) -> None:
    """`<file>.sha256` in the form of sha256sum, as upstream publishes it."""
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    path.with_name(f"{path.name}.sha256").write_text(f"{digest}  {path.name}\n")


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else ""


# --- The manifest: what is ours in the mirror -------------------------------------------------------------------------


def _fingerprint(wheel: Path) -> str:
    """Of all that the packages are made from: the sources, this program, the wheel."""
    digest = hashlib.sha256(wheel.name.encode())
    for path in [Path(__file__), *_source_files(SIMULATED)]:
        digest.update(f"{path.name}\0{path.stat().st_size}\0".encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _digest(path: Path) -> str:
    """SHA-256 of a file, or of a repository's list of references; empty when there is nothing."""
    target = path / "info/refs" if path.is_dir() else path
    return hashlib.sha256(target.read_bytes()).hexdigest() if target.is_file() else ""


def _read_manifest(mirror: Path) -> dict:
    try:
        manifest = json.loads((mirror / MANIFEST).read_text())
    except (OSError, ValueError):
        return {"files": {}}
    return manifest if isinstance(manifest, dict) and isinstance(manifest.get("files"), dict) else {"files": {}}


def _write_manifest(mirror: Path, files: dict[str, str], fingerprint: str) -> None:
    """`files`: path below the mirror -> digest."""
    content = {"note": _NOTICE, "fingerprint": fingerprint, "files": dict(sorted(files.items()))}
    temporary = mirror / f".{MANIFEST}"
    temporary.write_text(json.dumps(content, indent=1) + "\n")
    temporary.replace(mirror / MANIFEST)


def _publish(staging: Path, mirror: Path, ours: set[str], fingerprint: str, say: Say) -> None:
    """Rename what was built into place, then remove what an earlier version made and this one doesn't.

    The manifest is written before the first file and after the last one: if this is cut off in between, the next run
    knows which files are ours, and that they aren't complete (the fingerprint is empty).
    """
    repository = staging / _PERSEUS_GIT
    files = {path for path in staging.rglob("*") if path.is_file() and not path.is_relative_to(repository)}
    built = {str(path.relative_to(staging)): _digest(path) for path in files | {repository}}
    for name in [name for name in sorted(built) if name not in ours and (mirror / name).exists()]:
        say(f"The mirror has its own {name}: it is kept, the simulated one isn't offered")
        del built[name]
    # Until its new version is in place, an old file is known by its own digest.
    _write_manifest(mirror, built | {name: _digest(mirror / name) for name in ours if name not in built}, "")
    for name in built:
        target = mirror / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if target.is_dir():
            # A folder can't be replaced by a rename; the old one goes with the staging folder.
            target.rename(staging / f"old-{target.name}")
        (staging / name).rename(target)
    for name in sorted(ours - set(built)):
        path = mirror / name
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
        _remove_empty_parents(path.parent, mirror)
    _write_manifest(mirror, built, fingerprint)


def _remove_empty_parents(folder: Path, top: Path) -> None:
    while folder != top and folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()
        folder = folder.parent
