"""Instance-store disks: sparse files on loop devices, and the nodes and links that udev would make in an instance.

Safety: a container gets its own loop devices and nothing else. The kernel gives partitions of loop devices numbers on
block major 259, which real NVMe disks use too; where any device that isn't a loop device's stands on that major, no
disks are attached at all.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import secrets
import shutil
import socket
import stat
import struct
import subprocess
import tempfile
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from .kernel_partitions import SYS_BLOCK, shown, tell
from .partition_table import read_table, single_partition_mbr

DISK_BYTES = 2 * 1024**3
LOOP_MAJOR = 7
PARTITION_MAJOR = 259
MODEL = "nvme-Amazon_EC2_NVMe_Instance_Storage"

_SYS_DEVICES = Path("/sys/dev/block")
_TOOL_TIMEOUT = 30
# ioctl requests of linux/fs.h and linux/loop.h.
_BLKRRPART = 0x125F
_BLKDISCARD = 0x1277
_BLKZEROOUT = 0x127F
_LOOP_CTL_ADD = 0x4C80
# The kernel's names of a disk of ours in an instance; anything else in its /dev isn't touched.
_PARTITION_NODE = re.compile(r"nvme\d+n1p\d+")


class DiskError(Exception):
    """A disk couldn't be made or attached."""


@dataclass(frozen=True)
class Disk:
    """One attached disk. `index` counts from 1: /dev/nvme<index>n1 in the instance. `serial` is 20 hex digits."""

    index: int
    serial: str
    file: str
    loop: int

    @property
    def node(self) -> str:
        return f"/dev/nvme{self.index}n1"

    @property
    def loop_path(self) -> str:
        return f"/dev/loop{self.loop}"


def new_serial() -> str:
    return "AWS" + secrets.token_hex(10).upper()


# --- Whether this machine can -----------------------------------------------------------------------------------------


def foreign_devices(sys_devices: Path = _SYS_DEVICES) -> list[str]:
    """Block devices on the partitions' major that don't belong to a loop device: a laptop's NVMe disks, say."""
    found = []
    with contextlib.suppress(OSError):
        for entry in sorted(sys_devices.glob(f"{PARTITION_MAJOR}:*")):
            target = str(entry.readlink())
            if not re.search(r"/loop\d+/loop\d+p\d+$", target):
                found.append(target.rsplit("/", 1)[-1])
    return found


def open_store(folder: Path) -> tuple[DiskStore | None, str]:
    """The store of disks in a folder, or None and why this machine attaches none. Tries it with a small disk."""
    why = why_no_disks()
    if why:
        return None, why
    try:
        return DiskStore(folder, kernel_reads=_try_partitions(folder)), ""
    except DiskError as error:
        return None, f"loop devices don't work on this machine: {error}"


def why_no_disks() -> str:
    """Why no disks are attached on this machine, in one sentence; '' when nothing speaks against it."""
    if os.geteuid() != 0:
        return "loop devices need root, and this isn't run as root"
    foreign = foreign_devices()
    if foreign:
        return (
            f"{foreign[0]} is a real disk on block major {PARTITION_MAJOR}, which the partitions of a disk would share"
        )
    if not shutil.which("losetup"):
        return "the program losetup is missing (package mount)"
    if not Path("/dev/loop-control").exists():
        return "this kernel has no loop devices (/dev/loop-control is missing)"
    return ""


def _try_partitions(folder: Path) -> bool:
    """Whether the kernel finds the partition of a small disk by itself. Raises DiskError when telling it fails too."""
    size = 4 * 1024**2
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=folder, prefix="try-") as file:
        file.write(single_partition_mbr(size // 512))
        file.truncate(size)
        file.flush()
        loop = _attach(Path(file.name))
        try:
            # The scan is part of attaching.
            if shown(loop):
                return True
            tell(loop, read_table(Path(file.name)))
            if not shown(loop):
                raise DiskError("the kernel takes no partitions of loop devices")
            return False
        except OSError as error:
            raise DiskError(f"the kernel takes no partitions of loop devices: {error.strerror}") from error
        finally:
            _detach(loop)


# --- Disks of instances -----------------------------------------------------------------------------------------------


class DiskStore:
    """The disks of all instances of one cloud: <folder>/<instance>/<k>.img and disks.json. Needs root.

    Where the kernel doesn't read partition tables (`kernel_reads` is False), tell_kernel() does it.
    """

    def __init__(self, folder: Path, kernel_reads: bool = True) -> None:
        self.folder = folder
        self.kernel_reads = kernel_reads

    def tell_kernel(self, disks: Iterable[Disk]) -> None:
        """Have the kernel show the partitions that are in the disks' tables. Raises OSError."""
        if self.kernel_reads:
            return
        for disk in disks:
            if backing_file(disk.loop) == disk.file:
                tell(disk.loop, read_table(Path(disk.file)))

    def of(self, instance_id: str) -> list[Disk]:
        """The disks of an instance as they were written down; [] when it has none."""
        try:
            listed = json.loads((self.folder / instance_id / "disks.json").read_text())
            return [Disk(**one) for one in listed]
        except (OSError, ValueError, TypeError):
            return []

    def create(self, instance_id: str, count: int) -> list[Disk]:
        """Make and attach `count` blank disks. Disks that a crash left for this instance are taken away first."""
        self.remove(instance_id)
        if not count:
            return []
        place = self.folder / instance_id
        place.mkdir(parents=True)
        disks = []
        for index in range(1, count + 1):
            file = place / f"{index}.img"
            with file.open("wb") as made:
                made.truncate(DISK_BYTES)
            disks.append(Disk(index, new_serial(), str(file), _attach(file)))
        self._write(instance_id, disks)
        return disks

    def blank(self, instance_id: str) -> list[Disk]:
        """Empty an instance's disks, where EC2 gives a started instance new ones: no contents, new serials.

        On the same loop devices, because a container's devices can't be changed, and without detaching them, because
        somebody else could take them meanwhile.
        """
        disks = []
        for disk in self.ensure_attached(instance_id):
            _discard(disk)
            disks.append(replace(disk, serial=new_serial()))
        if disks:
            self._write(instance_id, disks)
        return disks

    def ensure_attached(self, instance_id: str) -> list[Disk]:
        """Attach again, at the same loop devices, what a reboot of this machine detached. Raises DiskError.

        A container must never start while one of its loop devices has somebody else's file behind it.
        """
        disks = self.of(instance_id)
        for disk in disks:
            behind = backing_file(disk.loop)
            if behind == disk.file:
                continue
            if behind:
                raise DiskError(f"{disk.loop_path} is used for {behind} now, not for the instance's disk {disk.index}")
            if not Path(disk.file).exists():
                with Path(disk.file).open("wb") as made:
                    made.truncate(DISK_BYTES)
            _attach(Path(disk.file), disk.loop)
        return disks

    def remove(self, instance_id: str) -> None:
        """Detach and delete an instance's disks."""
        place = self.folder / instance_id
        if place.is_dir():
            for loop, _ in loops_under(place):
                _detach(loop)
            shutil.rmtree(place)

    def instances(self) -> list[str]:
        """The instances that have a folder here."""
        if not self.folder.is_dir():
            return []
        return sorted(entry.name for entry in self.folder.iterdir() if entry.is_dir())

    def _write(self, instance_id: str, disks: list[Disk]) -> None:
        path = self.folder / instance_id / "disks.json"
        fresh = path.with_suffix(".new")
        fresh.write_text(json.dumps([asdict(disk) for disk in disks]))
        fresh.replace(path)


def backing_file(loop: int) -> str:
    """The file behind a loop device; '' when it is free."""
    try:
        return (SYS_BLOCK / f"loop{loop}" / "loop/backing_file").read_text().strip().removesuffix(" (deleted)")
    except OSError:
        return ""


def loops_under(folder: Path) -> list[tuple[int, str]]:
    """The loop devices whose files are in a folder, deleted files included, with the files."""
    found = []
    for entry in SYS_BLOCK.glob("loop*"):
        number = int(entry.name.removeprefix("loop"))
        behind = backing_file(number)
        if behind and Path(behind).is_relative_to(folder):
            found.append((number, behind))
    return sorted(found)


def detach_under(folder: Path) -> list[str]:
    """Detach the loop devices whose files are in a folder; returns those that couldn't be."""
    left = []
    for loop, _ in loops_under(folder):
        try:
            _detach(loop)
        except DiskError as error:
            left.append(str(error))
    return left


def _attach(file: Path, loop: int | None = None) -> int:
    where = [f"/dev/loop{loop}"] if loop is not None else ["--find", "--show"]
    if loop is not None and not Path(where[0]).exists():
        # A reboot forgets devices above the kernel's first eight; asking for one by number makes it.
        _make_loop(loop)
    end = time.monotonic() + 5
    while True:
        done = _tool(["losetup", "--partscan", *where, str(file)], check=False)
        if done.returncode == 0:
            return loop if loop is not None else int(done.stdout.strip().removeprefix("/dev/loop"))
        # Between the search for a free one and its use another process may have taken it.
        if "busy" not in done.stderr.lower() or time.monotonic() > end:
            raise DiskError(f"losetup: {done.stderr.strip()}")
        time.sleep(0.05)


def _discard(disk: Disk) -> None:
    """Make a disk read as zeros and have the kernel forget its partitions."""
    whole = struct.pack("QQ", 0, DISK_BYTES)
    try:
        descriptor = os.open(disk.loop_path, os.O_RDWR | os.O_CLOEXEC)
    except OSError as error:
        raise DiskError(f"{disk.loop_path}: {error.strerror}") from error
    try:
        try:
            fcntl.ioctl(descriptor, _BLKDISCARD, whole)
        except OSError:
            # A file system without holes: zeros are written.
            fcntl.ioctl(descriptor, _BLKZEROOUT, whole)
        fcntl.ioctl(descriptor, _BLKRRPART)
    except OSError as error:
        raise DiskError(f"{disk.loop_path} can't be emptied: {error.strerror}") from error
    finally:
        os.close(descriptor)


def _make_loop(loop: int) -> None:
    descriptor = os.open("/dev/loop-control", os.O_RDWR | os.O_CLOEXEC)
    try:
        fcntl.ioctl(descriptor, _LOOP_CTL_ADD, loop)
    except OSError as error:
        raise DiskError(f"/dev/loop{loop} can't be made: {error.strerror}") from error
    finally:
        os.close(descriptor)


def _detach(loop: int) -> None:
    """Detach a loop device and wait until it is free."""
    before = backing_file(loop)
    done = _tool(["losetup", "--detach", f"/dev/loop{loop}"], check=False)
    end = time.monotonic() + 5
    # Detaching is put off while something has the device open, a container's mount that is just going away for one.
    while before and backing_file(loop) == before:
        if time.monotonic() > end:
            raise DiskError(f"/dev/loop{loop} ({before}) is still in use {done.stderr.strip()}".strip())
        time.sleep(0.05)


def _tool(command: list[str], check: bool = True) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(
            command,
            check=check,
            capture_output=True,
            text=True,
            timeout=_TOOL_TIMEOUT,
            env={**os.environ, "LC_ALL": "C"},
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise DiskError(f"{command[0]}: {error}") from error


# --- What an instance sees: udev's part -------------------------------------------------------------------------------


@dataclass(frozen=True)
class Layout:
    """What an instance's /dev should hold: nodes by name with their device number, links by path with their target."""

    nodes: dict[str, int]
    links: dict[str, str]


def layout_of(disks: Iterable[Disk], sys_block: Path = SYS_BLOCK) -> Layout:
    """The partition nodes and the links of these disks, from what the kernel shows now."""
    nodes: dict[str, int] = {}
    links: dict[str, str] = {}
    for disk in disks:
        base = f"nvme{disk.index}n1"
        links[f"disk/by-id/{MODEL}_{disk.serial}"] = f"../../{base}"
        partitions = {
            number: device
            for number, (device, _, _) in shown(disk.loop, sys_block).items()
            if os.major(device) == PARTITION_MAJOR
        }
        table = read_table(Path(disk.file)) if partitions else {}
        for number, device in partitions.items():
            nodes[f"{base}p{number}"] = device
            links[f"disk/by-id/{MODEL}_{disk.serial}-part{number}"] = f"../../{base}p{number}"
            if number in table:
                links[f"disk/by-partuuid/{table[number].id}"] = f"../../{base}p{number}"
    return Layout(nodes, links)


def bring_to_layout(dev: Path, layout: Layout) -> bool:
    """Make an instance's /dev hold what `layout` says, and no partition nodes or links of ours beside it.

    `dev` is that folder as this machine sees it: /proc/<pid>/root/dev. Returns whether anything changed.
    Raises OSError.
    """
    changed = False
    for name, device in layout.nodes.items():
        changed |= _bring_node(dev / name, device)
    for entry in dev.iterdir():
        if _PARTITION_NODE.fullmatch(entry.name) and entry.name not in layout.nodes:
            entry.unlink(missing_ok=True)
            changed = True
    for folder in ("disk/by-id", "disk/by-partuuid"):
        place = dev / folder
        # A link here would be followed on this machine, not in the instance.
        if place.is_symlink() or place.parent.is_symlink():
            raise OSError(f"{place} is a link; expected a folder")
        place.mkdir(parents=True, exist_ok=True)
        wanted = {
            path.rsplit("/", 1)[1]: target for path, target in layout.links.items() if path.startswith(folder + "/")
        }
        for name, target in wanted.items():
            changed |= _bring_link(place / name, target)
        for entry in place.iterdir():
            ours = entry.is_symlink() and str(entry.readlink()).startswith("../../nvme")
            if ours and entry.name not in wanted:
                entry.unlink(missing_ok=True)
                changed = True
    return changed


def _bring_node(path: Path, device: int) -> bool:
    with contextlib.suppress(FileNotFoundError):
        found = path.lstat()
        if stat.S_ISBLK(found.st_mode) and found.st_rdev == device:
            return False
        path.unlink()
    os.mknod(path, stat.S_IFBLK, device)
    path.chmod(0o660)
    return True


def _bring_link(path: Path, target: str) -> bool:
    if path.is_symlink() and str(path.readlink()) == target:
        return False
    fresh = path.with_name(f".{path.name}.new")
    fresh.unlink(missing_ok=True)
    fresh.symlink_to(target)
    fresh.replace(path)
    return True


class KernelEvents:
    """Tells when the kernel adds, changes or removes a block device. Without the right socket it just waits."""

    def __init__(self) -> None:
        netlink_kobject_uevent = 15
        self._socket: socket.socket | None = None
        with contextlib.suppress(OSError, AttributeError):
            self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM, netlink_kobject_uevent)
            self._socket.bind((0, 1))

    def wait(self, seconds: float) -> None:
        """Return at the next event of a block device, or after `seconds`."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            if self._socket is None:
                time.sleep(min(left, 0.5))
                return
            self._socket.settimeout(left)
            try:
                if b"SUBSYSTEM=block" in self._socket.recv(16384):
                    return
            except TimeoutError:
                return
            except OSError:
                # More events than the socket holds: something happened.
                return

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
