"""The removal of an environment: the module ec2_environment against moto."""

from __future__ import annotations

from collections import Counter

import pytest

from tests.ec2_moto import GROUPS, REGION, live_by_name, refuse, tags_of

pytestmark = pytest.mark.slow  # launches in moto, half a second each


class Killed(BaseException):
    """Simulates a signal: nothing may catch it and clean up."""


def test_absent_removes_only_the_environment(ec2, run, tmp_path):
    run()
    other = [GROUPS[0] | {"name": "Bench2"}]
    run(environment="Bench2", groups=other, private_key_file=str(tmp_path / "two"))
    zone = f"{REGION}a"
    ec2.create_volume(AvailabilityZone=zone, Size=1)
    own = ec2.create_volume(
        AvailabilityZone=zone,
        Size=1,
        TagSpecifications=[{"ResourceType": "volume", "Tags": [{"Key": "pegasus:environment", "Value": "Bench"}]}],
    )["VolumeId"]
    ec2.create_key_pair(KeyName="mine")

    planned = run(check=True, state="absent")
    assert len(planned["terminated"]) == 5
    assert len(live_by_name(ec2)) == 8

    result = run(state="absent")
    assert result["changed"] is True
    assert result["changes"] == planned["changes"]
    assert sorted(instance["name"] for instance in result["terminated"]) == [
        "Bench-1",
        "Bench-2",
        "Bench-3",
        "BenchClient-1",
        "BenchGrafana-1",
    ]
    assert f"delete the volume {own}" in result["changes"]
    assert result["instances"] == []
    assert {tags_of(instance)["pegasus:environment"] for instance in live_by_name(ec2).values()} == {"Bench2"}
    assert {key["KeyName"] for key in ec2.describe_key_pairs()["KeyPairs"]} == {"mine", "pegasus-Bench2"}
    names = {group["GroupName"] for group in ec2.describe_security_groups()["SecurityGroups"]}
    assert "pegasus-Bench2" in names
    assert "pegasus-Bench" not in names
    assert len(ec2.describe_volumes()["Volumes"]) == 3 + 1

    again = run(state="absent")
    assert again["changed"] is False
    assert again["terminated"] == []
    assert "nothing to destroy" in again["message"][0]
    assert "no instance, network interface, volume" in again["proof"]
    assert sum(again["api_calls"].values()) == 6


def own_tag(kind):
    return [{"ResourceType": kind, "Tags": [{"Key": "pegasus:environment", "Value": "Bench"}]}]


def test_absent_removes_only_tagged_interfaces_and_placement_groups(ec2, run):
    run()
    subnet = live_by_name(ec2)["Bench-1"]["SubnetId"]
    own = ec2.create_network_interface(SubnetId=subnet, TagSpecifications=own_tag("network-interface"))
    theirs = ec2.create_network_interface(SubnetId=subnet)["NetworkInterface"]["NetworkInterfaceId"]
    ec2.create_placement_group(GroupName="ours", Strategy="spread", TagSpecifications=own_tag("placement-group"))
    ec2.create_placement_group(GroupName="theirs", Strategy="spread")
    result = run(state="absent")
    ident = own["NetworkInterface"]["NetworkInterfaceId"]
    assert {f"delete the network interface {ident}", "delete the placement group ours"} <= set(result["changes"])
    interfaces = {
        interface["NetworkInterfaceId"] for interface in ec2.describe_network_interfaces()["NetworkInterfaces"]
    }
    assert theirs in interfaces and ident not in interfaces
    assert [group["GroupName"] for group in ec2.describe_placement_groups()["PlacementGroups"]] == ["theirs"]
    assert result["proof"].startswith("verified: no instance,")
    assert run(state="absent")["changed"] is False


def test_protection_is_checked_once(ec2, run):
    run()
    planned = run(check=True, state="absent")
    assert planned["api_calls"]["describe_instance_attribute"] == len(planned["unprotected"]) == 5
    result = run(state="absent", unprotected=planned["unprotected"][1:])
    assert result["api_calls"]["describe_instance_attribute"] == 1 and len(result["terminated"]) == 5


def test_a_protected_instance_is_kept_with_its_resources(ec2, run):
    run()
    ident = live_by_name(ec2)["Bench-2"]["InstanceId"]
    ec2.modify_instance_attribute(InstanceId=ident, DisableApiTermination={"Value": True})
    planned = run(check=True, state="absent")
    assert planned["notes"] == [f"kept Bench-2 ({ident}): it is protected against termination"]
    assert len(planned["terminated"]) == 4
    result = run(state="absent")
    assert result["failed"] is True and result["error_class"] == "permission"
    assert f"kept Bench-2 ({ident})" in result["msg"] and "4 other instances were terminated" in result["msg"]
    assert f"modify-instance-attribute --region us-east-1 --instance-id {ident}" in result["next_step"]
    assert sorted(live_by_name(ec2)) == ["Bench-2"]
    assert len(ec2.describe_key_pairs()["KeyPairs"]) == 1
    ec2.modify_instance_attribute(InstanceId=ident, DisableApiTermination={"Value": False})
    assert run(state="absent")["proof"]
    assert live_by_name(ec2) == {} and ec2.describe_key_pairs()["KeyPairs"] == []


def test_remaining_resources_are_reported(ec2, run, inject):
    """A resource with the tag is created while destroy runs: the last check finds it."""
    run()

    def and_another(parameters, call):
        answer = call()
        vpc = ec2.describe_vpcs()["Vpcs"][0]["VpcId"]
        ec2.create_security_group(
            GroupName="late", Description="x", VpcId=vpc, TagSpecifications=own_tag("security-group")
        )
        return answer

    inject("DeleteKeyPair", and_another)
    result = run(state="absent", timeout=1)
    assert result["failed"] is True
    assert (
        "Expected nothing with the tag pegasus:environment=Bench in us-east-1; found: the security group late"
        in (result["msg"])
    )
    assert "run destroy again" in result["next_step"]


def test_a_removal_needs_confirmation(ec2, run):
    run()
    planned = run(check=True, state="absent")
    assert planned["question"] == "Destroy these 7 resources of Bench in us-east-1?"
    assert planned["message"] == planned["changes"]
    assert len(live_by_name(ec2)) == 5
    assert run(state="absent")["question"] == ""


@pytest.mark.slow
@pytest.mark.parametrize(
    "operation", ["TerminateInstances", "DeleteSecurityGroup", "DeletePlacementGroup", "DeleteKeyPair"]
)
@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_killed_destroy_is_completed_by_the_next(ec2, run, inject, operation, moment):
    run()
    ec2.create_placement_group(GroupName="ours", Strategy="spread", TagSpecifications=own_tag("placement-group"))
    calls = Counter()

    def kill_the_first(parameters, call):
        calls[operation] += 1
        if calls[operation] > 1:
            return call()
        if moment == "after":
            call()
        raise Killed

    inject(operation, kill_the_first)
    with pytest.raises(Killed):
        run(state="absent")
    run(state="absent")
    assert live_by_name(ec2) == {}
    assert ec2.describe_key_pairs()["KeyPairs"] == []
    assert run(state="absent")["changed"] is False


def test_absent_waits_until_the_security_group_is_unused(ec2, run, inject):
    run()
    calls = Counter()

    def used_at_first(parameters, call):
        calls["delete"] += 1
        if calls["delete"] < 3:
            raise refuse("DependencyViolation")
        return call()

    inject("DeleteSecurityGroup", used_at_first)
    assert run(state="absent")["api_calls"]["delete_security_group"] == 3


def hide_at_first(ec2, inject):
    """Hide all instances from three descriptions, as after a launch; the resources that they use can't be deleted.

    Returns a function that returns the live instances, listed or not.
    """
    descriptions, listed = Counter(), []

    def hide(parameters, call):
        answer = call()
        if listed:
            return answer
        descriptions["instances"] += 1
        return answer | ({"Reservations": []} if descriptions["instances"] < 4 else {})

    def all_live():
        listed.append(True)
        try:
            return live_by_name(ec2)
        finally:
            listed.clear()

    def in_use(parameters, call):
        if all_live():
            raise refuse("DependencyViolation")
        return call()

    inject("DescribeInstances", hide)
    inject("DeleteSecurityGroup", in_use)
    return all_live


def test_an_unlisted_instance_is_terminated(ec2, run, inject):
    """A setup is killed right after its launch, then destroy runs."""
    run()
    really = hide_at_first(ec2, inject)
    result = run(state="absent", timeout=5)
    assert not result.get("failed"), result["msg"]
    assert really() == {}
    assert len(result["terminated"]) == 5 and any(line.startswith("terminate Bench-1 (") for line in result["changes"])
    assert "no instance" in result["proof"]


def test_an_unlisted_protected_instance_is_kept(ec2, run, inject):
    first = run()["launched"][0]["id"]
    ec2.modify_instance_attribute(InstanceId=first, DisableApiTermination={"Value": True})
    really = hide_at_first(ec2, inject)
    result = run(state="absent", timeout=5)
    assert result["error_class"] == "permission" and "it is protected against termination" in result["msg"]
    assert [item["InstanceId"] for item in really().values()] == [first]


def test_a_security_group_in_use_is_reported(ec2, run, inject):
    run()

    def used(parameters, call):
        raise refuse("DependencyViolation")

    inject("DeleteSecurityGroup", used)
    result = run(state="absent", timeout=1)
    assert "is still in use" in result["msg"]
    assert "run destroy again" in result["next_step"]


def test_every_page_is_read(ec2, run, inject):
    """With one reservation a page, as in a large account."""
    pages = Counter()

    def small_pages(parameters, call):
        parameters["MaxResults"] = 1
        pages["read"] += 1
        return call()

    run()
    inject("DescribeInstances", small_pages)
    assert len(run(state="absent")["terminated"]) == 5
    assert pages["read"] >= 6
