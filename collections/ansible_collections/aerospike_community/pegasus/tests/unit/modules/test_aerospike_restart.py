"""aerospike_restart: the order of its steps, what each waits for and shows, what it refuses and undoes."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.aerospike.info import InfoError
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.aerospike.survey import Survey
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.host.processes import Used
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.host.systemd import ServiceError
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.results import READINESS
from ansible_collections.aerospike_community.pegasus.plugins.modules import aerospike_restart as subject

from ..module_utils.aerospike.surveys import A, B, C, migrating, node, three

NODES = [A, B, C]
FULL = {"stop_writes": True, "data_avail_pct": 4, "storage-engine.stop-writes-avail-pct": 5}


class Cluster:
    """A cluster and a service that record what happens to them. A test sets what each call of the module finds."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.done: list[str] = []
        self.found: Callable[[], Survey] = three
        self.enterprise, self.quiesced, self.answers = True, True, True
        self.active, self.started, self.restarts, self.job = "active", 1000, 0, 0
        self.starts = True
        self.log: list[str] = []
        self.used = Used()
        self.resume: dict[str, Any] = {}
        # Each call looks once.
        monkeypatch.setattr(subject, "SLICE_SECONDS", 0.0)
        monkeypatch.setattr(subject, "survey", self.survey)
        monkeypatch.setattr(subject.gate, "pass_gate", functools.partial(subject.gate.pass_gate, ask=self.survey))
        for module in (subject, subject.quiesce):
            monkeypatch.setattr(module, "info_value", self.info_value)
        # One after the other, so that the order is known.
        monkeypatch.setattr(subject.quiesce, "query_all", lambda hosts, query: [query(host) for host in hosts])
        monkeypatch.setattr(subject, "query_node", lambda *_: node(effective_is_quiesced=self.is_quiesced()).statistics)
        monkeypatch.setattr(subject, "without_quiesce", lambda hosts, port: [] if self.enterprise else hosts)
        monkeypatch.setattr(subject, "own_address", lambda cluster: cluster[0])
        monkeypatch.setattr(subject, "used", lambda pid: self.used)

    def survey(self, hosts: list[str], port: int) -> Survey:
        assert hosts == self.nodes
        return self.found()

    def is_quiesced(self) -> bool:
        return self.quiesced and any(step.startswith("quiesce:") for step in self.done)

    def info_value(self, host: str, command: str, *, port: int) -> str:
        if command == "node" and not self.answers:
            raise InfoError("10.0.0.1:3000 does not answer 'node': connection refused")
        if command != "node":
            self.done.append(f"{command} {host}")
        return "ok"

    def run(self, command: list[str], **_: Any) -> tuple[int, str, str]:
        if command[0] == "journalctl":
            return 0, "\n".join(self.log), ""
        if command[1] == "restart":
            assert "--no-block" in command
            self.done.append("restart")
            self.started += 100 if self.starts else 0
        moment = time.strftime("Tue %Y-%m-%d %H:%M:%S UTC", time.gmtime(self.started))
        return 0, (
            f"LoadState=loaded\nActiveState={self.active}\nSubState=x\nExecMainStartTimestamp={moment}\n"
            f"NRestarts={self.restarts}\nMainPID=42\nJob={self.job}\n"
        ), ""  # fmt: skip

    def restart(self, nodes: list[str], check: bool = False) -> subject.Restart:
        self.nodes = nodes
        params = {"cluster": nodes, "reasons": ["a.b: 1 -> 2"], "service": "aerospike",
                  "port": 3000, "timeout": 5, "resume": self.resume}  # fmt: skip
        return subject.Restart(SimpleNamespace(params=params, check_mode=check, run_command=self.run))  # type: ignore[arg-type]

    def call(self, nodes: list[str] = NODES, check: bool = False) -> dict[str, Any]:
        """Call the module as the action plugin does, with the state of the call before."""
        result = self.restart(nodes, check).run()
        self.resume = result.get("waiting", {}).get("resume", {})
        return result

    def waits(self, nodes: list[str] = NODES) -> dict[str, Any]:
        waiting: dict[str, Any] = self.call(nodes)["waiting"]
        return waiting

    def fails(self, error: Exception) -> dict[str, Any]:
        """The module's result, if the call that follows fails."""
        return subject.failure(self.restart(NODES), error)


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Cluster:
    return Cluster(monkeypatch)


QUIESCE = [f"quiesce: {A}", *(f"recluster: {address}" for address in NODES)]
UNDO = [order.replace("quiesce:", "quiesce-undo:") for order in QUIESCE]


def test_a_node_hands_its_data_over_and_restarts(cluster: Cluster) -> None:
    result = cluster.call()
    assert cluster.done == [*QUIESCE, "restart"]
    assert result["changes"] == ["restart of aerospike, node by node: a.b: 1 -> 2"]
    assert result["cluster_key"] == "KEY"


def test_the_community_edition_cannot_quiesce(cluster: Cluster) -> None:
    cluster.enterprise = False
    cluster.call()
    assert cluster.done == ["restart"]


def test_the_only_node_is_restarted_without_quiesce(cluster: Cluster) -> None:
    cluster.found = lambda: Survey({A: node(effective_replication_factor=1)})
    cluster.call([A])
    assert cluster.done == ["restart"]


def test_the_only_copy_in_memory_is_not_lost(cluster: Cluster) -> None:
    cluster.enterprise = False
    cluster.found = lambda: three(effective_replication_factor=1)
    with pytest.raises(subject.gate.GateError, match=r"only 1 copy of each record .* this node holds 600 of 900"):
        cluster.call()
    assert cluster.done == []
    cluster.found = lambda: three(effective_replication_factor=1, storage_engine="device")
    cluster.call()
    assert cluster.done == ["restart"]


def test_the_only_copy_is_handed_over_by_a_node_that_can_quiesce(cluster: Cluster) -> None:
    cluster.found = lambda: three(effective_replication_factor=1, effective_is_quiesced=bool(cluster.done))
    cluster.call()
    assert cluster.done == [*QUIESCE, "restart"]


def test_it_waits_for_every_migration_before_the_restart_and_says_what_may_hold_them_up(cluster: Cluster) -> None:
    cluster.found = migrating
    waiting = cluster.waits()
    assert (waiting["left"], waiting["unit"]) == (2726, "partition migrations")
    assert waiting["purpose"] == "partition migrations to end, before the restart of this node"
    cluster.found = lambda: Survey({A: node(800, 500, tx=9, **FULL), B: node(100, 0, rx=9), C: node(600, 300)})
    (reason,) = cluster.waits()["reasons"]
    assert "stop-writes of node 10.0.0.1" in reason and "data_avail_pct 4 is below stop-writes-avail-pct 5" in reason
    assert cluster.done == []
    cluster.found = three
    assert "waiting" not in cluster.call()


def test_a_node_is_not_restarted_while_another_is_missing(cluster: Cluster) -> None:
    cluster.found = lambda: Survey({A: node(), B: node()}, {C: "connection refused"})
    waiting = cluster.waits()
    assert waiting["purpose"] == "every node to answer, before the restart of this node" and waiting["left"] == 1
    assert cluster.done == []


def test_it_waits_until_a_quiesced_node_has_handed_everything_over(cluster: Cluster) -> None:
    cluster.quiesced = False
    waiting = cluster.waits()
    assert waiting["purpose"] == "this node to be quiesced, before its restart"
    assert cluster.done == QUIESCE
    cluster.quiesced = True
    cluster.found = migrating
    assert cluster.waits()["purpose"].startswith("partition migrations to end, before")
    assert cluster.done == QUIESCE, "it is quiesced once, and not restarted yet"
    cluster.found = three
    cluster.call()
    assert cluster.done == [*QUIESCE, "restart"]


def test_a_wait_that_is_given_up_lets_the_node_serve_again(cluster: Cluster) -> None:
    cluster.quiesced = False
    cluster.waits()
    cluster.resume["give_up"] = "expected x, found y"
    with pytest.raises(subject.RestartError, match="expected x, found y") as raised:
        cluster.call()
    result = cluster.fails(raised.value)
    assert cluster.done == [*QUIESCE, *UNDO]
    assert result["msg"].startswith("expected x, found y\nThis node was not restarted and serves as before")
    assert (
        result["error_class"] == READINESS and result["changes"] == [] and "same command again" in result["next_step"]
    )


def test_a_node_that_stays_quiesced_is_reported(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    cluster.quiesced = False
    cluster.waits()

    def gone(*_: object, port: int) -> str:
        raise InfoError("it does not answer")

    monkeypatch.setattr(subject.quiesce, "info_value", gone)
    assert "it is still quiesced and serves nothing, because it does not answer" in cluster.fails(InfoError("x"))["msg"]


def test_the_stop_of_a_server_is_awaited(cluster: Cluster) -> None:
    cluster.starts, cluster.active, cluster.job = False, "deactivating", 7
    waiting = cluster.waits()
    assert waiting["purpose"] == "the server to stop and start, after the restart of this node"
    assert waiting["detail"] == "the service is deactivating (x)"
    cluster.active = "failed"
    assert "waiting" in cluster.call(), "its old process failed to stop cleanly; systemd still has to start the new one"
    cluster.active, cluster.started = "active", 1100
    assert "waiting" not in cluster.call()
    assert cluster.done == [*QUIESCE, "restart"], "it is restarted once"


LOADED = "Nov 30 2026 02:11:22 GMT: INFO (drv_ssd): (drv_ssd.c:4001) {test} loaded: objects 1234 device-pcts (72,40)"


def test_the_load_of_the_data_is_shown_and_its_movement_is_no_stall(cluster: Cluster) -> None:
    cluster.answers = False
    cluster.log = ["Nov 30 2026 02:11:20 GMT: INFO (namespace): (namespace_ce.c:85) {test} beginning cold start"]
    waiting = cluster.waits()
    assert waiting["purpose"] == "this node to load its data, after the restart of this node"
    assert (waiting["left"], waiting["detail"]) == (1, "its log: {test} beginning cold start")
    cluster.log.append(LOADED)
    after = cluster.waits()
    assert (after["left"], after["unit"]) == (60, "percent of the data")
    assert after["detail"] == "namespace test: 1,234 records loaded"
    assert after["activity"] > waiting["activity"]
    before = after["activity"]
    cluster.used = Used(processor_seconds=500.0)
    assert cluster.waits()["activity"] == before + 1, "it works, although its log is silent"
    assert cluster.waits()["activity"] == before + 1, "it doesn't work any more"
    cluster.used = Used(processor_seconds=500.0, disk_bytes=2**20)
    assert cluster.waits()["activity"] == before + 2
    cluster.answers = True
    assert "waiting" not in cluster.call()


@pytest.mark.parametrize(
    "after",
    [
        {"active": "failed"},
        {"active": "inactive"},
        {"restarts": 1},
    ],
)
def test_a_server_that_ends_after_its_start_is_a_failure_at_once(cluster: Cluster, after: dict[str, Any]) -> None:
    cluster.answers = False
    cluster.waits()
    vars(cluster).update(after)
    cluster.log = ["INFO x", "CRITICAL (config): (cfg.c:1651) line 3 :: unknown config parameter name 'no-such'"]
    with pytest.raises(ServiceError, match="expected aerospike active, found") as raised:
        cluster.call()
    result = cluster.fails(raised.value)
    assert result["msg"].startswith("CRITICAL (config)") and result["journal"][0].startswith("CRITICAL")
    assert "This node was restarted. Nodes after it are not restarted" in result["msg"]
    assert result["changes"] and "error_class" not in result


def test_it_waits_until_the_cluster_has_settled_again(cluster: Cluster) -> None:
    def restarted(found: Callable[[], Survey]) -> Callable[[], Survey]:
        return lambda: found() if "restart" in cluster.done else three()

    cluster.found = restarted(lambda: Survey({B: node(), C: node()}, {A: "connection refused"}))
    waiting = cluster.waits()
    assert waiting["purpose"] == "every node to answer, after the restart of this node"
    assert waiting["reasons"] == ["node 10.0.0.1 doesn't answer: connection refused"]
    cluster.found = restarted(lambda: Survey({A: node(key=""), B: node(), C: node()}))
    assert cluster.waits()["purpose"] == "one stable cluster of 3 nodes, after the restart of this node"
    cluster.found = restarted(lambda: Survey({A: node(rx=5), B: node(tx=5, **FULL), C: node()}))
    waiting = cluster.waits()
    assert (waiting["left"], waiting["unit"]) == (5, "partition migrations")
    assert "stop-writes of node 10.0.0.2" in waiting["reasons"][0]
    cluster.found = three
    assert cluster.call()["cluster_key"] == "KEY"


def test_check_mode_changes_nothing(cluster: Cluster) -> None:
    assert cluster.call(check=True)["changed"] and cluster.done == []


def test_the_address_of_this_host_is_found_among_those_of_the_cluster() -> None:
    assert subject.own_address(["203.0.113.1", "127.0.0.1", "203.0.113.2"]) == "127.0.0.1"
    with pytest.raises(subject.RestartError, match=r"203\.0\.113\.1, 203\.0\.113\.2.*aerospike_server_seeds"):
        subject.own_address(["203.0.113.1", "203.0.113.2"])
