"""The pure parts of ec2_environment: durations, plan, ingress, place, request, error classes."""

from __future__ import annotations

import os
import subprocess
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import botocore.exceptions as boto_errors
import pytest
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.durations import (
    format_duration,
    parse_duration,
)
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.ec2 import placement as ec2_place
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.ec2 import plan as ec2_plan
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.ec2 import request as ec2_request
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.ec2.errors import Ec2Problem, explain
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.ec2.plan import Group, Instance, Launch, Rule

NOW = datetime(2026, 1, 31, 12, 0, 0, tzinfo=UTC)
SERVERS = Group("server", "Bench", 3, "i4i.large")
CLIENTS = Group("client", "BenchClient", 1, "c6i.large")


# --- durations --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("20h 30m", 73800),
        ("20h30m", 73800),
        ("90m", 5400),
        ("3600s", 3600),
        ("24H", 86400),
        ("1d 2h", 93600),
        (" 7200 ", 7200),
        (7200, 7200),
        ("0", 0),
        (0, 0),
        ("0h", 0),
    ],
)
def test_duration(text, seconds):
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "h", "soon", "-5m", "1.5h", "2w", "1h and 5m", "5m 5m", "10 20"])
def test_duration_refused(text):
    with pytest.raises(ValueError, match=r"Expected 20h 30m, 90m, 3600s"):
        parse_duration(text)


@pytest.mark.parametrize(("seconds", "text"), [(73800, "20h 30m"), (90061, "1d 1h 1m 1s"), (0, "never")])
def test_duration_as_text(seconds, text):
    assert format_duration(seconds) == text


# --- plan -------------------------------------------------------------------------------------------------------------


def node(number, *, kind="server", name="Bench", state="running", instance_type="i4i.large", **more):
    """An instance as EC2 has it after a finished run."""
    tags = {
        ec2_plan.TAG_KIND: kind,
        ec2_plan.TAG_INDEX: str(number),
        ec2_plan.TAG_NAME: f"{name}-{number}",
        ec2_plan.TAG_EXPIRES: "never",
    }
    return Instance(
        id=f"i-{kind}{number}",
        kind=kind,
        state=state,
        instance_type=instance_type,
        tags=tags | more.pop("tags", {}),
        **more,
    )  # fmt: skip


def bare(ident, launch_index, *, launch="", kind="server", state="running"):
    """An instance whose run ended before it got its index."""
    tags = {ec2_plan.TAG_KIND: kind} | ({ec2_plan.TAG_LAUNCH: launch} if launch else {})
    return Instance(
        id=ident,
        kind=kind,
        state=state,
        instance_type="i4i.large",
        launch_index=launch_index,
        launch_time=NOW,
        tags=tags,
    )


def plan(instances, groups=(SERVERS,), expiry=0, tags=None):
    return ec2_plan.make_plan(list(groups), instances, expiry_seconds=expiry, extra_tags=tags or {}, now=NOW)


@pytest.mark.parametrize(
    ("instances", "replace", "launched"),
    [
        pytest.param([], (), (1, 2, 3), id="nothing there"),
        pytest.param([node(1), node(2), node(3)], (), None, id="complete"),
        pytest.param([node(1)], (), (2, 3), id="two missing"),
        pytest.param([node(1), node(2), node(3, state="terminated")], (), (3,), id="the last one ended"),
        pytest.param([node(1), node(2, state="terminated"), node(3)], (), (4,), id="not reused while 3 exists"),
        pytest.param([node(1), node(2, state="shutting-down"), node(3)], (), (4,), id="ending counts as gone"),
        pytest.param([node(1), node(3)], (2,), (2,), id="replaced by the user's wish"),
        pytest.param([node(3)], (2, 3), (2, 4), id="replace takes free ones only"),
        pytest.param([node(1, state="pending"), node(2, state="stopped"), node(3)], (), None, id="any live state"),
    ],
)
def test_indexes_of_new_nodes(instances, replace, launched):
    group = Group("server", "Bench", 3, "i4i.large", replace)
    found = plan(instances, [group])
    assert found.refusals == []
    assert [launch.indexes for launch in found.launches] == ([launched] if launched else [])


@pytest.mark.parametrize(
    ("existing", "nodes", "add", "said"),
    [
        pytest.param(3, 3, 1, "", id="up to the limit"),
        pytest.param(3, 3, 2, "would have 5 nodes, the 3 that exist and 2 new", id="added beyond it"),
        pytest.param(3, 3, 2, "Ask for at most 1 more.", id="how many there is room for"),
        pytest.param(4, 3, 1, "No more can be added.", id="at the limit"),
        pytest.param(2, 5, 0, "would have 5 nodes, the 2 that exist and 3 new", id="missing ones beyond it"),
        pytest.param(5, 3, 0, "", id="beyond it already, and nothing is launched"),
    ],
)
def test_nothing_is_launched_beyond_the_limit(existing, nodes, add, said):
    there = [node(n, state="stopped" if n == 1 else "running") for n in range(1, existing + 1)]
    group = Group("server", "Bench", nodes, "i4i.large", add=add, limit=4, limit_reason="the licence is for 4")
    refusals = plan(there, [group]).refusals
    assert bool(refusals) == bool(said)
    if said:
        assert said in refusals[0] and "the licence is for 4, and a node that is stopped counts" in refusals[0]
    assert plan(there, [Group("server", "Bench", nodes, "i4i.large", add=add)]).refusals == []


def test_a_complete_environment_needs_nothing():
    found = plan([node(n) for n in (1, 2, 3)])
    assert (found.launches, found.retags, found.starts, found.refusals) == ([], {}, [], [])


def test_all_groups_are_launched():
    found = plan([], [SERVERS, CLIENTS])
    assert [launch.text() for launch in found.launches] == [
        "launch 3 x i4i.large as Bench-1 to Bench-3 (server)",
        "launch 1 x c6i.large as BenchClient-1 (client)",
    ]


@pytest.mark.parametrize(
    ("instances", "indexes"),
    [
        pytest.param(
            [bare(f"i-{n}", n, launch="1-3") for n in range(3)], {"i-0": 1, "i-1": 2, "i-2": 3}, id="none tagged"
        ),
        pytest.param([node(1), bare("i-b", 1, launch="1-3"), node(3)], {"i-b": 2}, id="one of three isn't tagged"),
        pytest.param([node(1), node(3), bare("i-b", 0, launch="4")], {"i-b": 4}, id="added later"),
        pytest.param([node(1), node(2), bare("i-b", 0)], {"i-b": 3}, id="no launch tag"),
        pytest.param([node(1), node(2), bare("i-b", 0, launch="1-3")], {"i-b": 3}, id="its index is taken"),
        pytest.param([node(1), node(2), bare("i-b", 7, launch="x")], {"i-b": 3}, id="unreadable"),
    ],
)
def test_an_interrupted_launch_gets_its_indexes(instances, indexes):
    found = plan(instances, expiry=3600)
    assert found.launches == []
    assert set(found.retags) == set(indexes)
    for one in instances:
        if one.id not in indexes:
            continue
        made = replace(one, tags=one.tags | found.retags[one.id])
        assert (made.index, made.name) == (indexes[one.id], f"Bench-{indexes[one.id]}")
        assert made.tags[ec2_plan.TAG_EXPIRES] == "2026-01-31T13:00:00Z"
        # A tag of its own only where the launch doesn't say it.
        assert (ec2_plan.TAG_INDEX in made.tags) == (one.index != made.index)
        assert made.full_tags()[ec2_plan.TAG_INDEX] == str(made.index)
        assert made.full_tags()[ec2_plan.TAG_NAME] == made.name


def test_a_renamed_group_is_one_tag_for_all_its_nodes():
    instances = [bare(f"i-{n}", n, launch="1-3") for n in range(3)]
    tagged = [replace(one, tags=one.tags | {"Name": "Old", ec2_plan.TAG_EXPIRES: "never"}) for one in instances]
    assert plan(tagged).retags == {f"i-{n}": {"Name": "Bench"} for n in range(3)}


def test_more_nodes_than_asked_are_kept_and_named():
    found = plan([node(n) for n in (1, 2, 4, 5)])
    assert found.refusals == [] and found.launches == [] and found.retags == {} and found.starts == []
    (note,) = found.notes
    assert "Bench (server) keeps its 4 nodes, although 3 were asked for" in note


def test_adding_leaves_what_exists_as_it_is():
    later = ec2_plan.format_time(NOW + timedelta(minutes=1))
    group = replace(SERVERS, add=2)
    found = plan([node(1), node(2), node(4, state="stopped", tags={ec2_plan.TAG_EXPIRES: later})], [group])
    assert [launch.indexes for launch in found.launches] == [(5, 6)]
    assert found.starts == [] and found.notes == [] and found.refusals == []


def test_nothing_can_be_added_to_nothing():
    found = plan([], [replace(SERVERS, add=1)])
    assert "has no node, so there is nothing to add to" in found.refusals[0]


def test_a_part_leaves_the_other_roles_alone():
    """setup-clients asks for clients only."""
    client = node(1, kind="client", name=CLIENTS.name, instance_type=CLIENTS.instance_type)
    found = plan([node(1), node(2, state="stopped"), client], [CLIENTS])
    assert found == ec2_plan.Plan()


def test_every_refusal_is_said_at_once():
    stopped = node(2, state="stopped", tags={ec2_plan.TAG_EXPIRES: "2026-01-31T11:59:59Z"})
    stranger = node(1, kind="worker", name="W")
    found = plan(
        [node(1, instance_type="i3.large"), stopped, stranger],
        [SERVERS, CLIENTS],
    )
    text = "\n".join(found.refusals)
    assert "with the kind 'worker'; expected one of server, client, monitor" in text
    assert "Bench-1 (i-server1) is of type i3.large, i4i.large was asked for" in text
    assert "Bench-2 (i-server2) is stopped and expired at 2026-01-31T11:59:59Z" in text
    # extend keeps a stopped node's end.
    assert "Let reap take it, then run this again" in text and "extend" not in text
    assert len(found.refusals) == 3


def test_two_instances_with_one_index_are_refused():
    twin = Instance("i-twin", "server", "running", "i4i.large", tags=node(1).tags)
    (refusal,) = plan([node(1), twin]).refusals
    assert "Two instances are number 1 of Bench (server): i-server1 and i-twin" in refusal


def test_stopped_nodes_are_started():
    later = ec2_plan.format_time(NOW + timedelta(minutes=1))
    found = plan([node(1), node(2, state="stopped", tags={ec2_plan.TAG_EXPIRES: later}), node(3, state="stopping")])
    assert [one.id for one in found.starts] == ["i-server2", "i-server3"]
    assert found.retags == {}


def test_only_tags_that_differ_are_set():
    found = plan(
        [node(1, tags={"team": "a"}), node(2, name="Old", tags={"team": "b"}), node(3, tags={"team": "b"})],
        tags={"team": "b"},
    )
    assert found.retags == {"i-server1": {"team": "b"}, "i-server2": {"Name": "Bench-2"}}


@pytest.mark.parametrize(("indexes", "text"), [((1, 2, 3), "1-3"), ((4,), "4"), ((1, 3, 4, 9), "1,3-4,9")])
def test_index_ranges(indexes, text):
    assert ec2_plan.format_indexes(indexes) == text
    assert tuple(ec2_plan.parse_indexes(text)) == indexes


@pytest.mark.parametrize("name", ["", "Bench*", "a?", "-a", "a b", "a" * 64, "ä"])
def test_names_that_would_harm_are_refused(name):
    assert "expected letters, digits" in ec2_plan.check_environment(name)
    assert ec2_plan.check_request([Group("client", name, 1, "c6i.large")], {})


def test_request_checks_say_everything():
    groups = [SERVERS, Group("server", "Bench", -1, "i4i.large")]
    text = "\n".join(ec2_plan.check_request(groups, {"Name": "x", "pegasus:index": "9", "fine": "y"}))
    assert "Two groups have the kind 'server'" in text
    assert "Two groups have the name 'Bench'" in text
    assert "Bench asks for -1 nodes" in text
    assert "The tag 'Name' can't be set" in text
    assert "The tag 'pegasus:index' can't be set" in text
    assert "fine" not in text


# --- ingress ----------------------------------------------------------------------------------------------------------


def test_rules_survive_the_form_that_ec2_gives_them():
    rules = ec2_plan.wanted_rules("sg-1", ["203.0.113.7/32", "2001:db8::/64"])
    assert len(rules) == 7
    assert {(rule.first_port, rule.source) for rule in rules if rule.kind == "cidr4"} == {
        (22, "203.0.113.7/32"),
        (3000, "203.0.113.7/32"),
        (9090, "203.0.113.7/32"),
    }
    assert ec2_plan.found_rules([rule.permission() for rule in rules]) == rules


def test_found_rules_are_taken_apart():
    permission = {
        "IpProtocol": "tcp",
        "FromPort": 22,
        "ToPort": 23,
        "IpRanges": [{"CidrIp": "10.0.0.0/8"}, {"CidrIp": "0.0.0.0/0", "Description": "x"}],
        "PrefixListIds": [{"PrefixListId": "pl-1"}],
    }
    assert ec2_plan.found_rules([permission]) == {
        Rule("tcp", 22, 23, "cidr4", "10.0.0.0/8"),
        Rule("tcp", 22, 23, "cidr4", "0.0.0.0/0"),
        Rule("tcp", 22, 23, "prefix", "pl-1"),
    }


@pytest.mark.parametrize(
    ("text", "network"),
    [("203.0.113.7", "203.0.113.7/32"), ("10.1.2.3/8", "10.0.0.0/8"), ("2001:DB8::1/64", "2001:db8::/64")],
)
def test_cidrs_are_brought_into_ec2s_form(text, network):
    assert ec2_plan.normal_cidr(text) == network


def test_what_is_no_cidr_is_refused():
    with pytest.raises(ValueError, match="'myhost' isn't an address range"):
        ec2_plan.normal_cidr("myhost")


# --- place ------------------------------------------------------------------------------------------------------------


def subnet(zone, free=100):
    return {"SubnetId": f"subnet-{zone}", "AvailabilityZone": zone, "VpcId": "vpc-1", "AvailableIpAddressCount": free}


def take(subnets, offered, types, addresses, zones=()):
    """The subnet of one zone."""
    return ec2_place.choose_subnets(ec2_place.usable_subnets(subnets, offered, types, zones), 1, addresses)[0]


def test_the_first_zone_that_offers_everything_is_taken():
    offered = {"a": {"x"}, "b": {"x", "y"}, "c": {"x", "y", "z"}}
    subnets = [subnet("c"), subnet("b"), subnet("a")]
    assert take(subnets, offered, {"x", "y"}, 5)["AvailabilityZone"] == "b"
    assert take([subnet("a"), subnet("b", 4), subnet("c")], offered, {"x", "y"}, 5)["SubnetId"] == "subnet-c"


@pytest.mark.parametrize(
    ("zones", "taken"),
    [([], "b"), (["c", "b"], "c"), (["a", "c"], "c"), (["d", "b"], "b")],
)
def test_only_the_asked_zones_are_used_in_their_order(zones, taken):
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
def test_no_asked_zone_fits(zones, error_class, text):
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


def test_zones_to_use_come_before_those_to_fall_back_on():
    subnets = [subnet("a", 10), subnet("b", 1), subnet("c", 2), subnet("d", 9)]
    assert [one["AvailabilityZone"] for one in ec2_place.choose_subnets(subnets, 2, 4)] == ["a", "c", "d"]
    with pytest.raises(Ec2Problem, match=r"3 free addresses are needed in each of 3 zones .*subnet-b \(b\) has 1"):
        ec2_place.choose_subnets(subnets, 3, 9)


def test_the_subnets_of_nodes_that_exist_come_first():
    subnets = [subnet("a"), subnet("b"), subnet("c")]
    offered = {zone: {"x"} for zone in "abc"}
    found = ec2_place.usable_subnets(subnets, offered, {"x"}, preferred=["subnet-c"])
    assert [one["AvailabilityZone"] for one in found] == ["c", "a", "b"]


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
    live = [node(100 + number, zone=zone) for number, zone in enumerate(existing)]
    strangers = [node(200 + number, kind="client", zone="c") for number in range(9)]
    parts = ec2_place.spread(
        [Launch(SERVERS, tuple(range(1, new + 1)))], [subnet("a"), subnet("b"), subnet("c")], live + strangers
    )
    assert {part.zone: part.indexes for part in parts} == divided
    assert all(part.subnet_id == f"subnet-{part.zone}" for part in parts)


@pytest.mark.parametrize(
    ("name", "architecture", "found"),
    [
        ("debian-12-{architecture}-*", "x86_64", "debian-12-amd64-*"),
        (
            "/aws/service/debian/release/12/latest/{architecture}",
            "arm64",
            "/aws/service/debian/release/12/latest/arm64",
        ),
        ("al2023-ami-*-{machine}", "x86_64", "al2023-ami-*-x86_64"),
    ],
)
def test_the_name_of_an_image_follows_the_architecture(name, architecture, found):
    assert ec2_place.image_name(name, architecture) == found
    assert ec2_place.is_parameter(found) == found.startswith("/aws")


def test_architecture_follows_from_the_type():
    def described(name, *supported):
        return {"InstanceType": name, "ProcessorInfo": {"SupportedArchitectures": list(supported)}}

    found = ec2_place.architectures([described("m1", "i386", "x86_64"), described("m2", "arm64")])
    assert found == {"m1": "x86_64", "m2": "arm64"}
    with pytest.raises(Ec2Problem, match="mac1 is x86_64_mac; expected x86_64 or arm64"):
        ec2_place.architectures([described("mac1", "x86_64_mac")])


def test_the_newest_image_is_taken():
    images = [{"ImageId": f"ami-{year}", "CreationDate": f"{year}-01-01T00:00:00.000Z"} for year in (2024, 2026, 2025)]
    assert ec2_place.newest_image(images, "p", "o", "arm64", "r")["ImageId"] == "ami-2026"
    with pytest.raises(Ec2Problem, match="No image in r is named p, is owned by o and is made for arm64"):
        ec2_place.newest_image([], "p", "o", "arm64", "r")


# --- the launch request -----------------------------------------------------------------------------------------------

AROUND = ec2_request.Surroundings("Bench", "me", "pegasus-Bench", "sg-1", 50, 100, 3600, {"team": "a"})


def request(indexes=(1, 2, 3), around=AROUND):
    return ec2_request.run_request(Launch(SERVERS, indexes, "subnet-a", "a"), around, "ami-1", "/dev/xvda")


@pytest.mark.parametrize(("wish", "associate"), [("always", True), ("never", False)])
def test_public_addresses_are_given_or_not(wish, associate):
    asked = request(around=replace(AROUND, public_address=wish))
    assert "SubnetId" not in asked and "SecurityGroupIds" not in asked
    (interface,) = asked["NetworkInterfaces"]
    assert interface["AssociatePublicIpAddress"] is associate
    assert (interface["SubnetId"], interface["Groups"]) == ("subnet-a", ["sg-1"])


@pytest.mark.parametrize(("placement", "kinds"), [("cluster", ["server", "client"]), ("spread", ["server"])])
def test_a_placement_group_holds_the_roles_that_it_is_for(placement, kinds):
    around = replace(AROUND, placement_group="pegasus-Bench", placement=placement)
    placed = [
        kind
        for kind in ec2_plan.KINDS
        if ec2_request.run_request(Launch(replace(SERVERS, kind=kind), (1,)), around, "ami-1", "/dev/xvda").get(
            "Placement"
        )
    ]
    assert placed == kinds


def test_a_spot_request_is_the_same_but_for_the_market():
    asked = ec2_request.as_spot(request())
    market = asked.pop("InstanceMarketOptions")
    assert market["MarketType"] == "spot"
    assert market["SpotOptions"]["InstanceInterruptionBehavior"] == "terminate"
    assert asked == request()


def test_the_request_is_all_or_nothing_and_safe():
    asked = request()
    assert (asked["MinCount"], asked["MaxCount"]) == (3, 3)
    assert asked["InstanceInitiatedShutdownBehavior"] == "terminate"
    assert asked["MetadataOptions"]["HttpTokens"] == "required"
    assert asked["BlockDeviceMappings"][0]["Ebs"]["Encrypted"] is True
    tags = {spec["ResourceType"]: {t["Key"]: t["Value"] for t in spec["Tags"]} for spec in asked["TagSpecifications"]}
    assert tags["instance"] == {
        "team": "a",
        "pegasus:environment": "Bench",
        "pegasus:kind": "server",
        "pegasus:owner": "me",
        "pegasus:launch": "1-3",
        "Name": "Bench",
    }
    assert (asked["SubnetId"], asked["SecurityGroupIds"]) == ("subnet-a", ["sg-1"])
    assert "NetworkInterfaces" not in asked and "Placement" not in asked and "InstanceMarketOptions" not in asked
    assert tags["volume"]["pegasus:environment"] == "Bench"


def test_the_monitor_has_a_volume_of_its_own_size():
    def size(kind):
        launch = Launch(replace(SERVERS, kind=kind), (1,))
        asked = ec2_request.run_request(launch, AROUND, "ami-1", "/dev/xvda")
        return asked["BlockDeviceMappings"][0]["Ebs"]["VolumeSize"]

    assert [size(kind) for kind in ("server", "client", "monitor")] == [50, 50, 100]


def test_the_token_is_the_same_for_the_same_launch_only():
    gone = node(1, state="terminated")
    token = ec2_request.client_token(request(), [])
    assert token == ec2_request.client_token(request(), [])
    assert len(token) <= 64
    others = [
        ec2_request.client_token(request(), [gone]),
        ec2_request.client_token(request(), [], attempt=1),
        ec2_request.client_token(request((2, 3)), []),
        ec2_request.client_token(request(around=ec2_request.Surroundings(**(vars(AROUND) | {"group_id": "sg-2"}))), []),
    ]
    assert len({token, *others}) == 5


def test_the_user_data_sets_a_timer(tmp_path: Path):
    """Run the script with a systemctl that only writes down what it is asked."""
    script = ec2_request.user_data(3600)
    units = tmp_path / "units"
    units.mkdir()
    systemctl = tmp_path / "systemctl"
    systemctl.write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/asked\n')
    systemctl.chmod(0o755)
    before = datetime.now(UTC).replace(microsecond=0)
    subprocess.run(
        ["/bin/sh", "-c", script.replace("/etc/systemd/system", str(units))],
        check=True,
        env={**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"},
    )
    after = datetime.now(UTC)
    assert (tmp_path / "asked").read_text().splitlines() == ["daemon-reload", "enable --now pegasus-expiry.timer"]
    timer = (units / "pegasus-expiry.timer").read_text()
    end = next(line for line in timer.splitlines() if line.startswith("OnCalendar=")).removeprefix("OnCalendar=")
    moment = datetime.strptime(end, "%Y-%m-%d %H:%M:%S UTC").replace(tzinfo=UTC)
    assert before <= moment - timedelta(hours=1) <= after
    assert "poweroff" in (units / "pegasus-expiry.service").read_text()


def test_without_an_expiry_there_is_no_timer():
    around = ec2_request.Surroundings(**(vars(AROUND) | {"expiry_seconds": 0}))
    assert "UserData" not in request(around=around)
    assert ec2_plan.end_of_life(NOW, 0) == "never"


# --- error classes ----------------------------------------------------------------------------------------------------


def refusal(code):
    return boto_errors.ClientError({"Error": {"Code": code, "Message": "said so."}}, "RunInstances")


@pytest.mark.parametrize(
    ("error", "error_class"),
    [
        (refusal("AuthFailure"), "credentials"),
        (refusal("ExpiredToken"), "credentials"),
        (refusal("ExpiredTokenException"), "credentials"),  # Systems Manager, Service Quotas
        (refusal("InvalidSignatureException"), "credentials"),
        (refusal("MissingAuthenticationToken"), "credentials"),
        (refusal("InvalidClientTokenId"), "credentials"),
        (refusal("UnauthorizedOperation"), "permission"),
        (refusal("AccessDeniedException"), "permission"),
        (refusal("AuthFailure.ServiceLinkedRoleCreationNotPermitted"), "permission"),
        (refusal("VcpuLimitExceeded"), "quota"),
        (refusal("InstanceLimitExceeded"), "quota"),
        (refusal("MaxSpotInstanceCountExceeded"), "quota"),
        (refusal("RequestLimitExceeded"), "other"),
        (refusal("InsufficientInstanceCapacity"), "capacity"),
        (refusal("InsufficientFreeAddressesInSubnet"), "capacity"),
        (refusal("InvalidInstanceType"), "configuration"),
        (refusal("Unsupported"), "configuration"),
        (refusal("InternalError"), "endpoint"),
        (refusal("Surprise"), "other"),
        (boto_errors.NoCredentialsError(), "credentials"),
        (boto_errors.ProfileNotFound(profile="x"), "credentials"),
        (boto_errors.NoRegionError(), "configuration"),
        (boto_errors.EndpointConnectionError(endpoint_url="http://x"), "endpoint"),
        (boto_errors.ConnectTimeoutError(endpoint_url="http://x"), "endpoint"),
        (boto_errors.ReadTimeoutError(endpoint_url="http://x"), "endpoint"),
        (RuntimeError("odd"), "other"),
    ],
)
def test_error_classes(error, error_class):
    problem = explain(error, "launch it")
    assert problem.error_class == error_class
    assert "launch it" in problem.message
    assert problem.next_step
