"""The instances' image: built once, on Debian's official image or, without a registry, from Debian packages.

Its tag contains a hash of all sources, so that a change of a file leads to a new image.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import io
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from docker.errors import APIError, BuildError, DockerException, ImageNotFound

from . import LocalCloudError
from .engine import Engine, EngineGone, explanation
from .settings import Settings, debian_architecture

Say = Callable[[str], None]

SUITE = "bookworm"
OFFICIAL_BASE = "debian:12"
REPOSITORY = "pegasus-instance"
CONTEXT = Path(__file__).resolve().parent / "image"

_WORK_PREFIX = "pegasus-base-"
# The sources besides the files of CONTEXT. A new number rebuilds all images.
_RECIPE = f"1 {SUITE}"
# Bytes. The files of the base image need 0.7 GiB, and the engine needs memory, too.
MEMORY_TO_BUILD = 3 * 1024**3


def tag(context: Path = CONTEXT) -> str:
    """The tag of an image that is built from the current files."""
    digest = hashlib.sha256(f"{_RECIPE} {debian_architecture()}".encode())
    for path in sorted(context.rglob("*")):
        if path.is_file():
            executable = "x" if path.stat().st_mode & 0o100 else "-"
            digest.update(f"\0{path.relative_to(context)} {executable}\0".encode() + path.read_bytes())
    return f"{REPOSITORY}:{digest.hexdigest()[:16]}"


def packages(context: Path = CONTEXT) -> list[str]:
    """The Debian packages of the image, from packages.txt."""
    return (context / "files/usr/local/lib/pegasus/packages.txt").read_text().split()


def exists(engine: Engine, name: str) -> bool:
    try:
        engine.client.images.get(name)
    except ImageNotFound:
        return False
    return True


def ensure(engine: Engine, settings: Settings, say: Say) -> str:
    """Build the image unless it exists; returns its tag. Raises LocalCloudError."""
    name = tag()
    if exists(engine, name):
        return name
    settings.cache.mkdir(parents=True, exist_ok=True)
    with _one_at_a_time(settings.cache, say):
        if exists(engine, name):
            return name
        start = time.monotonic()
        try:
            if _have_official_base(engine, say):
                say("Installing Debian packages into the instances' image (once, about a minute)")
                _build(engine, OFFICIAL_BASE, name)
            else:
                say("No image registry answers: building the image from Debian packages (once, about a minute)")
                _debootstrap(engine, settings, name)
        except APIError as error:
            raise LocalCloudError(
                f"the container engine could not build the instances' image: {explanation(error)}",
                "Correct that, then run this again.",
            ) from error
        except (EngineGone, DockerException, OSError) as error:
            raise LocalCloudError(
                f"building the instances' image failed: {error}",
                "Check the container engine and the free disk space, then run this again.",
            ) from error
        say(f"Image {name} is ready after {time.monotonic() - start:.0f} s")
    return name


@contextmanager
def _one_at_a_time(cache: Path, say: Say) -> Iterator[None]:
    """Allow one build at a time. The lock is on the folder, so that no lock file remains."""
    descriptor = os.open(cache, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("Waiting for another process that is building the instances' image")
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _build(engine: Engine, base: str, name: str) -> None:
    lines: list[str] = []
    proxies = {
        key: value for key, value in os.environ.items() if key.lower() in ("http_proxy", "https_proxy", "no_proxy")
    }
    try:
        for record in engine.client.api.build(
            path=str(CONTEXT), tag=name, buildargs={"BASE": base, **proxies}, rm=True, forcerm=True, decode=True
        ):
            lines += str(record.get("stream", "")).splitlines()
            if "error" in record:
                raise BuildError(str(record["error"]), iter(()))
    except BuildError as error:
        last = "\n".join(f"  {line}" for line in [line for line in lines if line.strip()][-8:])
        raise LocalCloudError(
            f"building the instances' image failed: {error.msg}\n{last}",
            "Containers need access to Debian's mirrors, directly or through HTTP_PROXY. Then run this again.",
        ) from error


# --- Without a registry -----------------------------------------------------------------------------------------------


def _have_official_base(engine: Engine, say: Say) -> bool:
    """Whether the engine has Debian's image, after a pull if necessary.

    :raises LocalCloudError: it doesn't, and this user isn't root, as debootstrap requires
    """
    if exists(engine, OFFICIAL_BASE):
        return True
    say(f"Pulling the base image {OFFICIAL_BASE}")
    try:
        engine.client.api.pull(OFFICIAL_BASE)
        return exists(engine, OFFICIAL_BASE)
    except (DockerException, OSError) as error:
        why = explanation(error) if isinstance(error, APIError) else str(error)
    if os.geteuid() != 0:
        raise LocalCloudError(
            f"no image registry answers ({why.splitlines()[0][:200]}), and building the image from Debian packages"
            " needs root",
            "Run `sudo ./pegasus-driver local image` once, or load a saved debian:12 with docker load.",
        )
    return False


# Runs in a mount namespace of its own, so that nothing stays mounted after an interruption. With enough memory it works
# on a tmpfs, because dpkg waits for the disk after each of its many small files.
_MAKE_BASE = """
set -eu
if [ "$IN_MEMORY" = yes ]; then mount -t tmpfs -o mode=0755 pegasus-base "$ROOT"; fi
# Without MIRROR debootstrap uses Debian's default. It writes the mirror that it used as the first source.
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


# As in the Dockerfile. An import doesn't accept STOPSIGNAL, so each container is created with it.
_CHANGES = ['CMD ["/sbin/init"]']


def _debootstrap(engine: Engine, settings: Settings, name: str) -> None:
    for old in settings.cache.glob(f"{_WORK_PREFIX}*"):
        # From a build that was killed. The lock excludes a running one.
        shutil.rmtree(old, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix=_WORK_PREFIX, dir=settings.cache) as work:
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
            "SUITE": SUITE,
            "FILES": str(CONTEXT / "files"),
        }
        options = [
            "--variant=minbase",
            f"--arch={debian_architecture()}",
            f"--include={','.join(packages())}",
            f"--keyring={_keyring(folder)}",
            SUITE,
        ]
        command = ["unshare", "--mount", "--propagation", "private", "sh", "-c", _MAKE_BASE, "make-base", *options]
        repository, version = name.split(":")
        with _output_of(command, environment, folder / "log") as archive:
            response = engine.client.api.import_image_from_stream(
                archive, repository=repository, tag=version, changes=_CHANGES
            )
        if not exists(engine, name):
            raise LocalCloudError(
                f"the container engine did not import the image: {str(response).strip()[-300:]}",
                "Check the engine's free disk space, then run this again.",
            )


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
    # apt's unprivileged user can't write to this folder. apt prints a warning and downloads as root.
    for command in (["apt-get", "-q", "download", package], ["apt-get", "-q", "update"]):
        try:
            done = subprocess.run(command, cwd=target, capture_output=True, text=True, check=False)
        except FileNotFoundError as error:
            raise LocalCloudError(
                "no image registry answers, and without apt-get this machine can't download debootstrap",
                "Install debootstrap with this system's package manager, then run this again.",
            ) from error
        if list(target.glob("*.deb")):
            break
    else:
        # The package lists were missing or outdated.
        done = subprocess.run(
            ["apt-get", "-q", "download", package], cwd=target, capture_output=True, text=True, check=False
        )
    archives = list(target.glob("*.deb"))
    if not archives:
        raise LocalCloudError(
            f"no image registry answers, and the package {package} can't be downloaded: {done.stderr.strip()[-300:]}",
            f"Install it (apt-get install {package}), then run this again.",
        )
    subprocess.run(["dpkg-deb", "--extract", str(archives[0]), str(target)], check=True)
    return target


def _host_mirror(last_part: str, sources: Path = Path("/etc/apt")) -> str:
    files = [sources / "sources.list", *sorted((sources / "sources.list.d").glob("*"))]
    for file in files:
        try:
            words = " ".join(
                line for line in file.read_text().splitlines() if not line.lstrip().startswith("#")
            ).split()
        except (OSError, UnicodeDecodeError):
            continue
        for word in words:
            if word.startswith(("http://", "https://")) and word.rstrip("/").endswith(f"/{last_part}"):
                return word.rstrip("/")
    return ""


@contextmanager
def _output_of(command: list[str], environment: dict[str, str], log: Path) -> Iterator[Iterator[bytes]]:
    """Run a command and yield its output in chunks. On an exception the command and its children are stopped.

    :raises LocalCloudError: the command exited without output, or failed later
    """
    with log.open("w+b") as errors:
        process = subprocess.Popen(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
            start_new_session=True,
        )
        assert isinstance(process.stdout, io.BufferedReader)
        output = process.stdout

        def chunks(first: bytes) -> Iterator[bytes]:
            yield first
            while chunk := output.read1(1 << 20):
                yield chunk
            if process.wait():
                raise failure()

        def failure() -> LocalCloudError:
            errors.seek(0)
            last = errors.read().decode(errors="replace").strip().splitlines()[-6:]
            return LocalCloudError(
                "building the image from Debian packages failed:\n" + "\n".join(f"  {line}" for line in last),
                "This machine needs access to Debian's mirrors, directly or through http_proxy. Then run this again.",
            )

        try:
            first = output.read1(1 << 20)
            if not first:
                process.wait()
                raise failure()
            yield chunks(first)
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
