"""Downloads of a mirror: resumable, checked, and written down.

A file is downloaded beside its place as <name>.part and renamed when it is whole and its published SHA-256 is right.
What tells its version (ETag or Last-Modified) is kept in <name>.part.version: a download that was cut off goes on only
with the same version (If-Range), and begins anew where the site has another by now, or doesn't tell.
MIRROR.json in the mirror's folder has the SHA-256, the size and the address of each file that was fetched.
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

# progress(bytes that are there, bytes in all; 0 = not known)
Progress = Callable[[int, int], None]


def place(url: str, base: str) -> str:
    """The path of a file in the mirror: its address after the base, `<site>/<path>`."""
    return url.removeprefix(base).lstrip("/")


class Partial:
    """A download that may be cut off, and which version of its file it is of."""

    def __init__(self, target: Path) -> None:
        self.path = target.with_name(f"{target.name}.part")
        self._version = target.with_name(f"{target.name}.part.version")

    def begun(self) -> tuple[int, str]:
        """How many bytes are there, and of which version; 0 bytes where it isn't known."""
        try:
            version = self._version.read_text()
            return (self.path.stat().st_size if version else 0), version
        except OSError:
            return 0, ""

    def begin(self, version: str) -> None:
        """Start anew. In this order, so that at no moment old bytes are there with a new version."""
        self.path.write_bytes(b"")
        self._version.write_text(version)

    def finish(self, target: Path) -> None:
        self.path.replace(target)
        self._version.unlink(missing_ok=True)

    def discard(self) -> None:
        self.path.unlink(missing_ok=True)
        self._version.unlink(missing_ok=True)


def version_of(headers: Message) -> str:
    """What If-Range takes for a file's version (RFC 9110, section 13.1.5): a strong ETag, otherwise Last-Modified.

    Empty where there is neither: a time that was hardly over when the answer was made may be that of two versions.
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
        """A page's text. Raises NotFoundError, ArtifactError."""
        for attempt in range(1, TRIES + 1):
            try:
                with urlopen(self._request(url), timeout=TIMEOUT) as answer:
                    return answer.read().decode(errors="replace")
            except (OSError, HTTPException) as error:
                self._give_up_or_wait(url, error, attempt)
        raise AssertionError

    def file(self, url: str, part: Partial, progress: Progress) -> None:
        """Download to `part`, going on after what is there. Raises NotFoundError, ArtifactError."""
        for attempt in range(1, TRIES + 1):
            try:
                self._go_on(url, part, progress)
                return
            except (OSError, HTTPException) as error:
                self._give_up_or_wait(url, error, attempt)

    def _go_on(self, url: str, part: Partial, progress: Progress) -> None:
        have, version = part.begun()
        headers = {"Range": f"bytes={have}-", "If-Range": version} if have else {}
        try:
            answer = urlopen(self._request(url, headers), timeout=TIMEOUT)
        except HTTPError as error:
            if error.code != _RANGE_BEYOND:
                raise
            # All of it is there; or the site doesn't know If-Range, and has a shorter file by now.
            if error.headers.get("Content-Range", "").rpartition("/")[2] == str(have):
                return
            part.discard()
            raise OSError("the download that was begun doesn't fit the file; it begins anew") from error
        with answer:
            resumed = answer.status == _PARTIAL
            follows = answer.headers.get("Content-Range", "").startswith(f"bytes {have}-")
            # A site that doesn't know If-Range may go on with another version.
            tags = {version, answer.headers.get("ETag", version)} if version.startswith('"') else {version}
            if resumed and (not follows or len(tags) > 1):
                part.discard()
                raise OSError("the site's answer doesn't go on with the download that was begun; it begins anew")
            if not resumed:
                part.begin(version_of(answer.headers))
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
            raise ArtifactError(f"'{url}' is no address: expected http:// or https://")
        return Request(url, headers={"User-Agent": "pegasus", **(headers or {})})

    def _give_up_or_wait(self, url: str, error: Exception, attempt: int) -> None:
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
        """What was fetched: path -> sha256, size, url, verified."""
        try:
            found = json.loads((self.folder / MANIFEST).read_text())["files"]
        except (OSError, ValueError, KeyError):
            return {}
        return found if isinstance(found, dict) else {}

    def fetch(self, site: Site, url: str, path: str, progress: Progress) -> bool:
        """Have a file, checked; returns whether it was downloaded. Raises ArtifactError.

        A file that is there already is compared with the published SHA-256, or with what was written down of it.
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
                self._write_down(path, present, url, bool(expected))
                return False
        part = Partial(target)
        site.file(url, part, progress)
        found = sha256_of(part.path)
        if expected and found != expected:
            part.discard()
            raise ArtifactError(
                f"{url}: its SHA-256 is {found}, and {target.name}.sha256 says {expected}. The download was removed: "
                "run this again; if it stays so, the site's file is damaged"
            )
        if published:
            target.with_name(f"{target.name}.sha256").write_text(published)
        part.finish(target)
        self._write_down(path, found, url, bool(expected))
        return True

    def damaged(self) -> list[str]:
        """Files that are gone or have changed since they were fetched, each with what was found."""
        found = []
        for path, known in sorted(self.files().items()):
            file = self.folder / path
            if not file.is_file():
                found.append(f"{path} is gone")
            elif sha256_of(file) != known["sha256"]:
                found.append(f"{path} has changed since it was fetched")
        return found

    def _write_down(self, path: str, digest: str, url: str, verified: bool) -> None:
        size = (self.folder / path).stat().st_size
        files = {**self.files(), path: {"sha256": digest, "size": size, "url": url, "verified": verified}}
        fresh = self.folder / f".{MANIFEST}"
        fresh.write_text(json.dumps({"files": dict(sorted(files.items()))}, indent=1) + "\n")
        fresh.replace(self.folder / MANIFEST)
