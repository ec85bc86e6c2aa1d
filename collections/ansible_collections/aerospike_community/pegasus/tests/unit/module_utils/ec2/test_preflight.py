"""The checks before a launch: the module ec2_environment against moto."""

from __future__ import annotations

import botocore.client
import pytest
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.ec2 import (
    ingress,
    preflight,
)
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.ec2.plan import Launch
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.ec2.spec import Group

from tests.ec2_moto import CLIENTS, MONITOR, SERVERS, live, refuse

pytestmark = pytest.mark.slow  # launches in moto, half a second each


def dry_runs(monkeypatch, answer):
    """Intercept dry runs: `answer` takes operation and parameters, and returns an error code or ''."""

    real = botocore.client.BaseClient._make_api_call

    def intercept(self, name, parameters):
        code = parameters.get("DryRun") and answer(name, parameters)
        if code:
            raise refuse(code)
        return real(self, name, parameters)

    monkeypatch.setattr(botocore.client.BaseClient, "_make_api_call", intercept)


def nothing_was_created(ec2):
    names = {group["GroupName"] for group in ec2.describe_security_groups()["SecurityGroups"]}
    return live(ec2) == [] and ec2.describe_key_pairs()["KeyPairs"] == [] and "pegasus-Bench" not in names


def test_every_problem_is_reported_at_once(ec2, run, inject, monkeypatch, tmp_path):
    """A missing image, a full subnet, no public address, and a missing private key."""
    monkeypatch.setattr(ingress, "ADDRESS_SERVICE", "http://127.0.0.1:1/")
    (tmp_path / "state").mkdir()

    def small(parameters, call):
        answer = call()
        for subnet in answer["Subnets"]:
            subnet["AvailableIpAddressCount"] = 1
        return answer

    inject("DescribeSubnets", small)
    ec2.import_key_pair(
        KeyName="pegasus-Bench",
        PublicKeyMaterial=b"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJqlBkCzjyzMvWEMHZcHvPyFeTsE0fOCyvA3oGWFbUEV x",
        TagSpecifications=[{"ResourceType": "key-pair", "Tags": [{"Key": "pegasus:environment", "Value": "Bench"}]}],
    )
    result = run(image_name="none-{architecture}", allowed_cidrs=[])
    for text in (
        "its private key isn't on this machine",
        "Expected 5 free addresses in one subnet",
        "No image in us-east-1 is named none-amd64",
        "Could not find the public address of this machine",
    ):
        assert text in result["msg"], text
    assert live(ec2) == []


def test_a_missing_image_hides_neither_quota_nor_permission(ec2, run, inject, monkeypatch):
    inject("GetServiceQuota", quota({"L-1216C47A": 4}))
    dry_runs(monkeypatch, lambda name, parameters: "UnauthorizedOperation" if name == "ImportKeyPair" else "")
    result = run(image_name="none-{architecture}")
    for text in (
        "No image in us-east-1 is named none-amd64",
        "10 more vCPUs of on-demand Standard",
        "EC2 refused to import key pair: UnauthorizedOperation",
    ):
        assert text in result["msg"], text
    assert nothing_was_created(ec2)


def test_a_wrong_type_hides_no_wrong_subnet(ec2, run):
    result = run(groups=[SERVERS | {"instance_type": "i4i.huge"}, CLIENTS, MONITOR], subnet_ids=["subnet-12345678"])
    assert "has no instance type i4i.huge" in result["msg"] and "InvalidSubnetID.NotFound" in result["msg"]
    assert "Expected one zone that offers" not in result["msg"]
    result = run(subnet_ids=["subnet-12345678"], image_name="none-{architecture}")
    assert "InvalidSubnetID.NotFound" in result["msg"] and "named none-amd64" in result["msg"]
    assert nothing_was_created(ec2)


def test_a_wrong_type_of_one_group_hides_nothing_of_the_others(ec2, run, inject, monkeypatch):
    inject("GetServiceQuota", quota({"L-1216C47A": 4}))
    dry_runs(monkeypatch, lambda name, parameters: "UnauthorizedOperation" if name == "RunInstances" else "")
    result = run(groups=[SERVERS, CLIENTS, MONITOR | {"instance_type": "t3.huge"}])
    for text in (
        "us-east-1 has no instance type t3.huge, which is configured for monitor nodes",
        "EC2 refused to launch 3 x i4i.large (server): UnauthorizedOperation",
        "EC2 refused to launch 1 x c6i.large (client): UnauthorizedOperation",
        "8 more vCPUs of on-demand Standard",
    ):
        assert text in result["msg"], text
    assert "Expected one zone" not in result["msg"] and nothing_was_created(ec2)


def test_earlier_problems_are_reported_once_with_new_problems(ec2, run):
    advice = "Correct what is named above."
    before = [
        {"msg": f"config.yml:3: found 't3.huge', expected a type that EC2 offers {advice}",
         "error_class": "configuration", "next_step": advice},
        {"msg": "12 USD are above the limit. Use --yes.", "error_class": "usage", "next_step": "Use --yes."},
    ]  # fmt: skip
    result = run(
        groups=[SERVERS, MONITOR | {"instance_type": "t3.huge"}], problems=before, image_name="none-{architecture}"
    )
    assert result["error_class"] == "configuration"
    for text in (before[0]["msg"].split(advice)[0], "above the limit.", "is named none-amd64", advice, "Use --yes."):
        assert result["msg"].count(text.strip()) == 1, text
    assert "has no instance type" not in result["msg"] and nothing_was_created(ec2)
    # An earlier problem alone prevents the launch.
    assert run(problems=before[1:])["error_class"] == "usage" and nothing_was_created(ec2)


def test_a_question_needs_a_launch_that_nothing_prevents(ec2, run, inject):
    parameters = {"confirm": "Launch?", "plan": ["launch 3"], "check": True}
    result = run(**parameters)
    assert (result["question"], result["message"]) == ("Launch?", ["launch 3", *result["notes"]])
    inject("GetServiceQuota", quota({"L-1216C47A": 10, "L-34B43A08": 5}))
    spot = run(groups=[SERVERS | {"spot": True}, CLIENTS, MONITOR], **parameters)
    assert "Not all can be spot instances" in spot["message"][1], "the user must see it before the confirmation"
    assert "question" not in run(image_name="none-{architecture}", **parameters)
    assert run(confirm="Launch?")["question"] == ""


def test_missing_permissions_are_reported_before_anything_is_created(ec2, run, monkeypatch):
    denied = {"RunInstances", "ImportKeyPair"}
    dry_runs(monkeypatch, lambda name, parameters: "UnauthorizedOperation" if name in denied else "")
    result = run()
    assert result["error_class"] == "permission"
    for text in ("launch 3 x i4i.large (server)", "launch 1 x t3.medium (monitor)", "import key pair"):
        assert f"EC2 refused to {text}: UnauthorizedOperation" in result["msg"], text
    assert "create security group" not in result["msg"]
    assert "docs/iam-policy.generated.json" in result["next_step"]
    assert nothing_was_created(ec2)


def test_refused_descriptions_hide_no_earlier_problem(ec2, run, inject):
    def denied(parameters, call):
        raise refuse("UnauthorizedOperation")

    inject("DescribeKeyPairs", denied)
    inject("DescribeSecurityGroups", denied)
    before = [{"msg": "12 USD are above the limit. Use --yes.", "error_class": "usage", "next_step": "Use --yes."}]
    result = run(problems=before)
    assert result["error_class"] == "permission"
    for text in ("refused to describe key pairs", "refused to describe security groups", "above the limit."):
        assert result["msg"].count(text) == 1, text


def test_wrong_credentials_prevent_the_launch(ec2, run, inject):
    def expired(parameters, call):
        raise refuse("ExpiredToken")

    inject("GetCallerIdentity", expired)
    result = run()
    assert result["error_class"] == "credentials"
    assert nothing_was_created(ec2)


def test_the_caller_is_reported(ec2, run):
    assert run(check=True)["identity"].startswith("arn:aws:sts::")


def quota(values):
    """A GetServiceQuota with these values by code."""

    def answer(parameters, call):
        if parameters["QuotaCode"] not in values:
            raise refuse("NoSuchResourceException")
        return {"Quota": {"Value": float(values[parameters["QuotaCode"]])}}

    return answer


def count_cpus(parameters, call):
    answer = call()
    for reservation in answer["Reservations"]:
        for instance in reservation["Instances"]:
            instance["CpuOptions"] = {"CoreCount": 1, "ThreadsPerCore": 2}
    return answer


def test_the_quota_is_compared_with_the_missing_instances(ec2, run, inject):
    """Five instances of two vCPUs each. Other instances of the account count too; existing nodes aren't missing."""
    values = {"L-1216C47A": 10}
    inject("GetServiceQuota", quota(values))
    inject("DescribeInstances", count_cpus)
    ec2.run_instances(ImageId="ami-amd64", MinCount=1, MaxCount=1, InstanceType="m5.large")
    result = run()
    assert result["error_class"] == "quota"
    assert "10 more vCPUs of on-demand Standard" in result["msg"]
    assert "found 2 in use of 10 (quota L-1216C47A), expected 12 or more" in result["msg"]
    assert "--quota-code L-1216C47A --desired-value 12" in result["next_step"]
    assert len(live(ec2)) == 1 and ec2.describe_key_pairs()["KeyPairs"] == []
    values["L-1216C47A"] = 12
    assert len(run()["instances"]) == 5
    assert "2 more vCPUs" in run(groups=[SERVERS | {"nodes": 4}, CLIENTS, MONITOR])["msg"]


def test_the_quota_counts_started_instances(ec2, run, inject):
    """Otherwise the launch would succeed and the start would be refused."""
    values = {"L-1216C47A": 12}
    inject("GetServiceQuota", quota(values))
    inject("DescribeInstances", count_cpus)
    run()
    ec2.stop_instances(InstanceIds=[run()["instances"][1]["id"]])
    more = [SERVERS | {"nodes": 5}, CLIENTS, MONITOR]
    result = run(groups=more)
    assert result["error_class"] == "quota" and len(live(ec2)) == 5
    assert "6 more vCPUs of on-demand Standard" in result["msg"] and "found 8 in use of 12" in result["msg"]
    values["L-1216C47A"] = 14
    assert len(run(groups=more)["instances"]) == 7


@pytest.mark.parametrize(
    ("spot", "on_demand", "problems"),
    [
        (6, 4, []),
        (5, 10, []),
        (5, 9, ["6 more vCPUs of spot Standard", "10 more vCPUs of on-demand Standard"]),
        (6, 3, ["4 more vCPUs of on-demand Standard"]),
        (5, 3, ["6 more vCPUs of spot Standard", "10 more vCPUs of on-demand Standard"]),
    ],
)
def test_the_spot_quota_falls_back_on_the_on_demand_quota(ec2, run, inject, spot, on_demand, problems):
    """Six vCPUs of spot instances, four on demand."""

    def none_left(parameters, call):
        if spot < 6 and "InstanceMarketOptions" in parameters:
            raise refuse("MaxSpotInstanceCountExceeded")
        return call()

    inject("GetServiceQuota", quota({"L-1216C47A": on_demand, "L-34B43A08": spot}))
    inject("RunInstances", none_left)
    result = run(groups=[SERVERS | {"spot": True}, CLIENTS, MONITOR])
    if problems:
        assert result["error_class"] == "quota" and result["msg"].count("more vCPUs of") == len(problems)
        assert all(text in result["msg"] for text in problems) and nothing_was_created(ec2)
        return
    assert len(live(ec2)) == 5
    notes = "\n".join(result["notes"])
    assert ("Not all can be spot instances: 6 more vCPUs of spot Standard" in notes) == (spot < 6)
    assert ("No spot instances: " in notes) == (spot < 6)


def test_a_type_with_an_unknown_quota_is_a_note():
    notes = []
    group = Group("server", "Bench", 3, "hpc7a.12xlarge")
    assert preflight.quotas(None, [Launch(group, (1, 2, 3))], [], {}, notes) == []
    assert len(notes) == 1 and "unknown whether the vCPU quota suffices for hpc7a.12xlarge" in notes[0]


def test_an_unreadable_quota_is_a_note(ec2, run, inject):
    def denied(parameters, call):
        raise refuse("AccessDeniedException")

    inject("GetServiceQuota", denied)
    result = run()
    assert len(result["instances"]) == 5
    assert (
        "It is unknown whether the vCPU quota suffices: EC2 refused to read the quota L-1216C47A" in result["notes"][0]
    )


def test_the_dry_run_has_the_parameters_of_the_launch(ec2, run, monkeypatch):
    calls = []
    dry_runs(monkeypatch, lambda name, parameters: calls.append((name, parameters)))
    run(check=True)
    assert nothing_was_created(ec2)
    (servers,) = [call for name, call in calls if name == "RunInstances" and call["InstanceType"] == "i4i.large"]
    assert servers["MinCount"] == 3 and servers["ImageId"] == "ami-amd64"
    assert {name for name, _ in calls} == {"RunInstances", "ImportKeyPair", "CreateSecurityGroup"}


def test_a_refused_placement_group_prevents_the_launch(ec2, run, monkeypatch):
    codes = {"CreatePlacementGroup": "UnauthorizedOperation"}
    dry_runs(monkeypatch, lambda name, parameters: codes.get(name, ""))
    assert "EC2 refused to create placement group: UnauthorizedOperation" in run(placement="spread")["msg"]
    assert nothing_was_created(ec2)
