"""The plan that makes an environment match its spec."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.ec2.instances import Instance
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.ec2.plan import Plan, make_plan
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.ec2.spec import Group
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.ec2.tags import (
    TAG_EXPIRES,
    TAG_INDEX,
    TAG_KIND,
    TAG_LAUNCH,
    TAG_NAME,
    format_time,
)

NOW = datetime(2026, 1, 31, 12, 0, 0, tzinfo=UTC)
SERVERS = Group("server", "Bench", 3, "i4i.large")
CLIENTS = Group("client", "BenchClient", 1, "c6i.large")


def node(number, *, kind="server", name="Bench", state="running", instance_type="i4i.large", **more):
    """An instance after a complete run."""
    tags = {
        TAG_KIND: kind,
        TAG_INDEX: str(number),
        TAG_NAME: f"{name}-{number}",
        TAG_EXPIRES: "never",
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
    """An instance whose run was killed before it tagged the instance."""
    tags = {TAG_KIND: kind} | ({TAG_LAUNCH: launch} if launch else {})
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
    return make_plan(list(groups), instances, expiry_seconds=expiry, extra_tags=tags or {}, now=NOW)


@pytest.mark.parametrize(
    ("instances", "replace", "launched"),
    [
        pytest.param([], (), (1, 2, 3), id="empty"),
        pytest.param([node(1), node(2), node(3)], (), None, id="complete"),
        pytest.param([node(1)], (), (2, 3), id="two missing"),
        pytest.param([node(1), node(2), node(3, state="terminated")], (), (3,), id="the last node terminated"),
        pytest.param([node(1), node(2, state="terminated"), node(3)], (), (4,), id="not reused while 3 exists"),
        pytest.param(
            [node(1), node(2, state="shutting-down"), node(3)], (), (4,), id="shutting down counts as terminated"
        ),
        pytest.param([node(1), node(3)], (2,), (2,), id="replaced on request"),
        pytest.param([node(3)], (2, 3), (2, 4), id="only free indexes are reused"),
        pytest.param([node(1, state="pending"), node(2, state="stopped"), node(3)], (), None, id="any live state"),
    ],
)
def test_indexes_of_new_nodes(instances, replace, launched):
    group = Group("server", "Bench", 3, "i4i.large", replace)
    found = plan(instances, [group])
    assert found.refusals == []
    assert [launch.indexes for launch in found.launches] == ([launched] if launched else [])


@pytest.mark.parametrize(
    ("existing", "nodes", "add", "refusal"),
    [
        pytest.param(3, 3, 1, "", id="up to the limit"),
        pytest.param(3, 3, 2, "would have 5 nodes, the 3 that exist and 2 new", id="added beyond the limit"),
        pytest.param(3, 3, 2, "Add at most 1.", id="the remaining number"),
        pytest.param(4, 3, 1, "No more can be added.", id="at the limit"),
        pytest.param(2, 5, 0, "would have 5 nodes, the 2 that exist and 3 new", id="missing nodes beyond the limit"),
        pytest.param(5, 3, 0, "", id="already beyond the limit, without a launch"),
    ],
)
def test_nothing_is_launched_beyond_the_limit(existing, nodes, add, refusal):
    existing_nodes = [node(n, state="stopped" if n == 1 else "running") for n in range(1, existing + 1)]
    group = Group("server", "Bench", nodes, "i4i.large", add=add, limit=4, limit_reason="the licence is for 4")
    refusals = plan(existing_nodes, [group]).refusals
    assert bool(refusals) == bool(refusal)
    if refusal:
        assert refusal in refusals[0] and "the licence is for 4. Stopped nodes count" in refusals[0]
    assert plan(existing_nodes, [Group("server", "Bench", nodes, "i4i.large", add=add)]).refusals == []


def test_a_complete_environment_needs_no_change():
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
        pytest.param([node(1), bare("i-b", 1, launch="1-3"), node(3)], {"i-b": 2}, id="the second is untagged"),
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
    for instance in instances:
        if instance.id not in indexes:
            continue
        tagged = replace(instance, tags=instance.tags | found.retags[instance.id])
        assert (tagged.index, tagged.name) == (indexes[instance.id], f"Bench-{indexes[instance.id]}")
        assert tagged.tags[TAG_EXPIRES] == "2026-01-31T13:00:00Z"
        # An index tag only if the launch gives another index.
        assert (TAG_INDEX in tagged.tags) == (instance.index != tagged.index)
        assert tagged.full_tags()[TAG_INDEX] == str(tagged.index)
        assert tagged.full_tags()[TAG_NAME] == tagged.name


def test_a_renamed_group_gets_one_tag_for_all_its_nodes():
    instances = [bare(f"i-{n}", n, launch="1-3") for n in range(3)]
    tagged = [replace(instance, tags=instance.tags | {"Name": "Old", TAG_EXPIRES: "never"}) for instance in instances]
    assert plan(tagged).retags == {f"i-{n}": {"Name": "Bench"} for n in range(3)}


def test_extra_nodes_are_kept_and_reported():
    found = plan([node(n) for n in (1, 2, 4, 5)])
    assert found.refusals == [] and found.launches == [] and found.retags == {} and found.starts == []
    (note,) = found.notes
    assert "Bench (server) keeps its 4 nodes, although 3 are configured" in note


def test_adding_changes_no_existing_node():
    later = format_time(NOW + timedelta(minutes=1))
    group = replace(SERVERS, add=2)
    found = plan([node(1), node(2), node(4, state="stopped", tags={TAG_EXPIRES: later})], [group])
    assert [launch.indexes for launch in found.launches] == [(5, 6)]
    assert found.starts == [] and found.notes == [] and found.refusals == []


def test_nothing_can_be_added_to_an_empty_group():
    found = plan([], [replace(SERVERS, add=1)])
    assert "has no node, so nothing can be added" in found.refusals[0]


def test_one_group_leaves_the_others_alone():
    """setup-clients requests clients only."""
    client = node(1, kind="client", name=CLIENTS.name, instance_type=CLIENTS.instance_type)
    found = plan([node(1), node(2, state="stopped"), client], [CLIENTS])
    assert found == Plan()


def test_every_refusal_is_reported_at_once():
    stopped = node(2, state="stopped", tags={TAG_EXPIRES: "2026-01-31T11:59:59Z"})
    unknown = node(1, kind="worker", name="W")
    found = plan(
        [node(1, instance_type="i3.large"), stopped, unknown],
        [SERVERS, CLIENTS],
    )
    text = "\n".join(found.refusals)
    assert "with the kind 'worker'; expected one of server, client, monitor" in text
    assert "Bench-1 (i-server1) has the type i3.large, expected i4i.large" in text
    assert "Bench-2 (i-server2) is stopped and expired at 2026-01-31T11:59:59Z" in text
    # extend doesn't help: it skips stopped nodes.
    assert "Terminate it with reap, then run this again" in text and "extend" not in text
    assert len(found.refusals) == 3


def test_two_instances_with_one_index_are_refused():
    twin = Instance("i-twin", "server", "running", "i4i.large", tags=node(1).tags)
    (refusal,) = plan([node(1), twin]).refusals
    assert "Two instances have the index 1 of Bench (server): i-server1 and i-twin" in refusal


def test_stopped_nodes_are_started():
    later = format_time(NOW + timedelta(minutes=1))
    found = plan([node(1), node(2, state="stopped", tags={TAG_EXPIRES: later}), node(3, state="stopping")])
    assert [instance.id for instance in found.starts] == ["i-server2", "i-server3"]
    assert found.retags == {}


def test_only_tags_that_differ_are_set():
    found = plan(
        [node(1, tags={"team": "a"}), node(2, name="Old", tags={"team": "b"}), node(3, tags={"team": "b"})],
        tags={"team": "b"},
    )
    assert found.retags == {"i-server1": {"team": "b"}, "i-server2": {"Name": "Bench-2"}}
