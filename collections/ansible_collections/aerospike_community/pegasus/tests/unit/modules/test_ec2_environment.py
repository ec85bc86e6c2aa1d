"""The module ec2_environment against moto."""

from __future__ import annotations

import json
import socket
import time
from collections import Counter

import pytest
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.ec2 import (
    diff,
    ingress,
    keys,
)
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.ec2.instances import Instance

from tests.ec2_moto import GROUPS, REGION, live_by_name, refuse, tags_of

pytestmark = pytest.mark.slow  # launches in moto, half a second each


def servers(count, **changed):
    """The groups with this number of servers."""
    return [GROUPS[0] | {"nodes": count} | changed, *GROUPS[1:]]


# --- present ----------------------------------------------------------------------------------------------------------


def test_servers_are_tagged_with_the_fixed_settings(ec2, run):
    run(groups=[GROUPS[0] | {"fixed": "namespace=Test ttl=0"}, *GROUPS[1:]])
    tags = {name: tags_of(instance).get("pegasus:fixed") for name, instance in live_by_name(ec2).items()}
    assert {tags.pop(f"Bench-{index}") for index in (1, 2, 3)} == {"namespace=Test ttl=0"}
    assert set(tags.values()) == {None}


def test_the_first_run_creates_everything(ec2, run, tmp_path):
    result = run(expiry="20h 30m", tags={"team": "a"})
    assert result["changed"] is True
    assert [instance["name"] for instance in result["instances"]] == [
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

    found = live_by_name(ec2)
    for name, item in found.items():
        tags = tags_of(item)
        launched = item["LaunchTime"].timestamp()
        expires = time.mktime(time.strptime(tags["pegasus:expires"], "%Y-%m-%dT%H:%M:%SZ")) - time.timezone
        assert abs(expires - launched - 73800) < 5
        assert tags["pegasus:environment"] == "Bench"
        assert tags["pegasus:owner"] == "me"
        assert tags["team"] == "a"
        assert name == f"{tags['Name']}-{Instance.from_description(item).index}"
        attribute = ec2.describe_instance_attribute(
            InstanceId=item["InstanceId"], Attribute="instanceInitiatedShutdownBehavior"
        )
        assert attribute["InstanceInitiatedShutdownBehavior"]["Value"] == "terminate"
        assert item["MetadataOptions"]["HttpTokens"] == "required"
        assert item["KeyName"] == "pegasus-Bench"
    assert len({item["SubnetId"] for item in found.values()}) == 1
    volumes = ec2.describe_volumes(Filters=[{"Name": "tag:pegasus:environment", "Values": ["Bench"]}])["Volumes"]
    assert len(volumes) == 5
    assert all(volume["Encrypted"] for volume in volumes)
    # The monitor's volume holds the samples.
    assert sorted(volume["Size"] for volume in volumes) == [50] * (len(volumes) - 1) + [100]

    private = tmp_path / "state" / "id_ed25519"
    assert private.stat().st_mode & 0o777 == 0o600
    assert private.parent.stat().st_mode & 0o777 == 0o700
    (key,) = ec2.describe_key_pairs(IncludePublicKey=True)["KeyPairs"]
    assert keys.normalize_key(key["PublicKey"]) == keys.public_key_of(private)
    (group,) = ec2.describe_security_groups(GroupNames=["pegasus-Bench"])["SecurityGroups"]
    assert tags_of(group)["pegasus:environment"] == "Bench"
    ports = {
        (permission.get("FromPort"), *(r["CidrIp"] for r in permission["IpRanges"]))
        for permission in group["IpPermissions"]
    }
    assert {(22, "203.0.113.7/32"), (3000, "203.0.113.7/32"), (9090, "203.0.113.7/32")} <= ports
    (within,) = [permission for permission in group["IpPermissions"] if permission["IpProtocol"] == "-1"]
    assert [pair["GroupId"] for pair in within["UserIdGroupPairs"]] == [group["GroupId"]]


def test_the_second_run_changes_nothing(ec2, run):
    first = run()
    second = run()
    assert second["changed"] is False
    assert second["changes"] == []
    assert second["instances"] == first["instances"]
    assert second["launched"] == []
    assert second["api_calls"] == {"describe_instances": 1, "describe_key_pairs": 1, "describe_security_groups": 1}


def test_check_mode_reports_the_launch_and_creates_nothing(ec2, run, tmp_path):
    result = run(check=True)
    assert result["changed"] is True
    assert [result["launched"][0][key] for key in ("name", "state", "id")] == ["Bench-1", "planned", ""]
    assert len(result["launched"]) == 5
    assert "launch 3 x i4i.large as Bench-1 to Bench-3 (server)" in result["changes"]
    assert live_by_name(ec2) == {}
    assert ec2.describe_key_pairs()["KeyPairs"] == []
    assert not (tmp_path / "state").exists()


def test_arm_types_get_arm_images(ec2, run):
    result = run(groups=servers(1, instance_type="r6gd.large"))
    assert {instance["name"]: instance["image_id"] for instance in result["instances"]} == {
        "Bench-1": "ami-arm64",
        "BenchClient-1": "ami-amd64",
        "BenchGrafana-1": "ami-amd64",
    }


def test_more_nodes_are_added_in_the_same_subnet(ec2, run):
    run()
    ec2.terminate_instances(InstanceIds=[live_by_name(ec2)["Bench-2"]["InstanceId"]])
    result = run(groups=servers(4))
    assert [instance["name"] for instance in result["launched"]] == ["Bench-4", "Bench-5"]
    assert len({instance["SubnetId"] for instance in live_by_name(ec2).values()}) == 1
    ec2.terminate_instances(InstanceIds=[live_by_name(ec2)["Bench-1"]["InstanceId"]])
    result = run(groups=servers(4, replace=[1, 2]))
    assert [instance["name"] for instance in result["launched"]] == ["Bench-1"]


def test_extra_nodes_are_kept(ec2, run):
    run()
    result = run(groups=servers(2))
    assert (result["changed"], result["launched"], result["terminated"]) == (False, [], [])
    assert "Bench (server) keeps its 3 nodes, although 2 are configured" in result["notes"][0]
    assert len(live_by_name(ec2)) == 5


def test_one_group_needs_no_other(ec2, run):
    """Launch the clients, then the servers; stop a server and launch the clients again."""
    result = run(groups=[GROUPS[1]])
    assert [instance["name"] for instance in result["launched"]] == ["BenchClient-1"]
    run(groups=[GROUPS[0]])
    ec2.stop_instances(InstanceIds=[live_by_name(ec2)["Bench-2"]["InstanceId"]])
    result = run(groups=[GROUPS[1]])
    assert result["changes"] == []
    assert {instance["name"]: instance["state"] for instance in result["instances"]}["Bench-2"] == "stopped"


def test_adding_starts_no_stopped_node(ec2, run):
    run()
    ec2.stop_instances(InstanceIds=[live_by_name(ec2)["Bench-2"]["InstanceId"]])
    result = run(groups=[GROUPS[0] | {"add": 2}])
    assert [instance["name"] for instance in result["launched"]] == ["Bench-4", "Bench-5"]
    states = {instance["name"]: instance["state"] for instance in result["instances"]}
    assert states["Bench-2"] == "stopped" and states["Bench-5"] == "running"


def test_absent_with_kinds_keeps_key_and_group(ec2, run):
    run()
    result = run(state="absent", kinds=["client"])
    assert [instance["name"] for instance in result["terminated"]] == ["BenchClient-1"]
    assert sorted(live_by_name(ec2)) == ["Bench-1", "Bench-2", "Bench-3", "BenchGrafana-1"]
    assert len(ec2.describe_key_pairs()["KeyPairs"]) == 1
    assert run(state="absent", kinds=["client"])["changed"] is False


def test_stopped_nodes_are_started(ec2, run):
    run()
    ident = live_by_name(ec2)["Bench-2"]["InstanceId"]
    ec2.stop_instances(InstanceIds=[ident])
    result = run()
    assert result["changes"] == ["start Bench-2"]
    assert result["launched"] == []
    assert {instance["state"] for instance in result["instances"]} == {"running"}
    assert live_by_name(ec2)["Bench-2"]["InstanceId"] == ident


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


def test_without_networks_this_machine_is_allowed(ec2, run, monkeypatch):
    monkeypatch.setattr(diff, "own_address", lambda: "192.0.2.9/32")
    assert "allow port 22 from 192.0.2.9/32" in run(allowed_cidrs=[])["changes"]


def test_an_unknown_own_address_names_the_setting(ec2, run, monkeypatch):
    monkeypatch.setattr(ingress, "ADDRESS_SERVICE", f"http://127.0.0.1:{free_port()}")
    result = run(allowed_cidrs=[])
    assert result["error_class"] == "endpoint"
    assert "ec2_provision_allowed_cidrs" in result["next_step"]


# --- interruptions ----------------------------------------------------------------------------------------------------


class Killed(BaseException):
    """Simulates a signal: nothing may catch it and clean up."""


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
    assert [instance["name"] for instance in result["instances"]] == [
        "Bench-1",
        "Bench-2",
        "Bench-3",
        "BenchClient-1",
        "BenchGrafana-1",
    ]
    assert sorted(live_by_name(ec2)) == sorted(instance["name"] for instance in result["instances"])
    assert all(tags_of(instance)["pegasus:expires"] for instance in live_by_name(ec2).values())
    assert run()["changed"] is False


def test_a_group_without_capacity_rolls_the_others_back(ec2, run, inject):
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
    assert sorted(live_by_name(ec2)) == ["Bench-1"]
    full = False
    assert len(run()["instances"]) == 5


def test_terminated_instances_of_a_token_give_another_token(ec2, run, inject):
    tokens = []

    def answer_with_terminated(parameters, call):
        answer = call()
        if parameters["InstanceType"] == "i4i.large":
            tokens.append(parameters["ClientToken"])
            if len(tokens) == 1:
                ids = [instance["InstanceId"] for instance in answer["Instances"]]
                ec2.terminate_instances(InstanceIds=ids)
                for instance in answer["Instances"]:
                    instance["State"] = {"Name": "terminated"}
        return answer

    inject("RunInstances", answer_with_terminated)
    result = run()
    assert len(set(tokens)) == 2
    assert [instance["name"] for instance in result["instances"]][:3] == ["Bench-1", "Bench-2", "Bench-3"]


def test_a_removed_node_is_launched_again_although_ec2_knows_the_token(ec2, run, inject):
    """EC2 keeps tokens for a day and lists terminated instances for an hour: then the launch has the same token."""
    ended, tokens = set(), []

    def forget(parameters, call):
        answer = call()
        for reservation in answer["Reservations"]:
            reservation["Instances"] = [
                instance for instance in reservation["Instances"] if instance["State"]["Name"] != "terminated"
            ]
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
    assert [instance["name"] for instance in result["launched"]] == ["BenchClient-1"]
    assert tokens[3] in ended and tokens[4] not in ended


def test_new_resources_may_be_unknown_for_a_moment(ec2, run, inject):
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


def test_a_termination_at_start_is_explained(ec2, run, inject):
    def ended(parameters, call):
        answer = call()
        for reservation in answer["Reservations"]:
            for instance in reservation["Instances"]:
                if instance["InstanceType"] == "t3.medium":
                    instance["State"] = {"Name": "terminated"}
                    instance["StateReason"] = {"Message": "Client.VolumeLimitExceeded: Volume limit exceeded"}
        return answer

    inject("DescribeInstances", ended)
    result = run()
    assert result["error_class"] == "quota"
    assert "BenchGrafana-1: terminated, Client.VolumeLimitExceeded" in result["msg"]


def test_waiting_has_a_timeout(ec2, run, inject):
    def pending(parameters, call):
        answer = call()
        for reservation in answer["Reservations"]:
            for instance in reservation["Instances"]:
                instance["State"] = {"Name": "pending"}
        return answer

    inject("DescribeInstances", pending)
    result = run(timeout=1)
    assert "After 1 s expected every instance to be running and tagged; found: Bench-1 pending" in result["msg"]


# --- foreign resources ------------------------------------------------------------------------------------------------


def test_a_foreign_key_pair_of_the_same_name_is_kept(ec2, run):
    ec2.create_key_pair(KeyName="pegasus-Bench")
    result = run()
    assert result["error_class"] == "configuration"
    assert "EC2 has a key pair named pegasus-Bench without the tag pegasus:environment=Bench" in result["msg"]
    assert live_by_name(ec2) == {}


def test_a_foreign_security_group_of_the_same_name_is_kept(ec2, run):
    vpc = ec2.describe_vpcs(Filters=[{"Name": "is-default", "Values": ["true"]}])["Vpcs"][0]["VpcId"]
    ec2.create_security_group(GroupName="pegasus-Bench", Description="x", VpcId=vpc)
    result = run()
    assert result["error_class"] == "configuration"
    assert "a security group named pegasus-Bench without the tag" in result["msg"]
    assert live_by_name(ec2) == {}


# --- wrong parameters and connections ---------------------------------------------------------------------------------


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def test_every_wrong_parameter_is_reported_at_once(ec2, run):
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
    assert len(live_by_name(ec2)) == 5


@pytest.mark.parametrize(
    ("changed", "text"),
    [
        ({"groups": servers(1, instance_type="i4i.tiny")}, "i4i.tiny"),
        ({"image_name": "nothing-{architecture}"}, "No image in us-east-1 is named nothing-amd64"),
        ({"subnet_ids": ["subnet-0000"]}, "subnet-0000"),
        ({"secret_key": ""}, "Only one of ec2_provision_access_key and ec2_provision_secret_key"),
    ],
)
def test_wrong_settings_are_reported_before_anything_is_created(ec2, run, changed, text):
    result = run(**changed)
    assert result["error_class"] == "configuration"
    assert text in result["msg"]
    assert live_by_name(ec2) == {}
    assert ec2.describe_key_pairs()["KeyPairs"] == []


def test_instances_are_launched_in_the_configured_zones(ec2, run):
    result = run(zones=[f"{REGION}c", f"{REGION}a"])
    assert {instance["zone"] for instance in result["instances"]} == {f"{REGION}c"}
    assert {instance["Placement"]["AvailabilityZone"] for instance in live_by_name(ec2).values()} == {f"{REGION}c"}
    # Existing nodes keep their zone, and new nodes can't be elsewhere.
    more = [GROUPS[0] | {"nodes": 4}, *GROUPS[1:]]
    refused = run(groups=more, zones=[f"{REGION}a"])
    assert refused["error_class"] == "configuration"
    assert f"ec2_provision_zones ({REGION}a); found: " in refused["msg"] and f" in {REGION}c." in refused["msg"]
    assert len(live_by_name(ec2)) == 5
    assert {instance["zone"] for instance in run(groups=more)["instances"]} == {f"{REGION}c"}


def test_a_subnet_in_none_of_the_zones_is_refused(ec2, run):
    subnets = {subnet["AvailabilityZone"]: subnet["SubnetId"] for subnet in ec2.describe_subnets()["Subnets"]}
    parameters = {"subnet_ids": [subnets[f"{REGION}b"]]}
    refused = run(**parameters, zones=[f"{REGION}a"])
    assert refused["error_class"] == "configuration"
    assert f"found: {parameters['subnet_ids'][0]} in {REGION}b." in refused["msg"]
    assert live_by_name(ec2) == {}
    assert len(run(**parameters, zones=[f"{REGION}a", f"{REGION}b"])["instances"]) == 5


def test_an_unreachable_endpoint_is_reported(run):
    result = run(endpoint_url=f"http://127.0.0.1:{free_port()}")
    assert result["error_class"] == "endpoint"
    assert "No EC2 endpoint answers at http://127.0.0.1:" in result["msg"]
    assert "pegasus-driver local start" in result["next_step"]


def test_missing_credentials_are_reported(run, monkeypatch, tmp_path):
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
