"""The module ec2_node against moto."""

from __future__ import annotations

import pytest
from ansible_collections.aerospike_community.pegasus.plugins.modules import ec2_node

from tests.ec2_moto import (
    launch,
    states,
)


def test_a_node_is_found_by_its_index(ec2, run_module):
    launch(ec2, 1)
    ident = launch(ec2, 2)
    launch(ec2, 2, kind="client", environment="Bench")
    result = run_module(ec2_node, indexes=[2])
    assert [(node["id"], node["state"]) for node in result["nodes"]] == [(ident, "running")]
    assert result["changed"] is False and result["message"] == []


@pytest.mark.parametrize("indexes", [[7], [], [1, 9]])
def test_an_unknown_index_is_refused_with_the_known_indexes(ec2, run_module, indexes):
    launch(ec2, 1)
    launch(ec2, 3)
    result = run_module(ec2_node, indexes=indexes, state="terminated")
    assert result["failed"] is True and result["error_class"] == "usage"
    assert "expected the index of a server node that exists: 1, 3" in result["msg"]
    assert {state for state, _ in states(ec2).values()} == {"running"}


def test_a_terminated_node_is_reported(ec2, run_module):
    launch(ec2, 1)
    ec2.terminate_instances(InstanceIds=[launch(ec2, 2)])
    result = run_module(ec2_node, indexes=[2])
    assert result["failed"] is True and "is terminated; expected a node that exists" in result["msg"]
    result = run_module(ec2_node, indexes=[2], expect="any")
    assert "is already terminated: nothing to do" in result["message"][0]


def test_a_stopped_node_is_skipped_or_refused(ec2, run_module):
    ec2.stop_instances(InstanceIds=[launch(ec2, 1)])
    assert "Bench-1 is skipped: its instance is stopped" in run_module(ec2_node, indexes=[1])["message"][0]
    result = run_module(ec2_node, indexes=[1], expect="running")
    assert result["failed"] is True and "the instance of Bench-1 is stopped; expected it to be running" in result["msg"]


def test_terminating_a_node_twice_changes_nothing(ec2, run_module):
    for index in (1, 2, 3):
        launch(ec2, index)
    assert run_module(ec2_node, check=True, indexes=[2], state="terminated")["changed"] is True
    assert states(ec2)["Bench-2"][0] == "running"
    assert run_module(ec2_node, indexes=[2], state="terminated")["changed"] is True
    assert [states(ec2)[f"Bench-{index}"][0] for index in (1, 2, 3)] == ["running", "terminated", "running"]
    again = run_module(ec2_node, indexes=[2], state="terminated")
    assert again["changed"] is False and "already terminated: nothing to do" in again["message"][0]


def test_a_live_node_precedes_a_terminated_node_with_its_index(ec2, run_module):
    ec2.terminate_instances(InstanceIds=[launch(ec2, 2)])
    ident = launch(ec2, 2)
    assert run_module(ec2_node, indexes=[2])["nodes"][0]["id"] == ident
