"""Fills the local cloud's artifact mirror with simulated packages, in the layout of the upstream download sites.

Each product's module describes its files below the mirror. The packages contain Python only, so a package serves both
architectures under both names. Its Debian version is `<version>-1+simulated`, where <version> is the upstream version.

<mirror>/SIMULATED.json lists the files that were built here. Other files in the mirror are never changed.
"""

import hashlib
import json
import shutil
import tempfile
from pathlib import Path

from local_cloud import Say

from . import exporter, grafana, perseus, server, sources
from .archives import require_dpkg_deb

MANIFEST = "SIMULATED.json"


def build_mirror(root: Path, mirror: Path, say: Say) -> None:
    """Update the simulated part of the mirror, if its sources have changed since the last build.

    A real package that `mirror fetch` put under the name of a simulated one stays, and a line reports it. Downloads are
    cached in the folder .cache of `root`, the project's folder. Raises PackageBuildError.
    """
    require_dpkg_deb()
    perseus.require_git()
    wheel = perseus.client_wheel(root / ".cache", say)
    fingerprint = _fingerprint(wheel)
    previous = _read_manifest(mirror)
    # A file that has changed since then is the user's. A file that was deleted must be built again.
    ours = {name for name, digest in previous["files"].items() if _digest(mirror / name) in ("", digest)}
    if previous.get("fingerprint") == fingerprint and all((mirror / name).exists() for name in previous["files"]):
        return

    mirror.mkdir(parents=True, exist_ok=True)
    say("Building the simulated packages")
    # On the mirror's file system, so that files can be renamed into place.
    with tempfile.TemporaryDirectory(prefix=".building-", dir=mirror) as temporary:
        staging = Path(temporary)
        server.build(staging)
        exporter.build(staging)
        grafana.build(staging)
        perseus.build(staging, wheel)
        _publish(staging, mirror, ours, fingerprint, say)


def _publish(staging: Path, mirror: Path, ours: set[str], fingerprint: str, say: Say) -> None:
    """Rename the built files into place, then remove the files that only an earlier version built.

    The manifest is written before the first file, with an empty fingerprint, and after the last file. After an
    interruption the next build therefore knows its own files, and that they are incomplete.
    """
    repository = staging / perseus.REPOSITORY
    files = {path for path in staging.rglob("*") if path.is_file() and not path.is_relative_to(repository)}
    built = {str(path.relative_to(staging)): _digest(path) for path in files | {repository}}
    for name in [name for name in sorted(built) if name not in ours and (mirror / name).exists()]:
        say(f"The mirror already contains {name}: keeping that file instead of the simulated package")
        del built[name]
    # A file that isn't replaced yet is known by its old digest.
    _write_manifest(mirror, built | {name: _digest(mirror / name) for name in ours if name not in built}, "")
    for name in built:
        target = mirror / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if target.is_dir():
            # A rename can't replace a folder. The old folder is deleted with the staging folder.
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


def _fingerprint(wheel: Path) -> str:
    """A hash of all inputs of a build: the simulators, this package and the wheel's name."""
    digest = hashlib.sha256(wheel.name.encode())
    for path in [*sources.source_files(Path(__file__).parent), *sources.source_files(sources.SIMULATORS)]:
        digest.update(f"{path.name}\0{path.stat().st_size}\0".encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _digest(path: Path) -> str:
    """SHA-256 of a file, or of a repository's list of references; empty if it doesn't exist."""
    target = path / "info/refs" if path.is_dir() else path
    return hashlib.sha256(target.read_bytes()).hexdigest() if target.is_file() else ""


def _read_manifest(mirror: Path) -> dict:
    try:
        manifest = json.loads((mirror / MANIFEST).read_text())
    except (OSError, ValueError):
        return {"files": {}}
    return manifest if isinstance(manifest, dict) and isinstance(manifest.get("files"), dict) else {"files": {}}


def _write_manifest(mirror: Path, files: dict[str, str], fingerprint: str) -> None:
    content = {"note": sources.NOTICE, "fingerprint": fingerprint, "files": dict(sorted(files.items()))}
    temporary = mirror / f".{MANIFEST}"
    temporary.write_text(json.dumps(content, indent=1) + "\n")
    temporary.replace(mirror / MANIFEST)
