# Copyright (c) Pegasus authors. SPDX-License-Identifier: Apache-2.0
"""An archive of a host's logs and configuration without secrets.

It contains only the requested files and commands, with secrets masked in every line. Runs on hosts, so it imports the
standard library only.
"""

from __future__ import annotations

import io
import re
import tarfile
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

Run = Callable[..., tuple]

MASK = "***"
# A key that names a secret, in the forms of ini, YAML, TOML, JSON, aerospike.conf and a command line.
_SECRET = r"(?:password|passwd|passphrase|secret|token|(?:api|access|private)[_-]?key|credential)s?"
_NAME = rf"[\w.-]*{_SECRET}[\w.-]*"
_ASSIGNED = re.compile(rf"(?P<key>[\"']?\b{_NAME}[\"']?\s*[:=]\s*)(?P<value>\S.*)", re.IGNORECASE)
_CONF = re.compile(rf"^(?P<key>\s*{_NAME}\s+)(?P<value>\S+)$", re.IGNORECASE)
_URL = re.compile(r"(?P<key>\w+://[^\s/:@]+:)[^\s/@]+(?=@)")
_KEY_BEGIN = re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----")
_KEY_END = re.compile(r"-----END [A-Z ]*PRIVATE KEY-----")
# Values that are no secrets: a reader should see that a password is empty or a switch is off.
_PLAIN = ("", "''", '""', '""""""', "true", "false", "null", "none", "'',", '"",')


class Masker:
    """Masks the lines of one text in order, because a private key spans several lines."""

    def __init__(self) -> None:
        self._in_key = False

    def line(self, text: str) -> str:
        if self._in_key or _KEY_BEGIN.search(text):
            self._in_key = not _KEY_END.search(text)
            return MASK
        if _CONF.match(text):
            return _CONF.sub(_masked, text)
        return _URL.sub(rf"\g<key>{MASK}", _ASSIGNED.sub(_masked, text))


def _masked(match: re.Match) -> str:
    return match["key"] + (match["value"] if match["value"].strip().lower() in _PLAIN else MASK)


def masked(text: str) -> str:
    """Return a text with all secrets masked."""
    masker = Masker()
    return "".join(masker.line(line) + "\n" for line in text.splitlines())


def tail_of(path: Path, limit: int) -> str:
    """Return the last ``limit`` bytes of a file from the start of a line, with a note if the beginning is missing."""
    size = path.stat().st_size
    with path.open("rb") as stream:
        if size > limit:
            stream.seek(size - limit)
            stream.readline()
        data = stream.read(limit).decode(errors="replace")
    return data if size <= limit else f"[the last {limit} of {size} bytes]\n{data}"


def matching(patterns: Iterable[str], root: Path = Path("/")) -> list[Path]:
    """Return the regular files that match absolute glob patterns, each once; links are followed."""
    found: dict[Path, None] = {}
    for pattern in patterns:
        for path in sorted(root.glob(pattern.lstrip("/"))):
            if path.is_file():
                found[path] = None
    return list(found)


class Archive:
    """A .tar.gz of masked texts. Member names start with the host's name."""

    def __init__(self, path: Path, host: str) -> None:
        self.members: list[str] = []
        self.problems: list[str] = []
        self._host = host
        self._tar = tarfile.open(path, "w:gz", compresslevel=3)  # noqa: SIM115  closed by close()

    def add(self, name: str, text: str) -> None:
        data = masked(text).encode()
        info = tarfile.TarInfo(f"{self._host}/{name.lstrip('/')}")
        info.size, info.mode, info.mtime = len(data), 0o600, int(time.time())
        self._tar.addfile(info, io.BytesIO(data))
        self.members.append(name)

    def add_files(self, patterns: Sequence[str], limit: int, root: Path = Path("/")) -> None:
        """Add files. A file that can't be read becomes a line of ``problems``."""
        for path in matching(patterns, root):
            try:
                self.add(str(path.relative_to(root)), tail_of(path, limit))
            except OSError as error:
                self.problems.append(f"{path}: {error.strerror}")

    def add_commands(self, commands: Sequence[tuple[str, Sequence[str]]], run: Run, limit: int) -> None:
        """Add the output of commands, each under a name; of a failed command also its exit code and error."""
        for name, command in commands:
            rc, out, err = run(list(command))
            self.add(name, (out[-limit:] or "") + (f"\n[exit code {rc}] {err}" if rc != 0 else ""))

    def close(self) -> None:
        self._tar.close()


def journal_commands(services: Sequence[str], lines: int) -> list[tuple[str, list[str]]]:
    """Return the commands for each service's journal, status, and unit file with drop-ins."""
    commands: list[tuple[str, list[str]]] = []
    for service in services:
        commands += [
            (f"journal/{service}.log", ["journalctl", "--no-pager", "--output=short-iso-precise", f"--lines={lines}",
                                        f"--unit={service}"]),
            (f"units/{service}.status", ["systemctl", "status", "--no-pager", "--full", "--lines=0", service]),
            (f"units/{service}.service", ["systemctl", "cat", "--no-pager", service]),
        ]  # fmt: skip
    return commands
