"""The module ec2_environment, run as Ansible runs it, against moto."""

from __future__ import annotations

import json
import socket
import time
from collections import Counter

import pytest
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.ec2 import diff, ingress, keys
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.ec2.instances import Instance
from botocore.exceptions import ClientError

pytestmark = pytest.mark.slow  # whole launches in moto, half a second each

REGION = "us-east-1"
GROUPS = [
    {"kind": "server", "name": "Bench", "nodes": 3, "instance_type": "i4i.large"},
    {"kind": "client", "name": "BenchClient", "nodes": 1, "instance_type": "c6i.large"},
    {"kind": "monitor", "name": "BenchGrafana", "nodes": 1, "instance_type": "t3.medium"},
]


def servers(count, **changed):
    """The groups with another number of servers."""
    return [GROUPS[0] | {"nodes": count} | changed, *GROUPS[1:]]


def live(ec2):
    """Name -> description of every instance that isn't gone."""
    return {
        Instance.from_description(one).name or one["InstanceId"]: one
        for reservation in ec2.describe_instances()["Reservations"]
        for one in reservation["Instances"]
        if one["State"]["Name"] not in ("shutting-down", "terminated")
    }


def tags_of(thing):
    return {tag["Key"]: tag["Value"] for tag in thing["Tags"]}


def refuse(code):
    return ClientError({"Error": {"Code": code, "Message": f"{code} said moto's stand-in"}}, "Operation")


# --- present ----------------------------------------------------------------------------------------------------------


def test_servers_keep_what_their_cluster_cant_change(ec2, run):
    run(groups=[GROUPS[0] | {"fixed": "namespace=Test ttl=0"}, *GROUPS[1:]])
    tags = {name: tags_of(one).get("pegasus:fixed") for name, one in live(ec2).items()}
    assert {tags.pop(f"Bench-{index}") for index in (1, 2, 3)} == {"namespace=Test ttl=0"}
    assert set(tags.values()) == {None}


def test_the_first_run_makes_everything(ec2, run, tmp_path):
    result = run(expiry="20h 30m", tags={"team": "a"})
    assert result["changed"] is True
    assert [one["name"] for one in result["instances"]] == [
        "Bench-1",
        "Bench-2",
        "Bench-3",
        "BenchClient-1",
        "BenchGrafana-1",
    ]
    assert result["launched"] == result["instances"]
    assert result["terminated"] == []
    for record in result["instances"]:
        assert record["state"] == "running"
        assert record["private_ip"].startswith("172.31.")
    assert result["api_calls"]["run_instances"] == 3

    found = live(ec2)
    for name, one in found.items():
        tags = tags_of(one)
        launched = one["LaunchTime"].timestamp()
        expires = time.mktime(time.strptime(tags["pegasus:expires"], "%Y-%m-%dT%H:%M:%SZ")) - time.timezone
        assert abs(expires - launched - 73800) < 5
        assert tags["pegasus:environment"] == "Bench"
        assert tags["pegasus:owner"] == "me"
        assert tags["team"] == "a"
        assert name == f"{tags['Name']}-{Instance.from_description(one).index}"
        attribute = ec2.describe_instance_attribute(
            InstanceId=one["InstanceId"], Attribute="instanceInitiatedShutdownBehavior"
        )
        assert attribute["InstanceInitiatedShutdownBehavior"]["Value"] == "terminate"
        assert one["MetadataOptions"]["HttpTokens"] == "required"
        assert one["KeyName"] == "pegasus-Bench"
    assert len({one["SubnetId"] for one in found.values()}) == 1
    volumes = ec2.describe_volumes(Filters=[{"Name": "tag:pegasus:environment", "Values": ["Bench"]}])["Volumes"]
    assert len(volumes) == 5
    assert all(volume["Encrypted"] for volume in volumes)
    # The monitor's holds the samples.
    assert sorted(volume["Size"] for volume in volumes) == [50] * (len(volumes) - 1) + [100]

    private = tmp_path / "state" / "id_ed25519"
    assert private.stat().st_mode & 0o777 == 0o600
    assert private.parent.stat().st_mode & 0o777 == 0o700
    (key,) = ec2.describe_key_pairs(IncludePublicKey=True)["KeyPairs"]
    assert keys.normalize_key(key["PublicKey"]) == keys.public_key_of(private)
    (group,) = ec2.describe_security_groups(GroupNames=["pegasus-Bench"])["SecurityGroups"]
    assert tags_of(group)["pegasus:environment"] == "Bench"
    ports = {(one.get("FromPort"), *(r["CidrIp"] for r in one["IpRanges"])) for one in group["IpPermissions"]}
    assert {(22, "203.0.113.7/32"), (3000, "203.0.113.7/32"), (9090, "203.0.113.7/32")} <= ports
    (within,) = [one for one in group["IpPermissions"] if one["IpProtocol"] == "-1"]
    assert [pair["GroupId"] for pair in within["UserIdGroupPairs"]] == [group["GroupId"]]


def test_the_second_run_only_looks(ec2, run):
    first = run()
    second = run()
    assert second["changed"] is False
    assert second["changes"] == []
    assert second["instances"] == first["instances"]
    assert second["launched"] == []
    assert second["api_calls"] == {"describe_instances": 1, "describe_key_pairs": 1, "describe_security_groups": 1}


def test_check_mode_says_what_would_be_launched_and_makes_nothing(ec2, run, tmp_path):
    result = run(check=True)
    assert result["changed"] is True
    assert [result["launched"][0][key] for key in ("name", "state", "id")] == ["Bench-1", "planned", ""]
    assert len(result["launched"]) == 5
    assert "launch 3 x i4i.large as Bench-1 to Bench-3 (server)" in result["changes"]
    assert live(ec2) == {}
    assert ec2.describe_key_pairs()["KeyPairs"] == []
    assert not (tmp_path / "state").exists()


def test_arm_types_get_arm_images(ec2, run):
    result = run(groups=servers(1, instance_type="r6gd.large"))
    assert {one["name"]: one["image_id"] for one in result["instances"]} == {
        "Bench-1": "ami-arm64",
        "BenchClient-1": "ami-amd64",
        "BenchGrafana-1": "ami-amd64",
    }


def test_more_nodes_are_added_in_the_same_subnet(ec2, run):
    run()
    ec2.terminate_instances(InstanceIds=[live(ec2)["Bench-2"]["InstanceId"]])
    result = run(groups=servers(4))
    assert [one["name"] for one in result["launched"]] == ["Bench-4", "Bench-5"]
    assert len({one["SubnetId"] for one in live(ec2).values()}) == 1
    ec2.terminate_instances(InstanceIds=[live(ec2)["Bench-1"]["InstanceId"]])
    result = run(groups=servers(4, replace=[1, 2]))
    assert [one["name"] for one in result["launched"]] == ["Bench-1"]


def test_more_nodes_than_asked_are_kept(ec2, run):
    run()
    result = run(groups=servers(2))
    assert (result["changed"], result["launched"], result["terminated"]) == (False, [], [])
    assert "Bench (server) keeps its 3 nodes, although 2 are configured" in result["notes"][0]
    assert len(live(ec2)) == 5


def test_a_part_needs_nothing_of_the_others(ec2, run):
    """The clients alone, then the servers, of which one is stopped when the clients are asked for again."""
    result = run(groups=[GROUPS[1]])
    assert [one["name"] for one in result["launched"]] == ["BenchClient-1"]
    run(groups=[GROUPS[0]])
    ec2.stop_instances(InstanceIds=[live(ec2)["Bench-2"]["InstanceId"]])
    result = run(groups=[GROUPS[1]])
    assert result["changes"] == []
    assert {one["name"]: one["state"] for one in result["instances"]}["Bench-2"] == "stopped"


def test_adding_starts_no_stopped_node_and_waits_for_none(ec2, run):
    run()
    ec2.stop_instances(InstanceIds=[live(ec2)["Bench-2"]["InstanceId"]])
    result = run(groups=[GROUPS[0] | {"add": 2}])
    assert [one["name"] for one in result["launched"]] == ["Bench-4", "Bench-5"]
    states = {one["name"]: one["state"] for one in result["instances"]}
    assert states["Bench-2"] == "stopped" and states["Bench-5"] == "running"


def test_absent_takes_a_part_and_leaves_key_and_group(ec2, run):
    run()
    result = run(state="absent", kinds=["client"])
    assert [one["name"] for one in result["terminated"]] == ["BenchClient-1"]
    assert sorted(live(ec2)) == ["Bench-1", "Bench-2", "Bench-3", "BenchGrafana-1"]
    assert len(ec2.describe_key_pairs()["KeyPairs"]) == 1
    assert run(state="absent", kinds=["client"])["changed"] is False


def test_stopped_nodes_are_started(ec2, run):
    run()
    ident = live(ec2)["Bench-2"]["InstanceId"]
    ec2.stop_instances(InstanceIds=[ident])
    result = run()
    assert result["changes"] == ["start Bench-2"]
    assert result["launched"] == []
    assert {one["state"] for one in result["instances"]} == {"running"}
    assert live(ec2)["Bench-2"]["InstanceId"] == ident


def test_ingress_is_reconciled(ec2, run):
    run()
    (group,) = ec2.describe_security_groups(GroupNames=["pegasus-Bench"])["SecurityGroups"]
    ec2.authorize_security_group_ingress(
        GroupId=group["GroupId"], IpProtocol="tcp", FromPort=5000, ToPort=5000, CidrIp="0.0.0.0/0"
    )
    result = run(allowed_cidrs=["198.51.100.0/24", "203.0.113.7/32"])
    assert sorted(result["changes"]) == [
        "allow port 22 from 198.51.100.0/24",
        "allow port 3000 from 198.51.100.0/24",
        "allow port 9090 from 198.51.100.0/24",
        "no longer allow port 5000 from 0.0.0.0/0",
    ]
    assert run(allowed_cidrs=["203.0.113.7/32", "198.51.100.0/24"])["changed"] is False


def test_without_networks_the_own_address_is_allowed(ec2, run, monkeypatch):
    monkeypatch.setattr(diff, "own_address", lambda: "192.0.2.9/32")
    assert "allow port 22 from 192.0.2.9/32" in run(allowed_cidrs=[])["changes"]


def test_an_unknown_own_address_names_the_setting(ec2, run, monkeypatch):
    monkeypatch.setattr(ingress, "ADDRESS_SERVICE", f"http://127.0.0.1:{free_port()}")
    result = run(allowed_cidrs=[])
    assert result["error_class"] == "endpoint"
    assert "ec2_provision_allowed_cidrs" in result["next_step"]


# --- interruptions ----------------------------------------------------------------------------------------------------


class Killed(BaseException):
    """Stands for a signal: nothing may catch it and clean up."""


@pytest.mark.slow
@pytest.mark.parametrize(
    "operation", ["ImportKeyPair", "CreateSecurityGroup", "AuthorizeSecurityGroupIngress", "RunInstances", "CreateTags"]
)
@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_killed_run_is_completed_by_the_next(ec2, run, inject, operation, moment):
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
        run()
    result = run()
    assert [one["name"] for one in result["instances"]] == [
        "Bench-1",
        "Bench-2",
        "Bench-3",
        "BenchClient-1",
        "BenchGrafana-1",
    ]
    assert sorted(live(ec2)) == sorted(one["name"] for one in result["instances"])
    assert all(tags_of(one)["pegasus:expires"] for one in live(ec2).values())
    assert run()["changed"] is False


def test_one_group_without_capacity_takes_the_others_back(ec2, run, inject):
    run(groups=[GROUPS[0] | {"nodes": 1}, GROUPS[1] | {"nodes": 0}, GROUPS[2] | {"nodes": 0}])
    full = True

    def no_clients(parameters, call):
        if full and parameters["InstanceType"] == "c6i.large":
            raise refuse("InsufficientInstanceCapacity")
        return call()

    inject("RunInstances", no_clients)
    result = run()
    assert result["error_class"] == "capacity"
    assert "launch 1 x c6i.large as BenchClient-1" in result["msg"]
    assert "The 3 other instances that this run had launched were terminated" in result["msg"]
    assert "ec2_provision_subnet_ids" in result["next_step"]
    assert sorted(live(ec2)) == ["Bench-1"]
    full = False
    assert len(run()["instances"]) == 5


def test_a_token_of_a_launch_that_is_gone_is_changed(ec2, run, inject):
    tokens = []

    def answer_with_the_dead(parameters, call):
        answer = call()
        if parameters["InstanceType"] == "i4i.large":
            tokens.append(parameters["ClientToken"])
            if len(tokens) == 1:
                ids = [one["InstanceId"] for one in answer["Instances"]]
                ec2.terminate_instances(InstanceIds=ids)
                for one in answer["Instances"]:
                    one["State"] = {"Name": "terminated"}
        return answer

    inject("RunInstances", answer_with_the_dead)
    result = run()
    assert len(set(tokens)) == 2
    assert [one["name"] for one in result["instances"]][:3] == ["Bench-1", "Bench-2", "Bench-3"]


def test_what_was_taken_is_made_again_although_ec2_knows_the_token(ec2, run, inject):
    """It remembers tokens for a day, and lists what ended for an hour: then the same launch has the same token."""
    ended, tokens = set(), []

    def forget(parameters, call):
        answer = call()
        for reservation in answer["Reservations"]:
            reservation["Instances"] = [one for one in reservation["Instances"] if one["State"]["Name"] != "terminated"]
        return answer

    def remember(parameters, call):
        tokens.append(parameters["ClientToken"])
        if parameters["ClientToken"] in ended:
            raise refuse("IdempotentInstanceTerminated")
        return call()

    inject("RunInstances", remember)
    run()
    assert run(state="absent", kinds=["client"])["terminated"]
    ended.update(tokens)
    inject("DescribeInstances", forget)
    result = run()
    assert not result.get("failed"), result["msg"]
    assert [one["name"] for one in result["launched"]] == ["BenchClient-1"]
    assert tokens[3] in ended and tokens[4] not in ended


def test_new_things_may_be_unknown_for_a_moment(ec2, run, inject):
    calls = Counter()

    def unknown_at_first(code):
        def answer(parameters, call):
            calls[code] += 1
            if calls[code] == 1:
                raise refuse(code)
            return call()

        return answer

    inject("RunInstances", unknown_at_first("InvalidGroup.NotFound"))
    inject("CreateTags", unknown_at_first("InvalidInstanceID.NotFound"))
    assert len(run()["instances"]) == 5


def test_an_instance_that_ends_while_it_starts_is_explained(ec2, run, inject):
    def ended(parameters, call):
        answer = call()
        for reservation in answer["Reservations"]:
            for one in reservation["Instances"]:
                if one["InstanceType"] == "t3.medium":
                    one["State"] = {"Name": "terminated"}
                    one["StateReason"] = {"Message": "Client.VolumeLimitExceeded: Volume limit exceeded"}
        return answer

    inject("DescribeInstances", ended)
    result = run()
    assert result["error_class"] == "quota"
    assert "BenchGrafana-1: terminated, Client.VolumeLimitExceeded" in result["msg"]


def test_waiting_has_an_end(ec2, run, inject):
    def pending(parameters, call):
        answer = call()
        for reservation in answer["Reservations"]:
            for one in reservation["Instances"]:
                one["State"] = {"Name": "pending"}
        return answer

    inject("DescribeInstances", pending)
    result = run(timeout=1)
    assert "After 1 s expected every instance to be running and tagged; found: Bench-1 pending" in result["msg"]


# --- the key pair -----------------------------------------------------------------------------------------------------


def test_a_key_from_an_earlier_environment_is_used_again(ec2, run, tmp_path):
    run()
    run(state="absent")
    before = (tmp_path / "state" / "id_ed25519").read_text()
    run()
    assert (tmp_path / "state" / "id_ed25519").read_text() == before


def test_a_second_machine_is_told_which_file_it_lacks(ec2, run, tmp_path):
    run()
    elsewhere = tmp_path / "other" / "id_ed25519"
    result = run(private_key_file=str(elsewhere))
    assert result["error_class"] == "configuration"
    assert f"its private key isn't on this machine: {elsewhere} does not exist" in result["msg"]
    assert "Copy the private key of 'ssh-ed25519 " in result["next_step"]
    assert not elsewhere.exists()


def test_another_key_is_refused(ec2, run, tmp_path):
    run()
    elsewhere = tmp_path / "other" / "id_ed25519"
    keys.create_key(elsewhere, "another")
    result = run(private_key_file=str(elsewhere))
    assert result["error_class"] == "configuration"
    assert f"{elsewhere} is another key" in result["msg"]
    assert len(live(ec2)) == 5


def test_nodes_without_any_key_are_refused(ec2, run, tmp_path):
    run()
    ec2.delete_key_pair(KeyName="pegasus-Bench")
    result = run(private_key_file=str(tmp_path / "other"))
    assert "has 5 nodes, but neither a key pair in EC2 nor the private key" in result["msg"]
    assert run()["changes"] == [f"import the key pair pegasus-Bench from {tmp_path / 'state' / 'id_ed25519'}"]


def test_a_file_that_is_no_key_is_explained(ec2, run, tmp_path):
    run()
    wrong = tmp_path / "wrong"
    wrong.write_text("no key\n")
    result = run(private_key_file=str(wrong))
    assert result["error_class"] == "usage"
    assert f"Could not read the private key {wrong}" in result["msg"]
    result = run(private_key_file=str(wrong), groups=servers(4), zones=["us-east-1z"])
    assert f"Could not read the private key {wrong}" in result["msg"] and "us-east-1z" in result["msg"]
    assert result["error_class"] == "configuration"


# --- what isn't ours --------------------------------------------------------------------------------------------------


def test_a_foreign_key_pair_of_the_same_name_is_left_alone(ec2, run):
    ec2.create_key_pair(KeyName="pegasus-Bench")
    result = run()
    assert result["error_class"] == "configuration"
    assert "EC2 has a key pair named pegasus-Bench without the tag pegasus:environment=Bench" in result["msg"]
    assert live(ec2) == {}


def test_a_foreign_security_group_of_the_same_name_is_left_alone(ec2, run):
    vpc = ec2.describe_vpcs(Filters=[{"Name": "is-default", "Values": ["true"]}])["Vpcs"][0]["VpcId"]
    ec2.create_security_group(GroupName="pegasus-Bench", Description="x", VpcId=vpc)
    result = run()
    assert result["error_class"] == "configuration"
    assert "a security group named pegasus-Bench without the tag" in result["msg"]
    assert live(ec2) == {}


# --- absent -----------------------------------------------------------------------------------------------------------


def test_absent_takes_the_environment_and_nothing_else(ec2, run, tmp_path):
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
    assert len(live(ec2)) == 8

    result = run(state="absent")
    assert result["changed"] is True
    assert result["changes"] == planned["changes"]
    assert sorted(one["name"] for one in result["terminated"]) == [
        "Bench-1",
        "Bench-2",
        "Bench-3",
        "BenchClient-1",
        "BenchGrafana-1",
    ]
    assert f"delete the volume {own}" in result["changes"]
    assert result["instances"] == []
    assert {tags_of(one)["pegasus:environment"] for one in live(ec2).values()} == {"Bench2"}
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


def test_absent_takes_interfaces_and_placement_groups_of_ours_alone(ec2, run):
    run()
    subnet = live(ec2)["Bench-1"]["SubnetId"]
    own = ec2.create_network_interface(SubnetId=subnet, TagSpecifications=own_tag("network-interface"))
    theirs = ec2.create_network_interface(SubnetId=subnet)["NetworkInterface"]["NetworkInterfaceId"]
    ec2.create_placement_group(GroupName="ours", Strategy="spread", TagSpecifications=own_tag("placement-group"))
    ec2.create_placement_group(GroupName="theirs", Strategy="spread")
    result = run(state="absent")
    ident = own["NetworkInterface"]["NetworkInterfaceId"]
    assert {f"delete the network interface {ident}", "delete the placement group ours"} <= set(result["changes"])
    interfaces = {one["NetworkInterfaceId"] for one in ec2.describe_network_interfaces()["NetworkInterfaces"]}
    assert theirs in interfaces and ident not in interfaces
    assert [one["GroupName"] for one in ec2.describe_placement_groups()["PlacementGroups"]] == ["theirs"]
    assert result["proof"].startswith("verified: no instance,")
    assert run(state="absent")["changed"] is False


def test_protection_is_asked_for_once(ec2, run):
    run()
    looked = run(check=True, state="absent")
    assert looked["api_calls"]["describe_instance_attribute"] == len(looked["unprotected"]) == 5
    result = run(state="absent", unprotected=looked["unprotected"][1:])
    assert result["api_calls"]["describe_instance_attribute"] == 1 and len(result["terminated"]) == 5


def test_a_protected_instance_is_kept_with_what_it_needs(ec2, run):
    run()
    ident = live(ec2)["Bench-2"]["InstanceId"]
    ec2.modify_instance_attribute(InstanceId=ident, DisableApiTermination={"Value": True})
    planned = run(check=True, state="absent")
    assert planned["notes"] == [f"kept Bench-2 ({ident}): it is protected against termination"]
    assert len(planned["terminated"]) == 4
    result = run(state="absent")
    assert result["failed"] is True and result["error_class"] == "permission"
    assert f"kept Bench-2 ({ident})" in result["msg"] and "4 other instances were terminated" in result["msg"]
    assert f"modify-instance-attribute --region us-east-1 --instance-id {ident}" in result["next_step"]
    assert sorted(live(ec2)) == ["Bench-2"]
    assert len(ec2.describe_key_pairs()["KeyPairs"]) == 1
    ec2.modify_instance_attribute(InstanceId=ident, DisableApiTermination={"Value": False})
    assert run(state="absent")["proof"]
    assert live(ec2) == {} and ec2.describe_key_pairs()["KeyPairs"] == []


def test_what_is_there_after_all_is_told(ec2, run, inject):
    """Somebody makes something with the tag while destroy works: the last look finds it."""
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


def test_the_list_of_a_removal_comes_with_its_question(ec2, run):
    run()
    planned = run(check=True, state="absent")
    assert planned["question"] == "Destroy these 7 resources of Bench in us-east-1?"
    assert planned["message"] == planned["changes"]
    assert len(live(ec2)) == 5
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
    assert live(ec2) == {}
    assert ec2.describe_key_pairs()["KeyPairs"] == []
    assert run(state="absent")["changed"] is False


def test_absent_waits_for_what_still_uses_the_security_group(ec2, run, inject):
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
    """Descriptions miss all instances three times, as right after a launch; what they use can't be deleted until then.

    Returns a function that gives what is live, whether it is listed or not.
    """
    looks, told = Counter(), []

    def late(parameters, call):
        answer = call()
        if told:
            return answer
        looks["instances"] += 1
        return answer | ({"Reservations": []} if looks["instances"] < 4 else {})

    def really():
        told.append(True)
        try:
            return live(ec2)
        finally:
            told.clear()

    def used(parameters, call):
        if really():
            raise refuse("DependencyViolation")
        return call()

    inject("DescribeInstances", late)
    inject("DeleteSecurityGroup", used)
    return really


def test_an_instance_that_is_not_listed_yet_is_taken_all_the_same(ec2, run, inject):
    """A setup that was killed right after its launch is followed by destroy."""
    run()
    really = hide_at_first(ec2, inject)
    result = run(state="absent", timeout=5)
    assert not result.get("failed"), result["msg"]
    assert really() == {}
    assert len(result["terminated"]) == 5 and any(line.startswith("terminate Bench-1 (") for line in result["changes"])
    assert "no instance" in result["proof"]


def test_a_protected_instance_that_is_not_listed_yet_is_kept(ec2, run, inject):
    first = run()["launched"][0]["id"]
    ec2.modify_instance_attribute(InstanceId=first, DisableApiTermination={"Value": True})
    really = hide_at_first(ec2, inject)
    result = run(state="absent", timeout=5)
    assert result["error_class"] == "permission" and "it is protected against termination" in result["msg"]
    assert [one["InstanceId"] for one in really().values()] == [first]


def test_a_security_group_that_stays_in_use_is_named(ec2, run, inject):
    run()

    def used(parameters, call):
        raise refuse("DependencyViolation")

    inject("DeleteSecurityGroup", used)
    result = run(state="absent", timeout=1)
    assert "is still in use" in result["msg"]
    assert "run destroy again" in result["next_step"]


def test_every_page_is_read(ec2, run, inject):
    """With one reservation a page, as a large account may answer."""
    pages = Counter()

    def small_pages(parameters, call):
        parameters["MaxResults"] = 1
        pages["read"] += 1
        return call()

    run()
    inject("DescribeInstances", small_pages)
    assert len(run(state="absent")["terminated"]) == 5
    assert pages["read"] >= 6


# --- what was asked wrongly, or can't be reached ----------------------------------------------------------------------


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def test_everything_wrong_is_said_at_once(ec2, run):
    result = run(expiry="soon", allowed_cidrs=["myhost"], root_volume_gb=0, tags={"Name": "x"})
    assert result["error_class"] == "configuration"
    for text in (
        "'soon' isn't a duration",
        "'myhost' isn't an address",
        "root_volume_gb is 0",
        "'Name' can't be set",
    ):
        assert text in result["msg"]


@pytest.mark.parametrize("state", ["present", "absent"])
def test_a_name_with_a_wildcard_is_refused(ec2, run, state):
    run()
    result = run(environment="Ben*", state=state)
    assert result["error_class"] == "configuration"
    assert "pegasus_cluster_name is 'Ben*'" in result["msg"]
    assert len(live(ec2)) == 5


@pytest.mark.parametrize(
    ("changed", "text"),
    [
        ({"groups": servers(1, instance_type="i4i.tiny")}, "i4i.tiny"),
        ({"image_name": "nothing-{architecture}"}, "No image in us-east-1 is named nothing-amd64"),
        ({"subnet_ids": ["subnet-0000"]}, "subnet-0000"),
        ({"secret_key": ""}, "Only one of ec2_provision_access_key and ec2_provision_secret_key"),
    ],
)
def test_wrong_settings_are_said_before_anything_is_made(ec2, run, changed, text):
    result = run(**changed)
    assert result["error_class"] == "configuration"
    assert text in result["msg"]
    assert live(ec2) == {}
    assert ec2.describe_key_pairs()["KeyPairs"] == []


def test_the_zones_say_where_everything_is(ec2, run):
    result = run(zones=[f"{REGION}c", f"{REGION}a"])
    assert {one["zone"] for one in result["instances"]} == {f"{REGION}c"}
    assert {one["Placement"]["AvailabilityZone"] for one in live(ec2).values()} == {f"{REGION}c"}
    # Nodes that exist keep their zone; more of them can't be elsewhere.
    more = [GROUPS[0] | {"nodes": 4}, *GROUPS[1:]]
    refused = run(groups=more, zones=[f"{REGION}a"])
    assert refused["error_class"] == "configuration"
    assert f"ec2_provision_zones ({REGION}a); found: " in refused["msg"] and f" in {REGION}c." in refused["msg"]
    assert len(live(ec2)) == 5
    assert {one["zone"] for one in run(groups=more)["instances"]} == {f"{REGION}c"}


def test_a_subnet_in_none_of_the_zones_is_refused(ec2, run):
    subnets = {one["AvailabilityZone"]: one["SubnetId"] for one in ec2.describe_subnets()["Subnets"]}
    asked = {"subnet_ids": [subnets[f"{REGION}b"]]}
    refused = run(**asked, zones=[f"{REGION}a"])
    assert refused["error_class"] == "configuration"
    assert f"found: {asked['subnet_ids'][0]} in {REGION}b." in refused["msg"]
    assert live(ec2) == {}
    assert len(run(**asked, zones=[f"{REGION}a", f"{REGION}b"])["instances"]) == 5


def test_an_endpoint_that_is_down_is_named(run):
    result = run(endpoint_url=f"http://127.0.0.1:{free_port()}")
    assert result["error_class"] == "endpoint"
    assert "No EC2 endpoint answers at http://127.0.0.1:" in result["msg"]
    assert "pegasus-driver local start" in result["next_step"]


def test_missing_credentials_are_named(run, monkeypatch, tmp_path):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE", "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    result = run(access_key="", secret_key="")
    assert result["error_class"] == "credentials"


def test_a_real_secret_is_kept_out_of_the_result(ec2, run):
    secret = "abcdefghijklmnopqrstuvwxyz0123456789ABCD"
    assert secret not in json.dumps(run(secret_key=secret, owner=secret))
    assert run(secret_key="Bench", check=True)["instances"][0]["name"] == "Bench-1"
