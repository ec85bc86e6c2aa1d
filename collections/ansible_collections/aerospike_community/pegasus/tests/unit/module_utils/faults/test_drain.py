"""The fault drain against simulated nodes: the order of its steps, what it refuses, what it undoes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.aerospike import quiesce
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.aerospike.health import Statistics
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.aerospike.info import InfoError
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.aerospike.survey import Survey
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.aerospike.waiting import Waiting
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.faults import contract
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.faults import drain as subject
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.faults.contract import FaultError
from ansible_collections.aerospike_community.pegasus.plugins.modules.chaos_node import carry_out
from ansible_collections.aerospike_community.pegasus.tests.unit.module_utils.aerospike.surveys import A, B, C, node

NODES = [{"index": index, "address": address, "kind": "server"} for index, address in enumerate((A, B, C), 1)]
QUIESCE = [f"{C} quiesce:", f"{A} recluster:", f"{B} recluster:", f"{C} recluster:"]


@dataclass
class Cluster:
    """Three nodes. Each query of traffic or migrations returns the next item of its list."""

    running: list[str] = field(default_factory=lambda: [A, B, C])
    community: bool = False
    traffic: list[int] = field(default_factory=lambda: [500, 900, 900, 900])
    migrations: list[int] = field(default_factory=lambda: [7, 3, 0])
    quiesced: bool = False
    requested: bool = False
    commands: list[str] = field(default_factory=list)

    def value(self, host: str, command: str, **_: object) -> str:
        if host not in self.running:
            raise InfoError(f"{host} does not answer")
        self.commands.append(f"{host} {command}")
        if command == "quiesce:":
            self.requested = True
        elif command == "quiesce-undo:":
            self.requested = False
        elif command == "recluster:":
            self.quiesced = self.requested
        return "ok"

    def query(self, hosts: list[str], _: int) -> dict[str, Statistics]:
        values = {"effective_is_quiesced": str(self.quiesced).lower()}
        if self.quiesced:
            values["client_read_success"] = str(self.next(self.traffic))
        return {host: Statistics(namespaces={"test": values}) for host in hosts}

    def survey(self, hosts: list[str], _: int) -> Survey:
        left = self.next(self.migrations)
        return Survey({host: node(tx=left if host == C else 0, rx=left if host == A else 0) for host in hosts})

    @staticmethod
    def next(items: list[int]) -> int:
        return items.pop(0) if len(items) > 1 else items[0]


@pytest.fixture
def drain(monkeypatch: pytest.MonkeyPatch) -> Callable[..., subject.Drain]:
    """Build a drain of a simulated cluster. A sleep moves the clock and takes no time."""
    clock = [0.0]

    def sleep(seconds: float) -> None:
        clock[0] += seconds

    monkeypatch.setattr(subject.time, "sleep", sleep)
    monkeypatch.setattr(subject.time, "monotonic", lambda: clock[0])

    def build(cluster: Cluster, targets: list[str], approved: bool = True, **options: Any) -> subject.Drain:
        monkeypatch.setattr(contract, "answering", lambda hosts, _: [host for host in hosts if host in cluster.running])
        monkeypatch.setattr(subject.cluster, "wait_until_stable", lambda *_: "KEY")
        monkeypatch.setattr(quiesce, "query_all", lambda hosts, query: ({host: query(host) for host in hosts}, {}))
        monkeypatch.setattr(quiesce, "info_value", cluster.value)
        monkeypatch.setattr(subject.health, "query", cluster.query)
        monkeypatch.setattr(subject, "survey", cluster.survey)
        monkeypatch.setattr(subject, "without_quiesce", lambda hosts, _: list(hosts) if cluster.community else [])
        approval = {"approved": targets, "members": cluster.running, "accepted": options.pop("accepted", False)}
        params = {
            "targets": targets, "cluster": NODES, "port": 3000, "timeout": 20, "index": 1, "force": False,
            "no_quiesce": False, "gate": approval if approved else {}, **options,
        }  # fmt: skip
        return subject.Drain(params, lambda *_: (0, "", ""))

    return build


def in_slices(build: Callable[[], subject.Drain], most: int = 40) -> tuple[list[Waiting], subject.Drain]:
    """Run a drain as the action plugin does, each call with a new object. Return the waits and the last object."""
    waits: list[Waiting] = []
    resume: dict[str, Any] = {}
    for _ in range(most):
        fault = build()
        outcome = carry_out(fault, resume=resume)
        if not isinstance(outcome, Waiting):
            assert outcome.members == [A, B]
            return waits, fault
        waits.append(outcome)
        resume = fault.state()
    raise AssertionError(f"expected the drain to end, found {waits[-1]}")


def test_a_node_is_emptied_step_by_step(drain):
    cluster = Cluster()
    fault = drain(cluster, [C])
    effect = carry_out(fault)
    assert effect.changed and effect.members == [A, B]
    assert cluster.commands == QUIESCE
    assert fault.notes == [
        "quiesced: 2 nodes own all partitions", "no client has used it for 3 s",
        "no partition migration is left: the other nodes have every copy",
    ]  # fmt: skip


def test_check_mode_reports_the_plan(drain):
    cluster = Cluster()
    fault = drain(cluster, [C])
    assert carry_out(fault, check=True).changed
    assert fault.notes == ["node 3 would be quiesced: 2 nodes would own all partitions"] and cluster.commands == []


def test_a_long_wait_returns_in_slices_with_its_figure_and_continues(drain):
    cluster = Cluster(migrations=[*range(100, 0, -1), 0])
    waits, fault = in_slices(lambda: drain(cluster, [C]))
    assert {wait.purpose for wait in waits} == {"partition migrations to end, before node 3 may stop"}
    assert {wait.unit for wait in waits} == {"partition migrations"}
    figures = [wait.left for wait in waits]
    assert len(figures) > 3 and figures == sorted(figures, reverse=True)
    # It was quiesced once, and no finished step was repeated.
    assert cluster.commands == QUIESCE and len(fault.notes) == 3


def test_clients_that_stay_are_waited_for_with_their_operations(drain):
    cluster = Cluster(traffic=list(range(0, 100000, 10)))
    waiting = carry_out(drain(cluster, [C]))
    assert (waiting.purpose, waiting.left) == ("clients to leave node 3 (operations in 3 s)", 10)


@pytest.mark.parametrize("changed", [{"traffic": list(range(0, 100000, 10))}, {"migrations": [5]}])
def test_a_drain_in_which_nothing_moves_is_undone(drain, changed):
    cluster = Cluster(**changed)
    fault = drain(cluster, [C])
    assert isinstance(carry_out(fault), Waiting) and cluster.quiesced
    with pytest.raises(FaultError, match="nothing has moved for 2 min"):
        carry_out(drain(cluster, [C]), resume={**fault.state(), "give_up": "nothing has moved for 2 min"})
    assert f"{C} quiesce-undo:" in cluster.commands and cluster.quiesced is False


def test_the_community_edition_needs_no_quiesce_and_is_then_left_alone(drain):
    cluster = Cluster(community=True)
    with pytest.raises(
        FaultError, match=r"node 3: expected an edition that can quiesce.*--no-quiesce.*No record is lost"
    ):
        carry_out(drain(cluster, [C]))
    fault = drain(cluster, [C], no_quiesce=True)
    assert carry_out(fault).changed is False
    assert cluster.commands == [] and fault.notes == []


def test_an_accepted_loss_does_not_replace_no_quiesce(drain):
    with pytest.raises(FaultError, match="--no-quiesce"):
        carry_out(drain(Cluster(community=True), [C], accepted=True))


def test_an_accepted_loss_does_not_wait_for_migrations(drain):
    cluster = Cluster(migrations=[5])
    assert carry_out(drain(cluster, [C], accepted=True)).changed
    assert cluster.commands == QUIESCE


def test_without_the_gate_nothing_is_drained(drain):
    cluster = Cluster()
    with pytest.raises(FaultError, match=r"expected the approval of the gate .* for node 3, found none"):
        carry_out(drain(cluster, [C], approved=False))
    assert cluster.commands == []


def test_a_stopped_node_has_nothing_to_hand_over(drain):
    cluster = Cluster(running=[A, B])
    assert carry_out(drain(cluster, [C])).changed is False
    assert cluster.commands == []


def test_all_operations_of_clients_count():
    statistics = {
        "client_read_success": "10", "client_write_error": "5", "batch_sub_read_not_found": "3",
        "client_proxy_complete": "2", "client_tsvc_timeout": "9", "from_proxy_read_success": "7", "objects": "100",
    }  # fmt: skip
    assert subject.client_operations(Statistics(namespaces={"a": statistics, "b": {"client_read_success": "1"}})) == 16
