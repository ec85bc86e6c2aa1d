"""Perseus's table: headers, rows, other lines, and a log that grows and is rotated."""

from __future__ import annotations

from pathlib import Path

import pytest
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.perseus.rows import (
    LogFollower,
    TableReader,
    sums,
)

TITLES = ["Write", "Read", "Update", "Delete", "Expression", "Expression", "Batch Write", "Batch Read", "UDF (Lua)"]
SECOND = ["", "HitRate %80", "", "", "Read", "Write", "Size: 100", "Size: 200", ""]


def line(*cells: object) -> str:
    """A line with Perseus's padding."""
    return "|" + "".join(f" {cell!s:<11} |" for cell in cells[:-1]) + f" {cells[-1]!s:<14} |"


HEADER = [
    "=" * 140,
    line("Test Cases:", *TITLES, "Total TPS"),
    line("", *SECOND, ""),
    "-" * 140,
    line("Threads:", 1, 2, 0, 0, 0, 0, 0, 1, 0, ""),
    "=" * 140,
]
ROW = line(1, "18,215", "12,157", 0, 0, 0, 0, 0, 5, 0, "30,377")


def test_a_row_after_its_header_is_read() -> None:
    table = TableReader()
    (row,) = table.feed_all([*HEADER, ROW])
    assert row.number == 1
    assert row.total == 30377
    assert row.counts["write"] == 18215
    assert row.counts["expressionWrite"] == 0
    assert table.threads == {**dict.fromkeys(row.counts.keys() - {"total"}, 0), "write": 1, "read": 2, "batchRead": 1}


def test_a_batch_stands_for_its_records() -> None:
    rows = TableReader().feed_all([*HEADER, ROW, ROW])
    assert sums(rows)["batchRead"] == 10
    assert sums(rows, records=True)["batchRead"] == 2000
    assert sums(rows, records=True)["write"] == 2 * 18215
    assert "total" not in sums(rows)


def test_query_columns_have_the_names_of_their_workloads() -> None:
    table = TableReader()
    table.feed_all(
        [
            line("Test Cases:", "Write", "Numeric", "String", "Geospatial", "UDF", "Range", "Total TPS"),
            line("", "", "Search", "Search", "Search", "Aggregate", "Query", ""),
        ]
    )
    assert [column.workload for column in table.columns] == [
        "write", "numericSearch", "stringSearch", "geospatialSearch", "udfAggregation", "rangeQuery", "total",
    ]  # fmt: skip


def test_error_lines_between_rows_are_kept_separately() -> None:
    table = TableReader()
    noise = [
        "com.aerospike.client.AerospikeException: Error -8: Cluster is empty",
        "\tat com.aerospike.Main",
        "",
        "|",
        "||",
    ]
    assert len(table.feed_all([*HEADER, noise[0], ROW, *noise[1:], ROW])) == 2
    assert table.others == [noise[0], noise[1], "|", "||"]


def test_a_row_without_a_matching_header_is_ignored() -> None:
    assert TableReader().feed(ROW) is None
    table = TableReader()
    table.feed_all(HEADER)
    assert table.feed(line(1, 2, 3)) is None
    assert table.feed(ROW.replace("18,215", "18,2x5")) is None


@pytest.mark.parametrize("cell", ["1234567", "1,234,567", "1.234.567", "1\u202f234\u202f567", "1\u2019234\u2019567"])
def test_other_locales_have_other_thousands_separators(cell: str) -> None:
    table = TableReader()
    (row,) = table.feed_all([*HEADER, line(1, cell, 0, 0, 0, 0, 0, 0, 0, 0, cell)])
    assert row.counts["write"] == row.total == 1234567


def test_a_new_header_replaces_the_old_one() -> None:
    table = TableReader()
    table.feed_all([*HEADER, ROW])
    (row,) = table.feed_all([line("Test Cases:", "Read", "Total TPS"), line("", "", ""), line(1, 7, 7)])
    assert row.counts == {"read": 7, "total": 7}


def test_the_follower_returns_complete_lines_only(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("old\n")
    follower = LogFollower(log)
    assert follower.lines() == []
    with log.open("a") as stream:
        stream.write("one\ntw")
        stream.flush()
        assert follower.lines() == ["one"]
        stream.write("o\n")
        stream.flush()
        assert follower.lines() == ["two"]


def test_the_follower_looks_back(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("a\nb\nc\n")
    assert LogFollower(log, back=4).lines() == ["b", "c"]
    assert LogFollower(log, back=1000).lines() == ["a", "b", "c"]


def test_the_follower_handles_rotation_and_a_file_that_appears_later(tmp_path: Path) -> None:
    log = tmp_path / "log"
    follower = LogFollower(log)
    assert follower.lines() == []
    log.write_text("first\n")
    assert follower.lines() == ["first"]
    log.write_text("")  # copytruncate
    assert follower.lines() == []
    log.write_text("new\n")
    assert follower.lines() == ["new"]
    log.rename(tmp_path / "log.1")
    log.write_text("another file\n")
    assert follower.lines() == ["another file"]
