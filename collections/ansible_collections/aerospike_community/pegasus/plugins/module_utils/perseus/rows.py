# Copyright (c) Pegasus authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""The table that Perseus prints, as numbers.

A header names the columns (two lines), a ``Threads:`` line follows, then a row each second: a row number and one count
a column, since the last row. The header comes again every few rows. Between them stand error lines and stack traces,
which are skipped here. A row needs the header before it, because the columns depend on the configuration.
Standard library only.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

# The title's two lines, joined, in small letters -> the workload in threads.yaml.
TITLES = {
    "write": "write",
    "read": "read",
    "update": "update",
    "delete": "delete",
    "expression read": "expressionRead",
    "expression write": "expressionWrite",
    "batch write": "batchWrite",
    "batch read": "batchRead",
    "numeric search": "numericSearch",
    "string search": "stringSearch",
    "geospatial search": "geospatialSearch",
    "udf (lua)": "udf",
    "udf": "udf",
    "udf aggregate": "udfAggregation",
    "range query": "rangeQuery",
    "total tps": "total",
}
TOTAL = "total"

_SIZE = re.compile(r"size:\s*(\d+)", re.IGNORECASE)
_HIT_RATE = re.compile(r"hitrate\s*%\s*\d+", re.IGNORECASE)
# 1,234 in the C locale; another locale has a point, a space, a narrow space or an apostrophe.
_COUNT = re.compile(r"\d{1,3}(?:[,.'\u00a0\u202f\u2019 ]\d{3})+|\d+")
_NOT_DIGIT = re.compile(r"\D")


@dataclass(frozen=True)
class Column:
    """One column: its workload, and how many records one count of it stands for."""

    workload: str
    records: int = 1


@dataclass(frozen=True)
class Row:
    """One row: counts since the row before."""

    number: int
    counts: dict[str, int]
    records: dict[str, int]  # records for one count, by workload

    @property
    def total(self) -> int:
        """The row's own total, in which a batch counts once."""
        return self.counts.get(TOTAL, sum(self.counts.values()))


@dataclass
class TableReader:
    """Takes lines as they come and gives the rows among them."""

    columns: list[Column] = field(default_factory=list)
    threads: dict[str, int] = field(default_factory=dict)  # as the last header said
    headers: int = 0  # how many headers with their threads were read
    others: list[str] = field(default_factory=list)  # the last lines that belong to no table
    _titles: list[str] = field(default_factory=list)
    _in_title: bool = False

    def feed(self, line: str) -> Row | None:
        """Take one whole line; return the row if it is one."""
        if not belongs_to_table(line):
            self.others = [*self.others[-49:], line.rstrip()]
            return None
        cells = _cells(line)
        if cells is None:
            return None
        first = cells[0]
        if first == "Test Cases:":
            self._titles, self._in_title = cells[1:], True
            return None
        if self._in_title and first == "":
            # Python 3.9 on a host has no strict=.
            self.columns = [_column(top, bottom) for top, bottom in zip(self._titles, cells[1:])]  # noqa: B905
            self._in_title = False
            return None
        if first == "Threads:":
            counts = [_count(cell) for cell in cells[1:]]
            self.threads = {
                column.workload: count
                for column, count in zip(self.columns, counts)  # noqa: B905
                if count is not None and column.workload != TOTAL
            }
            self.headers += 1
            return None
        return self._row(cells)

    def feed_all(self, lines: Iterable[str]) -> list[Row]:
        """Take several lines; return the rows among them."""
        return [row for row in (self.feed(line) for line in lines) if row]

    def _row(self, cells: list[str]) -> Row | None:
        """Read a row, if its cells fit the header."""
        numbers = [_count(cell) for cell in cells]
        if None in numbers or len(cells) != len(self.columns) + 1:
            return None
        counts = {column.workload: int(number or 0) for column, number in zip(self.columns, numbers[1:])}  # noqa: B905
        return Row(int(numbers[0] or 0), counts, {column.workload: column.records for column in self.columns})


class LogFollower:
    """Reads a growing file from a place on, whole lines only. A file that got shorter is read from its start."""

    def __init__(self, path: Path, back: int = 0) -> None:
        """:param back: how many bytes before the present end to start at"""
        self._path = path
        self._part = b""
        self._inode = 0
        self._offset = 0
        try:
            found = path.stat()
        except OSError:
            return
        self._inode, self._offset = found.st_ino, max(0, found.st_size - back)

    def lines(self) -> list[str]:
        """Return the lines that are complete since the last call."""
        try:
            with self._path.open("rb") as stream:
                found = os.fstat(stream.fileno())
                if found.st_ino != self._inode or found.st_size < self._offset:
                    self._inode, self._offset, self._part = found.st_ino, 0, b""
                stream.seek(self._offset)
                data = stream.read()
        except FileNotFoundError:
            return []
        self._offset += len(data)
        *whole, self._part = (self._part + data).split(b"\n")
        return [line.decode(errors="replace") for line in whole]


def belongs_to_table(line: str) -> bool:
    """Tell whether a line is one of the table's: a header, a row, a rule, a blank one. Others are errors and notes."""
    text = line.strip()
    return set(text) <= {"=", "-"} or _cells(text) is not None


def sums(rows: Iterable[Row]) -> dict[str, int]:
    """Add the counts of rows by workload, without the total."""
    result: dict[str, int] = {}
    for row in rows:
        for workload, count in row.counts.items():
            if workload != TOTAL:
                result[workload] = result.get(workload, 0) + count
    return result


def record_sums(rows: Iterable[Row]) -> dict[str, int]:
    """Add the records that rows stand for by workload: a batch of 200 is 200, as the servers count it."""
    result: dict[str, int] = {}
    for row in rows:
        for workload, count in row.counts.items():
            if workload != TOTAL:
                result[workload] = result.get(workload, 0) + count * row.records.get(workload, 1)
    return result


def _cells(line: str) -> list[str] | None:
    """The cells of a table line, stripped; nothing if it isn't one."""
    text = line.strip()
    if len(text) < 3 or not text.startswith("|") or not text.endswith("|"):
        return None
    return [cell.strip() for cell in text[1:-1].split("|")]


def _column(top: str, bottom: str) -> Column:
    """Read a title of two lines."""
    size = _SIZE.search(bottom)
    rest = _HIT_RATE.sub("", _SIZE.sub("", bottom))
    title = " ".join(f"{top} {rest}".split())
    return Column(TITLES.get(title.lower(), title), max(1, int(size.group(1))) if size else 1)


def _count(cell: str) -> int | None:
    """Read a whole number with separators; nothing if the cell holds something else."""
    return int(_NOT_DIGIT.sub("", cell)) if _COUNT.fullmatch(cell) else None
