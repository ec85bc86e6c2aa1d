# Copyright (c) Pegasus authors. SPDX-License-Identifier: Apache-2.0
"""The table that Perseus prints, as numbers.

A header of two lines names the columns. A ``Threads:`` line follows, then a row every second: a row number and a count
per column since the last row. Perseus repeats the header every few rows. Error lines and stack traces in between are
skipped. A row needs a header before it, because the columns depend on the configuration. Standard library only.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

# The two lines of a title, joined and in lower case -> the workload in threads.yaml.
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
# 1,234 in the C locale. Other locales have a point, a space, a narrow space or an apostrophe.
_COUNT = re.compile(r"\d{1,3}(?:[,.'\u00a0\u202f\u2019 ]\d{3})+|\d+")
_NOT_DIGIT = re.compile(r"\D")


@dataclass(frozen=True)
class Column:
    """A column: its workload, and how many records each count stands for."""

    workload: str
    records: int = 1


@dataclass(frozen=True)
class Row:
    """A row: counts since the previous row."""

    number: int
    counts: dict[str, int]
    records: dict[str, int]  # records per count, by workload

    @property
    def total(self) -> int:
        """The total of the row, in which a batch counts once."""
        return self.counts.get(TOTAL, sum(self.counts.values()))


@dataclass
class TableReader:
    """Reads lines and returns the rows among them."""

    columns: list[Column] = field(default_factory=list)
    threads: dict[str, int] = field(default_factory=dict)  # of the last header
    headers: int = 0  # number of headers with threads
    others: list[str] = field(default_factory=list)  # the last lines outside the table
    _titles: list[str] = field(default_factory=list)
    _in_title: bool = False

    def feed(self, line: str) -> Row | None:
        """Read a complete line. Return the row if it is a row."""
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
            # Python 3.9 has no strict=.
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
        """Read several lines. Return the rows among them."""
        return [row for row in (self.feed(line) for line in lines) if row]

    def _row(self, cells: list[str]) -> Row | None:
        """The row, if its cells match the header."""
        numbers = [_count(cell) for cell in cells]
        if None in numbers or len(cells) != len(self.columns) + 1:
            return None
        counts = {column.workload: int(number or 0) for column, number in zip(self.columns, numbers[1:])}  # noqa: B905
        return Row(int(numbers[0] or 0), counts, {column.workload: column.records for column in self.columns})


class LogFollower:
    """Reads the new complete lines of a growing file. A truncated or replaced file is read from its start."""

    def __init__(self, path: Path, back: int = 0) -> None:
        """:param back: number of bytes before the current end to start from"""
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
        """Return the lines that were completed since the last call."""
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
        *complete, self._part = (self._part + data).split(b"\n")
        return [line.decode(errors="replace") for line in complete]


def belongs_to_table(line: str) -> bool:
    """Return whether a line is part of the table: header, row, rule or blank line. Others are errors and messages."""
    text = line.strip()
    return set(text) <= {"=", "-"} or _cells(text) is not None


def sums(rows: Iterable[Row], records: bool = False) -> dict[str, int]:
    """Return the sums of the rows' counts by workload, without the total.

    :param records: count the records of a batch, as the servers do, instead of the batch
    """
    result: dict[str, int] = {}
    for row in rows:
        for workload, count in row.counts.items():
            if workload != TOTAL:
                size = row.records.get(workload, 1) if records else 1
                result[workload] = result.get(workload, 0) + count * size
    return result


def _cells(line: str) -> list[str] | None:
    """The stripped cells of a table line, or None for another line."""
    text = line.strip()
    if len(text) < 3 or not text.startswith("|") or not text.endswith("|"):
        return None
    return [cell.strip() for cell in text[1:-1].split("|")]


def _column(top: str, bottom: str) -> Column:
    """The column of a title in two lines."""
    size = _SIZE.search(bottom)
    rest = _HIT_RATE.sub("", _SIZE.sub("", bottom))
    title = " ".join(f"{top} {rest}".split())
    return Column(TITLES.get(title.lower(), title), max(1, int(size.group(1))) if size else 1)


def _count(cell: str) -> int | None:
    """A whole number with separators, or None for other content."""
    return int(_NOT_DIGIT.sub("", cell)) if _COUNT.fullmatch(cell) else None
