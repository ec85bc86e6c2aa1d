"""Records are counted once, and a removed record is not a lost record."""

from __future__ import annotations

import json

import pytest
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.aerospike.health import Statistics
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.aerospike.records import compare, snapshot
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.aerospike.survey import Node, Survey
from ansible_collections.aerospike_community.pegasus.tests.unit.module_utils.aerospike.surveys import (
    A,
    B,
    C,
    migrating,
    node,
    three,
)

BEFORE = json.loads(json.dumps(snapshot(three(), three())))
SINCE = "the removal of node 1"


def two(records: int, **values: object) -> Survey:
    """Nodes 2 and 3, after node 1 was stopped."""
    return Survey({B: node(records, records // 2, **values), C: node(records, records - records // 2, **values)})  # type: ignore[arg-type]


def test_a_snapshot_counts_each_record_once() -> None:
    assert BEFORE["exact"] and BEFORE["members"] == [A, B, C]
    assert BEFORE["namespaces"]["test"]["records"] == 900
    assert BEFORE["namespaces"]["test"]["nodes"][A]["objects"] == 600
    assert snapshot(migrating(), migrating())["exact"] is False


def test_the_same_count_has_both_figures() -> None:
    result = compare(BEFORE, two(900), SINCE)
    assert result.problems == []
    assert result.lines == ["namespace test: 900 records before the removal of node 1, 900 after"]


@pytest.mark.parametrize(("found", "difference"), [(899, "1 are lost"), (498, "402 are lost"), (901, "1 more")])
def test_any_difference_is_a_problem_if_nothing_was_written_or_removed(found: int, difference: str) -> None:
    (problem,) = compare(BEFORE, two(found), SINCE).problems
    assert problem.startswith("namespace test: expected 900 records as before the removal of node 1")
    assert problem.endswith(f"found {found}: {difference}")


@pytest.mark.parametrize(
    "counter",
    ["client_delete_success", "batch_sub_delete_success", "udf_sub_lang_delete_success", "expired_objects",
     "evicted_objects", "from_proxy_delete_timeout"],
)  # fmt: skip
def test_removed_records_are_not_lost(counter: str) -> None:
    # 5 on each of the nodes that stay, and at most as many on the node whose counters are no more.
    assert compare(BEFORE, two(885, **{counter: 5}), SINCE).problems == []
    (problem,) = compare(BEFORE, two(884, **{counter: 5}), SINCE).problems
    assert "expected at least 885 records (900 before" in problem and problem.endswith("found 884: at least 1 are lost")


def test_written_records_explain_more_but_not_fewer() -> None:
    (line,) = compare(BEFORE, two(950, client_write_success=80), SINCE).lines
    assert "900 records before the removal of node 1, 950 after; meanwhile 160 writes" in line
    assert compare(BEFORE, two(899, client_write_success=80), SINCE).problems
    # A part of client_write_success, so it doesn't count again.
    assert "meanwhile 2 writes" in compare(
        BEFORE, two(900, client_write_success=1, xdr_client_write_success=1), SINCE
    ).lines[0]  # fmt: skip


def test_what_was_removed_between_the_two_answers_of_a_snapshot_is_not_lost() -> None:
    """A record is deleted after the node has counted its records and before it reports the counter."""
    earlier, later = three(client_delete_success=0), three(client_delete_success=1)
    assert compare(snapshot(earlier, later), two(899, client_delete_success=1), SINCE).problems == []


def test_nothing_is_compared_after_a_truncation_or_a_restart() -> None:
    (line,) = compare(BEFORE, two(10, truncate_lut=99), SINCE).lines
    assert "it was truncated meanwhile" in line
    values = {"set": "s", "truncate_lut": "77"}
    whole = two(10)
    sets = {
        host: Node(Statistics(answer.statistics.node, answer.statistics.namespaces, {"test": [values]}), "KEY", True)
        for host, answer in whole.nodes.items()
    }
    assert "it was truncated meanwhile" in compare(BEFORE, Survey(sets), SINCE).lines[0]
    busy = three(client_write_success=50)
    assert "10.0.0.2, 10.0.0.3 started again" in compare(snapshot(busy, busy), two(900), SINCE).lines[0]


def test_a_namespace_without_records_has_no_line() -> None:
    empty = Survey({A: node(), B: node()})
    assert compare(snapshot(empty, empty), Survey({B: node()}), SINCE).lines == []


def test_a_namespace_that_vanished_is_a_loss() -> None:
    assert compare(BEFORE, Survey({B: Node(Statistics(), "KEY", True)}), SINCE).problems
