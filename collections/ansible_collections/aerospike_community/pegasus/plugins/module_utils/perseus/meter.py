# Copyright (c) Pegasus authors. SPDX-License-Identifier: Apache-2.0
"""The metrics of a Perseus for Prometheus, from the lines that it prints and the threads that threads.yaml requests.

A new metric is an entry in Meter._metrics. Perseus has no metrics of its own, and its output needs care: cells are
counts since the last row, failed operations are counted, columns come and go, error lines appear between the rows, and
a running process may print nothing. So a metric reports only what was seen. Pure: no clock, no files. All times are
seconds of the same clock. Standard library only.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from .rows import TOTAL, Row, TableReader, belongs_to_table
from .threads import WORKLOADS

# The first match is the kind. The messages are those of Perseus and of Aerospike's Java client.
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
# Frames and causes belong to the error line above them.
_PART_OF_A_TRACE = re.compile(r"\s|Caused by:|Traceback|\.\.\. \d+ more")

RATE_ROWS = 5  # rows that the rate is averaged over
PRINT_INTERVAL = 1.0  # seconds between rows, as in configuration.py
STALE_SECONDS = 5.0  # after this time without a row, the rate is 0


@dataclass(frozen=True)
class Service:
    """Perseus's service as systemd sees it."""

    active: bool
    restarts: int  # starts after the first


@dataclass
class Meter:
    """Counts what Perseus prints, and renders the metrics at any time."""

    started: float  # when the meter started, for the time without a row
    table: TableReader = field(default_factory=TableReader)
    operations: dict[str, int] = field(default_factory=dict)
    records: dict[str, int] = field(default_factory=dict)
    errors: dict[str, int] = field(default_factory=lambda: {**{kind: 0 for kind, _ in ERROR_KINDS}, UNKNOWN: 0})
    rows: int = 0
    last_row: float | None = None
    header_at: float | None = None
    _recent: deque[tuple[float, Row]] = field(default_factory=lambda: deque(maxlen=RATE_ROWS + 1))

    def look_back(self, lines: Iterable[str], last_written: float) -> None:
        """Read output of before ``last_written`` for the columns and the threads, without counting it."""
        row = None
        for line in lines:
            row = self.table.feed(line) if line.strip() else row
        if row:
            self.last_row = last_written
        if self.table.headers:
            self.header_at = last_written

    def read(self, lines: Iterable[str], now: float) -> None:
        """Count new lines."""
        for line in lines:
            if not belongs_to_table(line):
                self._count_error(line)
            headers = self.table.headers
            row = self.table.feed(line)
            if self.table.headers > headers:
                self.header_at = now
            if row:
                self._count_row(row, now)

    def read_errors(self, lines: Iterable[str]) -> None:
        """Count new lines of stderr, which has stack traces and no table."""
        for line in lines:
            if line.strip():
                self._count_error(line)

    def rates(self, now: float) -> dict[str, float]:
        """Return operations per second by workload, for the columns of the last header. A batch counts once."""
        columns = [column.workload for column in self.table.columns if column.workload != TOTAL]
        if not self._recent or now - self._recent[-1][0] > STALE_SECONDS:
            return dict.fromkeys(columns, 0.0)
        rows = [row for _, row in self._recent]
        if len(rows) > 1:
            rows = rows[1:]  # the counts of the first row belong to the time before it
        # On a starved host, several rows are read at once. Each row still took its interval.
        seconds = max(self._recent[-1][0] - self._recent[0][0], len(rows) * PRINT_INTERVAL)
        return {name: sum(row.counts.get(name, 0) for row in rows) / seconds for name in columns}

    def render(self, now: float, service: Service, requested: dict[str, int], threads_file_ok: bool) -> str:
        """Return the metrics in Prometheus's text format.

        :param requested: threads by workload in the last valid threads.yaml
        :param threads_file_ok: whether threads.yaml is valid now, and written by Pegasus
        """
        return "".join(self._metrics(now, service, requested, threads_file_ok))

    def _metrics(self, now: float, service: Service, requested: dict[str, int], threads_file_ok: bool) -> Iterator[str]:
        yield _metric("perseus_up", "gauge", "Whether Perseus's service is running.", int(service.active))
        yield _metric(
            "perseus_restarts_total", "counter", "Restarts of the service since the exporter started.", service.restarts
        )
        rates = self.rates(now) if service.active else {}
        yield _family(
            "perseus_operations_per_second", "gauge", "Operations per second, including failures; a batch counts once.",
            {name: round(rate, 1) for name, rate in rates.items()},
        )  # fmt: skip
        text = "Operations printed, including failures; a batch counts once."
        yield _family("perseus_operations_total", "counter", text, self.operations)
        text = "Records of these operations, as the servers count them."
        yield _family("perseus_records_total", "counter", text, self.records)
        yield _metric("perseus_rows_total", "counter", "Rows that Perseus printed.", self.rows)
        since = max(0.0, now - (self.started if self.last_row is None else self.last_row))
        text = "Time since the last row, or since the exporter's start without a row."
        yield _metric("perseus_seconds_since_last_row", "gauge", text, round(since, 3))
        yield _family("perseus_threads_requested", "gauge", "Threads in threads.yaml.", requested)
        running = self.running(service)
        text = "Threads in the last header; 0 for a workload without a column."
        yield _family("perseus_threads_running", "gauge", text, running)
        if running and self.header_at is not None:
            age = round(max(0.0, now - self.header_at), 3)
            yield _metric("perseus_threads_running_age_seconds", "gauge", "Age of the last header.", age)
        text = "Whether threads.yaml is valid and written by Pegasus."
        yield _metric("perseus_threads_file_ok", "gauge", text, int(threads_file_ok))
        text = "Lines outside the table; a stack trace counts once."
        yield _family("perseus_error_lines_total", "counter", text, self.errors, "kind")

    def running(self, service: Service) -> dict[str, int]:
        """Return threads by workload: none for a dead process, {} (unknown) before the first header."""
        if not service.active:
            return dict.fromkeys(WORKLOADS, 0)
        if not self.table.headers:
            return {}
        return {**dict.fromkeys(WORKLOADS, 0), **self.table.threads}

    def _count_row(self, row: Row, now: float) -> None:
        if self._recent and row.number != self._recent[-1][1].number + 1:
            self._recent.clear()  # another run or lost rows; a rate must not span the gap
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
    """Return the kind of a line outside the table."""
    return next((kind for kind, pattern in ERROR_KINDS if pattern.search(line)), UNKNOWN)


def _metric(name: str, kind: str, text: str, value: float) -> str:
    return f"# HELP {name} {text}\n# TYPE {name} {kind}\n{name} {value}\n"


def _family(name: str, kind: str, text: str, values: dict[str, float] | dict[str, int], label: str = "workload") -> str:
    """A metric with a label. Its values are escaped, because titles of unknown columns may contain anything."""
    lines = [f"# HELP {name} {text}\n# TYPE {name} {kind}\n"]
    for key, value in values.items():
        escaped = key.replace("\\", r"\\").replace('"', r"\"")
        lines.append(f'{name}{{{label}="{escaped}"}} {value}\n')
    return "".join(lines)
