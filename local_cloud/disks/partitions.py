"""A disk's partitions: in its table, GPT or MBR, and in the kernel's list.

An incomplete table counts as none. Some kernels, often those of small virtual machines, are built without any partition
table format. They still accept partitions through an ioctl, which add_partitions() uses.
"""

import contextlib
import ctypes
import fcntl
import os
import struct
import uuid
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from typing import BinaryIO

SYS_BLOCK = Path("/sys/block")

# linux/blkpg.h
_BLKPG = 0x1269
_ADD, _DELETE = 1, 2

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


def shown(loop: int, sys_block: Path = SYS_BLOCK) -> dict[int, tuple[int, int, int]]:
    """The partitions that the kernel shows for a loop device: (device number, first sector, sectors) by number."""
    found = {}
    for entry in (sys_block / f"loop{loop}").glob(f"loop{loop}p*"):
        # A partition may disappear while it is read.
        with contextlib.suppress(OSError, ValueError):
            major, minor = (int(part) for part in (entry / "dev").read_text().split(":"))
            start, sectors = (int((entry / name).read_text()) for name in ("start", "size"))
            found[int(entry.name.rsplit("p", 1)[1])] = (os.makedev(major, minor), start, sectors)
    return found


def add_partitions(loop: int, table: Mapping[int, Partition]) -> None:
    """Make the kernel show the partitions of `table`. Raises OSError.

    Does nothing while a process has the disk open: a partitioning program finishes by making the kernel reread the
    table, which would remove the partitions again.
    """
    present = {number: (start, sectors) for number, (_, start, sectors) in shown(loop).items()}
    expected = {number: (partition.start, partition.sectors) for number, partition in table.items()}
    path = Path(f"/dev/loop{loop}")
    if present == expected or _is_open(path.stat().st_rdev):
        return
    with path.open("rb", buffering=0) as device:
        for number, place in present.items():
            if expected.get(number) != place:
                _blkpg(device, _DELETE, number, (0, 0))
        for number, place in expected.items():
            if present.get(number) != place:
                _blkpg(device, _ADD, number, place)


def _blkpg(device: FileIO, operation: int, number: int, place: tuple[int, int]) -> None:
    # struct blkpg_partition and, with its address, struct blkpg_ioctl_arg.
    start, sectors = place
    content = struct.pack("qqi128x4x", start * SECTOR, sectors * SECTOR, number)
    partition = ctypes.create_string_buffer(content, len(content))
    argument = struct.pack("iiiP", operation, 0, len(content), ctypes.addressof(partition))
    fcntl.ioctl(device, _BLKPG, argument)


def _is_open(device: int) -> bool:
    """Whether a process on this machine, in a container or not, has the block device open."""
    own = os.getpid()
    for process in Path("/proc").glob("[0-9]*"):
        if int(process.name) == own:
            continue
        with contextlib.suppress(OSError):
            for entry in (process / "fd").iterdir():
                # Only devices, because the stat of another open file could wait for a remote file system.
                with contextlib.suppress(OSError):
                    if str(entry.readlink()).startswith("/dev/") and entry.stat().st_rdev == device:
                        return True
    return False
