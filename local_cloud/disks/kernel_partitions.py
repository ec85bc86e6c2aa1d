"""The kernel's list of a loop device's partitions.

Some kernels, often those of small virtual machines, are built without any partition table format. They still accept
partitions through an ioctl, which add_partitions() uses in place of the kernel's own scan.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import os
from collections.abc import Mapping
from pathlib import Path

from .partition_table import SECTOR, Partition

SYS_BLOCK = Path("/sys/block")

# linux/blkpg.h
_BLKPG = 0x1269
_ADD, _DELETE = 1, 2


class _BlkpgPartition(ctypes.Structure):
    _fields_ = [
        ("start", ctypes.c_longlong),
        ("length", ctypes.c_longlong),
        ("pno", ctypes.c_int),
        ("devname", ctypes.c_char * 64),
        ("volname", ctypes.c_char * 64),
    ]


class _BlkpgArgument(ctypes.Structure):
    _fields_ = [
        ("op", ctypes.c_int),
        ("flags", ctypes.c_int),
        ("datalen", ctypes.c_int),
        ("data", ctypes.POINTER(_BlkpgPartition)),
    ]


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


def add_partitions(loop: int, table: Mapping[int, Partition]) -> bool:
    """Make the kernel show the partitions of `table`; returns whether anything changed. Raises OSError.

    Does nothing while a process has the disk open: a partitioning program finishes by making the kernel reread the
    table, which would remove the partitions again.
    """
    present = {number: (start, sectors) for number, (_, start, sectors) in shown(loop).items()}
    expected = {number: (partition.start, partition.sectors) for number, partition in table.items()}
    if present == expected:
        return False
    path = f"/dev/loop{loop}"
    if _is_open(Path(path).stat().st_rdev):
        return False
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        for number, place in present.items():
            if expected.get(number) != place:
                _blkpg(descriptor, _DELETE, number, (0, 0))
        for number, place in expected.items():
            if present.get(number) != place:
                _blkpg(descriptor, _ADD, number, place)
    finally:
        os.close(descriptor)
    return True


def _blkpg(descriptor: int, operation: int, number: int, place: tuple[int, int]) -> None:
    partition = _BlkpgPartition(start=place[0] * SECTOR, length=place[1] * SECTOR, pno=number)
    argument = _BlkpgArgument(op=operation, datalen=ctypes.sizeof(partition), data=ctypes.pointer(partition))
    # As bytes: ioctl copies them, and the address in them stays valid.
    fcntl.ioctl(descriptor, _BLKPG, bytes(argument))


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
