"""The instance-store disks of a local cloud's instances: sparse files on loop devices.

Safety: a container gets access to its own loop devices and to nothing else. The kernel gives partitions of loop devices
numbers on block major 259, which real NVMe disks use, too. On a machine where any other device has that major, no disks
are attached.
"""

import contextlib
import json
import os
import re
import secrets
import shutil
import tempfile
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from local_cloud.files import replace_file

from .loops import DiskError, attach, backing_file, detach, discard, loops_under
from .partitions import add_partitions, read_table, shown, single_partition_mbr

DISK_BYTES = 2 * 1024**3
PARTITION_MAJOR = 259

_SYS_DEVICES = Path("/sys/dev/block")


@dataclass(frozen=True)
class Disk:
    """One attached disk. Its node in the instance is /dev/nvme<index>n1; `index` counts from 1."""

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


def foreign_devices(sys_devices: Path = _SYS_DEVICES) -> list[str]:
    """Block devices on major 259 that aren't partitions of loop devices, for example a laptop's NVMe disks."""
    found = []
    with contextlib.suppress(OSError):
        for entry in sorted(sys_devices.glob(f"{PARTITION_MAJOR}:*")):
            target = str(entry.readlink())
            if not re.search(r"/loop\d+/loop\d+p\d+$", target):
                found.append(target.rsplit("/", 1)[-1])
    return found


class DiskStore:
    """The disks of all instances of one cloud, in <folder>/<instance>/<k>.img and disks.json. Needs root.

    :param kernel_reads: whether the kernel reads partition tables; if not, update_kernel() does
    """

    def __init__(self, folder: Path, kernel_reads: bool = True) -> None:
        self.folder = folder
        self.kernel_reads = kernel_reads

    def update_kernel(self, disks: Iterable[Disk]) -> None:
        """Make the kernel show the partitions in the disks' tables. Raises OSError."""
        if self.kernel_reads:
            return
        for disk in disks:
            if backing_file(disk.loop) == disk.file:
                add_partitions(disk.loop, read_table(Path(disk.file)))

    def of(self, instance_id: str) -> list[Disk]:
        """The recorded disks of an instance; [] if it has none."""
        try:
            records = json.loads((self.folder / instance_id / "disks.json").read_text())
            return [Disk(**record) for record in records]
        except (OSError, ValueError, TypeError):
            return []

    def create(self, instance_id: str, count: int) -> list[Disk]:
        """Create and attach `count` blank disks, after removing disks that a crash left for this instance."""
        self.remove(instance_id)
        if not count:
            return []
        folder = self.folder / instance_id
        folder.mkdir(parents=True)
        disks = []
        for index in range(1, count + 1):
            file = folder / f"{index}.img"
            _create_sparse(file)
            disks.append(Disk(index, new_serial(), str(file), attach(file)))
        self._write(instance_id, disks)
        return disks

    def blank(self, instance_id: str) -> None:
        """Empty an instance's disks and give them new serials, because EC2 gives a started instance new disks.

        The disks stay attached to their loop devices: a container's devices can't be changed, and another process could
        attach a file to a free loop device.
        """
        disks = self.ensure_attached(instance_id)
        for disk in disks:
            discard(disk.loop, DISK_BYTES)
        if disks:
            self._write(instance_id, [replace(disk, serial=new_serial()) for disk in disks])

    def ensure_attached(self, instance_id: str) -> list[Disk]:
        """Attach disks that a reboot of this machine detached, to the same loop devices. Raises DiskError."""
        disks = self.of(instance_id)
        for disk in disks:
            attached = backing_file(disk.loop)
            if attached == disk.file:
                continue
            if attached:
                raise DiskError(
                    f"{disk.loop_path} is attached to {attached}, expected the instance's disk {disk.index}"
                )
            if not Path(disk.file).exists():
                _create_sparse(Path(disk.file))
            attach(Path(disk.file), disk.loop)
        return disks

    def remove(self, instance_id: str) -> None:
        """Detach and delete an instance's disks."""
        folder = self.folder / instance_id
        if folder.is_dir():
            for loop, _ in loops_under(folder):
                detach(loop)
            shutil.rmtree(folder)

    def instances(self) -> list[str]:
        """The ids of the instances that have a folder here."""
        if not self.folder.is_dir():
            return []
        return sorted(entry.name for entry in self.folder.iterdir() if entry.is_dir())

    def _write(self, instance_id: str, disks: list[Disk]) -> None:
        records = json.dumps([asdict(disk) for disk in disks])
        replace_file(self.folder / instance_id / "disks.json", records.encode())


def open_store(folder: Path) -> tuple[DiskStore | None, str]:
    """Return the disk store in a folder, or None and the reason why this machine can't attach disks.

    A small disk is attached as a test.
    """
    if why := why_no_disks():
        return None, why
    try:
        return DiskStore(folder, kernel_reads=_kernel_reads_partitions(folder)), ""
    except DiskError as error:
        return None, f"loop devices don't work on this machine: {error}"


def why_no_disks() -> str:
    """Return the reason why this machine can't attach disks; '' if none is known without a test."""
    if os.geteuid() != 0:
        return "loop devices need root, and this user isn't root"
    foreign = foreign_devices()
    if foreign:
        return (
            f"{foreign[0]} is a real disk on block major {PARTITION_MAJOR}, which partitions of loop devices use, too"
        )
    if not shutil.which("losetup"):
        return "the program losetup is missing (package mount)"
    if not Path("/dev/loop-control").exists():
        return "this kernel has no loop devices (/dev/loop-control is missing)"
    return ""


def _kernel_reads_partitions(folder: Path) -> bool:
    """Whether the kernel reads the partition table of a loop device.

    :raises DiskError: the kernel doesn't accept partitions through its API either
    """
    size = 4 * 1024**2
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=folder, prefix="try-") as file:
        file.write(single_partition_mbr(size // 512))
        file.truncate(size)
        file.flush()
        loop = attach(Path(file.name))
        try:
            # The kernel reads the table while it attaches the file.
            if shown(loop):
                return True
            add_partitions(loop, read_table(Path(file.name)))
            if not shown(loop):
                raise DiskError("the kernel doesn't accept partitions of loop devices")
            return False
        except OSError as error:
            raise DiskError(f"the kernel doesn't accept partitions of loop devices: {error.strerror}") from error
        finally:
            detach(loop)


def _create_sparse(file: Path) -> None:
    with file.open("wb") as stream:
        stream.truncate(DISK_BYTES)
