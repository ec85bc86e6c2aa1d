"""The instances' image: built once, from Debian's official image or, where no registry answers, from Debian's packages.

Its tag holds a hash of everything that goes into it, so a changed file makes a new image and an old one is found.
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
# Inputs beside the files of CONTEXT. A new number makes every image anew.
_RECIPE = f"1 {SUITE}"
# Bytes. The files of the base image take 0.7 GiB, and the engine needs some too.
MEMORY_TO_BUILD_IN = 3 * 1024**3


def tag(context: Path = CONTEXT) -> str:
    """The name that an image made of the present files has."""
    digest = hashlib.sha256(f"{_RECIPE} {debian_architecture()}".encode())
    for path in sorted(context.rglob("*")):
        if path.is_file():
            executable = "x" if path.stat().st_mode & 0o100 else "-"
            digest.update(f"\0{path.relative_to(context)} {executable}\0".encode() + path.read_bytes())
    return f"{REPOSITORY}:{digest.hexdigest()[:16]}"


def packages(context: Path = CONTEXT) -> list[str]:
    """The Debian packages of the image, one a line in packages.txt."""
    return (context / "files/usr/local/lib/pegasus/packages.txt").read_text().split()


def exists(engine: Engine, name: str) -> bool:
    try:
        engine.client.images.get(name)
    except ImageNotFound:
        return False
    return True


def ensure(engine: Engine, settings: Settings, say: Say) -> str:
    """Build the image unless it is there; returns its tag. Raises LocalCloudError."""
    name = tag()
    if exists(engine, name):
        return name
    settings.cache.mkdir(parents=True, exist_ok=True)
    with _one_at_a_time(settings.cache, say):
        if exists(engine, name):
            return name
        begun = time.monotonic()
        try:
            if _have_official_base(engine, say):
                say("Installing Debian packages into the instances' image (once, about a minute)")
                _build(engine, OFFICIAL_BASE, name)
            else:
                say("No image registry answers: making the image from Debian's packages (once, about a minute)")
                _debootstrap(engine, settings, name)
        except APIError as error:
            raise LocalCloudError(
                f"the container engine could not build the instances' image: {explanation(error)}",
                "Mend that, then run this again.",
            ) from error
        except (EngineGone, DockerException, OSError) as error:
            raise LocalCloudError(
                f"building the instances' image failed: {error}",
                "See that the container engine runs and the disk has room, then run this again.",
            ) from error
        say(f"Image {name} is ready after {time.monotonic() - begun:.0f} s")
    return name


@contextmanager
def _one_at_a_time(cache: Path, say: Say) -> Iterator[None]:
    """Two builds at once would do the same work twice. The lock is on the folder: no file stays behind."""
    descriptor = os.open(cache, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("Another process builds the instances' image: waiting for it")
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
            "Containers need to reach Debian's packages, directly or by HTTP_PROXY. Then try again.",
        ) from error


# --- Without a registry -----------------------------------------------------------------------------------------------


def _have_official_base(engine: Engine, say: Say) -> bool:
    """Whether the engine has Debian's image, after a pull if need be. Raises LocalCloudError where no way is left."""
    if exists(engine, OFFICIAL_BASE):
        return True
    say(f"Getting the base image {OFFICIAL_BASE}")
    try:
        engine.client.api.pull(OFFICIAL_BASE)
        return exists(engine, OFFICIAL_BASE)
    except (DockerException, OSError) as error:
        why = explanation(error) if isinstance(error, APIError) else str(error)
    if os.geteuid() != 0:
        raise LocalCloudError(
            f"no image registry answers ({why.splitlines()[0][:200]}), and making the image from Debian's packages"
            " needs root",
            "Run `sudo ./pegasus-driver local image` once, or bring the base: docker load of a saved debian:12.",
        )
    return False


# In a mount name space of its own, so that nothing stays mounted on this machine whatever becomes of it. With enough
# memory the files are made there: dpkg waits for the disk after each of its many small files.
_MAKE_BASE = """
set -eu
if [ "$IN_MEMORY" = yes ]; then mount -t tmpfs -o mode=0755 pegasus-base "$ROOT"; fi
# No mirror: debootstrap knows Debian's own. It notes the one that it used as the first source.
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


# As in the Dockerfile; an import takes no STOPSIGNAL, so each container is made with it.
_CHANGES = ['CMD ["/sbin/init"]']


def _debootstrap(engine: Engine, settings: Settings, name: str) -> None:
    for old in settings.cache.glob(f"{_WORK_PREFIX}*"):
        # From a build that was killed; the lock says that none runs.
        shutil.rmtree(old, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix=_WORK_PREFIX, dir=settings.cache) as work:
        folder = Path(work)
        program, environment = _find_debootstrap(folder)
        root = folder / "root"
        root.mkdir()
        environment |= {
            "IN_MEMORY": "yes" if _free_memory() > MEMORY_TO_BUILD_IN else "no",
            "ROOT": str(root),
            "DEBOOTSTRAP": program,
            # Debian's packages come from where this machine gets its own, if it is a Debian too.
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
            said = engine.client.api.import_image_from_stream(
                archive, repository=repository, tag=version, changes=_CHANGES
            )
        if not exists(engine, name):
            raise LocalCloudError(
                f"the container engine did not take the image: {str(said).strip()[-300:]}",
                "See that its disk has room, then run this again.",
            )


def _find_debootstrap(folder: Path) -> tuple[str, dict[str, str]]:
    """The debootstrap to run and its environment: the installed one, or one that is only unpacked from its package."""
    environment = {**os.environ, "LC_ALL": "C", "DEBIAN_FRONTEND": "noninteractive"}
    # Its helpers (chroot, mount) are in places that a user's PATH may lack.
    environment["PATH"] = f"/usr/local/sbin:/usr/sbin:/sbin:{environment.get('PATH', '/usr/bin:/bin')}"
    installed = shutil.which("debootstrap", path=environment["PATH"])
    if installed:
        return installed, environment
    unpacked = _unpack_package("debootstrap", folder)
    environment["DEBOOTSTRAP_DIR"] = str(unpacked / "usr/share/debootstrap")
    return str(unpacked / "usr/sbin/debootstrap"), environment


def _keyring(folder: Path) -> str:
    """Debian's keys. Ubuntu doesn't install them."""
    installed = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
    if installed.exists():
        return str(installed)
    return str(_unpack_package("debian-archive-keyring", folder) / str(installed).lstrip("/"))


def _unpack_package(package: str, folder: Path) -> Path:
    target = folder / package
    target.mkdir()
    # apt drops its rights for a download, into a folder that its own user can't write to; it warns and goes on as root.
    for command in (["apt-get", "-q", "download", package], ["apt-get", "-q", "update"]):
        try:
            done = subprocess.run(command, cwd=target, capture_output=True, text=True, check=False)
        except FileNotFoundError as error:
            raise LocalCloudError(
                "no image registry answers, and without apt-get this machine can't get debootstrap",
                "Install debootstrap with this system's package manager, then run this again.",
            ) from error
        if list(target.glob("*.deb")):
            break
    else:
        # The lists were missing or old; now they are there.
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
    """A command's output, piece by piece, from when it begins. Whatever ends this, ends the command and its children.

    Raises LocalCloudError when the command ends without output, or fails later.
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

        def pieces(first: bytes) -> Iterator[bytes]:
            yield first
            while piece := output.read1(1 << 20):
                yield piece
            if process.wait():
                raise failure()

        def failure() -> LocalCloudError:
            errors.seek(0)
            last = errors.read().decode(errors="replace").strip().splitlines()[-6:]
            return LocalCloudError(
                "making the image from Debian's packages failed:\n" + "\n".join(f"  {line}" for line in last),
                "This machine needs to reach Debian's packages, directly or by http_proxy. Then run this again.",
            )

        try:
            first = output.read1(1 << 20)
            if not first:
                process.wait()
                raise failure()
            yield pieces(first)
        finally:
            _end_group(process)
            output.close()


def _end_group(process: subprocess.Popen[bytes]) -> None:
    """End a command and all that it started."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        if process.poll() is not None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(10)


def _free_memory() -> int:
    """Bytes that programs could have now."""
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return 0
