# Copyright (c) Pegasus authors. SPDX-License-Identifier: Apache-2.0
"""Whether the load that Perseus prints is real: compares its rows with the servers' counters. Pure functions.

Perseus counts failed operations, and keeps running without a server. So a row proves nothing unless the servers'
counters grew as much. A batch counts once in a row and once per record on the servers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from .rows import Row, sums

# The counts of these workloads depend on data and indexes, and a query may take longer than a window. So they aren't
# required to count.
QUERIES = ("numericSearch", "stringSearch", "geospatialSearch", "udfAggregation", "rangeQuery")

_KINDS = {
    "client_read": ("success", "not_found", "filtered_out", "error", "timeout"),
    "client_write": ("success", "filtered_out", "error", "timeout"),
    "client_delete": ("success", "not_found", "filtered_out", "error", "timeout"),
    "client_udf": ("complete", "filtered_out", "error", "timeout"),
    "batch_sub_read": ("success", "not_found", "filtered_out", "error", "timeout"),
    "batch_sub_write": ("success", "filtered_out", "error", "timeout"),
    "batch_sub_delete": ("success", "not_found", "filtered_out", "error", "timeout"),
    "batch_sub_udf": ("complete", "filtered_out", "error", "timeout"),
}
_FAILURES = ("error", "timeout")
_ALL_COUNTERS = [(f"{kind}_{outcome}", outcome) for kind, outcomes in _KINDS.items() for outcome in outcomes]
# A missing or filtered record is an answer. An error or a timeout isn't.
FAILED_COUNTERS = tuple(name for name, outcome in _ALL_COUNTERS if outcome in _FAILURES)
ANSWERED_COUNTERS = tuple(name for name, outcome in _ALL_COUNTERS if outcome not in _FAILURES)
# A query runs on every node, so every node counts it.
QUERY_COUNTERS = ("si_query_short_basic_complete", "si_query_long_basic_complete", "si_query_aggr_complete")
COUNTERS = (*ANSWERED_COUNTERS, *FAILED_COUNTERS, *QUERY_COUNTERS)
# Operations between the arrival of a row and the query of the servers.
SLACK_OPERATIONS = 10


@dataclass(frozen=True)
class Sample:
    """The servers' counters, summed over all nodes, at a moment (time.monotonic seconds)."""

    moment: float
    counters: dict[str, int]


@dataclass(frozen=True)
class Window:
    """The rows between two samples. Each sample was taken when a row arrived."""

    rows: Sequence[Row]
    before: Sample
    after: Sample
    nodes: int  # number of server nodes in the samples


@dataclass
class Verdict:
    """The result for a window. ``problem`` is "" if the load is real. Rates are operations (records) per second."""

    problem: str = ""
    warnings: list[str] = field(default_factory=list)
    total_rate: float = 0.0
    printed_rate: float = 0.0  # as in Perseus's total, in which a batch counts once
    rates: dict[str, float] = field(default_factory=dict)
    server_rate: float = 0.0
    server_error_rate: float = 0.0


def judge(window: Window, threads: dict[str, int], tolerance: float) -> Verdict:
    """Compare a window's rows with the requested threads ({} if unknown) and with the servers' counters.

    :param tolerance: the share of the printed operations that the servers may not have counted
    """
    seconds = window.after.moment - window.before.moment
    growth = {name: value - window.before.counters.get(name, 0) for name, value in window.after.counters.items()}
    records = sums(window.rows, records=True)
    verdict = Verdict(
        total_rate=_rate(sum(records.values()), seconds),
        printed_rate=_rate(sum(row.total for row in window.rows), seconds),
        rates={workload: _rate(count, seconds) for workload, count in records.items()},
    )
    if any(value < 0 for value in growth.values()):
        verdict.problem = "expected the servers' counters to grow, found them smaller: a node was restarted meanwhile"
        return verdict
    answered = sum(growth.get(name, 0) for name in ANSWERED_COUNTERS)
    failed = sum(growth.get(name, 0) for name in FAILED_COUNTERS)
    queries = sum(growth.get(name, 0) for name in QUERY_COUNTERS) / max(1, window.nodes)
    verdict.server_rate = _rate(answered + failed + queries, seconds)
    verdict.server_error_rate = _rate(failed, seconds)
    verdict.warnings = _warnings(window, threads)
    verdict.problem = _rows_problem(window, threads) or _server_problem(
        window, threads, records, answered, failed, tolerance
    )
    return verdict


def _rows_problem(window: Window, threads: dict[str, int]) -> str:
    """The problem of the rows themselves, or ""."""
    counts, last = sums(window.rows), window.rows[-1]
    if not threads:
        return "" if sum(counts.values()) else f"expected rows with counts, found {len(window.rows)} rows of 0"
    idle = [
        name
        for name, number in threads.items()
        if number and name in counts and name not in QUERIES and not counts[name]
    ]
    if idle:
        named = ", ".join(f"{name} ({threads[name]} threads)" for name in idle)
        return f"expected counts above 0 in each column with threads, found 0 in {len(window.rows)} rows for {named}"
    moving = [name for name, number in threads.items() if not number and last.counts.get(name)]
    if moving:
        named = ", ".join(f"{name} {last.counts[name]}" for name in moving)
        return f"expected 0 in each column without threads, found {named}: Perseus hasn't applied threads.yaml"
    return ""


def _server_problem(
    window: Window, threads: dict[str, int], records: dict[str, int], answered: int, failed: int, tolerance: float
) -> str:
    """The difference between the rows and the servers' counters, or ""."""
    claimed = sum(count for workload, count in records.items() if workload not in QUERIES)
    if not claimed:
        return ""
    # The servers count the records of a batch one by one. Perseus counts the batch when all of them are answered.
    in_flight = sum(threads.get(workload, 1) * size for workload, size in window.rows[-1].records.items() if size > 1)
    counted = answered + failed
    if counted < claimed * (1 - tolerance) - in_flight - SLACK_OPERATIONS:
        return (
            f"expected the servers to count what Perseus prints, {claimed:,} operations in {len(window.rows)} rows, "
            f"found {counted:,} in their counters: the other operations failed before they reached a server"
        )
    if not answered:
        return f"expected operations that succeed, found only errors and timeouts on the servers: {failed:,}"
    return ""


def _warnings(window: Window, threads: dict[str, int]) -> list[str]:
    """Warnings although the load is real."""
    columns = window.rows[-1].counts
    warnings = [
        f"{name} has {number} threads but no column: its index isn't enabled in Perseus's configuration"
        for name, number in threads.items()
        if number and name not in columns
    ]
    counts = sums(window.rows)
    warnings += [
        f"{name} has {threads[name]} threads but hasn't counted any operation yet"
        for name in QUERIES
        if threads.get(name) and name in columns and not counts[name]
    ]
    return warnings


def _rate(count: float, seconds: float) -> float:
    """A rate with one decimal."""
    return round(count / seconds, 1) if seconds > 0 else 0.0
