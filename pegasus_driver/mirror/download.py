"""Downloads files to a mirror: resumable, verified, and recorded in a manifest.

A file is downloaded to <name>.part and renamed once it is complete and matches its published SHA-256. Its version (ETag
or Last-Modified) is stored in <name>.part.version: an interrupted download resumes only with the same version
(If-Range), and restarts if the site has another version or none. MIRROR.json in the mirror's folder has the SHA-256,
the size and the URL of each fetched file.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from email.message import Message
from email.utils import parsedate_to_datetime
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

from ansible_collections.aerospike_community.pegasus.plugins.module_utils.host.artifacts import (
    CHUNK,
    ArtifactError,
    NotFoundError,
    checksum_of,
    sha256_of,
)

MANIFEST = "MIRROR.json"
TRIES = 5
TIMEOUT = 30  # seconds without an answer
_ABSENT = (403, 404, 410)
_PARTIAL, _RANGE_BEYOND = 206, 416

# progress(bytes downloaded, total bytes; 0 = unknown)
Progress = Callable[[int, int], None]


def place(url: str, base: str) -> str:
    """Return the path of a file in the mirror: its URL without the base, `<site>/<path>`."""
    return url.removeprefix(base).lstrip("/")


class Partial:
    """An incomplete download, and the version of its file."""

    def __init__(self, target: Path) -> None:
        self.path = target.with_name(f"{target.name}.part")
        self._version = target.with_name(f"{target.name}.part.version")

    def position(self) -> tuple[int, str]:
        """Return how many bytes exist and their version; 0 bytes if the version is unknown."""
        try:
            version = self._version.read_text()
            return (self.path.stat().st_size if version else 0), version
        except OSError:
            return 0, ""

    def restart(self, version: str) -> None:
        """Restart. In this order, so that old bytes never have a new version."""
        self.path.write_bytes(b"")
        self._version.write_text(version)

    def finish(self, target: Path) -> None:
        self.path.replace(target)
        self._version.unlink(missing_ok=True)

    def discard(self) -> None:
        self.path.unlink(missing_ok=True)
        self._version.unlink(missing_ok=True)


def version_of(headers: Message) -> str:
    """Return a file's version for If-Range (RFC 9110, section 13.1.5): a strong ETag, otherwise Last-Modified.

    '' without either. A time less than a second before the answer may belong to two versions.
    """
    if tag := headers.get("ETag", ""):
        return "" if tag.startswith("W/") else tag
    modified = headers.get("Last-Modified", "")
    try:
        age = parsedate_to_datetime(headers.get("Date", "")) - parsedate_to_datetime(modified)
    except (TypeError, ValueError):
        return ""
    return modified if age.total_seconds() >= 1 else ""


class Site:
    """Reads pages and files of the download sites."""

    def __init__(self, pause: float = 1.0) -> None:
        self._pause = pause

    def text(self, url: str) -> str:
        """Return a page's text.

        :raises NotFoundError: there is no such page
        :raises ArtifactError: the site doesn't answer
        """
        for attempt in range(1, TRIES + 1):
            try:
                with urlopen(self._request(url), timeout=TIMEOUT) as answer:
                    return answer.read().decode(errors="replace")
            except (OSError, HTTPException) as error:
                self._raise_or_wait(url, error, attempt)
        raise AssertionError

    def file(self, url: str, part: Partial, progress: Progress) -> None:
        """Download to `part`, after the bytes that it already has. Raises as text() does."""
        for attempt in range(1, TRIES + 1):
            try:
                self._resume(url, part, progress)
                return
            except (OSError, HTTPException) as error:
                self._raise_or_wait(url, error, attempt)

    def _resume(self, url: str, part: Partial, progress: Progress) -> None:
        have, version = part.position()
        headers = {"Range": f"bytes={have}-", "If-Range": version} if have else {}
        try:
            answer = urlopen(self._request(url, headers), timeout=TIMEOUT)
        except HTTPError as error:
            if error.code != _RANGE_BEYOND:
                raise
            # The file is complete; or the site ignores If-Range and has a shorter file now.
            if error.headers.get("Content-Range", "").rpartition("/")[2] == str(have):
                return
            part.discard()
            raise OSError("the incomplete download doesn't match the file; restarting it") from error
        with answer:
            resumed = answer.status == _PARTIAL
            follows = answer.headers.get("Content-Range", "").startswith(f"bytes {have}-")
            # A site that ignores If-Range may continue with another version.
            tags = {version, answer.headers.get("ETag", version)} if version.startswith('"') else {version}
            if resumed and (not follows or len(tags) > 1):
                part.discard()
                raise OSError("the site's answer doesn't continue the incomplete download; restarting it")
            if not resumed:
                part.restart(version_of(answer.headers))
            length = int(answer.headers.get("Content-Length") or 0)
            total = length + have if resumed and length else length
            with part.path.open("ab") as stream:
                done = have if resumed else 0
                progress(done, total)
                while piece := answer.read(CHUNK):
                    stream.write(piece)
                    done += len(piece)
                    progress(done, total)
            if total and done != total:
                raise OSError(f"the download ended after {done} of {total} bytes")

    def _request(self, url: str, headers: dict[str, str] | None = None) -> Request:
        if not url.startswith(("https://", "http://")):
            raise ArtifactError(f"found the address '{url}', expected http:// or https://")
        return Request(url, headers={"User-Agent": "pegasus", **(headers or {})})

    def _raise_or_wait(self, url: str, error: Exception, attempt: int) -> None:
        if isinstance(error, HTTPError) and error.code in _ABSENT:
            raise NotFoundError(f"found nothing at {url} (HTTP {error.code})") from error
        if attempt == TRIES:
            reason = error.reason if isinstance(error, URLError) else error
            raise ArtifactError(f"{url} can't be read: {reason} ({TRIES} tries)") from error
        time.sleep(self._pause * attempt)


class Store:
    """The mirror's folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def files(self) -> dict[str, dict[str, Any]]:
        """Return the fetched files: path -> sha256, size, url, verified."""
        try:
            found = json.loads((self.folder / MANIFEST).read_text())["files"]
        except (OSError, ValueError, KeyError):
            return {}
        return found if isinstance(found, dict) else {}

    def fetch(self, site: Site, url: str, path: str, progress: Progress) -> bool:
        """Download and verify a file; return whether a download was needed.

        An existing file is compared with the published SHA-256, or with the recorded one.

        :raises ArtifactError: the site doesn't answer, or the file is damaged
        """
        target = self.folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            published = site.text(f"{url}.sha256")
        except NotFoundError:
            published = ""
        expected = checksum_of(published, target.name) if published else ""
        known = self.files().get(path, {})
        if target.is_file() and (expected or known.get("sha256")):
            present = sha256_of(target)
            if present == (expected or known["sha256"]):
                self._record(path, present, url, bool(expected))
                return False
        part = Partial(target)
        site.file(url, part, progress)
        found = sha256_of(part.path)
        if expected and found != expected:
            part.discard()
            raise ArtifactError(
                f"{url}: found the SHA-256 {found}, expected {expected} ({target.name}.sha256). The download was "
                "removed. Run the command again; if the error persists, the site's file is damaged"
            )
        if published:
            target.with_name(f"{target.name}.sha256").write_text(published)
        part.finish(target)
        self._record(path, found, url, bool(expected))
        return True

    def damaged(self) -> list[str]:
        """Find files that are missing or have changed since their download; return a message for each."""
        found = []
        for path, known in sorted(self.files().items()):
            file = self.folder / path
            if not file.is_file():
                found.append(f"{path} is missing")
            elif sha256_of(file) != known["sha256"]:
                found.append(f"{path} has changed since its download")
        return found

    def _record(self, path: str, digest: str, url: str, verified: bool) -> None:
        size = (self.folder / path).stat().st_size
        files = {**self.files(), path: {"sha256": digest, "size": size, "url": url, "verified": verified}}
        fresh = self.folder / f".{MANIFEST}"
        fresh.write_text(json.dumps({"files": dict(sorted(files.items()))}, indent=1) + "\n")
        fresh.replace(self.folder / MANIFEST)
