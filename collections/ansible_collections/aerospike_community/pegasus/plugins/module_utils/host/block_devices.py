# Copyright (c) Pegasus authors. SPDX-License-Identifier: Apache-2.0
"""Facts of a host's disks from the kernel: which are instance-store disks, their size, and what uses them."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

BY_ID = "dev/disk/by-id"
BY_PARTUUID = "dev/disk/by-partuuid"
MODEL_LINK = "nvme-Amazon_EC2_NVMe_Instance_Storage_"
EBS_MODEL = "Elastic Block Store"


class DiskError(Exception):
    """A disk can't be used as requested. The text says what was found, what was expected, and what to do."""


@dataclass(frozen=True)
class Device:
    """A disk as the kernel describes it."""

    path: str  # a name that survives a reboot, if there is one
    node: str  # the device file behind it
    number: str  # major:minor
    size_bytes: int
    sector_bytes: int
    model: str


class Kernel:
    """The kernel's view of disks. Devices are compared by number, never by name."""

    def __init__(self, root: Path = Path("/")) -> None:
        self.root = root

    def find(self) -> list[str]:
        """Return one link per instance-store disk, the shortest of several."""
        links: dict[str, str] = {}
        folder = self.root / BY_ID
        names = sorted((entry.name for entry in folder.glob(f"{MODEL_LINK}*")), key=lambda name: (len(name), name))
        for name in names:
            if not re.search(r"-part\d+$", name):
                links.setdefault(str((folder / name).resolve()), str(folder / name))
        return sorted(links.values())

    def device(self, path: str) -> Device:
        """Describe a disk.

        :raises DiskError: it doesn't exist, is no whole disk, or is a disk that must never be touched
        """
        node = Path(path).resolve()
        try:
            status = node.stat()
        except OSError as error:
            raise DiskError(f"{path}: {error.strerror}; expected a disk: check nvme_partition_devices") from error
        number = f"{os.major(status.st_rdev)}:{os.minor(status.st_rdev)}"
        sys = self.sys(number)
        if not status.st_rdev or not (sys / "size").exists():
            raise DiskError(f"{path} is no block device: expected a disk")
        if (sys / "partition").exists():
            raise DiskError(f"{path} is a partition: expected a whole disk")
        model = read_text(sys / "device/model")
        if EBS_MODEL in model:
            raise DiskError(
                f"{path} is an EBS volume ('{model}'): expected an instance-store disk; EBS volumes are never touched"
            )
        return Device(
            path=self._lasting_name(path, str(node)),
            node=str(node),
            number=number,
            size_bytes=int(read_text(sys / "size")) * 512,
            sector_bytes=int(read_text(sys / "queue/logical_block_size") or 512),
            model=model,
        )

    def sys(self, number: str) -> Path:
        """Return the folder of a block device in /sys."""
        return self.root / "sys/dev/block" / number

    def partitions(self, device: Device) -> dict[int, tuple[str, int, int]]:
        """Return a disk's partitions: number -> (major:minor, start, size), start and size in bytes."""
        found = {}
        for entry in self.sys(device.number).resolve().glob("*/partition"):
            folder = entry.parent
            found[int(read_text(entry))] = (
                read_text(folder / "dev"),
                int(read_text(folder / "start")) * 512,
                int(read_text(folder / "size")) * 512,
            )
        return found

    def use(self, device: Device, ignore_below: str = "") -> str:
        """Return what uses a disk or one of its partitions, as text; empty if nothing does.

        :param ignore_below: ignore file systems that are mounted below this folder
        """
        numbers = {device.number: device.path}
        numbers.update(
            {number: f"{device.path} partition {key}" for key, (number, _, _) in self.partitions(device).items()}
        )
        for line in read_text(self.root / "proc/self/mountinfo").splitlines():
            fields = line.split()
            if fields[2] in numbers and not (ignore_below and fields[4].startswith(f"{ignore_below}/")):
                return f"{numbers[fields[2]]} is mounted on {fields[4]}"
        for line in read_text(self.root / "proc/swaps").splitlines()[1:]:
            if self.number_of(line.split()[0]) in numbers:
                return f"{line.split()[0]} is swap"
        for number, name in numbers.items():
            holders = [entry.name for entry in (self.sys(number) / "holders").glob("*")]
            if holders:
                return f"{name} is held by {', '.join(holders)}"
        for entry in (self.root / "proc").glob("[0-9]*/fd/*"):
            try:
                status = entry.stat()
                if status.st_rdev and f"{os.major(status.st_rdev)}:{os.minor(status.st_rdev)}" in numbers:
                    process = entry.parent.parent
                    return f"{device.path} is open in {read_text(process / 'comm')} (process {process.name})"
            except OSError:
                continue
        return ""

    def mounts(self) -> dict[str, str]:
        """Return the mounts: mount point -> major:minor."""
        lines = read_text(self.root / "proc/self/mountinfo").splitlines()
        return {fields[4]: fields[2] for fields in (line.split() for line in lines)}

    def number_of(self, path: str | Path) -> str:
        """Return major:minor of a device file; empty if it doesn't exist."""
        try:
            status = os.stat(path)  # noqa: PTH116
        except OSError:
            return ""
        return f"{os.major(status.st_rdev)}:{os.minor(status.st_rdev)}"

    def _lasting_name(self, path: str, node: str) -> str:
        """Return the link in /dev/disk/by-id to a device file; the given path if there is none."""
        folder = self.root / BY_ID
        if Path(path).parent == folder:
            return path
        names = [str(link) for link in folder.glob("*") if str(link.resolve()) == node]
        return min(names, key=lambda name: (len(name), name)) if names else path


def read_text(path: Path) -> str:
    """Return the text of a small file; empty if it can't be read."""
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""
