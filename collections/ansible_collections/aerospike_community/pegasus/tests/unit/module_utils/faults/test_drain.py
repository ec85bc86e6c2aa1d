"""The fault drain against simulated nodes: the order of its steps, what it refuses, what it undoes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.aerospike.info import InfoError
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.faults import contract
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.faults import drain as subject
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.faults.contract import FaultError
from ansible_collections.aerospike_community.pegasus.plugins.modules.chaos_node import carry_out

A, B, C = "10.0.0.1", "10.0.0.2", "10.0.0.3"


@dataclass
class Cluster:
    """Three nodes. Each query of traffic or migrations returns the next item of its list."""

    running: list[str] = field(default_factory=lambda: [A, B, C])
    edition: str = "Aerospike Enterprise Edition"
    traffic: list[int] = field(default_factory=lambda: [500, 900, 900, 900])
    migrations: list[int] = field(default_factory=lambda: [7, 3, 0])
    quiesced: bool = False
    requested: bool = False
    commands: list[str] = field(default_factory=list)

    def value(self, host: str, command: str, **_: object) -> str:
        if host not in self.running:
            raise InfoError(f"{host} does not answer")
        if command == "edition":
            return self.edition
        self.commands.append(f"{host} {command}")
        if command == "quiesce:":
            self.requested = True
        elif command == "quiesce-undo:":
            self.requested = False
        elif command == "recluster:":
            self.quiesced = self.requested
        return "ok"

    def pairs(self, host: str, command: str, **_: object) -> dict[str, str]:
        if command == "statistics":
            left = self.migrations.pop(0) if len(self.migrations) > 1 else self.migrations[0]
            return {"migrate_partitions_remaining": str(left)}
        if command == "namespace/test" and not self.requested:
            return {"effective_is_quiesced": "false"}
        counted = self.traffic.pop(0) if len(self.traffic) > 1 else self.traffic[0]
        return {"effective_is_quiesced": str(self.quiesced).lower(), "client_read_success": str(counted)}


@pytest.fixture
def drain(monkeypatch: pytest.MonkeyPatch) -> Callable[..., subject.Drain]:
    """Build a drain of a simulated cluster. A sleep moves the clock and takes no time."""
    clock = [0.0]

    def sleep(seconds: float) -> None:
        clock[0] += seconds

    monkeypatch.setattr(subject.time, "sleep", sleep)
    monkeypatch.setattr(subject.time, "monotonic", lambda: clock[0])

    def build(cluster: Cluster, targets: list[str], copies: int = 2) -> subject.Drain:
        monkeypatch.setattr(contract, "answering", lambda hosts, _: [host for host in hosts if host in cluster.running])
        monkeypatch.setattr(subject.cluster, "wait_until_stable", lambda *_: "KEY")
        monkeypatch.setattr(
            subject.cluster, "query_all", lambda hosts, query: ({host: query(host) for host in hosts}, {})
        )
        monkeypatch.setattr(subject, "info_value", cluster.value)
        monkeypatch.setattr(subject, "info_pairs", cluster.pairs)
        params = {
            "targets": targets, "cluster": [A, B, C], "port": 3000, "namespace": "test", "replication_factor": copies,
            "timeout": 20, "migration_timeout": 20, "index": 3,
        }  # fmt: skip
        return subject.Drain(params, lambda *_: (0, "", ""))

    return build


def test_a_node_is_emptied_step_by_step(drain):
    cluster = Cluster()
    fault = drain(cluster, [C])
    effect = carry_out(fault, force=False, check=False)
    assert effect.changed and effect.members == [A, B]
    assert cluster.commands == [f"{C} quiesce:", f"{A} recluster:", f"{B} recluster:", f"{C} recluster:"]
    assert [note.split(":")[0].split(" for")[0] for note in fault.notes] == [
        "quiesced", "no client has used it", "no migration is left"
    ]  # fmt: skip


def test_check_mode_reports_the_plan(drain):
    cluster = Cluster()
    fault = drain(cluster, [C])
    assert carry_out(fault, force=False, check=True).changed
    assert fault.notes == [f"node {C} would be quiesced: 2 nodes would own all partitions"] and cluster.commands == []


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        (
            {"traffic": list(range(0, 100000, 10))},
            "expected no client to use the target within 20 s, found 10.0.0.3: 10",
        ),
        ({"migrations": [5]}, "expected every migration to be done within 20 s, found 10.0.0.1: 5"),
    ],
)
def test_a_drain_that_times_out_is_undone(drain, changed, reason):
    cluster = Cluster(**changed)
    with pytest.raises(FaultError, match=reason):
        carry_out(drain(cluster, [C]), force=False, check=False)
    assert f"{C} quiesce-undo:" in cluster.commands and cluster.quiesced is False


def test_the_community_edition_is_refused_and_left_alone_by_force(drain):
    cluster = Cluster(edition="Aerospike Community Edition")
    with pytest.raises(FaultError, match="Community Edition has no quiesce"):
        carry_out(drain(cluster, [C]), force=False, check=False)
    fault = drain(cluster, [C])
    assert carry_out(fault, force=True, check=False).changed is False
    assert cluster.commands == [] and fault.notes == []


@pytest.mark.parametrize(
    ("running", "targets", "copies", "reason"),
    [
        ([A, C], [C], 2, "10.0.0.2 is stopped, so not every copy can be handed over"),
        ([A, B, C], [A, B, C], 2, "no node would be left"),
        ([A, B], [C], 1, "there may be some that only they have"),
    ],
)
def test_a_loss_of_data_is_refused_without_force(drain, running, targets, copies, reason):
    with pytest.raises(FaultError, match=reason):
        carry_out(drain(Cluster(running=running), targets, copies), force=False, check=False)
    carry_out(drain(Cluster(running=running), targets, copies), force=True, check=False)


def test_a_stopped_node_has_nothing_to_hand_over(drain):
    cluster = Cluster(running=[A, B])
    fault = drain(cluster, [C])
    assert carry_out(fault, force=False, check=False).changed is False
    assert cluster.commands == [] and "no migration is left" in fault.notes[0]
