"""The module ec2_expiry against moto."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.ec2.tags import (
    parse_time,
)
from ansible_collections.aerospike_community.pegasus.plugins.modules import ec2_expiry

from tests.ec2_moto import (
    launch,
    states,
)


@pytest.mark.parametrize(("duration", "seconds"), [("4h", 14400), ("90m", 5400), ("60", 60)])
def test_extending_moves_the_tag_from_now(ec2, run_module, duration, seconds):
    launch(ec2, 1, expires="2020-01-01T00:00:00Z")
    ec2.stop_instances(InstanceIds=[launch(ec2, 2, expires="2020-01-01T00:00:00Z")])
    launch(ec2, 1, environment="Other", expires="2020-01-01T00:00:00Z")
    result = run_module(ec2_expiry, duration=duration)
    end = parse_time(result["expires"])
    assert abs((end - datetime.now(UTC)).total_seconds() - seconds) < 30
    found = states(ec2)
    assert found["Bench-1"][1] == result["expires"]
    assert found["Bench-2"][1] == found["Other-1"][1] == "2020-01-01T00:00:00Z"
    # setup doesn't start an expired node.
    assert "Bench-2 is stopped: skipped, expired at 2020-01-01T00:00:00Z (reap terminates it)" in result["message"]
    assert result["instances"] == ["Bench-1"]


def test_a_stopped_node_is_skipped_with_advice(ec2, run_module):
    ec2.stop_instances(InstanceIds=[launch(ec2, 1, expires="2130-01-01T00:00:00Z")])
    (line,) = run_module(ec2_expiry, duration="4h")["message"]
    assert line.endswith("still expires at 2130-01-01T00:00:00Z (start it with setup, then extend again)")


def test_one_kind_is_extended(ec2, run_module):
    launch(ec2, 1, expires="2020-01-01T00:00:00Z")
    launch(ec2, 2, kind="client", expires="2020-01-01T00:00:00Z")
    result = run_module(ec2_expiry, duration="4h", kinds=["client"])
    assert result["instances"] == ["Bench-2"]
    found = states(ec2)
    assert found["Bench-1"][1] == "2020-01-01T00:00:00Z" and found["Bench-2"][1] == result["expires"]
    result = run_module(ec2_expiry, duration="4h", kinds=["monitor"])
    assert result["failed"] is True and "no instance with the kind monitor" in result["msg"]


def test_zero_means_never_and_twice_changes_nothing(ec2, run_module):
    launch(ec2, 1, expires="2030-01-01T00:00:00Z")
    assert run_module(ec2_expiry, duration="0")["changed"] is True
    assert states(ec2)["Bench-1"][1] == "never"
    assert run_module(ec2_expiry, duration="0")["changed"] is False


def test_an_invalid_duration_is_refused(ec2, run_module):
    launch(ec2, 1)
    result = run_module(ec2_expiry, duration="4 hours")
    assert result["failed"] is True and "isn't a duration" in result["msg"]
    assert states(ec2)["Bench-1"][1] == "never"
