"""Reads a disk's partition table, GPT or MBR. An incomplete table counts as none."""

from __future__ import annotations

import struct
import uuid
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

SECTOR = 512
_GPT_HEADER = struct.Struct("<8sIIIIQQQQ16sQIII")
_UNUSED = bytes(16)
_PROTECTIVE, _EXTENDED = 0xEE, (0x05, 0x0F, 0x85)


@dataclass(frozen=True)
class Partition:
    """One partition: `id` is its PARTUUID as udev writes it, `start` and `sectors` count sectors of 512 bytes."""

    id: str
    start: int
    sectors: int


def read_table(disk: Path) -> dict[int, Partition]:
    """The partitions of a disk by number; {} without a valid table. Of an MBR, only the primary partitions are read."""
    try:
        with disk.open("rb") as file:
            return _gpt(file) or _mbr(file)
    except (OSError, struct.error):
        return {}


def single_partition_mbr(sectors: int) -> bytes:
    """The first sector of a disk of `sectors` sectors, with one partition that starts at sector 2048."""
    entry = struct.pack("<B3sB3sII", 0, b"\0" * 3, 0x83, b"\0" * 3, 2048, sectors - 2048)
    return bytes(446) + entry + bytes(48) + b"\x55\xaa"


def _gpt(file: BinaryIO) -> dict[int, Partition]:
    """Read a GPT (UEFI 2.10, 5.3.2). The header in sector 1 locates the entries and has both checksums."""
    file.seek(SECTOR)
    raw = file.read(SECTOR)
    if not raw.startswith(b"EFI PART"):
        return {}
    _, _, header_size, header_sum, *_, start, count, size, entries_sum = _GPT_HEADER.unpack_from(raw)
    if not 92 <= header_size <= SECTOR or count > 1024 or not 128 <= size <= 4096:
        return {}
    if zlib.crc32(raw[:16] + bytes(4) + raw[20:header_size]) != header_sum:
        return {}
    file.seek(start * SECTOR)
    entries = file.read(count * size)
    if len(entries) < count * size or zlib.crc32(entries) != entries_sum:
        return {}
    found = {}
    for index in range(count):
        entry = entries[index * size : (index + 1) * size]
        if entry[:16] != _UNUSED:
            first, last = struct.unpack_from("<QQ", entry, 32)
            found[index + 1] = Partition(str(uuid.UUID(bytes_le=entry[16:32])), first, last - first + 1)
    return found


def _mbr(file: BinaryIO) -> dict[int, Partition]:
    """Read an MBR. The partitions' ids derive from the disk's signature."""
    file.seek(0)
    raw = file.read(SECTOR)
    if raw[510:512] != b"\x55\xaa":
        return {}
    (signature,) = struct.unpack_from("<I", raw, 440)
    found = {}
    for number in range(1, 5):
        _, _, kind, _, start, sectors = struct.unpack_from("<B3sB3sII", raw, 446 + 16 * (number - 1))
        if kind == _PROTECTIVE:
            return {}
        if kind and kind not in _EXTENDED and sectors:
            found[number] = Partition(f"{signature:08x}-{number:02x}", start, sectors)
    return found
