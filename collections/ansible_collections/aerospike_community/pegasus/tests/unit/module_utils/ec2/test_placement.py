"""The zones and subnets of new instances."""

from __future__ import annotations

import pytest
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.ec2.errors import Ec2Problem
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.ec2.instances import Instance
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.ec2.placement import (
    choose_subnets,
    spread,
    usable_subnets,
)
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.ec2.plan import Launch
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.ec2.spec import Group

SERVERS = Group("server", "Bench", 3, "i4i.large")


def subnet(zone, free=100):
    return {"SubnetId": f"subnet-{zone}", "AvailabilityZone": zone, "VpcId": "vpc-1", "AvailableIpAddressCount": free}


def instance(kind, zone):
    return Instance("i-1", kind, "running", "i4i.large", zone=zone)


def take(subnets, offered, types, addresses, zones=()):
    """The subnet of one zone."""
    return choose_subnets(usable_subnets(subnets, offered, types, zones), 1, addresses)[0]


def test_the_first_zone_that_offers_all_types_is_used():
    offered = {"a": {"x"}, "b": {"x", "y"}, "c": {"x", "y", "z"}}
    subnets = [subnet("c"), subnet("b"), subnet("a")]
    assert take(subnets, offered, {"x", "y"}, 5)["AvailabilityZone"] == "b"
    assert take([subnet("a"), subnet("b", 4), subnet("c")], offered, {"x", "y"}, 5)["SubnetId"] == "subnet-c"


@pytest.mark.parametrize(
    ("zones", "taken"),
    [([], "b"), (["c", "b"], "c"), (["a", "c"], "c"), (["d", "b"], "b")],
)
def test_only_the_configured_zones_are_used_in_their_order(zones, taken):
    offered = {"a": {"x"}, "b": {"x", "y"}, "c": {"x", "y"}}
    subnets = [subnet("a"), subnet("b"), subnet("c")]
    assert take(subnets, offered, {"x", "y"}, 5, zones)["AvailabilityZone"] == taken


@pytest.mark.parametrize(
    ("zones", "error_class", "text"),
    [
        (["d", "e"], "configuration", r"one of ec2_provision_zones \(d, e\); found: subnet-a in a, subnet-b in b\."),
        (["a"], "capacity", r"found: a lacks y\."),
    ],
)
def test_no_configured_zone_fits(zones, error_class, text):
    with pytest.raises(Ec2Problem, match=text) as caught:
        take([subnet("a"), subnet("b")], {"a": {"x"}, "b": {"x", "y"}}, {"x", "y"}, 3, zones)
    assert caught.value.error_class == error_class


@pytest.mark.parametrize(
    ("subnets", "offered", "error_class", "text"),
    [
        ([], {}, "configuration", "no default subnet"),
        ([subnet("a"), subnet("b")], {"a": {"x"}}, "capacity", "a lacks y; b lacks x, y"),
        ([subnet("a", 2)], {"a": {"x", "y"}}, "capacity", r"subnet-a \(a\) has 2"),
    ],
)
def test_no_zone_fits(subnets, offered, error_class, text):
    with pytest.raises(Ec2Problem, match=text) as caught:
        take(subnets, offered, {"x", "y"}, 3)
    assert caught.value.error_class == error_class


def test_fallback_zones_come_last():
    subnets = [subnet("a", 10), subnet("b", 1), subnet("c", 2), subnet("d", 9)]
    assert [subnet["AvailabilityZone"] for subnet in choose_subnets(subnets, 2, 4)] == ["a", "c", "d"]
    with pytest.raises(Ec2Problem, match=r"Expected 3 free addresses in each of 3 zones .*subnet-b \(b\) has 1"):
        choose_subnets(subnets, 3, 9)


def test_the_subnets_of_existing_nodes_come_first():
    subnets = [subnet("a"), subnet("b"), subnet("c")]
    offered = {zone: {"x"} for zone in "abc"}
    found = usable_subnets(subnets, offered, {"x"}, preferred=["subnet-c"])
    assert [item["AvailabilityZone"] for item in found] == ["c", "a", "b"]


@pytest.mark.parametrize(
    ("existing", "new", "divided"),
    [
        ("", 7, {"a": (1, 2, 3), "b": (4, 5), "c": (6, 7)}),
        ("", 1, {"a": (1,)}),
        ("aab", 5, {"a": (1,), "b": (2, 3), "c": (4, 5)}),
        ("aaa", 2, {"b": (1,), "c": (2,)}),
    ],
)
def test_nodes_are_spread_evenly(existing, new, divided):
    live = [instance("server", zone) for zone in existing]
    clients = [instance("client", "c") for _ in range(9)]
    parts = spread([Launch(SERVERS, tuple(range(1, new + 1)))], [subnet("a"), subnet("b"), subnet("c")], live + clients)
    assert {part.zone: part.indexes for part in parts} == divided
    assert all(part.subnet_id == f"subnet-{part.zone}" for part in parts)
