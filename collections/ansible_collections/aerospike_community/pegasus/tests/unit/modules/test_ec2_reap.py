"""The module ec2_reap against moto."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import boto3
import botocore.client
import pytest
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.ec2.tags import (
    format_time,
)
from ansible_collections.aerospike_community.pegasus.plugins.modules import ec2_reap

from tests.ec2_moto import (
    REGION,
    launch,
    refuse,
    states,
)


def test_reaping_terminates_only_expired_instances(ec2, run_module):
    past = format_time(datetime.now(UTC) - timedelta(hours=2))
    future = format_time(datetime.now(UTC) + timedelta(hours=2))
    launch(ec2, 1, expires=past)
    launch(ec2, 2, expires=future)
    launch(ec2, 3, expires="tomorrow")
    launch(ec2, 4, expires=None)
    launch(ec2, 5, expires="never")
    ec2.stop_instances(InstanceIds=[launch(ec2, 6, expires=past)])
    launch(ec2, 1, environment="Other", expires=past)
    dry = run_module(ec2_reap, check=True)
    assert {state for state, _ in states(ec2).values()} == {"running", "stopped"}
    result = run_module(ec2_reap)
    assert dry["changes"] == result["changes"]
    terminated = sorted(name for name, (state, _) in states(ec2).items() if state == "terminated")
    assert terminated == ["Bench-1", "Bench-6"]
    assert "expired" in result["changes"][0] and "2h" in result["changes"][0]
    assert ["Bench-3" in result["unreadable"][0], "Bench-4" in result["unreadable"][1]] == [True, True]
    assert "is 'tomorrow'" in result["unreadable"][0] and "is missing" in result["unreadable"][1]
    again = run_module(ec2_reap)
    assert again["changed"] is False and len(again["unreadable"]) == 2
    everywhere = run_module(ec2_reap, every_environment=True)
    assert [instance["name"] for instance in everywhere["terminated"]] == ["Other-1"]


def test_protected_instances_are_reported_and_kept(ec2, run_module):
    past = format_time(datetime.now(UTC) - timedelta(hours=2))
    launch(ec2, 1, expires=past)
    ident = launch(ec2, 2, expires=past)
    ec2.modify_instance_attribute(InstanceId=ident, DisableApiTermination={"Value": True})
    assert run_module(ec2_reap, check=True)["message"] == run_module(ec2_reap, check=True)["message"]
    result = run_module(ec2_reap)
    assert [instance["name"] for instance in result["terminated"]] == ["Bench-1"]
    assert f"kept Bench-2 ({ident}, server of Bench): expired {past}, but it is protected" in result["protected"][0]
    assert f"--instance-id {ident} --no-disable-api-termination" in result["protected"][1]
    assert states(ec2)["Bench-2"][0] == "running"
    assert run_module(ec2_reap)["changed"] is False


def test_every_region_is_swept(ec2, run_module, monkeypatch):
    past = format_time(datetime.now(UTC) - timedelta(hours=2))
    elsewhere = boto3.client("ec2", region_name="eu-west-1")
    launch(ec2, 1, expires=past)
    launch(elsewhere, 1, environment="Other", expires=past)
    checked = ["ap-south-1", "eu-west-1", "us-east-1", "us-west-2"]
    refused = {"ap-south-1": "UnauthorizedOperation"}
    real = botocore.client.BaseClient._make_api_call

    def intercept(self, name, parameters):
        if name == "DescribeInstances" and self.meta.region_name in refused:
            raise refuse(refused[self.meta.region_name], name)
        answer = real(self, name, parameters)
        if name == "DescribeRegions":  # creating a client is slow
            answer["Regions"] = [region for region in answer["Regions"] if region["RegionName"] in checked]
        return answer

    monkeypatch.setattr(botocore.client.BaseClient, "_make_api_call", intercept)
    assert len(run_module(ec2_reap, check=True, all_regions=True)["terminated"]) == 2
    assert states(elsewhere)["Other-1"][0] == "running"
    result = run_module(ec2_reap, all_regions=True)
    assert {(instance["region"], instance["name"]) for instance in result["terminated"]} == {
        ("us-east-1", "Bench-1"),
        ("eu-west-1", "Other-1"),
    }
    assert states(ec2)["Bench-1"][0] == states(elsewhere)["Other-1"][0] == "terminated"
    assert any(line.startswith("eu-west-1: terminate Other-1") for line in result["message"])
    assert "did not check ap-south-1" in result["denied"][0] and "UnauthorizedOperation" in result["denied"][0]

    launch(elsewhere, 2, environment="Other", expires=past)
    refused["us-west-2"] = "InternalError"
    result = run_module(ec2_reap, all_regions=True)
    assert result["failed"] is True and "us-west-2: EC2 refused" in result["msg"]
    assert states(elsewhere)["Other-2"][0] == "terminated" and "eu-west-1: terminate Other-2" in result["msg"]


@pytest.mark.parametrize("operation", ["DescribeInstanceAttribute", "TerminateInstances", "DescribeInstances"])
def test_a_refused_termination_is_a_failure(ec2, run_module, monkeypatch, operation):
    """An expired instance keeps running. A refused description fails if no region is left."""
    launch(ec2, 1, expires=format_time(datetime.now(UTC) - timedelta(hours=2)))
    real = botocore.client.BaseClient._make_api_call

    def intercept(self, name, parameters):
        if name == operation:
            raise refuse("UnauthorizedOperation", name)
        if name == "DescribeRegions":
            return {"Regions": [{"RegionName": REGION}]}
        return real(self, name, parameters)

    with monkeypatch.context() as refused:
        refused.setattr(botocore.client.BaseClient, "_make_api_call", intercept)
        result = run_module(ec2_reap, all_regions=True)
    assert result["failed"] is True and result["error_class"] == "permission"
    assert "us-east-1: EC2 refused to" in result["msg"] and "No region was swept." in result["msg"]
    assert states(ec2)["Bench-1"][0] == "running"
