# Copyright (c) Pegasus authors. SPDX-License-Identifier: Apache-2.0
"""Operations on one disk: partition it as planned, create file systems, blank it. disk_plan.py has the plans."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import struct
import subprocess
import time
from pathlib import Path

from .block_devices import BY_ID, BY_PARTUUID, Device, DiskError, Kernel, read_text
from .disk_plan import (
    HEADER_BYTES,
    MIB,
    NAME_PREFIX,
    DiskPlan,
    Found,
    Partition,
    differences,
    read_table,
    script,
)

BLKDISCARD = 0x1277  # linux/fs.h; takes offset and length in bytes
BLKRRPART = 0x125F  # makes the kernel read the partition table again
XFS_IN_PROGRESS = 126  # offset of sb_inprogress in an xfs superblock (the kernel's struct xfs_dsb)


class Layout:
    """One disk and its plan. The steps are in an order that lets the next run complete an interrupted one."""

    def __init__(self, kernel: Kernel, device: Device, planned: DiskPlan, params: dict, check: bool) -> None:
        self.kernel, self.device, self.planned, self.check = kernel, device, planned, check
        self.wipe, self.timeout, self.mount_root = params["wipe"], params["timeout"], params["mount_root"]
        self.service = params["service"]
        self.changes: list[str] = []
        self.found: list[Found] = []

    def partition(self) -> None:
        """Discard, blank and partition the disk unless it has the planned table."""
        table = self.read_table()
        self.found = read_table(table or {}, self.device.node)
        deviations = (
            differences(self.planned, self.found) if table and table.get("label") == "gpt" else ["found no GPT"]
        )
        if not deviations:
            self.wait_for_links()
            return
        content = self.content(table)
        if content and not self.wipe:
            raise DiskError(
                f"{self.device.path} holds {content}, not the planned layout ({deviations[0]}); expected a blank disk. "
                f"Set nvme_partition_wipe: true to erase it"
            )
        if content:
            self.refuse_while_running()
            self.unmount_own()
        self.refuse_in_use()
        self.changes.append(f"{self.device.path}: {len(self.planned.partitions)} partitions")
        if self.check:
            return
        self.blank()
        run(["sfdisk", "--quiet", "--wipe", "always", self.device.node], script(self.planned, self.device.sector_bytes))
        self.found = read_table(self.read_table() or {}, self.device.node)
        deviations = differences(self.planned, self.found)
        if deviations:
            raise DiskError(f"{self.device.path}: after sfdisk {deviations[0]}")
        self.wait_for_links()

    def remove(self) -> None:
        """Blank a disk that has a layout of Pegasus, even of another plan. Other disks stay as they are."""
        table = self.read_table()
        self.found = read_table(table or {}, self.device.node)
        if not self.found or not all(entry.name.startswith(NAME_PREFIX) for entry in self.found):
            return
        if not self.wipe:
            raise DiskError(
                f"{self.device.path} holds {self.content(table)}, which would be erased. "
                f"Set nvme_partition_wipe: true to erase it"
            )
        self.refuse_while_running()
        self.unmount_own()
        self.refuse_in_use()
        self.changes.append(f"{self.device.path}: blanked")
        if not self.check:
            # Headers too: the disk may not be able to discard.
            found = tuple(Partition(entry.number, entry.start, entry.size, "unused") for entry in self.found)
            self.planned = DiskPlan(self.planned.disk, found)
            self.blank()

    def refuse_while_running(self) -> None:
        """Refuse to erase a disk while its service runs, even if the service doesn't have the disk open."""
        command = ["systemctl", "is-active", "--quiet", self.service]
        if self.service and subprocess.run(command, capture_output=True, check=False).returncode == 0:
            raise DiskError(
                f"service {self.service} is running and uses {self.device.path}, which would be erased; expected it "
                f"stopped: run 'systemctl stop {self.service}' on this host, then try again"
            )

    def refuse_in_use(self) -> None:
        """Refuse a disk that is in use. In check mode, ignore the mounts that a real run unmounts first."""
        use = self.kernel.use(self.device, self.mount_root if self.check else "")
        if use:
            raise DiskError(f"{use}; expected an unused disk: stop what uses it, then try again")

    def unmount_own(self) -> None:
        """Unmount the disk's file systems below mount_root. A busy file system stays mounted."""
        if self.check:
            return
        numbers = {number for number, _, _ in self.kernel.partitions(self.device).values()}
        for point, number in self.kernel.mounts().items():
            if number in numbers and point.startswith(f"{self.mount_root}/"):
                subprocess.run(["umount", point], capture_output=True, check=False)

    def read_table(self) -> dict | None:
        """Return sfdisk's description of the partition table; None if there is no table."""
        try:
            done = subprocess.run(["sfdisk", "--json", self.device.node], capture_output=True, text=True, check=False)
        except FileNotFoundError:
            if self.check:  # a real run installs sfdisk first; the content is still examined
                return None
            raise
        return json.loads(done.stdout)["partitiontable"] if done.returncode == 0 and done.stdout.strip() else None

    def content(self, table: dict | None) -> str:
        """Return what is on the disk, as text; empty for a blank disk."""
        if table:
            names = ", ".join(entry.name or "unnamed" for entry in self.found)
            return f"a {table.get('label', 'partition')} table with {len(self.found)} partitions ({names or 'empty'})"
        with open(self.device.node, "rb") as stream:  # noqa: PTH123
            first = stream.read(HEADER_BYTES)
            stream.seek(max(0, self.device.size_bytes - MIB))
            last = stream.read(MIB)
        if not first.strip(b"\0") and not last.strip(b"\0"):
            return ""
        done = subprocess.run(
            ["blkid", "--probe", "--output", "value", "--match-tag", "TYPE", self.device.node],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        return f"a file system or raw data ({done.stdout.strip() or 'of no known kind'})"

    def blank(self) -> None:
        """Discard the disk if it supports that, and zero both ends and the first 8 MiB of each planned partition.

        This happens before the disk has partitions: a partition table proves that the disk was blanked.
        """
        handle = os.open(self.device.node, os.O_RDWR | os.O_EXCL)
        try:
            discards = read_text(self.kernel.sys(self.device.number) / "queue/discard_max_bytes")
            if discards not in ("", "0"):
                try:
                    fcntl.ioctl(handle, BLKDISCARD, struct.pack("QQ", 0, self.device.size_bytes))
                except OSError as error:
                    self.changes.append(f"{self.device.path}: not discarded ({error.strerror})")
            zeros = bytes(MIB)
            areas = [(0, MIB), (self.device.size_bytes - MIB, MIB)]
            areas += [(partition.start, HEADER_BYTES) for partition in self.planned.partitions]
            for start, size in areas:
                for offset in range(start, start + size, MIB):
                    os.pwrite(handle, zeros, offset)
            os.fsync(handle)
            # Let the kernel drop the old partitions; a file in place of a disk doesn't support that.
            with contextlib.suppress(OSError):
                fcntl.ioctl(handle, BLKRRPART)
        finally:
            os.close(handle)

    def wait_for_links(self) -> None:
        """Wait until the kernel has the partitions and their links point to them.

        :raises DiskError: timeout
        """
        deadline = time.monotonic() + self.timeout
        updated = False
        while True:
            known = self.kernel.partitions(self.device)
            stale = [
                p.number for p in self.planned.partitions if known.get(p.number, ("", 0, 0))[1:] != (p.start, p.size)
            ]
            missing = [
                path
                for partition in self.planned.partitions
                for path in (self.path(partition.number), self.by_uuid(partition.number))
                if partition.number in stale or self.kernel.number_of(path) != known[partition.number][0]
            ]
            if not missing or self.check:
                return
            if stale and not updated:
                # sfdisk updates the kernel; if that failed, partx adds the partitions individually.
                updated = True
                subprocess.run(["partx", "--update", self.device.node], capture_output=True, check=False)
                continue
            if time.monotonic() > deadline:
                raise DiskError(
                    f"{self.device.path}: expected {missing[0]} within {self.timeout} seconds, found "
                    f"{'no such partition in the kernel' if stale else 'no link to the partition'}: "
                    f"check that udev (in the local cloud: its watcher) is running"
                )
            time.sleep(0.1)

    def uuid(self, number: int) -> str:
        """Return a partition's UUID; empty if there is no table yet (check mode)."""
        return next((entry.uuid for entry in self.found if entry.number == number), "")

    def by_uuid(self, number: int) -> str:
        """Return the link to a partition by UUID."""
        return str(self.kernel.root / BY_PARTUUID / self.uuid(number))

    def path(self, number: int) -> str:
        """Return a partition's path that survives a reboot."""
        if Path(self.device.path).parent == self.kernel.root / BY_ID:
            return f"{self.device.path}-part{number}"
        return self.by_uuid(number)

    def create_file_systems(self) -> None:
        """Create xfs on the partitions of indexes that have none."""
        for partition in self.planned.partitions:
            if not partition.purpose.endswith("index") or (self.check and self.changes):
                continue
            path = self.path(partition.number)
            with open(path, "rb") as stream:  # noqa: PTH123
                header = stream.read(HEADER_BYTES)
            # mkfs.xfs marks an unfinished file system in the superblock from its first to its last write (observed with
            # xfsprogs 6.1.0, killed at each write). Such a file system never held data and can't be mounted.
            is_xfs = header[:4] == b"XFSB"
            unfinished = is_xfs and header[XFS_IN_PROGRESS] != 0
            if is_xfs and not unfinished:
                continue
            if header.strip(b"\0") and not unfinished and not self.wipe:
                raise DiskError(
                    f"{path} is for {partition.purpose} and holds other data; expected xfs or a blank partition. "
                    f"Set nvme_partition_wipe: true to erase it"
                )
            self.changes.append(f"{path}: xfs")
            if not self.check:
                run(["mkfs.xfs", "-q", "-f", "-K", path])


def run(command: list[str], text: str = "") -> None:
    """Run a command.

    :raises DiskError: the command failed; the message has its output
    """
    done = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        output = (done.stderr or done.stdout).strip()
        raise DiskError(f"'{' '.join(command)}' failed (exit status {done.returncode}): {output}")
