# Copyright (c) Pegasus authors. SPDX-License-Identifier: Apache-2.0
"""Why nodes of a stable cluster refuse operations: stopped writes, no space, lost partitions, clocks, eviction.

    for problem in health.problems(health.query(hosts, port)):
        print(problem)

A cluster can be stable and its servers can be running while they refuse every write. Perseus prints healthy rates
anyway. So whatever waits for a cluster, or calls it ready, asks here too.

Source of the names and limits: the public source of the server, 6.4.0, 7.0.0, 7.1.0, 8.0.0 and 8.1.2.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from .cluster import QUERY_TIMEOUT, query_all
from .info import DEFAULT_PORT, info, is_error, parse_pairs

# The server keeps so many free blocks of each device for defragmentation. With no more than these, the device takes no
# write, whatever its share of available blocks. Data in memory without a backing file keeps one.
RESERVED_BLOCKS = 8
RESERVED_BLOCKS_OF_MEMORY = 1
# Milliseconds of clock skew: at 40,000 the server stops expiry and writes if nsup-period isn't 0, at 30,000 it warns.
# Strong consistency has a limit of its own, cluster_clock_skew_stop_writes_sec.
SKEW_WARNING = 30_000
SKEW_WARNING_SHARE = 0.75

MORE_SPACE = (
    "lower the threads that write (threads.yaml, then copy-threads), truncate a set, give the namespace more space, or "
    "add nodes (add-nodes)"
)
MORE_MEMORY = "lower the threads that write, give the namespace less memory, or choose a larger instance type"


@dataclass(frozen=True)
class Statistics:
    """What a node reports: texts by the server's names, of the node, of each namespace, and of each set of it."""

    node: Mapping[str, str] = field(default_factory=dict)
    namespaces: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    sets: Mapping[str, Sequence[Mapping[str, str]]] = field(default_factory=dict)


@dataclass(frozen=True)
class Problem:
    """Why a node refuses operations, or soon will.

    ``check`` is a few words for a table: stop-writes, out of space, set limit, clock skew, unavailable partitions, dead
    partitions, eviction. ``expected`` and ``found`` are clauses, ``advice`` the next step in the imperative.
    """

    node: str  # as in the query
    namespace: str  # "" for the whole node
    check: str
    expected: str
    found: str
    advice: str
    stops_writes: bool = True  # whether it explains failed writes, deletes and functions
    stops_reads: bool = False  # whether it explains failed reads and queries

    def __str__(self) -> str:
        return f"node {self.node}: {self.text}"

    @property
    def text(self) -> str:
        """The problem without its node."""
        where = f"namespace {self.namespace}: " if self.namespace else ""
        return f"{where}{self.check}: expected {self.expected}, found {self.found}. Next: {self.advice}"

    @property
    def reason(self) -> str:
        """The problem as a reason inside another message: ``stop-writes of node 10.0.0.1 (namespace test: ...)``."""
        where = f"namespace {self.namespace}: " if self.namespace else ""
        return f"{self.check} of node {self.node} ({where}{self.found})"


def query(hosts: Sequence[str], port: int = DEFAULT_PORT, timeout: float = QUERY_TIMEOUT) -> dict[str, Statistics]:
    """Return the statistics of all namespaces of all nodes, by host. Nodes that don't answer are missing.

    :param hosts: addresses, queried in parallel
    :param timeout: seconds for each of the two exchanges with a node
    """
    answers, _ = query_all(hosts, lambda host: query_node(host, port, timeout))
    return answers


def query_node(host: str, port: int = DEFAULT_PORT, timeout: float = QUERY_TIMEOUT) -> Statistics:
    """Return the statistics of a node. Raises InfoError if it doesn't answer."""
    first = info(host, "statistics", "namespaces", port=port, timeout=timeout)
    names = [name for name in first.get("namespaces", "").split(";") if name]
    commands = [f"{command}/{name}" for name in names for command in ("namespace", "sets")]
    second = info(host, *commands, port=port, timeout=timeout) if commands else {}
    values = {command: "" if is_error(value) else value for command, value in second.items()}
    sets = {name: values.get(f"sets/{name}", "").split(";") for name in names}
    return Statistics(
        parse_pairs(first.get("statistics", "")),
        {name: parse_pairs(values.get(f"namespace/{name}", "")) for name in names},
        {name: [parse_pairs(part, ":") for part in parts if part] for name, parts in sets.items()},
    )


def problems(nodes: Mapping[str, Statistics]) -> list[Problem]:
    """Return the problems of all nodes, [] if they serve. Pure.

    :param nodes: the answer of query()
    """
    found = []
    for node, statistics in nodes.items():
        for namespace, values in statistics.namespaces.items():
            for check in CHECKS:
                found += check(_Subject(node, namespace, statistics, values))
        if not any(problem.node == node and problem.check == "clock skew" for problem in found):
            found += _clocks(node, statistics)
    return found


def short(found: Iterable[Problem]) -> str:
    """Return the checks for a cell of a table, each once: ``stop-writes, eviction``."""
    return ", ".join(dict.fromkeys(problem.check for problem in found))


@dataclass(frozen=True)
class _Subject:
    """A namespace on a node."""

    node: str
    namespace: str
    statistics: Statistics
    values: Mapping[str, str]

    def number(self, *names: str) -> int | None:
        """The first of the statistics that the release has."""
        return number(self.values, *names)

    def flag(self, name: str) -> bool:
        return self.values.get(name) == "true"

    def problem(self, check: str, expected: str, found: str, advice: str, **stops: bool) -> Problem:
        return Problem(self.node, self.namespace, check, expected, found, advice, **stops)


def _stop_writes(subject: _Subject) -> list[Problem]:
    """Writes that the server has stopped, or will stop for lack of space at its next evaluation, within 10 s."""
    stopped, space, memory = subject.flag("stop_writes"), _space_reasons(subject), _memory_reasons(subject)
    if not stopped and not space:
        return []
    reasons = " and ".join([*space, *memory] if stopped else space) or "the server names no reason"
    state = "stop_writes" if stopped else "writes that stop within 10 s"
    advice = MORE_MEMORY if memory and not space else MORE_SPACE
    return [subject.problem("stop-writes", "a namespace that accepts writes", f"{state} because {reasons}", advice)]


def _space_reasons(subject: _Subject) -> list[str]:
    """The limits of the storage that are exceeded."""
    reasons = []
    # 7.0 and newer, then 6.4 and data on disk.
    available = subject.number("data_avail_pct", "device_available_pct", "pmem_available_pct")
    name, limit = _limit(subject, "storage-engine.stop-writes-avail-pct", "storage-engine.min-avail-pct")
    if available is not None and limit is not None and available < limit:
        statistic = _first(subject, "data_avail_pct", "device_available_pct", "pmem_available_pct")
        reasons.append(f"{statistic} {available} is below {name} {limit}")
    used = subject.number("data_used_pct")
    name, limit = _limit(subject, "storage-engine.stop-writes-used-pct")
    if used is not None and limit and used >= limit:
        reasons.append(f"data_used_pct {used} has reached {name} {limit}")
    total, used = subject.number("device_total_bytes"), subject.number("device_used_bytes")
    name, limit = _limit(subject, "storage-engine.max-used-pct")
    if total and used is not None and limit is not None and used * 100 // total > limit:
        reasons.append(f"device_used_bytes is {used * 100 // total} % of device_total_bytes, above {name} {limit}")
    return reasons


def _memory_reasons(subject: _Subject) -> list[str]:
    """The limits of the memory that are exceeded."""
    reasons = []
    free = number(subject.statistics.node, "system_free_mem_pct")
    name, limit = _limit(subject, "stop-writes-sys-memory-pct")
    if free is not None and limit and 100 - free > limit:
        reasons.append(f"{100 - free} % of the host's memory is used, above {name} {limit}")
    indexes, budget = subject.number("indexes_memory_used_pct"), subject.number("indexes-memory-budget")
    if indexes is not None and budget and indexes >= 100:
        reasons.append(f"the indexes use {indexes} % of indexes-memory-budget")
    used, size = subject.number("memory_used_bytes"), subject.number("memory-size")
    name, limit = _limit(subject, "stop-writes-pct")
    if used is not None and size and limit is not None and used > size * limit // 100:
        reasons.append(f"memory_used_bytes is {used * 100 // size} % of memory-size, above {name} {limit}")
    return reasons


def _free_blocks(subject: _Subject) -> list[Problem]:
    """Devices, files and stripes that take no write because their last free blocks are for defragmentation."""
    full, all_of_them = [], 0
    for name, value in subject.values.items():
        device, _, statistic = name.rpartition(".")
        if statistic != "free_wblocks" or not value.isdecimal():
            continue
        all_of_them += 1
        in_memory = device.startswith("storage-engine.stripe") and f"{device}.backing_write_q" not in subject.values
        if int(value) <= (RESERVED_BLOCKS_OF_MEMORY if in_memory else RESERVED_BLOCKS):
            full.append(subject.values.get(device) or device)
    if not full:
        return []
    shown = ", ".join(full[:3]) + (", ..." if len(full) > 3 else "")
    found = f"{len(full)} of {all_of_them} with only the blocks left that are reserved for defragmentation: {shown}"
    advice = MORE_SPACE + "; fewer and larger partitions waste less on this reserve"
    return [subject.problem("out of space", "free blocks on every device", found, advice)]


def _set_limits(subject: _Subject) -> list[Problem]:
    """Sets at their own limit, which refuse writes although the namespace accepts them."""
    found = []
    for values in subject.statistics.sets.get(subject.namespace, ()):
        count, most = number(values, "objects"), number(values, "stop-writes-count")
        # The names of 6.4: on disk, in memory.
        size = max(number(values, name) or 0 for name in ("data_used_bytes", "device_data_bytes", "memory_data_bytes"))
        largest = number(values, "stop-writes-size")
        reasons = []
        if most and count is not None and count >= most:
            reasons.append(f"{count:,} objects, stop-writes-count {most:,}")
        if largest and size > largest:
            reasons.append(f"{size:,} bytes, stop-writes-size {largest:,}")
        if reasons:
            name = values.get("set", "?")
            advice = f"truncate the set {name}, raise its limit, or stop the threads that write"
            text = f"set {name} at its limit: " + "; ".join(reasons)
            found.append(subject.problem("set limit", "sets that accept records", text, advice))
    return found


def _partitions(subject: _Subject) -> list[Problem]:
    """Partitions that no node serves. Only strong consistency has them."""
    found = []
    for name, advice in (
        ("unavailable_partitions", "start the stopped nodes (restart-node)"),
        ("dead_partitions", "start the stopped nodes (restart-node); what they lost has to be revived (asadm: revive)"),
    ):
        count = subject.number(name)
        if count:
            check = name.replace("_", " ")
            text = f"{count:,} partitions that refuse reads and writes"
            found.append(subject.problem(check, "every partition to be served", text, advice, stops_reads=True))
    return found


def _stopped_by_clocks(subject: _Subject) -> list[Problem]:
    """Writes that the server has stopped because the nodes' clocks differ."""
    if not subject.flag("clock_skew_stop_writes"):
        return []
    found = f"clock_skew_stop_writes: {_skew(subject.statistics.node)}"
    return [subject.problem("clock skew", "a namespace that accepts writes", found, SET_CLOCKS)]


def _eviction(subject: _Subject) -> list[Problem]:
    """Live records that the server deletes because the namespace is over its eviction limit."""
    if not subject.flag("hwm_breached"):
        return []
    names = (
        "storage-engine.evict-used-pct", "evict-indexes-memory-pct", "index-type.evict-mounts-pct",
        "sindex-type.evict-mounts-pct", "high-water-disk-pct", "high-water-memory-pct",
        "index-type.mounts-high-water-pct", "sindex-type.mounts-high-water-pct",
    )  # fmt: skip
    limits = [f"{name} {limit}" for name in names if (limit := subject.number(name))]
    used = subject.number("data_used_pct")
    found = "hwm_breached: the namespace is over its limit for eviction (" + ", ".join(limits or ["unknown"]) + ")"
    found += f" with data_used_pct {used}" if used is not None else ""
    expected = "no record to be evicted"
    return [subject.problem("eviction", expected, found, MORE_SPACE, stops_writes=False)]


SET_CLOCKS = "check that the hosts' clocks are synchronized (timedatectl), and restart the node that is out of step"
CHECKS: tuple[Callable[[_Subject], list[Problem]], ...] = (
    _stop_writes,
    _free_blocks,
    _set_limits,
    _stopped_by_clocks,
    _partitions,
    _eviction,
)


def _clocks(node: str, statistics: Statistics) -> list[Problem]:
    """Clocks so far apart that the server is about to stop writes."""
    skew, limit = (
        number(statistics.node, name) or 0 for name in ("cluster_clock_skew_ms", "cluster_clock_skew_stop_writes_sec")
    )
    allowed = int(limit * 1000 * SKEW_WARNING_SHARE) if limit else SKEW_WARNING
    if skew < allowed:
        return []
    expected = f"clocks that differ by less than {allowed:,} ms"
    return [Problem(node, "", "clock skew", expected, _skew(statistics.node), SET_CLOCKS, stops_writes=False)]


def _skew(values: Mapping[str, str]) -> str:
    """How far the clocks are apart, and which nodes are out of step."""
    outliers = values.get("cluster_clock_skew_outliers", "null")
    named = "" if outliers in ("null", "") else f" (nodes {outliers})"
    return f"clocks that differ by {number(values, 'cluster_clock_skew_ms') or 0:,} ms{named}"


def number(values: Mapping[str, str], *names: str) -> int | None:
    """Return the first of several values as a whole number, or None if there is none."""
    text = next((values[name] for name in names if name in values), "")
    return int(text) if text.lstrip("-").isdecimal() else None


def _first(subject: _Subject, *names: str) -> str:
    """The first of several names that the release has."""
    return next((name for name in names if name in subject.values), names[-1])


def _limit(subject: _Subject, *names: str) -> tuple[str, int | None]:
    """The name of a limit in aerospike.conf, and its value."""
    name = _first(subject, *names)
    return name.rpartition(".")[2], subject.number(name)
