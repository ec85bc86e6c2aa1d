"""node_drain against made-up nodes: the order of its steps, what it refuses, what it undoes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.aerospike.info import InfoError
from ansible_collections.aerospike_community.pegasus.plugins.modules import node_drain as subject

A, B, C = "10.0.0.1", "10.0.0.2", "10.0.0.3"


@dataclass
class Cluster:
    """Three nodes that answer what node_drain asks. A question about traffic or migrations takes one from the list."""

    running: list[str] = field(default_factory=lambda: [A, B, C])
    edition: str = "Aerospike Enterprise Edition"
    traffic: list[int] = field(default_factory=lambda: [500, 900, 900, 900])
    migrations: list[int] = field(default_factory=lambda: [7, 3, 0])
    quiesced: bool = False
    asked: bool = False
    told: list[str] = field(default_factory=list)

    def value(self, host: str, command: str, **_: object) -> str:
        if host not in self.running:
            raise InfoError(f"{host} does not answer")
        if command == "edition":
            return self.edition
        self.told.append(f"{host} {command}")
        if command == "quiesce:":
            self.asked = True
        elif command == "quiesce-undo:":
            self.asked = False
        elif command == "recluster:":
            self.quiesced = self.asked
        return "ok"

    def pairs(self, host: str, command: str, **_: object) -> dict[str, str]:
        if command == "statistics":
            left = self.migrations.pop(0) if len(self.migrations) > 1 else self.migrations[0]
            return {"migrate_partitions_remaining": str(left)}
        if command == "namespace/test" and not self.asked:
            return {"effective_is_quiesced": "false"}
        counted = self.traffic.pop(0) if len(self.traffic) > 1 else self.traffic[0]
        return {"effective_is_quiesced": str(self.quiesced).lower(), "client_read_success": str(counted)}


@pytest.fixture
def drain(monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[subject.Drain, list[str]]]:
    """Makes a Drain of a made-up cluster; time doesn't pass by sleeping, but a wait ends."""
    clock = [0.0]

    def sleep(seconds: float) -> None:
        clock[0] += seconds

    monkeypatch.setattr(subject.time, "sleep", sleep)
    monkeypatch.setattr(subject.time, "monotonic", lambda: clock[0])

    def make(cluster: Cluster, targets: list[str], force: bool = False, copies: int = 2):
        monkeypatch.setattr(subject, "answering", lambda hosts, _: [host for host in hosts if host in cluster.running])
        monkeypatch.setattr(subject, "wait_until_stable", lambda *_: "KEY")
        monkeypatch.setattr(subject, "ask_all", lambda hosts, ask: ({host: ask(host) for host in hosts}, {}))
        monkeypatch.setattr(subject, "info_value", cluster.value)
        monkeypatch.setattr(subject, "info_pairs", cluster.pairs)
        lines: list[str] = []
        params = {
            "targets": targets, "cluster": [A, B, C], "port": 3000, "namespace": "test", "replication_factor": copies,
            "force": force, "timeout": 20, "migration_timeout": 20,
        }  # fmt: skip
        return subject.Drain(params, lines.append), lines

    return make


def test_a_node_is_emptied_step_by_step(drain):
    cluster = Cluster()
    made, lines = drain(cluster, [C])
    assert made.check() is True
    made.quiesce()
    assert cluster.told == [f"{C} quiesce:", f"{A} recluster:", f"{B} recluster:", f"{C} recluster:"]
    assert [line.split(":")[0].split(" for")[0] for line in lines] == [
        "quiesced", "no client has used it", "no migration is left"
    ]  # fmt: skip


def test_check_mode_says_what_would_be_done(drain):
    cluster = Cluster()
    made, lines = drain(cluster, [C])
    made.tell_plan(made.check())
    assert lines == ["it would be quiesced: 2 nodes would own all partitions"] and cluster.told == []


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
def test_a_wait_in_vain_is_undone(drain, changed, reason):
    cluster = Cluster(**changed)
    made, _ = drain(cluster, [C])
    with pytest.raises(subject.DrainError, match=reason):
        made.quiesce()
    assert f"{C} quiesce-undo:" in cluster.told and cluster.quiesced is False


def test_the_community_edition_says_so_and_stops_after_the_checks(drain):
    cluster = Cluster(edition="Aerospike Community Edition")
    made, _ = drain(cluster, [C])
    with pytest.raises(subject.DrainError, match="Community Edition has no quiesce"):
        made.check()
    assert cluster.told == []
    made, _ = drain(cluster, [C], force=True)
    assert made.check() is False


@pytest.mark.parametrize(
    ("running", "targets", "copies", "reason"),
    [
        ([A, C], [C], 2, "10.0.0.2 is stopped, so not every copy can be taken over"),
        ([A, B, C], [A, B, C], 2, "no node would be left"),
        ([A, B], [C], 1, "there may be some that only they have"),
    ],
)
def test_what_would_lose_data_is_refused_without_force(drain, running, targets, copies, reason):
    made, _ = drain(Cluster(running=running), targets, copies=copies)
    with pytest.raises(subject.DrainError, match=reason):
        made.check()
    made, _ = drain(Cluster(running=running), targets, copies=copies, force=True)
    made.check()


def test_a_stopped_node_has_nothing_to_give(drain):
    cluster = Cluster(running=[A, B])
    made, lines = drain(cluster, [C])
    assert made.check() is False
    made.wait_for_migrations(made.others)
    assert cluster.told == [] and "no migration is left" in lines[0]
