"""What a cluster still has to do until it has settled."""

from __future__ import annotations

from ansible_collections.aerospike_community.pegasus.plugins.module_utils.aerospike.settling import unsettled
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.aerospike.survey import Survey

from .surveys import A, B, C, migrating, node, three

NODES = [A, B, C]


def test_a_settled_cluster_has_nothing_to_do() -> None:
    assert unsettled(three(), NODES, "after x") is None


def test_missing_nodes_come_first() -> None:
    waiting = unsettled(Survey({A: node(tx=5)}, {B: "refused"}), NODES, "after x")
    assert waiting is not None and (waiting.left, waiting.purpose) == (2, "every node to answer, after x")
    assert waiting.reasons == [f"node {B} doesn't answer: refused", f"node {C} doesn't answer: no answer"]


def test_then_one_cluster() -> None:
    waiting = unsettled(Survey({A: node(key="X"), B: node(), C: node()}), NODES, "after x")
    assert waiting is not None
    assert (waiting.left, waiting.purpose) == (1, "one stable cluster of 3 nodes, after x")


def test_then_migrations_whose_records_are_movement() -> None:
    found = Survey({A: node(tx=5, migrate_records_transmitted=70), B: node(rx=5), C: node()})
    waiting = unsettled(found, NODES, "after x")
    assert waiting is not None
    assert (waiting.left, waiting.activity, waiting.unit) == (5, 70, "partition migrations")


def test_a_migration_between_two_answers_counts_as_one() -> None:
    settling = Survey({**three().nodes, A: node(tx=0, rx=0)})
    object.__setattr__(settling.nodes[A], "settled", False)
    waiting = unsettled(settling, NODES, "after x")
    assert waiting is not None and waiting.left == 1


def test_what_may_hold_migrations_up_is_a_reason() -> None:
    nodes = {**migrating().nodes, C: node(stop_writes=True)}
    waiting = unsettled(Survey(nodes), NODES, "after x")
    assert waiting is not None and waiting.reasons[0].startswith(f"stop-writes of node {C}")
