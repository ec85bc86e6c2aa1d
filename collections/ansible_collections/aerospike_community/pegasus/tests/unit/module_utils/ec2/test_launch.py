"""Where and how groups are launched, and what is asked before: ec2_environment against moto."""

from __future__ import annotations

import json
from collections import Counter

import boto3
import pytest
from ansible.module_utils.testing import patch_module_args
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.ec2 import ingress, keys, preflight
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.ec2.instances import Instance
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.ec2.plan import Launch
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.ec2.spec import Group
from ansible_collections.aerospike_community.pegasus.plugins.modules import ec2_ingress
from botocore.exceptions import ClientError

pytestmark = pytest.mark.slow  # whole launches in moto, half a second each

REGION = "us-east-1"
ZONES = [f"{REGION}{letter}" for letter in "abc"]
SERVERS = {"kind": "server", "name": "Bench", "nodes": 3, "instance_type": "i4i.large"}
CLIENTS = {"kind": "client", "name": "BenchClient", "nodes": 1, "instance_type": "c6i.large"}
MONITOR = {"kind": "monitor", "name": "BenchGrafana", "nodes": 1, "instance_type": "t3.medium"}


def refuse(code):
    return ClientError({"Error": {"Code": code, "Message": f"{code} said moto's stand-in"}}, "Operation")


def live(ec2):
    """Every instance that isn't gone, by index."""
    found = [
        Instance.from_description(one)
        for reservation in ec2.describe_instances()["Reservations"]
        for one in reservation["Instances"]
    ]
    return sorted((one for one in found if one.live), key=lambda one: one.order)


def full(*zones, types=("i4i.large", "c6i.large", "t3.medium")):
    """A RunInstances for which zones have no room."""
    by_subnet = {}

    def answer(parameters, call):
        if not by_subnet:
            for one in boto3.client("ec2", region_name=REGION).describe_subnets()["Subnets"]:
                by_subnet[one["SubnetId"]] = one["AvailabilityZone"]
        if by_subnet[parameters["SubnetId"]] in zones and parameters["InstanceType"] in types:
            raise refuse("InsufficientInstanceCapacity")
        return call()

    return answer


# --- calls grow with groups -------------------------------------------------------------------------------------------


def test_calls_grow_with_groups_and_not_with_nodes(ec2, run):
    """The difference between 3 and 60 servers is one more tagging call: each tags up to 50 instances."""
    few = run()["api_calls"]
    run(state="absent")
    many = run(groups=[SERVERS | {"nodes": 60}, CLIENTS, MONITOR])["api_calls"]
    assert few["run_instances"] == many["run_instances"] == 3
    assert (few.pop("create_tags"), many.pop("create_tags")) == (1, 2)
    # How often the end of the wait is looked at depends on the clock alone.
    few.pop("describe_instances"), many.pop("describe_instances")
    assert few == many
    assert [one.index for one in live(ec2) if one.kind == "server"] == list(range(1, 61))


def test_no_node_has_a_call_of_its_own(ec2, run, inject):
    sizes = []
    inject("CreateTags", lambda parameters, call: sizes.append(len(parameters["Resources"])) or call())
    run(groups=[SERVERS | {"nodes": 120}, CLIENTS, MONITOR])
    assert sorted(sizes) == [22, 50, 50]
    assert {one.tags["pegasus:expires"][:2] for one in live(ec2)} == {"20"}


# --- zones ------------------------------------------------------------------------------------------------------------


def test_nodes_are_spread_over_zones(ec2, run):
    result = run(groups=[SERVERS | {"nodes": 7}, CLIENTS | {"nodes": 3}, MONITOR], zone_count=3)
    zones = Counter((one["kind"], one["zone"]) for one in result["instances"])
    assert sorted(zones[("server", zone)] for zone in ZONES) == [2, 2, 3]
    assert [zones[("client", zone)] for zone in ZONES] == [1, 1, 1]
    assert result["api_calls"]["run_instances"] == 3 + 3 + 1
    assert [one["name"] for one in result["instances"]][:7] == [f"Bench-{n}" for n in range(1, 8)]
    # What is added fills up the emptier zones.
    more = run(groups=[SERVERS | {"add": 2}], zone_count=3)
    zones = Counter(one["zone"] for one in more["instances"] if one["kind"] == "server")
    assert [zones[zone] for zone in ZONES] == [3, 3, 3]


def test_given_subnets_name_the_zones(ec2, run):
    subnets = {one["AvailabilityZone"]: one["SubnetId"] for one in ec2.describe_subnets()["Subnets"]}
    chosen = [subnets[f"{REGION}b"], subnets[f"{REGION}d"]]
    run(subnet_ids=chosen, zone_count=2)
    assert {one.subnet_id for one in live(ec2)} == set(chosen)


def test_a_full_zone_is_left_for_the_next(ec2, run, inject):
    """All groups move together: between zones the way is longer, and paid."""
    inject("RunInstances", full(ZONES[1], types=["c6i.large"]))
    result = run(zones=[ZONES[1], ZONES[2], ZONES[0]])
    assert {one["zone"] for one in result["instances"]} == {ZONES[2]}
    assert len(result["instances"]) == len(live(ec2)) == 5
    (note,) = result["notes"]
    assert f"{ZONES[1]} has no capacity" in note and "1 x c6i.large" in note and f"Trying {ZONES[2]} instead" in note
    assert "The 4 other instances that this run had launched were terminated" in note
    assert run()["changed"] is False


def test_a_full_zone_of_several_is_replaced_by_the_spare(ec2, run, inject):
    inject("RunInstances", full(ZONES[1]))
    result = run(zone_count=2)
    assert {one["zone"] for one in result["instances"] if one["kind"] == "server"} == {ZONES[0], ZONES[2]}


def test_no_half_of_a_group_stays_where_every_zone_is_full(ec2, run, inject):
    inject("RunInstances", full(*ZONES, types=["i4i.large"]))
    result = run(zones=ZONES[:2])
    assert result["error_class"] == "capacity"
    assert f"Tried: {ZONES[0]}, {ZONES[1]}." in result["next_step"]
    assert live(ec2) == []


def test_half_of_a_spread_group_is_taken_back(ec2, run, inject):
    inject("RunInstances", full(ZONES[1]))
    result = run(zones=ZONES[:2], zone_count=2)
    assert result["error_class"] == "capacity"
    assert live(ec2) == []


def test_nodes_that_exist_keep_their_zone_even_if_it_is_full(ec2, run, inject):
    run()
    (zone,) = {one.zone for one in live(ec2)}
    inject("RunInstances", full(zone))
    result = run(groups=[SERVERS | {"nodes": 5}, CLIENTS, MONITOR])
    assert result["error_class"] == "capacity"
    assert "New nodes are launched in the zones of the nodes that exist" in result["next_step"]
    assert len(live(ec2)) == 5
    # What is advised works: a subnet in another zone.
    other = next(one for one in ec2.describe_subnets()["Subnets"] if one["AvailabilityZone"] != zone)
    run(groups=[SERVERS | {"nodes": 5}, CLIENTS, MONITOR], subnet_ids=[other["SubnetId"]])
    assert len(live(ec2)) == 7 and {one.zone for one in live(ec2)} == {zone, other["AvailabilityZone"]}


# --- spot, placement, disks -------------------------------------------------------------------------------------------


def test_spot_is_asked_first_and_on_demand_where_there_is_none(ec2, run, inject):
    asked = []

    def no_spot_servers(parameters, call):
        market = parameters.get("InstanceMarketOptions", {}).get("MarketType", "on-demand")
        asked.append((parameters["InstanceType"], market))
        if market == "spot" and parameters["InstanceType"] == "i4i.large":
            raise refuse("InsufficientInstanceCapacity")
        return call()

    inject("RunInstances", no_spot_servers)
    result = run(groups=[SERVERS | {"spot": True}, CLIENTS | {"spot": True}, MONITOR])
    assert sorted(asked) == [
        ("c6i.large", "spot"), ("i4i.large", "on-demand"), ("i4i.large", "spot"), ("t3.medium", "on-demand"),
    ]  # fmt: skip
    (note,) = result["notes"]
    assert note.startswith("No spot instances: ") and "On demand instead, at the full price." in note
    assert len(live(ec2)) == 5


def test_a_spot_request_that_is_wrong_is_not_paid_for_in_full(ec2, run, inject):
    def wrong(parameters, call):
        if "InstanceMarketOptions" in parameters:
            raise refuse("InvalidParameterCombination")
        return call()

    inject("RunInstances", wrong)
    assert run(groups=[SERVERS | {"spot": True}, CLIENTS, MONITOR])["error_class"] == "configuration"
    assert live(ec2) == []


def test_the_first_spot_instance_of_an_account_says_what_it_needs(ec2, run, inject):
    """EC2 makes a kind for it in the caller's name."""

    def refused(parameters, call):
        if "InstanceMarketOptions" in parameters:
            raise refuse("AuthFailure.ServiceLinkedRoleCreationNotPermitted")
        return call()

    inject("RunInstances", refused)
    result = run(groups=[SERVERS | {"spot": True}, CLIENTS, MONITOR])
    assert result["error_class"] == "permission"
    assert "aws iam create-service-linked-role --aws-service-name spot.amazonaws.com" in result["next_step"]
    assert live(ec2) == []


def test_a_placement_group_that_may_not_be_made_stops_the_launch(ec2, run, monkeypatch):
    codes = {"CreatePlacementGroup": "UnauthorizedOperation"}
    dry_runs(monkeypatch, lambda name, parameters: codes.get(name, ""))
    assert "EC2 refused to create placement group: UnauthorizedOperation" in run(placement="spread")["msg"]
    assert nothing_was_made(ec2)


def test_a_placement_group_comes_and_goes_with_the_environment(ec2, run, inject):
    placed = {}

    def launch(parameters, call):
        placed[parameters["InstanceType"]] = parameters.get("Placement", {}).get("GroupName")
        return call()

    inject("RunInstances", launch)
    planned = run(check=True, placement="cluster")
    assert "create the placement group pegasus-Bench (cluster)" in planned["changes"]
    assert planned["api_calls"]["create_placement_group (dry run)"] == 1
    assert ec2.describe_placement_groups()["PlacementGroups"] == []
    run(placement="cluster")
    assert placed == {"i4i.large": "pegasus-Bench", "c6i.large": "pegasus-Bench", "t3.medium": None}
    (group,) = ec2.describe_placement_groups()["PlacementGroups"]
    assert (group["GroupName"], group["Strategy"]) == ("pegasus-Bench", "cluster")
    assert {"Key": "pegasus:environment", "Value": "Bench"} in group["Tags"]
    grown = run(groups=[SERVERS | {"nodes": 4}, CLIENTS, MONITOR], placement="cluster")
    assert "create_placement_group" not in grown["api_calls"]
    assert "delete the placement group pegasus-Bench" in run(state="absent")["changes"]
    assert ec2.describe_placement_groups()["PlacementGroups"] == []


def test_a_placement_group_of_somebody_elses_is_left_alone(ec2, run):
    ec2.create_placement_group(GroupName="pegasus-Bench", Strategy="spread")
    result = run(placement="cluster")
    assert result["error_class"] == "configuration"
    assert "EC2 has a placement group named pegasus-Bench without the tag pegasus:environment=Bench" in result["msg"]
    assert live(ec2) == []
    run(state="absent")
    assert [one["GroupName"] for one in ec2.describe_placement_groups()["PlacementGroups"]] == ["pegasus-Bench"]


def test_a_run_that_died_after_the_placement_group_goes_on_with_it(ec2, run, inject):
    made = []

    def die(parameters, call):
        call()
        made.append(parameters["GroupName"])
        raise refuse("Killed")

    inject("CreatePlacementGroup", die)
    assert run(placement="spread")["failed"] is True
    assert live(ec2) == []
    assert len(run(placement="spread")["launched"]) == 5
    assert made == ["pegasus-Bench"]
    run(state="absent")
    assert ec2.describe_placement_groups()["PlacementGroups"] == []


def test_without_a_placement_group_none_is_asked_for(ec2, run):
    assert not any("placement" in name for name in run()["api_calls"])


def test_root_volumes_are_as_asked_and_always_encrypted(ec2, run):
    run(root_volume_type="gp2", root_volume_gb=30)
    volumes = ec2.describe_volumes()["Volumes"]
    assert {(one["VolumeType"], one["Encrypted"]) for one in volumes} == {("gp2", True)}


# --- image ------------------------------------------------------------------------------------------------------------


def test_an_image_is_found_by_a_parameter_of_systems_manager(ec2, run, inject):
    asked = []

    def parameters(parameters, call):
        asked.extend(parameters["Names"])
        return {
            "Parameters": [{"Name": name, "Value": f"ami-{name.rsplit('/', 1)[1]}"} for name in parameters["Names"]]
        }

    inject("GetParameters", parameters)
    name = "/aws/service/debian/release/12/latest/{architecture}"
    result = run(groups=[SERVERS | {"instance_type": "r6gd.large"}, CLIENTS, MONITOR], image_name=name)
    assert {one["kind"]: one["image_id"] for one in result["instances"]} == {
        "server": "ami-arm64", "client": "ami-amd64", "monitor": "ami-amd64",
    }  # fmt: skip
    assert sorted(asked) == [name.replace("{architecture}", one) for one in ("amd64", "arm64")]


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        ({"Parameters": [], "InvalidParameters": ["x"]}, f"{REGION} has no parameter /aws/service/none"),
        ({"Parameters": [{"Name": "x", "Value": "ami-arm64"}]}, "is for arm64, the instance types are x86_64"),
    ],
)
def test_a_parameter_that_names_no_fitting_image_is_refused(ec2, run, inject, answer, text):
    inject("GetParameters", lambda parameters, call: answer)
    result = run(image_name="/aws/service/none")
    assert result["error_class"] == "configuration"
    assert text in result["msg"]
    assert live(ec2) == []


# --- a key pair of the user's -----------------------------------------------------------------------------------------


def given_key(ec2, path, name="mine"):
    keys.create_key(path, name)
    ec2.import_key_pair(KeyName=name, PublicKeyMaterial=keys.public_key_of(path).encode())
    return {"key_name": name, "private_key_file": str(path)}


def test_a_given_key_pair_is_used_and_left(ec2, run, tmp_path):
    asked = given_key(ec2, tmp_path / "mine")
    run(**asked)
    assert {one.key_name for one in live(ec2)} == {"mine"}
    assert [key["KeyName"] for key in ec2.describe_key_pairs()["KeyPairs"]] == ["mine"]
    assert run(**asked)["changed"] is False
    run(state="absent")
    assert [key["KeyName"] for key in ec2.describe_key_pairs()["KeyPairs"]] == ["mine"]


def test_a_given_key_pair_has_to_be_there_and_to_match(ec2, run, tmp_path):
    asked = given_key(ec2, tmp_path / "mine")
    keys.create_key(tmp_path / "other", "other")
    for changed, text in (
        ({"key_name": "none"}, "ec2_provision_key_name is 'none'; us-east-1 has no such key pair"),
        ({"private_key_file": str(tmp_path / "absent")}, "does not exist"),
        ({"private_key_file": str(tmp_path / "other")}, "isn't the private key of the key pair mine"),
    ):
        result = run(**{**asked, **changed})
        assert result["error_class"] == "configuration"
        assert text in result["msg"]
    run()
    assert "were launched with the key pair 'pegasus-Bench', expected 'mine'" in run(**asked)["msg"]


# --- what is asked before anything is made ----------------------------------------------------------------------------


def dry_runs(monkeypatch, answer):
    """Put `answer` in the way of dry runs: it gets the operation, and returns an error's code or ''."""
    import botocore.client

    real = botocore.client.BaseClient._make_api_call

    def in_the_way(self, name, parameters):
        code = parameters.get("DryRun") and answer(name, parameters)
        if code:
            raise refuse(code)
        return real(self, name, parameters)

    monkeypatch.setattr(botocore.client.BaseClient, "_make_api_call", in_the_way)


def nothing_was_made(ec2):
    names = {group["GroupName"] for group in ec2.describe_security_groups()["SecurityGroups"]}
    return live(ec2) == [] and ec2.describe_key_pairs()["KeyPairs"] == [] and "pegasus-Bench" not in names


def test_every_problem_is_said_at_once(ec2, run, inject, monkeypatch, tmp_path):
    """An image that isn't there, no room in the subnet, no address, and a key file that isn't one."""
    monkeypatch.setattr(ingress, "ADDRESS_SERVICE", "http://127.0.0.1:1/")
    (tmp_path / "state").mkdir()

    def small(parameters, call):
        answer = call()
        for one in answer["Subnets"]:
            one["AvailableIpAddressCount"] = 1
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
    assert nothing_was_made(ec2)


def test_a_wrong_type_hides_no_wrong_subnet(ec2, run):
    result = run(groups=[SERVERS | {"instance_type": "i4i.huge"}, CLIENTS, MONITOR], subnet_ids=["subnet-12345678"])
    assert "has no instance type i4i.huge" in result["msg"] and "InvalidSubnetID.NotFound" in result["msg"]
    assert "Expected one zone that offers" not in result["msg"]
    result = run(subnet_ids=["subnet-12345678"], image_name="none-{architecture}")
    assert "InvalidSubnetID.NotFound" in result["msg"] and "named none-amd64" in result["msg"]
    assert nothing_was_made(ec2)


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
    assert "Expected one zone" not in result["msg"] and nothing_was_made(ec2)


def test_what_was_found_before_is_told_once_with_what_is_found_here(ec2, run):
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
    assert "has no instance type" not in result["msg"] and nothing_was_made(ec2)
    # Nothing else stands against it: that alone is enough.
    assert run(problems=before[1:])["error_class"] == "usage" and nothing_was_made(ec2)


def test_a_question_is_asked_once_nothing_stands_against_it(ec2, run, inject):
    asked = {"confirm": "Launch?", "plan": ["launch 3"], "check": True}
    result = run(**asked)
    assert (result["question"], result["message"]) == ("Launch?", ["launch 3", *result["notes"]])
    inject("GetServiceQuota", quota({"L-1216C47A": 10, "L-34B43A08": 5}))
    spot = run(groups=[SERVERS | {"spot": True}, CLIENTS, MONITOR], **asked)
    assert "Not all can be spot instances" in spot["message"][1], "whoever says yes knows it"
    assert "question" not in run(image_name="none-{architecture}", **asked)
    assert run(confirm="Launch?")["question"] == ""


def test_missing_permissions_are_said_before_anything_is_made(ec2, run, monkeypatch):
    denied = {"RunInstances", "ImportKeyPair"}
    dry_runs(monkeypatch, lambda name, parameters: "UnauthorizedOperation" if name in denied else "")
    result = run()
    assert result["error_class"] == "permission"
    for text in ("launch 3 x i4i.large (server)", "launch 1 x t3.medium (monitor)", "import key pair"):
        assert f"EC2 refused to {text}: UnauthorizedOperation" in result["msg"], text
    assert "create security group" not in result["msg"]
    assert "docs/iam-policy.generated.json" in result["next_step"]
    assert nothing_was_made(ec2)


def test_what_may_not_be_looked_at_hides_nothing_that_was_found_before(ec2, run, inject):
    def denied(parameters, call):
        raise refuse("UnauthorizedOperation")

    inject("DescribeKeyPairs", denied)
    inject("DescribeSecurityGroups", denied)
    before = [{"msg": "12 USD are above the limit. Use --yes.", "error_class": "usage", "next_step": "Use --yes."}]
    result = run(problems=before)
    assert result["error_class"] == "permission"
    for text in ("refused to describe key pairs", "refused to describe security groups", "above the limit."):
        assert result["msg"].count(text) == 1, text


def test_wrong_credentials_are_said_once(ec2, run, inject):
    def expired(parameters, call):
        raise refuse("ExpiredToken")

    inject("GetCallerIdentity", expired)
    result = run()
    assert result["error_class"] == "credentials"
    assert nothing_was_made(ec2)


def test_the_caller_is_named(ec2, run):
    assert run(check=True)["identity"].startswith("arn:aws:sts::")


def quota(values):
    """A GetServiceQuota with values by code."""

    def answer(parameters, call):
        if parameters["QuotaCode"] not in values:
            raise refuse("NoSuchResourceException")
        return {"Quota": {"Value": float(values[parameters["QuotaCode"]])}}

    return answer


def count_cpus(parameters, call):
    answer = call()
    for reservation in answer["Reservations"]:
        for one in reservation["Instances"]:
            one["CpuOptions"] = {"CoreCount": 1, "ThreadsPerCore": 2}
    return answer


def test_the_quota_is_compared_with_what_is_missing(ec2, run, inject):
    """Five instances of two vCPUs each; the account's others count, too, and what exists is no longer missing."""
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


def test_the_quota_counts_what_is_started_again_beside_a_launch(ec2, run, inject):
    """Else the launch would be paid for, and the start refused."""
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
    ("spot", "on_demand", "said"),
    [
        (6, 4, []),
        (5, 10, []),
        (5, 9, ["6 more vCPUs of spot Standard", "10 more vCPUs of on-demand Standard"]),
        (6, 3, ["4 more vCPUs of on-demand Standard"]),
        (5, 3, ["6 more vCPUs of spot Standard", "10 more vCPUs of on-demand Standard"]),
    ],
)
def test_spot_has_a_quota_of_its_own_and_that_on_demand_to_fall_back_on(ec2, run, inject, spot, on_demand, said):
    """Six vCPUs of spot instances, four on demand."""

    def none_left(parameters, call):
        if spot < 6 and "InstanceMarketOptions" in parameters:
            raise refuse("MaxSpotInstanceCountExceeded")
        return call()

    inject("GetServiceQuota", quota({"L-1216C47A": on_demand, "L-34B43A08": spot}))
    inject("RunInstances", none_left)
    result = run(groups=[SERVERS | {"spot": True}, CLIENTS, MONITOR])
    if said:
        assert result["error_class"] == "quota" and result["msg"].count("more vCPUs of") == len(said)
        assert all(text in result["msg"] for text in said) and nothing_was_made(ec2)
        return
    assert len(live(ec2)) == 5
    notes = "\n".join(result["notes"])
    assert ("Not all can be spot instances: 6 more vCPUs of spot Standard" in notes) == (spot < 6)
    assert ("No spot instances: " in notes) == (spot < 6)


def test_a_type_whose_quota_nobody_knows_is_a_note():
    notes = []
    group = Group("server", "Bench", 3, "hpc7a.12xlarge")
    assert preflight.quotas(None, [Launch(group, (1, 2, 3))], [], {}, notes) == []
    assert len(notes) == 1 and "unknown whether the vCPU quota suffices for hpc7a.12xlarge" in notes[0]


def test_a_quota_that_may_not_be_read_is_a_note(ec2, run, inject):
    def denied(parameters, call):
        raise refuse("AccessDeniedException")

    inject("GetServiceQuota", denied)
    result = run()
    assert len(result["instances"]) == 5
    assert (
        "It is unknown whether the vCPU quota suffices: EC2 refused to read the quota L-1216C47A" in result["notes"][0]
    )


def test_a_launch_is_dry_run_as_it_will_be(ec2, run, monkeypatch):
    asked = []
    dry_runs(monkeypatch, lambda name, parameters: asked.append((name, parameters)))
    run(check=True)
    assert nothing_was_made(ec2)
    (servers,) = [one for name, one in asked if name == "RunInstances" and one["InstanceType"] == "i4i.large"]
    assert servers["MinCount"] == 3 and servers["ImageId"] == "ami-amd64"
    assert {name for name, _ in asked} == {"RunInstances", "ImportKeyPair", "CreateSecurityGroup"}


# --- ingress ----------------------------------------------------------------------------------------------------------


def test_exactly_these_rules_are_there_and_no_others(ec2, run):
    run(allowed_cidrs=["203.0.113.7", "198.51.100.0/24", "2001:db8::/64"])
    (group,) = ec2.describe_security_groups(GroupNames=["pegasus-Bench"])["SecurityGroups"]
    found = {
        (one["IpProtocol"], one.get("FromPort"), one.get("ToPort"), source)
        for one in group["IpPermissions"]
        for source in (
            *(source["CidrIp"] for source in one["IpRanges"]),
            *(source["CidrIpv6"] for source in one["Ipv6Ranges"]),
            *(source["GroupId"] for source in one["UserIdGroupPairs"]),
            *(source["PrefixListId"] for source in one["PrefixListIds"]),
        )
    }
    networks = ("203.0.113.7/32", "198.51.100.0/24", "2001:db8::/64")
    assert found == {("tcp", port, port, network) for port in (22, 3000, 9090) for network in networks} | {
        ("-1", None, None, group["GroupId"])
    }
    assert {tuple(one["SecurityGroups"][0].items()) for one in described(ec2)} == {
        (("GroupId", group["GroupId"]), ("GroupName", "pegasus-Bench"))
    }
    assert all(len(one["SecurityGroups"]) == 1 for one in described(ec2))


@pytest.fixture
def allow(tmp_path, capsys):
    """Run the module ec2_ingress."""

    def run_module(check=False, **changed):
        arguments = {
            "environment": "Bench", "region": REGION, "access_key": "testing", "secret_key": "testing",
            "_ansible_check_mode": check, "_ansible_remote_tmp": str(tmp_path), **changed,
        }  # fmt: skip
        capsys.readouterr()
        with patch_module_args(arguments), pytest.raises(SystemExit):
            ec2_ingress.main()
        return json.loads(capsys.readouterr().out)

    return run_module


def test_a_machine_whose_address_changed_lets_itself_in(ec2, run, allow, monkeypatch):
    run(allowed_cidrs=["203.0.113.7"])
    monkeypatch.setattr(ingress, "own_address", lambda: "198.51.100.9/32")
    planned = allow(check=True)
    result = allow()
    assert (
        planned["changes"]
        == result["changes"]
        == [
            *(f"allow port {port} from 198.51.100.9/32" for port in (22, 3000, 9090)),
            *(f"no longer allow port {port} from 203.0.113.7/32" for port in (22, 3000, 9090)),
        ]
    )
    assert "open to 198.51.100.9/32 (this machine's public address) only" in result["message"][-1]
    again = allow()
    assert again["changed"] is False and again["message"][0].startswith("nothing to change")
    assert allow(allowed_cidrs=["192.0.2.0/24", "2001:db8::/64"])["cidrs"] == ["192.0.2.0/24", "2001:db8::/64"]
    assert run(allowed_cidrs=["192.0.2.0/24", "2001:db8::/64"])["changed"] is False


def test_nobody_is_let_into_what_does_not_exist(ec2, allow):
    result = allow(allowed_cidrs=["192.0.2.0/24"])
    assert result["error_class"] == "configuration"
    assert "Bench has no security group in us-east-1" in result["msg"]
    assert "'here' isn't an address range" in allow(allowed_cidrs=["here"])["msg"]


def described(ec2):
    return [one for reservation in ec2.describe_instances()["Reservations"] for one in reservation["Instances"]]
