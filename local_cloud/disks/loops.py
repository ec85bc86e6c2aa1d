"""Loop devices: attach, detach, discard, and which files they hold. Needs root."""

import fcntl
import os
import struct
import subprocess
import time
from pathlib import Path

from .partitions import SYS_BLOCK

_TOOL_TIMEOUT = 30  # seconds
_BUSY_TIMEOUT = 5  # seconds
# ioctl requests of linux/fs.h and linux/loop.h.
_BLKRRPART = 0x125F
_BLKDISCARD = 0x1277
_BLKZEROOUT = 0x127F
_LOOP_CTL_ADD = 0x4C80


class DiskError(Exception):
    """A disk can't be created, attached, emptied or detached."""


def backing_file(loop: int) -> str:
    """The file behind a loop device; '' if the device is free."""
    try:
        return (SYS_BLOCK / f"loop{loop}" / "loop/backing_file").read_text().strip().removesuffix(" (deleted)")
    except OSError:
        return ""


def loops_under(folder: Path) -> list[tuple[int, str]]:
    """The loop devices whose files are in a folder, with their files. Deleted files count, too."""
    found = []
    for entry in SYS_BLOCK.glob("loop*"):
        number = int(entry.name.removeprefix("loop"))
        file = backing_file(number)
        if file and Path(file).is_relative_to(folder):
            found.append((number, file))
    return sorted(found)


def detach_under(folder: Path) -> list[str]:
    """Detach the loop devices whose files are in a folder; returns a line for each device that is still in use."""
    problems = []
    for loop, _ in loops_under(folder):
        try:
            detach(loop)
        except DiskError as error:
            problems.append(str(error))
    return problems


def attach(file: Path, loop: int | None = None) -> int:
    """Attach a file, to a given loop device or to any free one; returns the device's number. Raises DiskError."""
    where = [f"/dev/loop{loop}"] if loop is not None else ["--find", "--show"]
    if loop is not None and not Path(where[0]).exists():
        # A reboot forgets the devices above the kernel's first eight.
        _add(loop)
    end = time.monotonic() + _BUSY_TIMEOUT
    while True:
        done = _losetup("--partscan", *where, str(file))
        if done.returncode == 0:
            return loop if loop is not None else int(done.stdout.strip().removeprefix("/dev/loop"))
        # Another process may have attached a file to the free device that losetup found.
        if "busy" not in done.stderr.lower() or time.monotonic() > end:
            raise DiskError(f"losetup: {done.stderr.strip()}")
        time.sleep(0.05)


def detach(loop: int) -> None:
    """Detach a loop device and wait until it is free. Raises DiskError."""
    file = backing_file(loop)
    done = _losetup("--detach", f"/dev/loop{loop}")
    end = time.monotonic() + _BUSY_TIMEOUT
    # The kernel delays this while a process has the device open or a container's mount is being removed.
    while file and backing_file(loop) == file:
        if time.monotonic() > end:
            raise DiskError(f"/dev/loop{loop} ({file}) is still in use {done.stderr.strip()}".strip())
        time.sleep(0.05)


def discard(loop: int, size: int) -> None:
    """Make the first `size` bytes of a loop device read as zeros, and remove its partitions. Raises DiskError."""
    path = f"/dev/loop{loop}"
    everything = struct.pack("QQ", 0, size)
    try:
        with Path(path).open("r+b", buffering=0) as device:
            try:
                fcntl.ioctl(device, _BLKDISCARD, everything)
            except OSError:
                # The file system doesn't support holes in files.
                fcntl.ioctl(device, _BLKZEROOUT, everything)
            fcntl.ioctl(device, _BLKRRPART)
    except OSError as error:
        raise DiskError(f"{path} can't be emptied: {error.strerror}") from error


def _add(loop: int) -> None:
    try:
        with Path("/dev/loop-control").open("r+b", buffering=0) as control:
            fcntl.ioctl(control, _LOOP_CTL_ADD, loop)
    except OSError as error:
        raise DiskError(f"/dev/loop{loop} can't be created: {error.strerror}") from error


def _losetup(*arguments: str) -> subprocess.CompletedProcess[str]:
    try:
        command, environment = ["losetup", *arguments], {**os.environ, "LC_ALL": "C"}
        return subprocess.run(
            command, env=environment, capture_output=True, text=True, check=False, timeout=_TOOL_TIMEOUT
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise DiskError(f"losetup: {error}") from error
