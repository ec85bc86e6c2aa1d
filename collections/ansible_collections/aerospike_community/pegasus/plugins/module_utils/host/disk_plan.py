# Copyright (c) Pegasus authors. SPDX-License-Identifier: Apache-2.0
"""Plan the partitions of instance-store disks and their purposes. Pure functions: disks and spec in, plan out."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

MIB = 1024 * 1024
ALIGNMENT = MIB  # bytes; a multiple of all common sizes of erase blocks and sectors
# The first MiB has the partition table, the last one its copy.
RESERVED = ALIGNMENT
HEADER_BYTES = 8 * MIB  # the part of a raw partition that the server reads first
SMALLEST_RAW = 64 * MIB
SMALLEST_FILE_SYSTEM = 300 * MIB  # minimum of mkfs.xfs
MOST_PARTITIONS = 128  # of a GPT with the usual table size
PURPOSES = ("data", "primary-index", "secondary-index", "unused")
NAME_PREFIX = "pegasus-"
LINUX_DATA = "0FC63DAF-8483-4772-8E79-3D69D8477DE4"  # GPT partition type


class PlanError(Exception):
    """The disks can't be planned as configured. The text says what was found, what was expected, and what to change."""


@dataclass(frozen=True)
class Disk:
    """What the plan needs to know of a disk."""

    path: str
    size_bytes: int


@dataclass(frozen=True)
class LayoutSpec:
    """The requested layout, the same for each disk. Partition numbers start at 1."""

    partitions: int
    overprovisioning: int  # percent of a disk that stays unallocated
    data: tuple[int, ...] = ()
    primary_index: tuple[int, ...] = ()
    secondary_index: tuple[int, ...] = ()

    def purpose(self, number: int) -> str:
        """Return the purpose of a partition."""
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
        """The name in the partition table, by which Pegasus recognizes its partitions."""
        return f"{NAME_PREFIX}{self.purpose}"

    @property
    def end(self) -> int:
        """The first byte after the partition."""
        return self.start + self.size


@dataclass(frozen=True)
class DiskPlan:
    """One disk's partitions, by number."""

    disk: Disk
    partitions: tuple[Partition, ...] = field(default_factory=tuple)


def parse_partitions(value: object) -> tuple[int, ...]:
    """Parse ``1-3,7-9``, ``2``, a list of numbers, or nothing, into numbers in ascending order.

    :raises PlanError: the value has another form
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
        raise PlanError(f"partition {twice[0]} is listed twice in '{value}'")
    return tuple(sorted(numbers))


def spec_problems(spec: LayoutSpec) -> list[str]:
    """Return the errors in a spec that are independent of the disks."""
    found = []
    if not 1 <= spec.partitions <= MOST_PARTITIONS:
        found.append(f"partition count: expected 1 to {MOST_PARTITIONS}, found {spec.partitions}")
    if not 0 <= spec.overprovisioning <= 90:
        found.append(f"overprovisioning: expected 0 to 90 percent, found {spec.overprovisioning}")
    owners: dict[int, str] = {}
    for purpose in PURPOSES[:-1]:
        for number in getattr(spec, purpose.replace("-", "_")):
            if number > spec.partitions:
                found.append(f"{purpose}: expected partitions up to {spec.partitions}, found {number}")
            if number in owners:
                found.append(f"partition {number} is for {owners[number]} and for {purpose}: expected one purpose")
            owners[number] = purpose
    return found


def plan_disk(disk: Disk, spec: LayoutSpec) -> DiskPlan:
    """Plan one disk: equal, aligned partitions over (100 - overprovisioning) percent of it.

    :raises PlanError: the disk is too small for that many partitions
    """
    usable = min(disk.size_bytes * (100 - spec.overprovisioning) // 100, disk.size_bytes - RESERVED) - RESERVED
    size = max(usable, 0) // spec.partitions // ALIGNMENT * ALIGNMENT
    partitions = []
    for number in range(1, spec.partitions + 1):
        purpose = spec.purpose(number)
        smallest = SMALLEST_FILE_SYSTEM if purpose.endswith("index") else SMALLEST_RAW
        if size < smallest:
            raise PlanError(
                f"{disk.path} has {disk.size_bytes // MIB} MiB; {spec.partitions} partitions with "
                f"{spec.overprovisioning} percent unallocated get {size // MIB} MiB each, and a partition for "
                f"{purpose} needs {smallest // MIB} MiB: use fewer partitions, or less overprovisioning"
            )
        partitions.append(Partition(number, RESERVED + (number - 1) * size, size, purpose))
    return DiskPlan(disk, tuple(partitions))


def plan(disks: Sequence[Disk], spec: LayoutSpec) -> list[DiskPlan]:
    """Plan all disks of a host.

    :raises PlanError: the spec contradicts itself, the host has no disk, or a disk is too small
    """
    problems = spec_problems(spec)
    if problems:
        raise PlanError("; ".join(problems))
    if not disks:
        raise PlanError(
            "found no instance-store disk on this host: choose an instance type that has some, list disks in "
            "nvme_partition_devices, or keep data and indexes in memory (pegasus_data_storage)"
        )
    return [plan_disk(disk, spec) for disk in disks]


@dataclass(frozen=True)
class Found:
    """A partition in a disk's table; start and size in bytes."""

    number: int
    start: int
    size: int
    name: str
    uuid: str


def read_table(table: Mapping[str, object], device: str) -> list[Found]:
    """Parse sfdisk's JSON (its ``partitiontable``)."""
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
    """Return how a disk's table differs from the plan."""
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
    texts += [f"found an unplanned partition {number} ('{entry.name}')" for number, entry in sorted(present.items())]
    return texts


def script(planned: DiskPlan, sector_bytes: int) -> str:
    """Return sfdisk's input for a plan, in sectors of the disk's own size."""
    lines = ["label: gpt"]
    lines += [
        f"{partition.number} : start={partition.start // sector_bytes}, size={partition.size // sector_bytes}, "
        f'type={LINUX_DATA}, name="{partition.name}"'
        for partition in planned.partitions
    ]
    return "".join(f"{line}\n" for line in lines)
