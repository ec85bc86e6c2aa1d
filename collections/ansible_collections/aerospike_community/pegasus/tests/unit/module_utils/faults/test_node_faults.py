"""The faults stop, kill and restart against a simulated service and cluster."""

from __future__ import annotations

import pytest
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.aerospike import cluster
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.faults import contract, kill, restart, stop
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.faults.contract import Fault, FaultError
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.faults.registry import FAULTS
from ansible_collections.aerospike_community.pegasus.plugins.modules.chaos_node import carry_out

A, B, C = "10.0.0.1", "10.0.0.2", "10.0.0.3"
PROCESS = 2**22 + 1  # above the largest process id of Linux


class Node:
    """This node's service, and the cluster as its nodes answer."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:
        self.active, self.alive, self.moving, self.ignores_stop = "active", [A, B, C], 0, False
        self.done: list[str] = []
        self.clock = 0.0
        self.units = tmp_path
        monkeypatch.setattr(contract, "answering", lambda hosts, _: [host for host in hosts if host in self.alive])
        monkeypatch.setattr(cluster, "partitions_to_move", lambda *_: self.moving)
        monkeypatch.setattr(cluster, "wait_until_stable", self.stable)
        monkeypatch.setattr(restart, "SETTLE_SECONDS", 0)
        monkeypatch.setattr(stop, "info_pairs", lambda *_, **__: {"effective_replication_factor": "2"})
        monkeypatch.setattr(stop.time, "sleep", self.sleep)
        monkeypatch.setattr(stop.time, "monotonic", lambda: self.clock)
        monkeypatch.setattr(kill, "UNITS", self.units)
        monkeypatch.setattr(kill.os, "kill", self.kill)

    def sleep(self, seconds: float) -> None:
        self.clock += seconds

    def stable(self, hosts: list[str], *_: object) -> str:
        self.done.append(f"stable {len(hosts)}")
        return "KEY"

    def kill(self, process: int, number: int) -> None:
        assert process == PROCESS
        assert self.drop_in.read_text() == "[Service]\nRestart=no\n"
        self.done.append(f"signal {number}")
        self.active = "failed"

    @property
    def drop_in(self):
        return self.units / "aerospike.service.d" / "pegasus-killed.conf"

    def systemd(self, command: list[str], **_: object) -> tuple[int, str, str]:
        verb = command[1]
        if verb == "show":
            if "--property=MainPID" in command:
                return 0, str(PROCESS), ""
            loaded = "not-found" if self.active == "none" else "loaded"
            return 0, f"LoadState={loaded}\nActiveState={self.active}\nSubState=x\n", ""
        self.done.append(verb)
        if verb == "stop" and not self.ignores_stop:
            self.active = "inactive"
        if verb in ("start", "restart"):
            self.active = "active"
        return 0, "", ""

    def fault(self, name: str, *targets: str, force: bool = False, timeout: int = 5) -> Fault:
        params = {
            "index": 3, "service": "aerospike", "cluster": [A, B, C], "targets": list(targets or [C]), "port": 3000,
            "namespace": "test", "replication_factor": 2, "force": force, "timeout": timeout,
        }  # fmt: skip
        return FAULTS[name](params, self.systemd)


@pytest.fixture
def node(monkeypatch: pytest.MonkeyPatch, tmp_path) -> Node:
    return Node(monkeypatch, tmp_path)


def test_stop_verifies_the_exit_and_the_smaller_cluster(node: Node) -> None:
    fault = node.fault("stop")
    effect = carry_out(fault, force=False, check=False)
    assert node.done == ["stop", "stable 2"]
    assert effect.changed and effect.members == [A, B] and effect.cluster_key == "KEY"
    assert fault.notes == ["node 3 is stopped and the other 2 form a stable cluster"]


def test_a_process_that_does_not_exit_fails_the_stop(node: Node) -> None:
    node.ignores_stop = True
    with pytest.raises(FaultError, match="expected no process and the service inactive, found the service active"):
        carry_out(node.fault("stop"), force=False, check=False)


def test_kill_keeps_systemd_from_restarting_the_service_only_for_its_duration(node: Node) -> None:
    fault = node.fault("kill")
    carry_out(fault, force=False, check=False)
    assert node.done == ["daemon-reload", "signal 9", "daemon-reload", "stable 2"]
    assert not node.drop_in.exists()
    assert fault.notes == ["node 3 is killed and the other 2 form a stable cluster"]


@pytest.mark.parametrize("name", ["stop", "kill"])
def test_a_stopped_node_is_left_alone(node: Node, name: str) -> None:
    node.active, node.alive = "inactive", [A, B]
    fault = node.fault(name)
    assert carry_out(fault, force=False, check=False).changed is False
    assert node.done == [] and fault.notes == ["node 3 is already stopped: nothing was done"]


@pytest.mark.parametrize(
    ("targets", "moving", "reason"),
    [((B, C), 0, "2 of 3 nodes would be down"), ((C,), 812, "812 to go"), ((A, B, C), 0, "no node of 3 would be left")],
)
def test_stop_refuses_a_loss_of_data_without_force(node: Node, targets, moving, reason) -> None:
    node.moving = moving
    with pytest.raises(FaultError, match=f"node 3 was not stopped: .*{reason}"):
        carry_out(node.fault("stop", *targets), force=False, check=False)
    assert node.done == []
    carry_out(node.fault("stop", *targets), force=True, check=False)
    assert node.done[0] == "stop"


def test_restart_starts_a_failed_node_with_the_nodes_that_are_up(node: Node) -> None:
    node.active, node.alive, node.moving = "failed", [A], 7
    fault = node.fault("restart")
    effect = carry_out(fault, force=False, check=False)
    assert node.done == ["reset-failed", "start", "stable 2"]
    assert effect.members == [A, C]
    assert fault.notes == [
        "node 3 was started: 2 nodes form a stable cluster, 1 still stopped, 7 partitions still to migrate"
    ]


def test_restart_leaves_a_running_node_alone_unless_forced(node: Node) -> None:
    fault = node.fault("restart")
    assert carry_out(fault, force=False, check=False).changed is False
    assert node.done == ["stable 3"] and "node 3 is already running" in fault.notes[0]
    fault = node.fault("restart", force=True)
    assert carry_out(fault, force=True, check=False).changed
    assert node.done == ["stable 3", "restart", "stable 3"]
    assert fault.notes == ["node 3 was restarted: 3 nodes form a stable cluster, all nodes are up"]


@pytest.mark.parametrize(("name", "note"), [("stop", "stopped"), ("kill", "killed"), ("restart", "restarted")])
def test_check_mode_changes_nothing(node: Node, name: str, note: str) -> None:
    fault = node.fault(name, force=True)
    assert carry_out(fault, force=True, check=True).changed
    assert node.done == [] and fault.notes == [f"node 3 would be {note}"]


def test_a_host_without_the_service_is_refused(node: Node) -> None:
    node.active = "none"
    with pytest.raises(FaultError, match="expected a service aerospike on this host, found none"):
        carry_out(node.fault("stop"), force=True, check=False)
