# Copyright (c) Pegasus authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""Artifacts on a download site: listings, versions, checksums, archives. The logic is apart from the transport."""

from __future__ import annotations

import fnmatch
import hashlib
import re
import tarfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path, PurePosixPath
from typing import IO
from urllib.parse import unquote

from .facts import Host

PLACEHOLDER = re.compile(r"\{(\w+)\}")
VERSION = re.compile(r"^\d+(\.\d+)+$")
CHUNK = 1024 * 1024


class ArtifactError(Exception):
    """An artifact can't be had. The text says what was found, what was expected, what to do."""


class NotFoundError(ArtifactError):
    """The site has nothing at an address."""


class _Links(HTMLParser):
    """Collects the targets of a page's links."""

    def __init__(self) -> None:
        super().__init__()
        self.targets: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "a":
            self.targets += [value for name, value in attrs if name == "href" and value]


def listing_names(page: str) -> list[str]:
    """Return the names that a directory listing links to, without folders' slashes, parents and sort links."""
    links = _Links()
    links.feed(page)
    names = []
    for target in links.targets:
        name = unquote(target.partition("?")[0].partition("#")[0]).rstrip("/").rpartition("/")[2]
        if name and name not in (".", "..") and name not in names:
            names.append(name)
    return names


def fill(pattern: str, values: dict[str, str]) -> str:
    """Replace ``{name}`` in a pattern.

    :raises ArtifactError: a name isn't known
    """

    def one(match: re.Match[str]) -> str:
        name = match.group(1)
        if name not in values:
            raise ArtifactError(f"'{pattern}' holds {{{name}}}; expected one of {', '.join(sorted(values))}")
        return values[name]

    return PLACEHOLDER.sub(one, pattern)


def host_values(host: Host, package_format: str) -> dict[str, str]:
    """Return what placeholders mean on a host, except ``version``."""
    return {
        "distribution": host.distribution,
        "architecture": host.architecture,
        "deb_architecture": host.deb_architecture,
        "format": package_format,
    }


def is_exact(version: str) -> bool:
    """Whether a version names one version, rather than a pattern or ``latest``."""
    return version != "latest" and not any(sign in version for sign in "*?[")


def satisfies(installed: str, asked: str) -> bool:
    """Whether an installed upstream version is what was asked for. Any is ``latest``: nothing moves by itself."""
    return asked == "latest" or fnmatch.fnmatchcase(installed, asked)


def order(version: str) -> tuple:
    """Sort key of versions and file names: numbers compare as numbers."""
    return tuple((1, int(part), "") if part.isdigit() else (0, 0, part) for part in re.findall(r"\d+|\D+", version))


def choose_version(asked: str, names: Iterable[str]) -> str:
    """Return the newest version in a listing that is what was asked for.

    :raises ArtifactError: there is none
    """
    versions = sorted((name for name in names if VERSION.match(name)), key=order)
    fitting = [name for name in versions if satisfies(name, asked)]
    if not fitting:
        raise ArtifactError(f"no version is '{asked}'; the site has {shortened(versions)}")
    return fitting[-1]


def choose_file(pattern: str, names: Sequence[str]) -> str:
    """Return the file of a listing that fits a pattern; of several the newest.

    :raises ArtifactError: none fits
    """
    fitting = sorted((name for name in names if fnmatch.fnmatchcase(name, pattern)), key=order)
    if not fitting:
        raise ArtifactError(f"expected a file like '{pattern}', found {shortened(sorted(names))}")
    return fitting[-1]


def shortened(names: Sequence[str], count: int = 12) -> str:
    """The last names of a list, for a message."""
    if not names:
        return "nothing"
    return ("..., " if len(names) > count else "") + ", ".join(names[-count:])


def checksum_of(text: str, file: str) -> str:
    """Return the SHA-256 (hex) of a file from a published checksum file: ``<hex>`` or ``<hex>  <name>``.

    :raises ArtifactError: it holds none
    """
    for line in text.splitlines():
        parts = line.split()
        named = len(parts) < 2 or PurePosixPath(parts[-1].lstrip("*")).name == file
        if parts and re.fullmatch(r"[0-9a-fA-F]{64}", parts[0]) and named:
            return parts[0].lower()
    raise ArtifactError(f"{file}.sha256 holds no SHA-256 of {file}: found '{text.strip()[:80]}'")


def sha256_of(path: Path) -> str:
    """Return a file's SHA-256 as hex."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        for chunk in iter(lambda: stream.read(CHUNK), b""):
            digest.update(chunk)
    return digest.hexdigest()


def extract(archive: Path, patterns: Sequence[str], folder: Path) -> list[Path]:
    """Unpack the members of a tar archive whose file names fit the patterns, each pattern one, into ``folder``.

    Only plain files are taken, under their last name: nothing in an archive can lead elsewhere.
    :raises ArtifactError: a pattern fits nothing, or the file is no archive
    """
    try:
        with tarfile.open(archive) as tar:
            members = {PurePosixPath(member.name).name: member for member in tar.getmembers() if member.isfile()}
            paths = []
            for pattern in patterns:
                try:
                    name = choose_file(pattern, sorted(members))
                except ArtifactError as error:
                    raise ArtifactError(f"in {archive.name}: {error}") from error
                source = tar.extractfile(members[name])
                if source is None:
                    raise ArtifactError(f"in {archive.name}: {name} is no plain file")
                target = folder / name
                with source, target.open("wb") as stream:
                    copy(source, stream)
                paths.append(target)
            return paths
    except (tarfile.TarError, EOFError, OSError) as error:
        raise ArtifactError(
            f"{archive.name} can't be unpacked: {error}; remove it from the mirror and fetch it again"
        ) from error


def copy(source: IO[bytes], target: IO[bytes]) -> None:
    """Copy a stream in pieces."""
    for chunk in iter(lambda: source.read(CHUNK), b""):
        target.write(chunk)


@dataclass(frozen=True)
class Located:
    """One artifact on a site."""

    version: str
    file: str
    url: str


def locate(directory: str, file: str, version: str, values: dict[str, str], read: Callable[[str], str]) -> Located:
    """Find the artifact that was asked for.

    :param directory: address of the folder; it may hold ``{version}``
    :param file: name of the file, or a pattern of it
    :param version: exact, a pattern, or ``latest``
    :param read: returns the page at an address, raises NotFoundError
    :raises ArtifactError: there is no such artifact
    """
    values = dict(values)
    before, separator, _ = directory.partition("{version}")
    parent = before.rpartition("/")[0] + "/"
    if not is_exact(version):
        if not separator:
            raise ArtifactError(
                f"'{version}' needs a listing of versions, but '{directory}' holds no {{version}}: give an exact one"
            )
        version = choose_version(version, listing_names(read(parent)))
    values["version"] = version
    folder = fill(directory, values).rstrip("/") + "/"
    name = fill(file, values)
    if any(sign in name for sign in "*?["):
        try:
            names = listing_names(read(folder))
        except NotFoundError as error:
            raise ArtifactError(f"{error}{_known_versions(parent, read) if separator else ''}") from error
        try:
            name = choose_file(name, names)
        except ArtifactError as error:
            raise ArtifactError(
                f"{folder}: {error}: is there a package for this distribution and architecture?"
            ) from error
    return Located(version, name, folder + name)


def _known_versions(parent: str, read: Callable[[str], str]) -> str:
    """A hint which versions a site has; empty where it doesn't say."""
    try:
        versions = sorted((name for name in listing_names(read(parent)) if VERSION.match(name)), key=order)
    except ArtifactError:
        return ""
    return f"; the site has {shortened(versions)}"
