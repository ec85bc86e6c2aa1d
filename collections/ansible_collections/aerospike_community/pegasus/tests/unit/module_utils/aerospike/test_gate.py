"""What the gate lets pass, refuses and waits for, and the figures in its messages."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.aerospike import gate
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.aerospike.gate import (
    BACK,
    DOWN,
    REMOVED,
    Approval,
    GateError,
    Request,
    pass_gate,
)
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.aerospike.survey import Survey
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.aerospike.waiting import Waiting
from ansible_collections.aerospike_community.pegasus.tests.unit.module_utils.aerospike.surveys import (
    NAMES,
    A,
    B,
    C,
    migrating,
    node,
    three,
)

DEVICE = {"storage-engine": "device"}


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """A sleep moves the clock and takes no time."""
    now = [0.0]
    monkeypatch.setattr(gate.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(gate.time, "sleep", lambda seconds: now.__setitem__(0, now[0] + seconds))
    return now


def ask(*surveys: Survey, targets: Sequence[str] = (B,), **options: object) -> Approval | Waiting:
    """Ask the gate for a cluster whose answers are the surveys, the last one again and again."""
    answers = list(surveys)
    request = Request([A, B, C], targets, "the stop of node 2", names=NAMES, **options)  # type: ignore[arg-type]
    return pass_gate(request, ask=lambda *_: answers.pop(0) if len(answers) > 1 else answers[0])


def test_a_settled_cluster_passes_with_its_figures() -> None:
    approval = ask(three())
    assert isinstance(approval, Approval)
    assert approval.approved == [B] and approval.members == [A, B, C] and approval.cluster_key == "KEY"
    assert approval.before["exact"] and approval.before["namespaces"]["test"]["records"] == 900
    assert approval.notes == [
        "node 2 holds 600 of 900 records of namespace test; no partition migration is left: other nodes have a copy "
        "of each"
    ]
    assert approval.warnings == []


@pytest.mark.parametrize("afterwards", [DOWN, BACK, REMOVED])
def test_migrations_of_any_node_are_waited_for(afterwards: str) -> None:
    """Point 1 of the issue: node 2 came back, node 1 is removed while it may have the only copy of records."""
    waiting = ask(migrating(), targets=[A], afterwards=afterwards)
    assert isinstance(waiting, Waiting)
    assert waiting.purpose == "partition migrations to end, before the stop of node 2"
    assert (waiting.left, waiting.unit) == (2726, "partition migrations")
    other = ask(migrating(), targets=[C], afterwards=afterwards)
    assert isinstance(other, Waiting) and other.left == 2726


def test_it_passes_when_the_migrations_end_within_the_slice(clock: list[float]) -> None:
    assert isinstance(ask(migrating(), migrating(3), three()), Approval)
    assert 0 < clock[0] < gate.SLICE_SECONDS


def test_a_cluster_that_changes_between_the_two_counts_does_not_pass() -> None:
    assert isinstance(ask(three(), migrating()), Waiting)


def test_the_records_at_stake_are_named() -> None:
    request = Request([A, B, C], [A], "the removal of node 1", REMOVED, names=NAMES)
    assert gate.explain(request, lambda *_: migrating()) == (
        "node 1 holds 800 of 800 records of namespace test; 2,726 partition migrations left: until they end, some "
        "records may exist only on one node"
    )


def test_an_accepted_loss_passes_at_once_and_is_warned_about() -> None:
    approval = ask(migrating(), targets=[A], accept_data_loss=True)
    assert isinstance(approval, Approval) and approval.accepted and approval.approved == [A]
    (warning,) = approval.warnings
    assert "node 1 holds 800 of 800 records" in warning and "2,726 partition migrations left" in warning
    assert approval.before["exact"] is False and approval.notes == []


def test_without_a_danger_an_accepted_loss_warns_of_nothing() -> None:
    approval = ask(three(), accept_data_loss=True)
    assert isinstance(approval, Approval) and approval.warnings == []


def test_a_cluster_that_is_not_one_is_waited_for() -> None:
    split = Survey({A: node(600, 300), B: node(600, 300), C: node(600, 300, key="")})
    waiting = ask(split)
    assert isinstance(waiting, Waiting)
    assert waiting.left == 1
    assert waiting.purpose == "one stable cluster of the 3 nodes that answer, before the stop of node 2"
    assert waiting.reasons[0] == "node 1 in a cluster of 3, stable with the key KEY"
    assert waiting.reasons[2] == "node 3 in a cluster of 3, not stable or of another size"
    keys = Survey({A: node(600, 300), B: node(600, 300), C: node(600, 300, key="OTHER")})
    assert isinstance(ask(keys), Waiting)


def test_a_node_that_does_not_answer_was_down_before_unless_it_has_to_be_up() -> None:
    two = Survey({A: node(900, 450), B: node(900, 450)}, {C: "10.0.0.3:3000 does not answer"})
    assert isinstance(ask(two), Approval)
    waiting = ask(two, all_up=True)
    assert isinstance(waiting, Waiting) and waiting.left == 1
    assert waiting.purpose == "every node to answer, before the stop of node 2"
    assert waiting.reasons == ["node 3: 10.0.0.3:3000 does not answer"]


@pytest.mark.parametrize(
    ("survey", "targets", "options", "reason"),
    [
        (three(), (B, C), {}, "there are only 2 copies of each record of namespace test, and 2 nodes would be down"),
        (three(effective_replication_factor=1), (B,), {}, "there is only 1 copy of each record of namespace test"),
        (three(), (A, B, C), {}, "no other node is up; node 1, node 2, node 3 hold 900 of 900 records"),
        (three(), (A, B, C), {"afterwards": REMOVED}, "no node would be left"),
        (three(), (B, C), {"afterwards": BACK}, "2 nodes would be down"),
        (three(unavailable_partitions=12), (B,), {}, "namespace test has 12 unavailable partitions"),
        (three(dead_partitions=3), (B,), {}, "3 dead partitions"),
        (
            Survey({A: node(900, 450, strong_consistency="true"), B: node(900, 450)}),
            (B,), {}, "2 nodes would be down",
        ),
        (
            Survey({A: node(900, 450, effective_replication_factor=1), B: node(900, 450)}),
            (C,), {"afterwards": REMOVED}, "node 3 is stopped, and there is only 1 copy",
        ),
    ],
)  # fmt: skip
def test_what_waiting_does_not_help_is_refused_at_once(survey, targets, options, reason, clock) -> None:
    with pytest.raises(GateError, match="the stop of node 2 is refused: ") as error:
        ask(survey, targets=targets, **options)
    assert reason in str(error.value) and clock[0] == 0
    assert isinstance(ask(survey, targets=targets, **options, accept_data_loss=True), Approval)


@pytest.mark.parametrize(
    ("survey", "targets", "options"),
    [
        # Node 3 was stopped before, and its copies have been replaced.
        (Survey({A: node(900, 450), B: node(900, 450)}, {C: "down"}), (B,), {}),
        # What is on disk comes back with the node.
        (three(storage_engine="device", effective_replication_factor=1), (B,), {"afterwards": BACK}),
        # Data in memory with a file comes back too.
        (three(**{"storage-engine.file[0]": "/f", "effective_replication_factor": 1}), (B,), {"afterwards": BACK}),
        # The only copy is handed over first, or has been.
        (three(effective_replication_factor=1), (B,), {"hands_over": True}),
        (
            Survey({A: node(900, 900, effective_replication_factor=1), B: node(900, effective_is_quiesced=True)}),
            (B,), {"afterwards": REMOVED},
        ),
        # No record, nothing to lose.
        (Survey({A: node()}), (A,), {}),
        # A removal of a node that is stopped: the other nodes have its copies.
        (Survey({A: node(900, 450), C: node(900, 450)}, {B: "down"}), (B,), {"afterwards": REMOVED}),
    ],
)  # fmt: skip
def test_what_loses_nothing_passes_without_a_flag(survey, targets, options) -> None:
    assert isinstance(ask(survey, targets=targets, **options), Approval)


def test_a_stopped_target_needs_no_wait_unless_it_is_removed() -> None:
    moving = Survey({A: node(900, 450, tx=7), C: node(900, 450, rx=7)}, {B: "down"})
    approval = ask(moving)
    assert isinstance(approval, Approval) and approval.approved == []
    waiting = ask(moving, afterwards=REMOVED)
    assert isinstance(waiting, Waiting) and waiting.left == 7


def test_the_wait_names_what_may_hold_it_up() -> None:
    full = Survey(
        {A: node(900, 450, tx=7, migrate_records_transmitted=41), B: node(900, 450, rx=7, stop_writes=True), C: node()}
    )
    waiting = ask(full)
    assert isinstance(waiting, Waiting) and waiting.activity == 41
    assert any("stop-writes of node 10.0.0.2" in reason for reason in waiting.reasons)
