# Copyright (c) Pegasus authors. SPDX-License-Identifier: Apache-2.0
"""Artifacts on a download site: listings, versions, checksums, archives. The caller reads the pages."""

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
    """An artifact is unavailable. The text says what was found, what was expected, and what to do."""


class NotFoundError(ArtifactError):
    """The site has nothing at a URL."""


class _Links(HTMLParser):
    """Collects the targets of a page's links."""

    def __init__(self) -> None:
        super().__init__()
        self.targets: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "a":
            self.targets += [value for name, value in attrs if name == "href" and value]


def listing_names(page: str) -> list[str]:
    """Return the names in a directory listing, without trailing slashes, parent directories and sort links."""
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

    :raises ArtifactError: a name is unknown
    """

    def value(match: re.Match[str]) -> str:
        name = match.group(1)
        if name not in values:
            raise ArtifactError(f"found {{{name}}} in '{pattern}'; expected one of {', '.join(sorted(values))}")
        return values[name]

    return PLACEHOLDER.sub(value, pattern)


def host_values(host: Host, package_format: str) -> dict[str, str]:
    """Return the values of all placeholders for a host, except ``version``."""
    return {
        "distribution": host.distribution,
        "architecture": host.architecture,
        "deb_architecture": host.deb_architecture,
        "format": package_format,
    }


def is_exact(version: str) -> bool:
    """Return whether a version is exact, rather than a pattern or ``latest``."""
    return version != "latest" and not any(sign in version for sign in "*?[")


def satisfies(installed: str, requested: str) -> bool:
    """Return whether an installed version satisfies the request. Every version is ``latest``: no automatic upgrades."""
    return requested == "latest" or fnmatch.fnmatchcase(installed, requested)


def order(version: str) -> tuple:
    """Return a sort key for versions and file names: numbers compare as numbers."""
    return tuple((1, int(part), "") if part.isdigit() else (0, 0, part) for part in re.findall(r"\d+|\D+", version))


def choose_version(requested: str, names: Iterable[str]) -> str:
    """Return the newest version in a listing that satisfies the request.

    :raises ArtifactError: no version does
    """
    versions = sorted((name for name in names if VERSION.match(name)), key=order)
    matching = [name for name in versions if satisfies(name, requested)]
    if not matching:
        raise ArtifactError(f"found no version '{requested}'; the site has {shortened(versions)}")
    return matching[-1]


def choose_file(pattern: str, names: Sequence[str]) -> str:
    """Return the newest file in a listing that matches a pattern.

    :raises ArtifactError: no file matches
    """
    matching = sorted((name for name in names if fnmatch.fnmatchcase(name, pattern)), key=order)
    if not matching:
        raise ArtifactError(f"expected a file like '{pattern}', found {shortened(sorted(names))}")
    return matching[-1]


def shortened(names: Sequence[str], count: int = 12) -> str:
    """Return the last names of a list, for a message."""
    if not names:
        return "nothing"
    return ("..., " if len(names) > count else "") + ", ".join(names[-count:])


def checksum_of(text: str, file: str) -> str:
    """Return the SHA-256 (hex) of a file from a published checksum file: ``<hex>`` or ``<hex>  <name>``.

    :raises ArtifactError: the file contains none
    """
    for line in text.splitlines():
        parts = line.split()
        named = len(parts) < 2 or PurePosixPath(parts[-1].lstrip("*")).name == file
        if parts and re.fullmatch(r"[0-9a-fA-F]{64}", parts[0]) and named:
            return parts[0].lower()
    raise ArtifactError(f"expected the SHA-256 of {file} in {file}.sha256, found '{text.strip()[:80]}'")


def sha256_of(path: Path) -> str:
    """Return a file's SHA-256 as hex."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        for chunk in iter(lambda: stream.read(CHUNK), b""):
            digest.update(chunk)
    return digest.hexdigest()


def extract(archive: Path, patterns: Sequence[str], folder: Path) -> list[Path]:
    """Extract one member of a tar archive for each pattern of file names.

    Only regular files are extracted, under their base name: no member can leave ``folder``.
    :raises ArtifactError: a pattern matches nothing, or the file is no archive
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
                    raise ArtifactError(f"in {archive.name}: {name} is no regular file")
                target = folder / name
                with source, target.open("wb") as stream:
                    copy(source, stream)
                paths.append(target)
            return paths
    except (tarfile.TarError, EOFError, OSError) as error:
        raise ArtifactError(
            f"{archive.name} can't be unpacked: {error}; remove it from the mirror and download it again"
        ) from error


def copy(source: IO[bytes], target: IO[bytes]) -> None:
    """Copy a stream in chunks."""
    for chunk in iter(lambda: source.read(CHUNK), b""):
        target.write(chunk)


@dataclass(frozen=True)
class Located:
    """One artifact on a site."""

    version: str
    file: str
    url: str


def locate(directory: str, file: str, version: str, values: dict[str, str], read: Callable[[str], str]) -> Located:
    """Find the requested artifact.

    :param directory: URL of the folder; may contain ``{version}``
    :param file: name or pattern of the file
    :param version: exact, a pattern, or ``latest``
    :param read: returns the page at a URL, raises NotFoundError
    :raises ArtifactError: the site has no such artifact
    """
    values = dict(values)
    before, separator, _ = directory.partition("{version}")
    parent = before.rpartition("/")[0] + "/"
    if not is_exact(version):
        if not separator:
            raise ArtifactError(
                f"version '{version}' requires a listing of versions, but '{directory}' contains no {{version}}: "
                f"set an exact version"
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
    """Return a hint which versions a site has; empty if it has no listing."""
    try:
        versions = sorted((name for name in listing_names(read(parent)) if VERSION.match(name)), key=order)
    except ArtifactError:
        return ""
    return f"; the site has {shortened(versions)}"
