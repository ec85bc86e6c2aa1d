# Copyright (c) Pegasus authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""Whether the load that Perseus prints is real: its rows against the servers' own counters. Pure functions.

Perseus counts failed operations too, and stays alive without a server. So a row alone proves nothing; only counters
that grew on the servers by as much do. A batch counts once in a row and once for each record on the servers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from .rows import Row, record_sums, sums

# What a query workload counts depends on data and indexes, and a long one may outlast a window: never demanded.
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
# A record that isn't there, or that a filter leaves out, is an answer; an error or a timeout is none.
FAILED_COUNTERS = tuple(
    f"{kind}_{outcome}" for kind, all_of in _KINDS.items() for outcome in all_of if outcome in ("error", "timeout")
)
ANSWERED_COUNTERS = tuple(
    f"{kind}_{outcome}" for kind, all_of in _KINDS.items() for outcome in all_of if outcome not in ("error", "timeout")
)
# A query runs on every node, so each counts it.
QUERY_COUNTERS = ("si_query_short_basic_complete", "si_query_long_basic_complete", "si_query_aggr_complete")
COUNTERS = (*ANSWERED_COUNTERS, *FAILED_COUNTERS, *QUERY_COUNTERS)
# A row arrives, the servers are asked: some operations fall between the two.
SLACK_OPERATIONS = 10


@dataclass(frozen=True)
class Sample:
    """The servers' counters, summed over all nodes, at one moment (time.monotonic seconds)."""

    moment: float
    counters: dict[str, int]


@dataclass(frozen=True)
class Window:
    """Rows that came between two samples; each sample was taken when a row arrived."""

    rows: Sequence[Row]
    before: Sample
    after: Sample
    nodes: int  # server nodes that the samples were summed over


@dataclass
class Verdict:
    """What a window says. ``problem`` is empty when the load is real. Rates are operations (records) a second."""

    problem: str = ""
    warnings: list[str] = field(default_factory=list)
    total_rate: float = 0.0
    printed_rate: float = 0.0  # as in Perseus's own total: a batch counts once
    rates: dict[str, float] = field(default_factory=dict)
    server_rate: float = 0.0
    server_error_rate: float = 0.0


def judge(window: Window, threads: dict[str, int], tolerance: float) -> Verdict:
    """Compare a window's rows with the threads that are asked for and with what the servers counted.

    :param threads: the live threads.yaml; empty when it isn't known
    :param tolerance: the share of the printed operations that the servers may not have counted
    """
    seconds = window.after.moment - window.before.moment
    growth = {name: value - window.before.counters.get(name, 0) for name, value in window.after.counters.items()}
    records = record_sums(window.rows)
    verdict = Verdict(
        total_rate=_rate(sum(records.values()), seconds),
        printed_rate=_rate(sum(row.total for row in window.rows), seconds),
        rates={workload: _rate(count, seconds) for workload, count in records.items()},
    )
    if any(value < 0 for value in growth.values()):
        verdict.problem = (
            "expected the servers' counters to grow, found them smaller: a node was restarted in the meantime"
        )
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
    """What is wrong with the rows themselves, or nothing."""
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
        return (
            f"expected counts above 0 in each column that has threads, found 0 in {len(window.rows)} rows for {named}"
        )
    moving = [name for name, number in threads.items() if not number and last.counts.get(name)]
    if moving:
        named = ", ".join(f"{name} {last.counts[name]}" for name in moving)
        return f"expected 0 in each column without threads, found {named}: Perseus has not taken threads.yaml over"
    return ""


def _server_problem(
    window: Window, threads: dict[str, int], records: dict[str, int], answered: int, failed: int, tolerance: float
) -> str:
    """Where the servers don't confirm the rows, or nothing."""
    claimed = sum(count for workload, count in records.items() if workload not in QUERIES)
    if not claimed:
        return ""
    # A batch is counted by the servers record by record, and by Perseus when all of it has come back.
    in_flight = sum(threads.get(workload, 1) * size for workload, size in window.rows[-1].records.items() if size > 1)
    counted = answered + failed
    if counted < claimed * (1 - tolerance) - in_flight - SLACK_OPERATIONS:
        return (
            f"expected the servers to count what Perseus prints, {claimed:,} operations in {len(window.rows)} rows, "
            f"found {counted:,} in their counters: the others failed before they reached a server"
        )
    if not answered:
        return f"expected operations that succeed, found {failed:,} errors and timeouts and nothing else on the servers"
    return ""


def _warnings(window: Window, threads: dict[str, int]) -> list[str]:
    """What a user should know although the load is real."""
    columns = window.rows[-1].counts
    notes = [
        f"{name} has {number} threads and no column: its index isn't enabled in Perseus's configuration"
        for name, number in threads.items()
        if number and name not in columns
    ]
    counts = sums(window.rows)
    notes += [
        f"{name} has {threads[name]} threads and counted nothing yet"
        for name in QUERIES
        if threads.get(name) and name in columns and not counts[name]
    ]
    return notes


def _rate(count: float, seconds: float) -> float:
    """A count as a rate, to a tenth."""
    return round(count / seconds, 1) if seconds > 0 else 0.0
