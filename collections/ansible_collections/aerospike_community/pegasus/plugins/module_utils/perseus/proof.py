# Copyright (c) Pegasus authors. SPDX-License-Identifier: Apache-2.0
"""Whether the load that Perseus prints is real: compares its rows with the servers' counters. Pure functions.

Perseus counts failed operations, ignores the errors of updates, expression writes and batches, and keeps running
without a server. So a row proves nothing unless the servers answered as much. Each kind of operation is judged on its
own: many reads that succeed don't make up for writes that are refused.

Units: an **operation** is what Perseus counts, in which a batch counts once. A **record** is what the servers count,
with each record of a batch. Both are the same for everything but batches.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from ..aerospike.health import Problem
from .rows import Row, sums


@dataclass(frozen=True)
class Kind:
    """Operations that the servers count together. The counters are statistics of a namespace, in records."""

    name: str  # in messages, in the plural
    workloads: tuple[str, ...]  # of threads.yaml
    answered: tuple[str, ...]
    failed: tuple[str, ...]
    reads: bool = False  # whether stopped writes leave it alone
    background: bool = False  # whether Perseus does it without threads, see BACKGROUND_RATE
    by_node: bool = False  # whether every node counts each operation


def _kind(name: str, workloads: tuple[str, ...], prefix: str, success: str, *others: str, **options: bool) -> Kind:
    """A kind whose counters have a prefix. A missing or filtered record is an answer, an error or a timeout isn't."""
    answered = tuple(f"{prefix}_{outcome}" for outcome in (success, *others, "filtered_out"))
    return Kind(name, workloads, answered, (f"{prefix}_error", f"{prefix}_timeout"), **options)


# Queries depend on data and indexes, and may take longer than a window. So they aren't required to count.
QUERIES = ("numericSearch", "stringSearch", "geospatialSearch", "udfAggregation", "rangeQuery")
_BASIC = ("si_query_short_basic", "si_query_long_basic", "pi_query_short_basic", "pi_query_long_basic")
_AGGREGATIONS = ("si_query_aggr", "pi_query_aggr")
KINDS: dict[str, Kind] = {
    "read": _kind(
        "reads", ("read", "expressionRead"), "client_read", "success", "not_found", reads=True, background=True
    ),
    "batch_read": _kind("batch reads", ("batchRead",), "batch_sub_read", "success", "not_found", reads=True),
    "write": _kind("writes", ("write", "update", "expressionWrite"), "client_write", "success", background=True),
    "batch_write": _kind("batch writes", ("batchWrite",), "batch_sub_write", "success"),
    "delete": _kind("deletes", ("delete",), "client_delete", "success", "not_found"),
    "batch_delete": _kind("batch deletes", (), "batch_sub_delete", "success", "not_found"),
    "udf": _kind("functions", ("udf",), "client_udf", "complete"),
    "batch_udf": _kind("batch functions", (), "batch_sub_udf", "complete"),
    "query": Kind(
        "queries",
        QUERIES,
        tuple(f"{query}_complete" for query in (*_BASIC, *_AGGREGATIONS)),
        (
            *(f"{query}_error" for query in (*_BASIC, *_AGGREGATIONS)),
            "si_query_short_basic_timeout",
            "pi_query_short_basic_timeout",
            *(f"{query}_abort" for query in ("si_query_long_basic", "pi_query_long_basic", *_AGGREGATIONS)),
        ),
        reads=True,
        by_node=True,
    ),
    # Refused before the server knew what they were, such as those for an unavailable partition.
    "unknown": Kind(
        "operations of an unknown kind",
        (),
        (),
        tuple(f"{origin}_tsvc_{outcome}" for origin in ("client", "batch_sub") for outcome in ("error", "timeout")),
    ),
}
# A client sends a batch's part for a node as a single operation if it has one record only. So what the servers count of
# both kinds is compared with what Perseus claims of both.
SINGLES = {"batch_read": "read", "batch_write": "write", "batch_delete": "delete", "batch_udf": "udf"}
# Of all kinds but queries, whose counts can't be compared with those of Perseus.
ANSWERED_COUNTERS = tuple(name for kind in KINDS.values() if not kind.by_node for name in kind.answered)
FAILED_COUNTERS = tuple(name for kind in KINDS.values() if not kind.by_node for name in kind.failed)
COUNTERS = (*ANSWERED_COUNTERS, *FAILED_COUNTERS, *KINDS["query"].answered, *KINDS["query"].failed)
# Operations of a kind between the arrival of a row and the query of the servers.
SLACK_OPERATIONS = 10
# Every second, each Perseus reads and writes the record with its range of keys, in a set of its own. Such a write may
# succeed although every write of the load fails. Per second and client, with some slack.
BACKGROUND_RATE = 1.5
# The number of reasons in a message. A large cluster has one for each node.
REASONS = 3
# With a smaller share of successes, operations of a kind don't succeed.
LEAST_SHARE = 0.01


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
    clients: int = 1  # number of clients that load the servers

    @property
    def seconds(self) -> float:
        """The time between the samples."""
        return self.after.moment - self.before.moment

    def growth(self, counters: Collection[str]) -> int:
        """How much these counters grew together."""
        return sum(self.after.counters.get(name, 0) - self.before.counters.get(name, 0) for name in counters)

    @property
    def restarted(self) -> bool:
        """Whether a counter shrank, so a node was restarted meanwhile."""
        return any(value < self.before.counters.get(name, 0) for name, value in self.after.counters.items())

    @property
    def failures(self) -> int:
        """How many records failed on the servers, of any kind."""
        return self.growth([name for kind in KINDS.values() for name in kind.failed])


@dataclass(frozen=True)
class Outcome:
    """What became of the operations of a kind in a window, in records."""

    answered: int  # by the servers, for all clients
    failed: int  # on the servers, for all clients
    unanswered: int  # that this client claims and no server counted; 0 for queries


@dataclass
class Verdict:
    """The result for a window. ``problem`` is "" if the load is real.

    Rates are per second: those of Perseus in operations and in records, those of the servers in records. The servers
    count the load of all clients.
    """

    problem: str = ""
    warnings: list[str] = field(default_factory=list)
    operations: float = 0.0
    records: float = 0.0
    workloads: dict[str, dict[str, float]] = field(default_factory=dict)  # -> operations_, records_per_second
    answered: float = 0.0
    failed: float = 0.0
    kinds: dict[str, dict[str, float]] = field(default_factory=dict)  # of KINDS -> answered, failed, unanswered

    def result(self) -> dict[str, object]:
        """Return the figures as keys of a module's result."""
        return {
            "operations_per_second": self.operations,
            "records_per_second": self.records,
            "workloads": self.workloads,
            "servers": {
                "answered_records_per_second": self.answered,
                "failed_records_per_second": self.failed,
                "kinds": self.kinds,
            },
        }


def judge(
    window: Window,
    threads: Mapping[str, int],
    tolerance: float,
    refused: Collection[str] = (),
    health: Sequence[Problem] = (),
) -> Verdict:
    """Compare a window's rows with the requested threads ({} if unknown) and with the servers' counters.

    :param tolerance: the share of the printed operations that the servers may not have counted
    :param refused: workloads that the servers' edition refuses. They are neither required nor counted
    :param health: the problems of the servers (aerospike/health.py), which explain failures
    """
    if threads:
        required = {name: count for name, count in threads.items() if count and name not in refused}
    else:
        required = {name: 0 for name, count in sums(window.rows).items() if count and name not in refused}
    verdict = _figures(window)
    if window.restarted:
        verdict.problem = "expected the servers' counters to grow, found them smaller: a node was restarted meanwhile"
        return verdict
    outcomes = _outcomes(window)
    verdict.kinds = {
        name: {key: _rate(count, window.seconds) for key, count in vars(outcome).items()}
        for name, outcome in outcomes.items()
        if any(vars(outcome).values())
    }
    verdict.answered = round(sum(kind["answered"] for kind in verdict.kinds.values()), 1)
    verdict.failed = round(sum(kind["failed"] for kind in verdict.kinds.values()), 1)
    verdict.warnings = [
        *_thread_warnings(window, required),
        *_failure_warnings(window, required, outcomes),
    ]
    verdict.problem = (
        _failing(window, required, outcomes, health)
        or _rows_problem(window, threads, required)
        or _unanswered(window, required, outcomes, tolerance)
    )
    return verdict


def _figures(window: Window) -> Verdict:
    """What Perseus prints, in operations and in records."""
    operations, records = sums(window.rows), sums(window.rows, records=True)
    return Verdict(
        operations=_rate(sum(row.total for row in window.rows), window.seconds),
        records=_rate(sum(records.values()), window.seconds),
        workloads={
            name: {
                "operations_per_second": _rate(count, window.seconds),
                "records_per_second": _rate(records[name], window.seconds),
            }
            for name, count in operations.items()
        },
    )


def _outcomes(window: Window) -> dict[str, Outcome]:
    """What became of the operations of each kind."""
    counted = {name: (window.growth(kind.answered), window.growth(kind.failed)) for name, kind in KINDS.items()}
    nodes = max(1, window.nodes)
    claims = {name: 0 if kind.by_node else _claimed(window, kind) for name, kind in KINDS.items()}
    missing = {name: claims[name] - sum(counted[name]) for name in KINDS}
    for batch, single in SINGLES.items():
        # A batch's records that were counted as single operations, or the other way round.
        for one, other in ((batch, single), (single, batch)):
            moved = min(max(0, missing[one]), max(0, -missing[other]))
            missing[one], missing[other] = missing[one] - moved, missing[other] + moved
    return {
        name: Outcome(answered // nodes, failed // nodes, 0)
        if KINDS[name].by_node
        else Outcome(answered, failed, max(0, missing[name]))
        for name, (answered, failed) in counted.items()
    }


def _claimed(window: Window, kind: Kind) -> int:
    """How many records of a kind Perseus prints."""
    records = sums(window.rows, records=True)
    return sum(records.get(workload, 0) for workload in kind.workloads)


def _failing(
    window: Window, required: Mapping[str, int], outcomes: Mapping[str, Outcome], health: Sequence[Problem]
) -> str:
    """The kinds with threads whose operations don't succeed, or some of whose operations the servers must refuse."""
    messages = []
    for name, kind in KINDS.items():
        running = _running(window, required, kind)
        if not running:
            continue
        # What failed before the server knew its kind may belong to this one.
        failed = outcomes[name].failed + outcomes["unknown"].failed
        success = outcomes[name].answered
        background = kind.background
        if name in SINGLES and success + failed < _claimed(window, kind) / 2:  # most records are sent alone
            single = outcomes[SINGLES[name]]
            failed, success, background = failed + single.failed, success + single.answered, True
        if background:
            success = max(0, success - round(BACKGROUND_RATE * window.clients * window.seconds))
        if not failed:
            continue
        reasons = [
            problem.reason for problem in health if (problem.stops_reads if kind.reads else problem.stops_writes)
        ]
        if success > LEAST_SHARE * (success + failed) and not reasons:
            continue
        found = (
            f"{_rate(failed, window.seconds):,.0f} failed and {_rate(success, window.seconds):,.0f} answered "
            f"{kind.name} a second on the servers"
        )
        more = [f"and {len(reasons) - REASONS} more"] if len(reasons) > REASONS else []
        why = (
            "; ".join([*reasons[:REASONS], *more])
            or "no server reports a reason, so see the lines of Perseus and the servers' logs"
        )
        messages.append(f"expected {_named(running)} to succeed, found {found}: {why}")
    return ". ".join(messages)


def _rows_problem(window: Window, threads: Mapping[str, int], required: Mapping[str, int]) -> str:
    """The problem of the rows themselves, or ""."""
    counts, last = sums(window.rows), window.rows[-1]
    if not threads:
        return "" if sum(counts.values()) else f"expected rows with counts, found {len(window.rows)} rows of 0"
    idle = {name: n for name, n in required.items() if name in counts and name not in QUERIES and not counts[name]}
    if idle:
        return (
            f"expected counts above 0 in each column with threads, found 0 in {len(window.rows)} rows for "
            f"{_named(idle)}"
        )
    moving = [name for name, number in threads.items() if not number and last.counts.get(name)]
    if moving:
        named = ", ".join(f"{name} {last.counts[name]}" for name in moving)
        return f"expected 0 in each column without threads, found {named}: Perseus hasn't applied threads.yaml"
    return ""


def _unanswered(window: Window, required: Mapping[str, int], outcomes: Mapping[str, Outcome], tolerance: float) -> str:
    """The kinds of which Perseus prints more than the servers counted, or ""."""
    found = []
    # Their kind isn't known, so they may belong to any.
    unknown = outcomes["unknown"].failed
    for name, kind in KINDS.items():
        claimed, missing = _claimed(window, kind), outcomes[name].unanswered - unknown
        if kind.by_node or not claimed or not _running(window, required, kind):
            continue
        # The servers count the records of a batch one by one. Perseus counts the batch when all of them are answered.
        sizes = window.rows[-1].records
        in_flight = sum((required.get(name) or 1) * sizes[name] for name in kind.workloads if sizes.get(name, 1) > 1)
        if missing > claimed * tolerance + in_flight + SLACK_OPERATIONS:
            found.append(f"{claimed - missing:,} of {claimed:,} {kind.name}")
    if not found:
        return ""
    return (
        f"expected the servers to count what Perseus prints, found {', '.join(found)} in {len(window.rows)} rows: the "
        "others failed before they reached a server"
    )


def _thread_warnings(window: Window, required: Mapping[str, int]) -> list[str]:
    """Workloads that don't run although threads.yaml has threads for them."""
    columns, counts = window.rows[-1].counts, sums(window.rows)
    warnings = [
        f"{name} has {number} threads but no column: its index isn't enabled in Perseus's configuration"
        for name, number in required.items()
        if name not in columns
    ]
    warnings += [
        f"{name} has {required[name]} threads but hasn't counted any operation yet"
        for name in QUERIES
        if name in required and name in columns and not counts[name]
    ]
    return warnings


def _failure_warnings(window: Window, required: Mapping[str, int], outcomes: Mapping[str, Outcome]) -> list[str]:
    """Kinds of which a considerable share fails although others succeed."""
    warnings = []
    for name, kind in KINDS.items():
        failed = outcomes[name].failed
        # An unknown kind is compared with all kinds.
        answered = sum(outcomes[other].answered for other in (KINDS if name == "unknown" else (name,)))
        if failed >= max(1, LEAST_SHARE * (answered + failed)) and (
            name == "unknown" or _running(window, required, kind)
        ):
            share, rate = failed / (answered + failed), _rate(failed, window.seconds)
            warnings.append(f"{share:.0%} of the {kind.name} fail on the servers, {rate:,.0f} records/s")
    return warnings


def _running(window: Window, required: Mapping[str, int], kind: Kind) -> dict[str, int]:
    """The threads of a kind that are required to run: those with a column."""
    return {name: required[name] for name in kind.workloads if name in required and name in window.rows[-1].counts}


def _named(threads: Mapping[str, int]) -> str:
    """``write (2 threads), update (1 thread)``; without a number that isn't known."""
    return ", ".join(
        f"{name} ({count} thread{'' if count == 1 else 's'})" if count else name for name, count in threads.items()
    )


def _rate(count: float, seconds: float) -> float:
    """A rate with one decimal."""
    return round(count / seconds, 1) if seconds > 0 else 0.0
