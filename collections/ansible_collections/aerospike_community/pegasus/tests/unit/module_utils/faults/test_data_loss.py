"""Which faults would lose data, and which operations are those of clients."""

from __future__ import annotations

import pytest
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.faults.data_loss import (
    client_operations,
    removal_problem,
    stop_problem,
)


@pytest.mark.parametrize(
    ("nodes", "left", "copies", "allowed"),
    [
        (3, 2, 2, True),
        (3, 1, 2, False),
        (3, 2, 1, False),
        (5, 3, 3, True),
        (5, 2, 3, False),
        (1, 0, 2, False),
        (2, 0, 8, False),
    ],
)
def test_at_most_the_spare_copies_may_be_down(nodes: int, left: int, copies: int, allowed: bool) -> None:
    assert (stop_problem(nodes, left, copies) == "") is allowed


def test_the_message_says_what_would_be_lost() -> None:
    assert stop_problem(3, 1, 2).startswith(
        "2 of 3 nodes would be down; with 2 copies of each record the data survives"
    )
    assert "no node of 3 would be left" in stop_problem(3, 0, 2)


def test_a_node_may_have_the_only_copy_while_partitions_move() -> None:
    """Node 2 of 3 was stopped and came back empty: until it has its copies, some records are on node 3 only."""
    assert stop_problem(3, 2, 2, 0) == ""
    assert "still migrates partitions (812 to go)" in stop_problem(3, 2, 2, 812)
    assert "2 of 3 nodes would be down" in stop_problem(3, 1, 2, 812)


@pytest.mark.parametrize(
    ("others", "down", "stopped", "copies", "message"),
    [
        (2, [], 0, 2, ""),
        (1, [], 0, 2, ""),
        (2, [], 1, 2, ""),  # a stopped node, whose records the others have
        (2, [], 1, 1, "there may be some that only they have"),
        (0, [], 0, 2, "no node would be left"),
        (2, ["10.0.0.4"], 0, 2, "10.0.0.4 is stopped"),
    ],
)
def test_a_removal_that_loses_data_is_a_problem(others, down, stopped, copies, message):
    problem = removal_problem(others, down, stopped, copies)
    assert (message in problem) if message else problem == ""


def test_all_operations_of_clients_count():
    statistics = {
        "client_read_success": "10", "client_write_error": "5", "batch_sub_read_not_found": "3",
        "client_proxy_complete": "2", "client_tsvc_timeout": "9", "from_proxy_read_success": "7", "objects": "100",
    }  # fmt: skip
    assert client_operations(statistics) == 15
