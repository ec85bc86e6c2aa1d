"""docs/iam-policy.json is what AWS is asked for, no less and no more: from the calls of everything that calls AWS."""

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
# moto knows none of these, or more regions than a test needs; the answers are AWS's for a call that worked.
STAND_INS: dict[str, Any] = {
    "DescribeRegions": {"Regions": [{"RegionName": "us-east-1"}, {"RegionName": "us-west-2"}]},
    "GetProducts": {"PriceList": []},
    "GetParameters": {"Parameters": [{"Name": "x", "Value": "ami-amd64"}]},
}

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]  # whole runs of the driver, on a machine that may be busy


@pytest.fixture
def recorded(server: Ec2Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[tuple[str, str, dict[str, Any]]]]:
    """Every call that goes to AWS, as (service, operation, parameters)."""
    calls: list[tuple[str, str, dict[str, Any]]] = []
    real = botocore.client.BaseClient._make_api_call

    def record(self: Any, name: str, parameters: dict[str, Any]) -> Any:
        calls.append((self.meta.service_model.service_name, name, parameters))
        if name in STAND_INS:
            return STAND_INS[name]
        return real(self, name, parameters)

    with monkeypatch.context() as patch:
        patch.setattr(botocore.client.BaseClient, "_make_api_call", record)
        yield calls


@pytest.fixture
def run(server: Ec2Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Any:
    def run_module(module: Any, **asked: Any) -> dict[str, Any]:
        arguments = {
            "environment": "Bench", "region": "us-east-1", "endpoint_url": server.url, "access_key": "recorded",
            "secret_key": "recorded", "_ansible_remote_tmp": str(tmp_path), **asked,
        }  # fmt: skip
        capsys.readouterr()
        with patch_module_args(arguments), pytest.raises(SystemExit):
            module.main()
        result: dict[str, Any] = json.loads(capsys.readouterr().out)
        assert not result.get("failed"), result["msg"]
        return result

    return run_module


def everything(run: Any, server: Ec2Server, tmp_path: Path) -> None:
    """A life with all that calls AWS in it: what actions and playbooks do is made of these modules."""
    wish = {
        "groups": GROUPS, "private_key_file": str(tmp_path / "key"), "placement": "cluster",
        "image_name": "/aws/service/some/image", "allowed_cidrs": ["192.0.2.1"],
    }  # fmt: skip
    run(ec2_cost, groups=GROUPS, approved=True)
    made = run(ec2_environment, **wish)["instances"]
    client = server.client()
    client.stop_instances(InstanceIds=[made[1]["id"]])
    run(ec2_environment, **wish)
    run(ec2_environment, **{**wish, "image_name": "debian-12-{architecture}-*", "groups": [GROUPS[0] | {"add": 1}]})
    run(ec2_ingress, allowed_cidrs=["192.0.2.2"])
    run(ec2_expiry, duration="4h")
    run(ec2_node, indexes=[2], state="terminated")
    client.create_tags(Resources=[made[2]["id"]], Tags=[{"Key": "pegasus:expires", "Value": "2020-01-01T00:00:00Z"}])
    run(ec2_reap, all_regions=True)

    def ours(kind: str) -> list[dict[str, Any]]:
        return [{"ResourceType": kind, "Tags": [{"Key": "pegasus:environment", "Value": "Bench"}]}]

    client.create_volume(AvailabilityZone="us-east-1a", Size=1, TagSpecifications=ours("volume"))
    subnet = client.describe_subnets()["Subnets"][0]["SubnetId"]
    client.create_network_interface(SubnetId=subnet, TagSpecifications=ours("network-interface"))
    run(ec2_environment, state="absent", groups=[])


def test_the_policy_is_what_is_called(run: Any, server: Ec2Server, recorded: Any, tmp_path: Path) -> None:
    everything(run, server, tmp_path)
    # The test's own calls have a client of their own.
    own = {"StopInstances", "CreateVolume", "CreateNetworkInterface"}
    calls = {(service, name) for service, name, _ in recorded if name not in own}
    made = docs_iam.text(calls)
    if os.environ.get("PEGASUS_WRITE_POLICY"):
        docs_iam.PAGE.write_text(made, encoding="utf-8")
    assert docs_iam.PAGE.read_text(encoding="utf-8") == made, (
        "docs/iam-policy.json isn't what is called. Run: PEGASUS_WRITE_POLICY=1 pytest tests/aws/test_permissions.py"
    )


def test_what_is_made_is_tagged_as_it_is_made(run: Any, server: Ec2Server, recorded: Any, tmp_path: Path) -> None:
    """The policy permits nothing else, and neither do its dry runs."""
    everything(run, server, tmp_path)
    made = [
        (name, parameters)
        for _, name, parameters in recorded
        if name.startswith(("RunInst", "CreateS", "CreateP", "Imp"))
    ]
    assert {name for name, _ in made} == {
        "RunInstances", "CreateSecurityGroup", "CreatePlacementGroup", "ImportKeyPair",
    }  # fmt: skip
    assert any(parameters.get("DryRun") for _, parameters in made)
    for name, parameters in made:
        kinds = {
            one["ResourceType"]
            for one in parameters["TagSpecifications"]
            if {"Key": "pegasus:environment", "Value": "Bench"} in one["Tags"]
        }
        assert kinds >= ({"instance", "volume"} if name == "RunInstances" else set()) and kinds, name


def test_only_what_is_tagged_can_be_changed() -> None:
    statements = {one["Sid"]: one for one in json.loads(docs_iam.PAGE.read_text())["Statement"]}
    unbound = {
        action for one in statements.values() if "Condition" not in one for action in one["Action"]
    }  # fmt: skip
    assert {one for one in unbound if not one.partition(":")[2].startswith(("Describe", "Get"))} == {
        "ec2:RunInstances", "ec2:CreateSecurityGroup",
    }  # fmt: skip
    changing = statements["ChangeOwn"]
    assert changing["Condition"] == {"StringLike": {"aws:ResourceTag/pegasus:environment": "*"}}
    assert {"ec2:TerminateInstances", "ec2:DeleteSecurityGroup", "ec2:DeleteVolume"} <= set(changing["Action"])
    # An account's first spot instance needs no console: EC2 may make the kind that it wants.
    assert statements["FirstSpot"]["Action"] == ["iam:CreateServiceLinkedRole"]
    assert statements["FirstSpot"]["Condition"] == {"StringEquals": {"iam:AWSServiceName": "spot.amazonaws.com"}}
    assert not any("*" in action for one in statements.values() for action in one["Action"])
