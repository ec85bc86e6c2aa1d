"""Writes Debian packages, .tgz archives and checksum files: same input, same bytes, no root needed."""

import gzip
import hashlib
import io
import os
import re
import shutil
import subprocess
import tarfile
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
    # of a service: the systemd unit to stop before a removal, the folder of Python files to compile at installation
    unit: str = ""
    python_folder: str = ""
    # shell lines for `postinst configure`, before systemd reloads its units
    configure: str = ""
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
            **self.extra_control,
        }
        lines = [f"{name}: {value}" for name, value in fields.items() if value]
        lines.append(f"Description: {self.summary}")
        lines += [f" {line}" if line else " ." for line in self.description.strip().splitlines()]
        return "\n".join(lines) + "\n"

    def scripts(self) -> dict[str, str]:
        """Render the maintainer scripts. They reload systemd's units, and enable or start none."""
        # A service can't write there, so without this it would compile its modules at each start.
        compiled = f"python3 -m compileall -q {self.python_folder} || true\n" if self.unit else ""
        scripts = {
            "postinst": f'{_SCRIPT_HEAD}if [ "$1" = configure ]; then\n{self.configure}{compiled}{_RELOAD}fi\n',
            "postrm": f"{_SCRIPT_HEAD}{_RELOAD}",
        }
        if self.unit:
            stop = f"if [ -d /run/systemd/system ]; then systemctl stop {self.unit} || true; fi\n"
            clean = f"find {self.python_folder} -name __pycache__ -prune -exec rm -rf {{}} +\n"
            scripts["prerm"] = f'{_SCRIPT_HEAD}if [ "$1" = remove ]; then\n{stop}{clean}fi\n'
        return scripts

    def build(self, target: Path) -> None:
        """Write the package to the .deb file `target`. Raises PackageBuildError."""
        with tempfile.TemporaryDirectory(prefix="pegasus-deb-") as temporary:
            # A subfolder, because the temporary folder's mode 0700 would become the mode of / in the package.
            tree = Path(temporary) / "tree"
            for path in self.directories:
                _directory(tree / path.lstrip("/"), tree)
            metadata = {"/DEBIAN/control": File(self.control().encode())}
            if self.conffiles:
                metadata["/DEBIAN/conffiles"] = File(("\n".join(self.conffiles) + "\n").encode())
            metadata |= {f"/DEBIAN/{name}": File(text.encode(), 0o755) for name, text in self.scripts().items()}
            for path, file in (self.files | metadata).items():
                target_file = tree / path.lstrip("/")
                _directory(target_file.parent, tree)
                target_file.write_bytes(file.content)
                target_file.chmod(file.mode)
            for entry in [*sorted(tree.rglob("*"), reverse=True), tree]:
                os.utime(entry, (EPOCH, EPOCH))
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


def _directory(path: Path, top: Path) -> None:
    """Create `path` and its parents up to `top` with mode 0755, regardless of the umask."""
    if path != top:
        _directory(path.parent, top)
    path.mkdir(exist_ok=True)
    path.chmod(0o755)


def write_tgz(target: Path, members: dict[str, File]) -> None:
    """Write an archive with fixed times, owners and order, and with the parent folders of its members."""
    target.parent.mkdir(parents=True, exist_ok=True)
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.GNU_FORMAT) as archive:
        for folder in sorted({name[: slash.start()] for name in members for slash in re.finditer("/", name)}):
            _add(archive, folder, File(b"", 0o755), tarfile.DIRTYPE)
        for name, file in sorted(members.items()):
            _add(archive, name, file, tarfile.REGTYPE)
    target.write_bytes(gzip.compress(buffer.getvalue(), compresslevel=1, mtime=0))


def write_checksum(path: Path) -> None:
    """Write `<file>.sha256` in the format of sha256sum, as upstream publishes it."""
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    path.with_name(f"{path.name}.sha256").write_text(f"{digest}  {path.name}\n")


def _add(archive: tarfile.TarFile, name: str, file: File, kind: bytes) -> None:
    entry = tarfile.TarInfo(name)
    entry.type, entry.size, entry.mode, entry.mtime = kind, len(file.content), file.mode, EPOCH
    entry.uname = entry.gname = "root"
    archive.addfile(entry, io.BytesIO(file.content))
