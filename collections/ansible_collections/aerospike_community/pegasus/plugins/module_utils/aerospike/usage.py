# Copyright (c) Pegasus authors. SPDX-License-Identifier: Apache-2.0
"""What a node holds and how full it is, from its statistics in any release. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from .health import Statistics, number

# 7.0 and newer, then 6.4: data on disk, then data in memory.
TOTAL = ("data_total_bytes", "device_total_bytes", "pmem_total_bytes", "memory-size")
USED = ("data_used_bytes", "device_used_bytes", "pmem_used_bytes", "memory_used_bytes")
AVAILABLE = ("data_avail_pct", "device_available_pct", "pmem_available_pct")


def usage(statistics: Statistics) -> dict[str, int | None]:
    """Return a node's figures. A figure that the release doesn't have is None.

    ``objects`` and ``master_objects`` (without replicas), ``data_used_bytes`` and ``data_total_bytes`` of all
    namespaces; ``data_used_pct`` of the fullest namespace and ``data_avail_pct`` of the one with the least space that
    can be written; ``memory_used_pct`` of the host; ``migrations``, the partition migrations that the node still has to
    send.
    """
    namespaces = list(statistics.namespaces.values())
    used = [(_used(values, USED), _used(values, TOTAL)) for values in namespaces]
    free = number(statistics.node, "system_free_mem_pct")
    return {
        "objects": _combined(sum, [number(values, "objects") for values in namespaces]),
        "master_objects": _combined(sum, [number(values, "master_objects") for values in namespaces]),
        "data_used_bytes": _combined(sum, [part for part, _ in used]),
        "data_total_bytes": _combined(sum, [total for _, total in used]),
        "data_used_pct": _combined(max, [part * 100 // total for part, total in used if part is not None and total]),
        "data_avail_pct": _combined(min, [number(values, *AVAILABLE) for values in namespaces]),
        "memory_used_pct": None if free is None else 100 - free,
        "migrations": _combined(sum, [number(values, "migrate_tx_partitions_remaining") for values in namespaces]),
    }


def _used(values: Mapping[str, str], names: tuple[str, ...]) -> int | None:
    """The first of several statistics that isn't 0: 6.4 reports a size for memory and for disks, whichever is used."""
    found = [value for name in names if (value := number(values, name)) is not None]
    return next((value for value in found if value), found[0] if found else None)


def _combined(function: Callable[[list[int]], int], values: Sequence[int | None]) -> int | None:
    """The sum, minimum or maximum of the known values."""
    known = [value for value in values if value is not None]
    return function(known) if known else None
