# Copyright (c) Pegasus authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""What Perseus does, as metrics for Prometheus: from the lines that it prints and the threads that it is asked for.

Perseus has no metrics of its own, and what it prints needs care: cells are counts since the last row, failed operations
count too, columns come and go, error lines stand between the rows, and a living process may print nothing at all.
So each metric says only what was seen. Pure: no clock, no files; times are seconds of one clock. Standard library only.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from .rows import TOTAL, Row, TableReader, belongs_to_table
from .threads import WORKLOADS

# The first that matches names the kind. Words of Perseus and of Aerospike's Java client.
ERROR_KINDS = (
    ("cluster_empty", re.compile(r"cluster is empty", re.IGNORECASE)),
    ("namespace_not_found", re.compile(r"namespace not found", re.IGNORECASE)),
    ("connection_refused", re.compile(r"connection refused", re.IGNORECASE)),
    ("server_memory", re.compile(r"server memory error", re.IGNORECASE)),
    ("enterprise_only", re.compile(r"\berror 25\b|enterprise only", re.IGNORECASE)),
    ("timeout", re.compile(r"time(d )?[ -]?out", re.IGNORECASE)),
    ("exception", re.compile(r"exception|\berror\b", re.IGNORECASE)),
)
UNKNOWN = "unknown"
# Frames and causes belong to the error above them.
_PART_OF_A_TRACE = re.compile(r"\s|Caused by:|Traceback|\.\.\. \d+ more")

RATE_ROWS = 5  # rows that the rate is averaged over
PRINT_INTERVAL = 1.0  # seconds between rows (perseus_config)
STALE_SECONDS = 5.0  # without a row for so long, the rate is 0: nothing was seen to be done


@dataclass(frozen=True)
class Service:
    """Perseus's service as systemd sees it."""

    active: bool
    restarts: int  # starts seen after the first one


@dataclass
class Meter:
    """Takes lines as they come; renders the metrics of any moment."""

    started: float  # when it began to look, for the time without any row
    table: TableReader = field(default_factory=TableReader)
    operations: dict[str, int] = field(default_factory=dict)
    records: dict[str, int] = field(default_factory=dict)
    errors: dict[str, int] = field(default_factory=lambda: {**{kind: 0 for kind, _ in ERROR_KINDS}, UNKNOWN: 0})
    rows: int = 0
    last_row: float | None = None
    header_at: float | None = None
    _recent: deque[tuple[float, Row]] = field(default_factory=lambda: deque(maxlen=RATE_ROWS + 1))

    def look_back(self, lines: Iterable[str], last_written: float) -> None:
        """Take what was printed before: it names the columns and the threads, and counts as the past.

        :param last_written: when the last of it was written
        """
        row = None
        for line in lines:
            row = self.table.feed(line) if line.strip() else row
        if row:
            self.last_row = last_written
        if self.table.headers:
            self.header_at = last_written

    def take(self, lines: Iterable[str], now: float) -> None:
        """Take the lines that have just come."""
        for line in lines:
            if not belongs_to_table(line):
                self._count_error(line)
            headers = self.table.headers
            row = self.table.feed(line)
            if self.table.headers > headers:
                self.header_at = now
            if row:
                self._count_row(row, now)

    def take_errors(self, lines: Iterable[str]) -> None:
        """Take what has just come on stderr: stack traces, and no table."""
        for line in lines:
            if line.strip():
                self._count_error(line)

    def rates(self, now: float) -> dict[str, float]:
        """Operations a second by workload, for the columns of the last header; a batch is one."""
        columns = [column.workload for column in self.table.columns if column.workload != TOTAL]
        if not self._recent or now - self._recent[-1][0] > STALE_SECONDS:
            return dict.fromkeys(columns, 0.0)
        rows = [row for _, row in self._recent]
        if len(rows) > 1:
            rows = rows[1:]  # the first one's counts are of the time before it
        # On a starved host several rows are read at once: they took their intervals all the same.
        seconds = max(self._recent[-1][0] - self._recent[0][0], len(rows) * PRINT_INTERVAL)
        return {name: sum(row.counts.get(name, 0) for row in rows) / seconds for name in columns}

    def render(self, now: float, service: Service, wanted: dict[str, int], threads_file_ok: bool) -> str:
        """Return the metrics in Prometheus's text format.

        :param wanted: threads by workload, as the last good threads.yaml says
        :param threads_file_ok: whether the present one is good, and Pegasus's
        """
        return "".join(self._metrics(now, service, wanted, threads_file_ok))

    def _metrics(self, now: float, service: Service, wanted: dict[str, int], threads_file_ok: bool) -> Iterator[str]:
        yield _one("perseus_up", "gauge", "Whether Perseus's service runs.", int(service.active))
        yield _one(
            "perseus_restarts_total", "counter", "Starts of the service since the exporter began.", service.restarts
        )
        rates = self.rates(now) if service.active else {}
        yield _family(
            "perseus_operations_per_second", "gauge", "Operations a second, failed ones too; a batch is one.",
            "workload", {name: round(rate, 1) for name, rate in rates.items()},
        )  # fmt: skip
        yield _family(
            "perseus_operations_total", "counter", "Operations printed, failed ones too; a batch is one.",
            "workload", self.operations,
        )  # fmt: skip
        yield _family(
            "perseus_records_total", "counter", "Records that the operations stand for, as the servers count them.",
            "workload", self.records,
        )  # fmt: skip
        yield _one("perseus_rows_total", "counter", "Rows printed.", self.rows)
        since = now - (self.started if self.last_row is None else self.last_row)
        yield _one(
            "perseus_seconds_since_last_row", "gauge",
            "Time since the last row; since the exporter's start where there was none.", round(max(0.0, since), 3),
        )  # fmt: skip
        yield _family("perseus_threads_requested", "gauge", "Threads that threads.yaml asks for.", "workload", wanted)
        running = self.running(service)
        yield _family(
            "perseus_threads_running", "gauge", "Threads in the last header; 0 where there is no such column.",
            "workload", running,
        )  # fmt: skip
        if running and self.header_at is not None:
            yield _one(
                "perseus_threads_running_age_seconds", "gauge", "Age of that header.",
                round(max(0.0, now - self.header_at), 3),
            )  # fmt: skip
        yield _one(
            "perseus_threads_file_ok", "gauge", "Whether threads.yaml is Pegasus's, and one that Perseus understands.",
            int(threads_file_ok),
        )  # fmt: skip
        yield _family(
            "perseus_error_lines_total", "counter", "Lines that belong to no table, without the rest of stack traces.",
            "kind", self.errors,
        )  # fmt: skip

    def running(self, service: Service) -> dict[str, int]:
        """Threads by workload; a dead process has none, and before the first header nothing is known."""
        if not service.active:
            return dict.fromkeys(WORKLOADS, 0)
        if not self.table.headers:
            return {}
        return {**dict.fromkeys(WORKLOADS, 0), **self.table.threads}

    def _count_row(self, row: Row, now: float) -> None:
        if self._recent and row.number != self._recent[-1][1].number + 1:
            self._recent.clear()  # another run, or rows were lost: no rate over the gap
        self._recent.append((now, row))
        self.rows += 1
        self.last_row = now
        for workload, count in row.counts.items():
            if workload != TOTAL:
                self.operations[workload] = self.operations.get(workload, 0) + count
                self.records[workload] = self.records.get(workload, 0) + count * row.records.get(workload, 1)

    def _count_error(self, line: str) -> None:
        if not _PART_OF_A_TRACE.match(line):
            self.errors[kind_of(line)] += 1


def kind_of(line: str) -> str:
    """Name the kind of a line that belongs to no table."""
    return next((kind for kind, pattern in ERROR_KINDS if pattern.search(line)), UNKNOWN)


def _one(name: str, kind: str, text: str, value: float) -> str:
    return f"# HELP {name} {text}\n# TYPE {name} {kind}\n{name} {value}\n"


def _family(name: str, kind: str, text: str, label: str, values: dict[str, float] | dict[str, int]) -> str:
    """One metric with a label. Titles of unknown columns come from the outside, so they are escaped."""
    lines = [f"# HELP {name} {text}\n# TYPE {name} {kind}\n"]
    for key, value in values.items():
        escaped = key.replace("\\", r"\\").replace('"', r"\"")
        lines.append(f'{name}{{{label}="{escaped}"}} {value}\n')
    return "".join(lines)
