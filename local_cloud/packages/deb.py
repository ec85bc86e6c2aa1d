"""Builds Debian packages with dpkg-deb: same input, same bytes, no root needed."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from local_cloud import LocalCloudError

# The modification time of all files (2024-01-01T00:00:00Z), so that a rebuild of unchanged sources keeps the checksums.
EPOCH = 1704067200

_SCRIPT_HEAD = "#!/bin/sh\nset -e\n"
_RELOAD = "if [ -d /run/systemd/system ]; then systemctl --system daemon-reload || true; fi\n"


class PackageBuildError(LocalCloudError):
    """A package can't be built."""


@dataclass(frozen=True)
class File:
    """One file of a package."""

    content: bytes
    mode: int = 0o644


@dataclass(frozen=True)
class DebPackage:
    """The contents of one package. Paths are absolute, as on the host where it is installed."""

    name: str
    version: str
    summary: str
    description: str
    files: dict[str, File]
    depends: tuple[str, ...] = ("python3",)
    conffiles: tuple[str, ...] = ()
    directories: tuple[str, ...] = ()
    # systemd unit that is stopped before a removal
    unit: str = ""
    # shell lines for `postinst configure`, before systemd reloads its units
    configure: str = ""
    # folder whose Python files are compiled at installation
    python_folder: str = ""
    homepage: str = ""
    extra_control: dict[str, str] = field(default_factory=dict)

    def control(self) -> str:
        """Render the control file (Debian policy, chapter 5)."""
        fields = {
            "Package": self.name,
            "Version": self.version,
            "Architecture": "all",
            "Maintainer": "Pegasus <pegasus@localhost>",
            "Depends": ", ".join(self.depends),
            "Section": "misc",
            "Priority": "optional",
            "Homepage": self.homepage,
            **self.extra_control,
        }
        lines = [f"{name}: {value}" for name, value in fields.items() if value]
        lines.append(f"Description: {self.summary}")
        lines += [f" {line}" if line else " ." for line in self.description.strip().splitlines()]
        return "\n".join(lines) + "\n"

    def scripts(self) -> dict[str, str]:
        """Render the maintainer scripts. They reload systemd's units, and enable or start none."""
        # A service can't write there, so without this it would compile its modules at each start.
        compiled = f"python3 -m compileall -q {self.python_folder} || true\n" if self.python_folder else ""
        scripts = {
            "postinst": f'{_SCRIPT_HEAD}if [ "$1" = configure ]; then\n{self.configure}{compiled}{_RELOAD}fi\n',
            "postrm": f"{_SCRIPT_HEAD}{_RELOAD}",
        }
        before_removal = ""
        if self.unit:
            before_removal += f"if [ -d /run/systemd/system ]; then systemctl stop {self.unit} || true; fi\n"
        if self.python_folder:
            before_removal += f"find {self.python_folder} -name __pycache__ -prune -exec rm -rf {{}} +\n"
        if before_removal:
            scripts["prerm"] = f'{_SCRIPT_HEAD}if [ "$1" = remove ]; then\n{before_removal}fi\n'
        return scripts

    def build(self, target: Path) -> None:
        """Write the package to the .deb file `target`. Raises PackageBuildError."""
        with tempfile.TemporaryDirectory(prefix="pegasus-deb-") as temporary:
            # A subfolder, because the temporary folder's mode 0700 would become the mode of / in the package.
            tree = Path(temporary) / "tree"
            _directory(tree)
            for path in self.directories:
                _directory(tree / path.lstrip("/"), tree)
            for path, file in self.files.items():
                _write(tree / path.lstrip("/"), file, tree)
            _write(tree / "DEBIAN/control", File(self.control().encode()), tree)
            if self.conffiles:
                _write(tree / "DEBIAN/conffiles", File(("\n".join(self.conffiles) + "\n").encode()), tree)
            for name, text in self.scripts().items():
                _write(tree / "DEBIAN" / name, File(text.encode(), 0o755), tree)
            for entry in sorted(tree.rglob("*"), reverse=True):
                os.utime(entry, (EPOCH, EPOCH))
            os.utime(tree, (EPOCH, EPOCH))
            _dpkg_deb(tree, target)


def require_dpkg_deb() -> str:
    """Return the path of dpkg-deb. Raises PackageBuildError."""
    found = shutil.which("dpkg-deb")
    if found is None:
        raise PackageBuildError(
            "the simulated packages can't be built: dpkg-deb was not found in PATH",
            "Install the package dpkg (Debian, Ubuntu, Fedora), or set pegasus_artifact_source to an existing mirror.",
        )
    return found


def _dpkg_deb(tree: Path, target: Path) -> None:
    command = [require_dpkg_deb(), "--root-owner-group", "--build", "-Zgzip", "-z6", str(tree), str(target)]
    environment = os.environ | {"SOURCE_DATE_EPOCH": str(EPOCH), "LC_ALL": "C"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise PackageBuildError(
            f"dpkg-deb could not build {target.name} (exit {done.returncode}): {done.stderr.strip()}",
            "Check the free disk space of the temporary folder and of the mirror's folder.",
        )


def _directory(path: Path, top: Path | None = None) -> None:
    """Create `path` and its parents below `top` with mode 0755, regardless of the umask."""
    if top is not None and path != top:
        _directory(path.parent, top)
    path.mkdir(exist_ok=True)
    path.chmod(0o755)


def _write(path: Path, file: File, top: Path) -> None:
    _directory(path.parent, top)
    path.write_bytes(file.content)
    path.chmod(file.mode)
