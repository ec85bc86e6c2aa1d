"""Single nodes in EC2: found by index, taken, extended, swept. The modules run as Ansible runs them, against moto."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import boto3
import botocore.client
import pytest
from ansible.module_utils.testing import patch_module_args
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.ec2 import expiry
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.ec2.request import user_data
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.ec2.tags import (
    TAG_ENVIRONMENT,
    TAG_EXPIRES,
    TAG_INDEX,
    TAG_KIND,
    TAG_NAME,
    format_time,
    parse_time,
)
from ansible_collections.aerospike_community.pegasus.plugins.modules import ec2_expiry, ec2_node, ec2_reap
from botocore.exceptions import ClientError

REGION = "us-east-1"


@pytest.fixture
def run(tmp_path, capsys):
    def run_module(module, check=False, **asked):
        arguments = {
            "environment": "Bench",
            "region": REGION,
            "access_key": "testing",
            "secret_key": "testing",
            "_ansible_check_mode": check,
            "_ansible_remote_tmp": str(tmp_path),
            **asked,
        }
        capsys.readouterr()
        with patch_module_args(arguments), pytest.raises(SystemExit):
            module.main()
        return json.loads(capsys.readouterr().out)

    return run_module


def launch(ec2, index, kind="server", environment="Bench", expires="never"):
    tags = {
        TAG_ENVIRONMENT: environment,
        TAG_KIND: kind,
        TAG_INDEX: str(index),
        TAG_NAME: f"{environment}-{index}",
    }
    if expires is not None:
        tags[TAG_EXPIRES] = expires
    answer = ec2.run_instances(
        ImageId="ami-amd64", MinCount=1, MaxCount=1, InstanceType="i4i.large",
        TagSpecifications=[
            {"ResourceType": "instance", "Tags": [{"Key": key, "Value": value} for key, value in tags.items()]}
        ],
    )  # fmt: skip
    return answer["Instances"][0]["InstanceId"]


def states(ec2):
    return {
        {tag["Key"]: tag["Value"] for tag in one["Tags"]}["Name"]: (
            one["State"]["Name"],
            {tag["Key"]: tag["Value"] for tag in one["Tags"]}.get(TAG_EXPIRES),
        )
        for reservation in ec2.describe_instances()["Reservations"]
        for one in reservation["Instances"]
    }


def test_a_node_is_found_by_its_index(ec2, run):
    launch(ec2, 1)
    ident = launch(ec2, 2)
    launch(ec2, 2, kind="client", environment="Bench")
    result = run(ec2_node, indexes=[2])
    assert [(one["id"], one["state"]) for one in result["nodes"]] == [(ident, "running")]
    assert result["changed"] is False and result["message"] == []


@pytest.mark.parametrize("indexes", [[7], [], [1, 9]])
def test_an_index_that_does_not_exist_is_refused_with_those_that_do(ec2, run, indexes):
    launch(ec2, 1)
    launch(ec2, 3)
    result = run(ec2_node, indexes=indexes, state="terminated")
    assert result["failed"] is True and result["error_class"] == "usage"
    assert "expected the index of a server node that exists: 1, 3" in result["msg"]
    assert {state for state, _ in states(ec2).values()} == {"running"}


def test_a_terminated_node_is_named_as_that(ec2, run):
    launch(ec2, 1)
    ec2.terminate_instances(InstanceIds=[launch(ec2, 2)])
    result = run(ec2_node, indexes=[2])
    assert result["failed"] is True and "is terminated; expected a node that exists" in result["msg"]
    result = run(ec2_node, indexes=[2], expect="any")
    assert "is already terminated: nothing to do" in result["message"][0]


def test_a_node_whose_instance_is_stopped_is_skipped_or_refused(ec2, run):
    ec2.stop_instances(InstanceIds=[launch(ec2, 1)])
    assert "Bench-1 is skipped: its instance is stopped" in run(ec2_node, indexes=[1])["message"][0]
    result = run(ec2_node, indexes=[1], expect="running")
    assert result["failed"] is True and "the instance of Bench-1 is stopped; expected it to be running" in result["msg"]


def test_one_node_is_taken_and_the_second_time_nothing_is_done(ec2, run):
    for index in (1, 2, 3):
        launch(ec2, index)
    assert run(ec2_node, check=True, indexes=[2], state="terminated")["changed"] is True
    assert states(ec2)["Bench-2"][0] == "running"
    assert run(ec2_node, indexes=[2], state="terminated")["changed"] is True
    assert [states(ec2)[f"Bench-{index}"][0] for index in (1, 2, 3)] == ["running", "terminated", "running"]
    again = run(ec2_node, indexes=[2], state="terminated")
    assert again["changed"] is False and "already terminated: nothing to do" in again["message"][0]


def test_a_live_node_counts_before_one_that_ended_with_its_index(ec2, run):
    ec2.terminate_instances(InstanceIds=[launch(ec2, 2)])
    ident = launch(ec2, 2)
    assert run(ec2_node, indexes=[2])["nodes"][0]["id"] == ident


@pytest.mark.parametrize(("duration", "seconds"), [("4h", 14400), ("90m", 5400), ("60", 60)])
def test_extending_moves_the_tag_from_now(ec2, run, duration, seconds):
    launch(ec2, 1, expires="2020-01-01T00:00:00Z")
    ec2.stop_instances(InstanceIds=[launch(ec2, 2, expires="2020-01-01T00:00:00Z")])
    launch(ec2, 1, environment="Other", expires="2020-01-01T00:00:00Z")
    result = run(ec2_expiry, duration=duration)
    end = parse_time(result["expires"])
    assert abs((end - datetime.now(UTC)).total_seconds() - seconds) < 30
    found = states(ec2)
    assert found["Bench-1"][1] == result["expires"]
    assert found["Bench-2"][1] == found["Other-1"][1] == "2020-01-01T00:00:00Z"
    # setup wouldn't start it.
    assert "Bench-2 is stopped: skipped, expired at 2020-01-01T00:00:00Z (reap terminates it)" in result["message"]
    assert result["instances"] == ["Bench-1"]


def test_a_stopped_node_before_its_end_is_started_first(ec2, run):
    ec2.stop_instances(InstanceIds=[launch(ec2, 1, expires="2130-01-01T00:00:00Z")])
    (line,) = run(ec2_expiry, duration="4h")["message"]
    assert line.endswith("still expires at 2130-01-01T00:00:00Z (start it with setup, then extend again)")


def test_one_group_alone_is_extended(ec2, run):
    launch(ec2, 1, expires="2020-01-01T00:00:00Z")
    launch(ec2, 2, kind="client", expires="2020-01-01T00:00:00Z")
    result = run(ec2_expiry, duration="4h", kinds=["client"])
    assert result["instances"] == ["Bench-2"]
    found = states(ec2)
    assert found["Bench-1"][1] == "2020-01-01T00:00:00Z" and found["Bench-2"][1] == result["expires"]
    result = run(ec2_expiry, duration="4h", kinds=["monitor"])
    assert result["failed"] is True and "no instance with the kind monitor" in result["msg"]


def test_zero_is_without_end_and_twice_is_no_change(ec2, run):
    launch(ec2, 1, expires="2030-01-01T00:00:00Z")
    assert run(ec2_expiry, duration="0")["changed"] is True
    assert states(ec2)["Bench-1"][1] == "never"
    assert run(ec2_expiry, duration="0")["changed"] is False


def test_what_is_no_length_of_time_is_refused(ec2, run):
    launch(ec2, 1)
    result = run(ec2_expiry, duration="4 hours")
    assert result["failed"] is True and "isn't a duration" in result["msg"]
    assert states(ec2)["Bench-1"][1] == "never"


def test_reaping_takes_what_is_past_its_end_and_nothing_else(ec2, run):
    past = format_time(datetime.now(UTC) - timedelta(hours=2))
    future = format_time(datetime.now(UTC) + timedelta(hours=2))
    launch(ec2, 1, expires=past)
    launch(ec2, 2, expires=future)
    launch(ec2, 3, expires="tomorrow")
    launch(ec2, 4, expires=None)
    launch(ec2, 5, expires="never")
    ec2.stop_instances(InstanceIds=[launch(ec2, 6, expires=past)])
    launch(ec2, 1, environment="Other", expires=past)
    dry = run(ec2_reap, check=True)
    assert {state for state, _ in states(ec2).values()} == {"running", "stopped"}
    result = run(ec2_reap)
    assert dry["changes"] == result["changes"]
    gone = sorted(name for name, (state, _) in states(ec2).items() if state == "terminated")
    assert gone == ["Bench-1", "Bench-6"]
    assert "expired" in result["changes"][0] and "2h" in result["changes"][0]
    assert ["Bench-3" in result["unreadable"][0], "Bench-4" in result["unreadable"][1]] == [True, True]
    assert "is 'tomorrow'" in result["unreadable"][0] and "is missing" in result["unreadable"][1]
    again = run(ec2_reap)
    assert again["changed"] is False and len(again["unreadable"]) == 2
    everywhere = run(ec2_reap, every_environment=True)
    assert [one["name"] for one in everywhere["terminated"]] == ["Other-1"]


def test_what_is_protected_is_reported_and_kept(ec2, run):
    past = format_time(datetime.now(UTC) - timedelta(hours=2))
    launch(ec2, 1, expires=past)
    ident = launch(ec2, 2, expires=past)
    ec2.modify_instance_attribute(InstanceId=ident, DisableApiTermination={"Value": True})
    assert run(ec2_reap, check=True)["message"] == run(ec2_reap, check=True)["message"]
    result = run(ec2_reap)
    assert [one["name"] for one in result["terminated"]] == ["Bench-1"]
    assert f"kept Bench-2 ({ident}, server of Bench): expired {past}, but it is protected" in result["protected"][0]
    assert f"--instance-id {ident} --no-disable-api-termination" in result["protected"][1]
    assert states(ec2)["Bench-2"][0] == "running"
    assert run(ec2_reap)["changed"] is False


def test_every_region_is_swept(ec2, run, monkeypatch):
    past = format_time(datetime.now(UTC) - timedelta(hours=2))
    elsewhere = boto3.client("ec2", region_name="eu-west-1")
    launch(ec2, 1, expires=past)
    launch(elsewhere, 1, environment="Other", expires=past)
    looked_at = ["ap-south-1", "eu-west-1", "us-east-1", "us-west-2"]
    refuse = {"ap-south-1": "UnauthorizedOperation"}
    real = botocore.client.BaseClient._make_api_call

    def in_the_way(self, name, parameters):
        if name == "DescribeInstances" and self.meta.region_name in refuse:
            raise ClientError({"Error": {"Code": refuse[self.meta.region_name], "Message": "a policy says no"}}, name)
        answer = real(self, name, parameters)
        if name == "DescribeRegions":  # a client takes its time to make
            answer["Regions"] = [one for one in answer["Regions"] if one["RegionName"] in looked_at]
        return answer

    monkeypatch.setattr(botocore.client.BaseClient, "_make_api_call", in_the_way)
    assert len(run(ec2_reap, check=True, all_regions=True)["terminated"]) == 2
    assert states(elsewhere)["Other-1"][0] == "running"
    result = run(ec2_reap, all_regions=True)
    assert {(one["region"], one["name"]) for one in result["terminated"]} == {
        ("us-east-1", "Bench-1"),
        ("eu-west-1", "Other-1"),
    }
    assert states(ec2)["Bench-1"][0] == states(elsewhere)["Other-1"][0] == "terminated"
    assert any(line.startswith("eu-west-1: terminate Other-1") for line in result["message"])
    assert "did not check ap-south-1" in result["denied"][0] and "a policy says no" in result["denied"][0]

    launch(elsewhere, 2, environment="Other", expires=past)
    refuse["us-west-2"] = "InternalError"
    result = run(ec2_reap, all_regions=True)
    assert result["failed"] is True and "us-west-2: EC2 refused" in result["msg"]
    assert states(elsewhere)["Other-2"][0] == "terminated" and "eu-west-1: terminate Other-2" in result["msg"]


@pytest.mark.parametrize("operation", ["DescribeInstanceAttribute", "TerminateInstances", "DescribeInstances"])
def test_what_may_not_be_taken_is_a_failure_and_no_region_that_is_closed(ec2, run, monkeypatch, operation):
    """It runs on although its end is over. So does all, where the account may look nowhere."""
    launch(ec2, 1, expires=format_time(datetime.now(UTC) - timedelta(hours=2)))
    real = botocore.client.BaseClient._make_api_call

    def in_the_way(self, name, parameters):
        if name == operation:
            raise ClientError({"Error": {"Code": "UnauthorizedOperation", "Message": "a policy says no"}}, name)
        if name == "DescribeRegions":
            return {"Regions": [{"RegionName": REGION}]}
        return real(self, name, parameters)

    with monkeypatch.context() as refused:
        refused.setattr(botocore.client.BaseClient, "_make_api_call", in_the_way)
        result = run(ec2_reap, all_regions=True)
    assert result["failed"] is True and result["error_class"] == "permission"
    assert "us-east-1: EC2 refused to" in result["msg"] and "No region was swept." in result["msg"]
    assert states(ec2)["Bench-1"][0] == "running"


def test_the_timers_of_the_first_boot_and_of_a_change_are_the_same_but_for_their_time():
    script = user_data(3600)
    metric, service, timer = expiry.expiry_files("2026-01-31T12:00:00Z")
    assert (
        metric["content"].splitlines()[-1]
        == f"pegasus_expires_seconds {int(datetime(2026, 1, 31, 12, tzinfo=UTC).timestamp())}"
    )
    assert metric["content"].replace(str(1769860800), "$seconds") in script
    assert service["content"] in script
    assert timer["content"].replace("2026-01-31 12:00:00 UTC", "$end") in script
    assert "+ 3600)" in script
    assert "OnCalendar=2199-01-01" in expiry.expiry_files("never")[2]["content"]
    assert "pegasus_expires_seconds" not in expiry.expiry_files("never")[0]["content"]
    with pytest.raises(ValueError):
        expiry.expiry_files("tomorrow")
