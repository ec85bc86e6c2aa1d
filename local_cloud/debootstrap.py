"""A Debian root file system with the image's packages and files, built by debootstrap. Needs root.

For machines that reach Debian's mirrors but no image registry.
"""

import contextlib
import io
import itertools
import os
import re
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from . import LocalCloudError
from .settings import debian_architecture

# Bytes. The files of the root file system need 0.7 GiB, and the engine needs memory, too.
MEMORY_TO_BUILD = 3 * 1024**3

_WORK_PREFIX = "pegasus-base-"

# Runs in a mount namespace of its own, so that nothing stays mounted after an interruption. With enough memory it works
# on a tmpfs, because dpkg waits for the disk after each of its many small files.
_BUILD_ROOT = """
set -eu
if [ "$IN_MEMORY" = yes ]; then mount -t tmpfs -o mode=0755 pegasus-base "$ROOT"; fi
# Without MIRROR debootstrap uses Debian's default mirror. It writes the mirror to sources.list.
"$DEBOOTSTRAP" "$@" "$ROOT" ${MIRROR:+"$MIRROR"} >&2
read -r _ mirror _ < "$ROOT/etc/apt/sources.list"
security=${SECURITY:-${mirror%/*}/debian-security}
for source in "$mirror $SUITE" "$mirror $SUITE-updates" "$security $SUITE-security"; do
  echo "deb $source main"
done > "$ROOT/etc/apt/sources.list"
cp -R --no-preserve=mode,ownership "$FILES/." "$ROOT/"
chroot "$ROOT" sh /usr/local/lib/pegasus/prepare-image >&2
exec tar --create --numeric-owner --one-file-system --directory "$ROOT" .
"""


@contextmanager
def root_archive(cache: Path, suite: str, packages: list[str], files: Path) -> Iterator[Iterator[bytes]]:
    """Build the root file system; yields it as the chunks of a tar archive. Raises LocalCloudError.

    :param cache: folder for temporary files; the caller excludes concurrent builds in it
    :param files: folder of files that replace those of the packages
    """
    for old in cache.glob(f"{_WORK_PREFIX}*"):
        # From a build that was killed.
        shutil.rmtree(old, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix=_WORK_PREFIX, dir=cache) as work:
        folder = Path(work)
        program, environment = _find_debootstrap(folder)
        root = folder / "root"
        root.mkdir()
        environment |= {
            "IN_MEMORY": "yes" if _free_memory() > MEMORY_TO_BUILD else "no",
            "ROOT": str(root),
            "DEBOOTSTRAP": program,
            # This machine's own mirror, if it runs Debian.
            "MIRROR": _host_mirror("debian"),
            "SECURITY": _host_mirror("debian-security"),
            "SUITE": suite,
            "FILES": str(files),
        }
        command = ["unshare", "--mount", "--propagation", "private", "sh", "-c", _BUILD_ROOT, "build-root"]
        command += ["--variant=minbase", f"--arch={debian_architecture()}", f"--include={','.join(packages)}"]
        command += [f"--keyring={_keyring(folder)}", suite]
        with _output_of(command, environment, folder / "log") as archive:
            yield archive


def _find_debootstrap(folder: Path) -> tuple[str, dict[str, str]]:
    """The path and environment of debootstrap: the installed one, or one unpacked from its package into `folder`."""
    environment = {**os.environ, "LC_ALL": "C", "DEBIAN_FRONTEND": "noninteractive"}
    # A user's PATH may lack the folders of chroot and mount.
    environment["PATH"] = f"/usr/local/sbin:/usr/sbin:/sbin:{environment.get('PATH', '/usr/bin:/bin')}"
    installed = shutil.which("debootstrap", path=environment["PATH"])
    if installed:
        return installed, environment
    unpacked = _unpack_package("debootstrap", folder)
    environment["DEBOOTSTRAP_DIR"] = str(unpacked / "usr/share/debootstrap")
    return str(unpacked / "usr/sbin/debootstrap"), environment


def _keyring(folder: Path) -> str:
    """Debian's keyring, which Ubuntu doesn't install."""
    installed = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
    if installed.exists():
        return str(installed)
    return str(_unpack_package("debian-archive-keyring", folder) / str(installed).lstrip("/"))


def _unpack_package(package: str, folder: Path) -> Path:
    target = folder / package
    target.mkdir()
    if not shutil.which("apt-get"):
        raise LocalCloudError(
            "no image registry answers, and without apt-get this machine can't download debootstrap",
            "Install debootstrap with this system's package manager, then run this again.",
        )
    # The package lists may be missing or outdated. As its unprivileged user can't write to this folder, apt prints a
    # warning and downloads as root.
    for command in (["download", package], ["update"], ["download", package]):
        done = subprocess.run(["apt-get", "-q", *command], cwd=target, capture_output=True, text=True, check=False)
        if archives := list(target.glob("*.deb")):
            subprocess.run(["dpkg-deb", "--extract", str(archives[0]), str(target)], check=True)
            return target
    raise LocalCloudError(
        f"no image registry answers, and the package {package} can't be downloaded: {done.stderr.strip()[-300:]}",
        f"Install it (apt-get install {package}), then run this again.",
    )


def _host_mirror(last_part: str, sources: Path = Path("/etc/apt")) -> str:
    # The first address outside of comments.
    address = re.compile(rf"^(?!\s*#).*?\b(https?://\S+/{last_part})/?(?:\s|$)", re.MULTILINE)
    for file in [sources / "sources.list", *sorted((sources / "sources.list.d").glob("*"))]:
        with contextlib.suppress(OSError, UnicodeDecodeError):
            if found := address.search(file.read_text()):
                return found[1]
    return ""


@contextmanager
def _output_of(command: list[str], environment: dict[str, str], log: Path) -> Iterator[Iterator[bytes]]:
    """Run a command and yield its output in chunks. On an exception the command and its children are stopped."""
    with log.open("wb") as errors:
        process = subprocess.Popen(
            command, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=errors,
            start_new_session=True,
        )  # fmt: skip
        assert isinstance(process.stdout, io.BufferedReader)
        output = process.stdout

        def chunks() -> Iterator[bytes]:
            while chunk := output.read1(1 << 20):
                yield chunk
            if process.wait():
                last = log.read_text(errors="replace").strip().splitlines()[-6:]
                raise LocalCloudError(
                    "\n  ".join(["building the image from Debian packages failed:", *last]),
                    "This machine needs access to Debian's mirrors, directly or through http_proxy."
                    " Then run this again.",
                )

        try:
            # Fails here, before the first chunk is used, if the command exits without output.
            archive = chunks()
            yield itertools.chain([next(archive, b"")], archive)
        finally:
            _stop_group(process)
            output.close()


def _stop_group(process: subprocess.Popen[bytes]) -> None:
    """Stop a command and its children."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        if process.poll() is not None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(10)


def _free_memory() -> int:
    """Available memory in bytes."""
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return 0
