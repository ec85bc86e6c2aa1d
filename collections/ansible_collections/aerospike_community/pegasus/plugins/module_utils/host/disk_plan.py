# Copyright (c) Pegasus authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""Which partitions a host's instance-store disks get, and what each is for. Pure: disks and wishes in, plan out."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

MIB = 1024 * 1024
ALIGNMENT = MIB  # bytes; a multiple of every erase block's and sector's size that matters
# The partition table stands in the first MiB, its copy in the last.
RESERVED = ALIGNMENT
HEADER_BYTES = 8 * MIB  # what the server reads first of a raw partition
SMALLEST_RAW = 64 * MIB
SMALLEST_FILE_SYSTEM = 300 * MIB  # mkfs.xfs refuses less
MOST_PARTITIONS = 128  # of a GPT as everybody makes it
PURPOSES = ("data", "primary-index", "secondary-index", "unused")
NAME_PREFIX = "pegasus-"
LINUX_DATA = "0FC63DAF-8483-4772-8E79-3D69D8477DE4"  # partition type of the GPT


class PlanError(Exception):
    """A plan can't be made. The text says what was found, what was expected, and which setting to change."""


@dataclass(frozen=True)
class Disk:
    """A disk as far as the plan needs it."""

    path: str
    size_bytes: int


@dataclass(frozen=True)
class Wishes:
    """The configuration: the same for each disk. Partitions are counted from 1."""

    partitions: int
    overprovisioning: int  # percent of a disk that stays unallocated
    data: tuple[int, ...] = ()
    primary_index: tuple[int, ...] = ()
    secondary_index: tuple[int, ...] = ()

    def purpose(self, number: int) -> str:
        """What a partition is for."""
        for name in PURPOSES[:-1]:
            if number in getattr(self, name.replace("-", "_")):
                return name
        return "unused"


@dataclass(frozen=True)
class Partition:
    """One planned partition; start and size in bytes from the beginning of the disk."""

    number: int
    start: int
    size: int
    purpose: str

    @property
    def name(self) -> str:
        """Its name in the partition table, by which Pegasus knows its own."""
        return f"{NAME_PREFIX}{self.purpose}"

    @property
    def end(self) -> int:
        """The first byte after it."""
        return self.start + self.size


@dataclass(frozen=True)
class DiskPlan:
    """One disk's partitions, by number."""

    disk: Disk
    partitions: tuple[Partition, ...] = field(default_factory=tuple)


def parse_partitions(value: object) -> tuple[int, ...]:
    """Read ``1-3,7-9``, ``2``, a list of numbers, or nothing, as numbers in ascending order.

    :raises PlanError: it has another form
    """
    if value is None or isinstance(value, bool):
        parts: list[str] = [] if value is None else [str(value)]
    elif isinstance(value, (list, tuple)):
        parts = [str(part) for part in value]
    else:
        parts = [part for part in str(value).split(",") if part.strip()]
    numbers: list[int] = []
    for part in parts:
        match = re.fullmatch(r"\s*(\d+)\s*(?:-\s*(\d+)\s*)?", part)
        if not match:
            raise PlanError(f"expected partitions like 1-3,7-9, found '{value}'")
        first, last = int(match.group(1)), int(match.group(2) or match.group(1))
        if not 1 <= first <= last <= MOST_PARTITIONS:
            raise PlanError(
                f"expected partitions from 1 to {MOST_PARTITIONS}, in ascending order, found '{part.strip()}'"
            )
        numbers += range(first, last + 1)
    twice = sorted({number for number in numbers if numbers.count(number) > 1})
    if twice:
        raise PlanError(f"partition {twice[0]} is named twice in '{value}'")
    return tuple(sorted(numbers))


def wishes_problems(wishes: Wishes) -> list[str]:
    """Return what is wrong with a configuration, whatever the disks."""
    found = []
    if not 1 <= wishes.partitions <= MOST_PARTITIONS:
        found.append(f"partition count: expected 1 to {MOST_PARTITIONS}, found {wishes.partitions}")
    if not 0 <= wishes.overprovisioning <= 90:
        found.append(f"overprovisioning: expected 0 to 90 percent, found {wishes.overprovisioning}")
    owners: dict[int, str] = {}
    for purpose in PURPOSES[:-1]:
        for number in getattr(wishes, purpose.replace("-", "_")):
            if number > wishes.partitions:
                found.append(f"{purpose}: expected partitions up to {wishes.partitions}, found {number}")
            if number in owners:
                found.append(f"partition {number} is for {owners[number]} and for {purpose}: expected one purpose")
            owners[number] = purpose
    return found


def plan_disk(disk: Disk, wishes: Wishes) -> DiskPlan:
    """Plan one disk: equal, aligned partitions over (100 - overprovisioning) percent of it.

    :raises PlanError: the disk is too small for that many partitions
    """
    usable = min(disk.size_bytes * (100 - wishes.overprovisioning) // 100, disk.size_bytes - RESERVED) - RESERVED
    size = max(usable, 0) // wishes.partitions // ALIGNMENT * ALIGNMENT
    partitions = []
    for number in range(1, wishes.partitions + 1):
        purpose = wishes.purpose(number)
        smallest = SMALLEST_FILE_SYSTEM if purpose.endswith("index") else SMALLEST_RAW
        if size < smallest:
            raise PlanError(
                f"{disk.path} has {disk.size_bytes // MIB} MiB; {wishes.partitions} partitions with "
                f"{wishes.overprovisioning} percent left free get {size // MIB} MiB each, and one for "
                f"{purpose} wants {smallest // MIB} MiB: use fewer partitions, or less overprovisioning"
            )
        partitions.append(Partition(number, RESERVED + (number - 1) * size, size, purpose))
    return DiskPlan(disk, tuple(partitions))


def plan(disks: Sequence[Disk], wishes: Wishes) -> list[DiskPlan]:
    """Plan all disks of a host.

    :raises PlanError: the configuration contradicts itself, there is no disk, or one is too small
    """
    problems = wishes_problems(wishes)
    if problems:
        raise PlanError("; ".join(problems))
    if not disks:
        raise PlanError(
            "found no instance-store disk on this host: choose an instance type that has some, name disks in "
            "nvme_partition_devices, or keep data and indexes in memory (pegasus_data_storage)"
        )
    return [plan_disk(disk, wishes) for disk in disks]


@dataclass(frozen=True)
class Found:
    """One partition as the disk's table has it; start and size in bytes."""

    number: int
    start: int
    size: int
    name: str
    uuid: str


def read_table(table: Mapping[str, object], device: str) -> list[Found]:
    """Read sfdisk's JSON (its ``partitiontable``)."""
    sector = int(str(table.get("sectorsize", 512)))
    entries = table.get("partitions", [])
    found = []
    for entry in entries if isinstance(entries, list) else []:
        number = re.search(
            r"(\d+)$", entry["node"][len(device) :] if entry["node"].startswith(device) else entry["node"]
        )
        found.append(
            Found(
                number=int(number.group(1)) if number else 0,
                start=int(entry["start"]) * sector,
                size=int(entry["size"]) * sector,
                name=entry.get("name", ""),
                uuid=entry.get("uuid", "").lower(),
            )
        )
    return found


def differences(planned: DiskPlan, found: Sequence[Found]) -> list[str]:
    """Return how a disk's table differs from the plan; nothing when it is the plan's."""
    present = {entry.number: entry for entry in found}
    texts = []
    for partition in planned.partitions:
        entry = present.pop(partition.number, None)
        if entry is None:
            texts.append(f"partition {partition.number} is missing")
        elif (entry.start, entry.size, entry.name) != (partition.start, partition.size, partition.name):
            texts.append(
                f"partition {partition.number}: expected {partition.size // MIB} MiB at {partition.start // MIB} MiB "
                f"named '{partition.name}', found {entry.size // MIB} MiB at {entry.start // MIB} MiB "
                f"named '{entry.name}'"
            )
    texts += [f"partition {number} is one too many ('{entry.name}')" for number, entry in sorted(present.items())]
    return texts


def script(planned: DiskPlan, sector_bytes: int) -> str:
    """Return sfdisk's input for a plan. Numbers are sectors of the disk's own size."""
    lines = ["label: gpt"]
    lines += [
        f"{partition.number} : start={partition.start // sector_bytes}, size={partition.size // sector_bytes}, "
        f'type={LINUX_DATA}, name="{partition.name}"'
        for partition in planned.partitions
    ]
    return "".join(f"{line}\n" for line in lines)
