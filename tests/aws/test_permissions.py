"""docs/iam-policy.generated.json permits exactly the calls that Pegasus makes: they are recorded here."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import botocore.client
import pytest
from ansible.module_utils.testing import patch_module_args
from ansible_collections.aerospike_community.pegasus.plugins.modules import (
    ec2_cost,
    ec2_environment,
    ec2_expiry,
    ec2_ingress,
    ec2_node,
    ec2_reap,
)

from pegasus_driver.docs import iam as docs_iam
from tests.aws.ec2_server import Ec2Server

GROUPS = [
    {"kind": "server", "name": "Bench", "nodes": 3, "instance_type": "i4i.large", "spot": True},
    {"kind": "client", "name": "BenchClient", "nodes": 1, "instance_type": "c6i.large"},
    {"kind": "monitor", "name": "BenchGrafana", "nodes": 1, "instance_type": "t3.medium"},
]
# Answers in AWS's form for calls that moto doesn't support; and fewer regions than moto has.
ANSWERS: dict[str, Any] = {
    "DescribeRegions": {"Regions": [{"RegionName": "us-east-1"}, {"RegionName": "us-west-2"}]},
    "GetProducts": {"PriceList": []},
    "GetParameters": {"Parameters": [{"Name": "x", "Value": "ami-amd64"}]},
}

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]  # complete runs of the driver, on a busy machine


@pytest.fixture
def recorded(server: Ec2Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[tuple[str, str, dict[str, Any]]]]:
    """Every call to AWS, as (service, operation, parameters)."""
    calls: list[tuple[str, str, dict[str, Any]]] = []
    real = botocore.client.BaseClient._make_api_call

    def record(self: Any, name: str, parameters: dict[str, Any]) -> Any:
        calls.append((self.meta.service_model.service_name, name, parameters))
        if name in ANSWERS:
            return ANSWERS[name]
        return real(self, name, parameters)

    with monkeypatch.context() as patch:
        patch.setattr(botocore.client.BaseClient, "_make_api_call", record)
        yield calls


@pytest.fixture
def run(server: Ec2Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Any:
    def run_module(module: Any, **parameters: Any) -> dict[str, Any]:
        arguments = {
            "environment": "Bench", "region": "us-east-1", "endpoint_url": server.url, "access_key": "recorded",
            "secret_key": "recorded", "_ansible_remote_tmp": str(tmp_path), **parameters,
        }  # fmt: skip
        capsys.readouterr()
        with patch_module_args(arguments), pytest.raises(SystemExit):
            module.main()
        result: dict[str, Any] = json.loads(capsys.readouterr().out)
        assert not result.get("failed"), result["msg"]
        return result

    return run_module


def everything(run: Any, server: Ec2Server, tmp_path: Path) -> None:
    """Run every module that calls AWS, in all its ways. Actions and playbooks call AWS by these modules only."""
    spec = {
        "groups": GROUPS, "private_key_file": str(tmp_path / "key"), "placement": "cluster",
        "image_name": "/aws/service/some/image", "allowed_cidrs": ["192.0.2.1"],
    }  # fmt: skip
    run(ec2_cost, groups=GROUPS, approved=True)
    instances = run(ec2_environment, **spec)["instances"]
    client = server.client()
    client.stop_instances(InstanceIds=[instances[1]["id"]])
    run(ec2_environment, **spec)
    run(ec2_environment, **{**spec, "image_name": "debian-12-{architecture}-*", "groups": [GROUPS[0] | {"add": 1}]})
    run(ec2_ingress, allowed_cidrs=["192.0.2.2"])
    run(ec2_expiry, duration="4h")
    run(ec2_node, indexes=[2], state="terminated")
    client.create_tags(
        Resources=[instances[2]["id"]], Tags=[{"Key": "pegasus:expires", "Value": "2020-01-01T00:00:00Z"}]
    )
    run(ec2_reap, all_regions=True)

    def own_tag(kind: str) -> list[dict[str, Any]]:
        return [{"ResourceType": kind, "Tags": [{"Key": "pegasus:environment", "Value": "Bench"}]}]

    client.create_volume(AvailabilityZone="us-east-1a", Size=1, TagSpecifications=own_tag("volume"))
    subnet = client.describe_subnets()["Subnets"][0]["SubnetId"]
    client.create_network_interface(SubnetId=subnet, TagSpecifications=own_tag("network-interface"))
    run(ec2_environment, state="absent", groups=[])


def test_the_policy_permits_exactly_the_calls(run: Any, server: Ec2Server, recorded: Any, tmp_path: Path) -> None:
    everything(run, server, tmp_path)
    own = {"StopInstances", "CreateVolume", "CreateNetworkInterface"}
    calls = {(service, name) for service, name, _ in recorded if name not in own}
    policy = docs_iam.text(calls)
    if os.environ.get("PEGASUS_WRITE_POLICY"):
        docs_iam.PAGE.write_text(policy, encoding="utf-8")
    assert docs_iam.PAGE.read_text(encoding="utf-8") == policy, (
        "docs/iam-policy.generated.json doesn't match the calls. Run: "
        "PEGASUS_WRITE_POLICY=1 pytest tests/aws/test_permissions.py"
    )


def test_resources_are_tagged_on_creation(run: Any, server: Ec2Server, recorded: Any, tmp_path: Path) -> None:
    """The policy permits nothing else, not even for dry runs."""
    everything(run, server, tmp_path)
    creations = [
        (name, parameters)
        for _, name, parameters in recorded
        if name.startswith(("RunInst", "CreateS", "CreateP", "Imp"))
    ]
    assert {name for name, _ in creations} == {
        "RunInstances", "CreateSecurityGroup", "CreatePlacementGroup", "ImportKeyPair",
    }  # fmt: skip
    assert any(parameters.get("DryRun") for _, parameters in creations)
    for name, parameters in creations:
        tagged = {
            item["ResourceType"]
            for item in parameters["TagSpecifications"]
            if {"Key": "pegasus:environment", "Value": "Bench"} in item["Tags"]
        }
        assert tagged >= ({"instance", "volume"} if name == "RunInstances" else set()) and tagged, name


def test_only_tagged_resources_can_be_changed() -> None:
    statements = {statement["Sid"]: statement for statement in json.loads(docs_iam.PAGE.read_text())["Statement"]}
    unconditional = {
        action for statement in statements.values() if "Condition" not in statement for action in statement["Action"]
    }
    assert {action for action in unconditional if not action.partition(":")[2].startswith(("Describe", "Get"))} == {
        "ec2:RunInstances", "ec2:CreateSecurityGroup",
    }  # fmt: skip
    changing = statements["ChangeOwn"]
    assert changing["Condition"] == {"StringLike": {"aws:ResourceTag/pegasus:environment": "*"}}
    assert {"ec2:TerminateInstances", "ec2:DeleteSecurityGroup", "ec2:DeleteVolume"} <= set(changing["Action"])
    # With an account's first spot instance, EC2 creates a role.
    assert statements["FirstSpot"]["Action"] == ["iam:CreateServiceLinkedRole"]
    assert statements["FirstSpot"]["Condition"] == {"StringEquals": {"iam:AWSServiceName": "spot.amazonaws.com"}}
    assert not any("*" in action for statement in statements.values() for action in statement["Action"])
