"""The instances' image: built once, on Debian's official image or, without a registry, from Debian packages.

Its tag contains a hash of all sources, so that a change of a file leads to a new image.
"""

import hashlib
import os
import time
from pathlib import Path

from docker.errors import APIError, DockerException, ImageNotFound

from . import LocalCloudError, Say, debootstrap
from .engine import Engine, EngineGone, explanation
from .files import locked
from .settings import Settings, debian_architecture

SUITE = "bookworm"
OFFICIAL_BASE = "debian:12"
REPOSITORY = "pegasus-instance"
CONTEXT = Path(__file__).resolve().parent / "image"

# The sources besides the files of CONTEXT. A new number rebuilds all images.
_RECIPE = f"1 {SUITE}"
# As in the Dockerfile. An import doesn't accept STOPSIGNAL, so each container is created with it.
_CHANGES = ['CMD ["/sbin/init"]']


def tag(context: Path = CONTEXT) -> str:
    """The tag of an image that is built from the current files."""
    digest = hashlib.sha256(f"{_RECIPE} {debian_architecture()}".encode())
    for path in sorted(context.rglob("*")):
        if path.is_file():
            executable = "x" if path.stat().st_mode & 0o100 else "-"
            digest.update(f"\0{path.relative_to(context)} {executable}\0".encode() + path.read_bytes())
    return f"{REPOSITORY}:{digest.hexdigest()[:16]}"


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
    with locked(settings.cache, say, "Waiting for another process that is building the instances' image"):
        if exists(engine, name):
            return name
        start = time.monotonic()
        try:
            if _have_official_base(engine, say):
                say("Installing Debian packages into the instances' image (once, about a minute)")
                _build(engine, OFFICIAL_BASE, name)
            else:
                say("No image registry answers: building the image from Debian packages (once, about a minute)")
                _import(engine, settings, name)
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


def _build(engine: Engine, base: str, name: str) -> None:
    lines: list[str] = []
    proxies = {
        key: value for key, value in os.environ.items() if key.lower() in ("http_proxy", "https_proxy", "no_proxy")
    }
    for record in engine.client.api.build(
        path=str(CONTEXT), tag=name, buildargs={"BASE": base, **proxies}, rm=True, forcerm=True, decode=True
    ):
        lines += [line for line in str(record.get("stream", "")).splitlines() if line.strip()]
        if "error" in record:
            raise LocalCloudError(
                "\n  ".join([f"building the instances' image failed: {record['error']}", *lines[-8:]]),
                "Containers need access to Debian's mirrors, directly or through HTTP_PROXY. Then run this again.",
            )


def _have_official_base(engine: Engine, say: Say) -> bool:
    """Whether the engine has Debian's image, after a pull if necessary. Without it, users except root get an error."""
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


def _import(engine: Engine, settings: Settings, name: str) -> None:
    repository, version = name.split(":")
    files = CONTEXT / "files"
    packages = (files / "usr/local/lib/pegasus/packages.txt").read_text().split()
    with debootstrap.root_archive(settings.cache, SUITE, packages, files) as archive:
        response = engine.client.api.import_image_from_stream(
            archive, repository=repository, tag=version, changes=_CHANGES
        )
    if not exists(engine, name):
        raise LocalCloudError(
            f"the container engine did not import the image: {str(response).strip()[-300:]}",
            "Check the engine's free disk space, then run this again.",
        )
