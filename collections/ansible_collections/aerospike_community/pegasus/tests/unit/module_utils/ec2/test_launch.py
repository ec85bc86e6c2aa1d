"""Launches: the module ec2_environment against moto."""

from __future__ import annotations

from collections import Counter

import boto3
import pytest

from tests.ec2_moto import CLIENTS, MONITOR, REGION, SERVERS, live, refuse

pytestmark = pytest.mark.slow  # launches in moto, half a second each
ZONES = [f"{REGION}{letter}" for letter in "abc"]


def full(*zones, types=("i4i.large", "c6i.large", "t3.medium")):
    """A RunInstances that fails in zones without capacity."""
    by_subnet = {}

    def answer(parameters, call):
        if not by_subnet:
            for subnet in boto3.client("ec2", region_name=REGION).describe_subnets()["Subnets"]:
                by_subnet[subnet["SubnetId"]] = subnet["AvailabilityZone"]
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
    # The number of polls depends on the clock only.
    few.pop("describe_instances"), many.pop("describe_instances")
    assert few == many
    assert [instance.index for instance in live(ec2) if instance.kind == "server"] == list(range(1, 61))


def test_one_call_tags_50_instances(ec2, run, inject):
    sizes = []
    inject("CreateTags", lambda parameters, call: sizes.append(len(parameters["Resources"])) or call())
    run(groups=[SERVERS | {"nodes": 120}, CLIENTS, MONITOR])
    assert sorted(sizes) == [22, 50, 50]
    assert {instance.tags["pegasus:expires"][:2] for instance in live(ec2)} == {"20"}


# --- zones ------------------------------------------------------------------------------------------------------------


def test_nodes_are_spread_over_zones(ec2, run):
    result = run(groups=[SERVERS | {"nodes": 7}, CLIENTS | {"nodes": 3}, MONITOR], zone_count=3)
    zones = Counter((instance["kind"], instance["zone"]) for instance in result["instances"])
    assert sorted(zones[("server", zone)] for zone in ZONES) == [2, 2, 3]
    assert [zones[("client", zone)] for zone in ZONES] == [1, 1, 1]
    assert result["api_calls"]["run_instances"] == 3 + 3 + 1
    assert [instance["name"] for instance in result["instances"]][:7] == [f"Bench-{n}" for n in range(1, 8)]
    # New nodes fill the emptier zones.
    more = run(groups=[SERVERS | {"add": 2}], zone_count=3)
    zones = Counter(instance["zone"] for instance in more["instances"] if instance["kind"] == "server")
    assert [zones[zone] for zone in ZONES] == [3, 3, 3]


def test_configured_subnets_determine_the_zones(ec2, run):
    subnets = {subnet["AvailabilityZone"]: subnet["SubnetId"] for subnet in ec2.describe_subnets()["Subnets"]}
    chosen = [subnets[f"{REGION}b"], subnets[f"{REGION}d"]]
    run(subnet_ids=chosen, zone_count=2)
    assert {instance.subnet_id for instance in live(ec2)} == set(chosen)


def test_a_full_zone_is_replaced_by_the_next(ec2, run, inject):
    """All groups move together: traffic between zones is slower, and costs."""
    inject("RunInstances", full(ZONES[1], types=["c6i.large"]))
    result = run(zones=[ZONES[1], ZONES[2], ZONES[0]])
    assert {instance["zone"] for instance in result["instances"]} == {ZONES[2]}
    assert len(result["instances"]) == len(live(ec2)) == 5
    (note,) = result["notes"]
    assert f"{ZONES[1]} has no capacity" in note and "1 x c6i.large" in note and f"Trying {ZONES[2]} instead" in note
    assert "The 4 other instances that this run had launched were terminated" in note
    assert run()["changed"] is False


def test_a_full_zone_of_several_is_replaced_by_the_spare(ec2, run, inject):
    inject("RunInstances", full(ZONES[1]))
    result = run(zone_count=2)
    assert {instance["zone"] for instance in result["instances"] if instance["kind"] == "server"} == {
        ZONES[0],
        ZONES[2],
    }


def test_no_instance_is_left_if_every_zone_is_full(ec2, run, inject):
    inject("RunInstances", full(*ZONES, types=["i4i.large"]))
    result = run(zones=ZONES[:2])
    assert result["error_class"] == "capacity"
    assert f"Tried: {ZONES[0]}, {ZONES[1]}." in result["next_step"]
    assert live(ec2) == []


def test_part_of_a_spread_group_is_rolled_back(ec2, run, inject):
    inject("RunInstances", full(ZONES[1]))
    result = run(zones=ZONES[:2], zone_count=2)
    assert result["error_class"] == "capacity"
    assert live(ec2) == []


def test_existing_nodes_keep_their_zone_even_if_it_is_full(ec2, run, inject):
    run()
    (zone,) = {instance.zone for instance in live(ec2)}
    inject("RunInstances", full(zone))
    result = run(groups=[SERVERS | {"nodes": 5}, CLIENTS, MONITOR])
    assert result["error_class"] == "capacity"
    assert "New nodes are launched in the zones of the nodes that exist" in result["next_step"]
    assert len(live(ec2)) == 5
    # The advice works: a subnet in another zone.
    other = next(subnet for subnet in ec2.describe_subnets()["Subnets"] if subnet["AvailabilityZone"] != zone)
    run(groups=[SERVERS | {"nodes": 5}, CLIENTS, MONITOR], subnet_ids=[other["SubnetId"]])
    assert len(live(ec2)) == 7 and {instance.zone for instance in live(ec2)} == {zone, other["AvailabilityZone"]}


# --- spot, placement, disks -------------------------------------------------------------------------------------------


def test_spot_is_requested_first_and_on_demand_is_the_fallback(ec2, run, inject):
    requested = []

    def no_spot_servers(parameters, call):
        market = parameters.get("InstanceMarketOptions", {}).get("MarketType", "on-demand")
        requested.append((parameters["InstanceType"], market))
        if market == "spot" and parameters["InstanceType"] == "i4i.large":
            raise refuse("InsufficientInstanceCapacity")
        return call()

    inject("RunInstances", no_spot_servers)
    result = run(groups=[SERVERS | {"spot": True}, CLIENTS | {"spot": True}, MONITOR])
    assert sorted(requested) == [
        ("c6i.large", "spot"), ("i4i.large", "on-demand"), ("i4i.large", "spot"), ("t3.medium", "on-demand"),
    ]  # fmt: skip
    (note,) = result["notes"]
    assert note.startswith("No spot instances: ") and "On demand instead, at the full price." in note
    assert len(live(ec2)) == 5


def test_an_invalid_spot_request_is_not_repeated_on_demand(ec2, run, inject):
    def wrong(parameters, call):
        if "InstanceMarketOptions" in parameters:
            raise refuse("InvalidParameterCombination")
        return call()

    inject("RunInstances", wrong)
    assert run(groups=[SERVERS | {"spot": True}, CLIENTS, MONITOR])["error_class"] == "configuration"
    assert live(ec2) == []


def test_the_first_spot_instance_of_an_account_needs_a_role(ec2, run, inject):
    """EC2 creates it in the name of the caller."""

    def refused(parameters, call):
        if "InstanceMarketOptions" in parameters:
            raise refuse("AuthFailure.ServiceLinkedRoleCreationNotPermitted")
        return call()

    inject("RunInstances", refused)
    result = run(groups=[SERVERS | {"spot": True}, CLIENTS, MONITOR])
    assert result["error_class"] == "permission"
    assert "aws iam create-service-linked-role --aws-service-name spot.amazonaws.com" in result["next_step"]
    assert live(ec2) == []


def test_a_placement_group_is_created_and_removed_with_the_environment(ec2, run, inject):
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


def test_a_foreign_placement_group_is_kept(ec2, run):
    ec2.create_placement_group(GroupName="pegasus-Bench", Strategy="spread")
    result = run(placement="cluster")
    assert result["error_class"] == "configuration"
    assert "EC2 has a placement group named pegasus-Bench without the tag pegasus:environment=Bench" in result["msg"]
    assert live(ec2) == []
    run(state="absent")
    assert [group["GroupName"] for group in ec2.describe_placement_groups()["PlacementGroups"]] == ["pegasus-Bench"]


def test_the_next_run_uses_the_placement_group_of_a_killed_run(ec2, run, inject):
    created = []

    def die(parameters, call):
        call()
        created.append(parameters["GroupName"])
        raise refuse("Killed")

    inject("CreatePlacementGroup", die)
    assert run(placement="spread")["failed"] is True
    assert live(ec2) == []
    assert len(run(placement="spread")["launched"]) == 5
    assert created == ["pegasus-Bench"]
    run(state="absent")
    assert ec2.describe_placement_groups()["PlacementGroups"] == []


def test_without_placement_no_placement_group_is_described(ec2, run):
    assert not any("placement" in name for name in run()["api_calls"])


def test_root_volumes_have_the_configured_type_and_are_encrypted(ec2, run):
    run(root_volume_type="gp2", root_volume_gb=30)
    volumes = ec2.describe_volumes()["Volumes"]
    assert {(volume["VolumeType"], volume["Encrypted"]) for volume in volumes} == {("gp2", True)}


# --- image ------------------------------------------------------------------------------------------------------------


def test_an_image_is_found_by_a_parameter_of_systems_manager(ec2, run, inject):
    names = []

    def parameters(parameters, call):
        names.extend(parameters["Names"])
        return {
            "Parameters": [{"Name": name, "Value": f"ami-{name.rsplit('/', 1)[1]}"} for name in parameters["Names"]]
        }

    inject("GetParameters", parameters)
    name = "/aws/service/debian/release/12/latest/{architecture}"
    result = run(groups=[SERVERS | {"instance_type": "r6gd.large"}, CLIENTS, MONITOR], image_name=name)
    assert {instance["kind"]: instance["image_id"] for instance in result["instances"]} == {
        "server": "ami-arm64", "client": "ami-amd64", "monitor": "ami-amd64",
    }  # fmt: skip
    assert sorted(names) == [name.replace("{architecture}", item) for item in ("amd64", "arm64")]


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        ({"Parameters": [], "InvalidParameters": ["x"]}, f"{REGION} has no parameter /aws/service/none"),
        ({"Parameters": [{"Name": "x", "Value": "ami-arm64"}]}, "is for arm64, the instance types are x86_64"),
    ],
)
def test_a_parameter_without_a_matching_image_is_refused(ec2, run, inject, answer, text):
    inject("GetParameters", lambda parameters, call: answer)
    result = run(image_name="/aws/service/none")
    assert result["error_class"] == "configuration"
    assert text in result["msg"]
    assert live(ec2) == []
