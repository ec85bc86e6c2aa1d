"""Writes .tgz archives and checksum files that depend on their contents only: same input, same bytes."""

from __future__ import annotations

import gzip
import hashlib
import io
import tarfile
from collections.abc import Iterable
from pathlib import Path

from .deb import EPOCH, File


def write_tgz(target: Path, members: dict[str, File]) -> None:
    """Write an archive with fixed times, owners and order, and with the parent folders of its members."""
    target.parent.mkdir(parents=True, exist_ok=True)
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.GNU_FORMAT) as archive:
        for folder in sorted({parent for name in members for parent in _parents(name)}):
            entry = tarfile.TarInfo(folder)
            entry.type, entry.mode, entry.mtime = tarfile.DIRTYPE, 0o755, EPOCH
            entry.uname = entry.gname = "root"
            archive.addfile(entry)
        for name, file in sorted(members.items()):
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode, entry.mtime = len(file.content), file.mode, EPOCH
            entry.uname = entry.gname = "root"
            archive.addfile(entry, io.BytesIO(file.content))
    target.write_bytes(gzip.compress(buffer.getvalue(), compresslevel=1, mtime=0))


def write_checksum(path: Path) -> None:
    """Write `<file>.sha256` in the format of sha256sum, as upstream publishes it."""
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    path.with_name(f"{path.name}.sha256").write_text(f"{digest}  {path.name}\n")


def _parents(name: str) -> Iterable[str]:
    parts = name.split("/")[:-1]
    return ("/".join(parts[: count + 1]) for count in range(len(parts)))
