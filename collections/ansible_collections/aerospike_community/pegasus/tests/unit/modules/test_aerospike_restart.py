"""aerospike_restart: the order of its steps, and what it refuses."""

from __future__ import annotations

import time
from types import SimpleNamespace
from typing import Any

import pytest
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.aerospike.cluster import ClusterError
from ansible_collections.aerospike_community.pegasus.plugins.modules import aerospike_restart as subject

NODES = ["10.0.0.1", "10.0.0.2", "10.0.0.3"]


class Cluster:
    """A cluster and a service that record what happens to them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.done: list[str] = []
        self.enterprise, self.copies, self.objects = True, "2", "10"
        self.fails_at = ""
        monkeypatch.setattr(subject, "wait_until_stable", self.wait)
        monkeypatch.setattr(subject, "info", self.info)
        monkeypatch.setattr(subject, "info_pairs", self.pairs)
        monkeypatch.setattr(subject, "SETTLE_SECONDS", 0)

    def wait(self, hosts: list[str], port: int, timeout: float, *, migrated: bool) -> str:
        assert migrated and hosts == self.nodes
        self.done.append("stable")
        if self.fails_at == f"stable {self.done.count('stable')}":
            raise ClusterError("the cluster is not stable", {})
        return "KEY"

    def info(self, host: str, command: str, *, port: int) -> dict[str, str]:
        if command == "quiesce:" and not self.enterprise:
            return {command: "ERROR:25:enterprise only"}
        self.done.append(f"{command} {host}")
        return {command: "ok"}

    def pairs(self, host: str, command: str, *, port: int) -> dict[str, str]:
        quiesced = "true" if any(step.startswith("quiesce:") for step in self.done) else "false"
        return {
            "effective_is_quiesced": quiesced,
            "effective_replication_factor": self.copies,
            "objects": self.objects,
        }

    def run(self, command: list[str], **_: Any) -> tuple[int, str, str]:
        if command[:2] == ["systemctl", "restart"]:
            self.done.append("restart")
        moment = time.strftime("Tue %Y-%m-%d %H:%M:%S UTC", time.gmtime())
        return 0, f"LoadState=loaded\nActiveState=active\nSubState=running\nExecMainStartTimestamp={moment}\n", ""

    def call(self, nodes: list[str], check: bool = False, memory: bool = True) -> dict[str, Any]:
        self.nodes = nodes
        params = {"cluster": nodes, "host": nodes[0], "namespace": "Test", "data_in_memory": memory,
                  "reasons": ["a.b: 1 -> 2"], "service": "aerospike", "port": 3000, "timeout": 5}  # fmt: skip
        module = SimpleNamespace(params=params, check_mode=check, run_command=self.run)
        return subject.Restart(module).run()  # type: ignore[arg-type]


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Cluster:
    return Cluster(monkeypatch)


def test_a_node_hands_its_data_over_and_restarts(cluster: Cluster) -> None:
    result = cluster.call(NODES)
    orders = [f"quiesce: {NODES[0]}", *(f"recluster: {node}" for node in NODES)]
    assert cluster.done == ["stable", *orders, "stable", "restart", "stable"]
    assert result["changes"] == ["restart of aerospike, node by node: a.b: 1 -> 2"]
    assert result["cluster_key"] == "KEY"


def test_the_community_edition_cannot_quiesce(cluster: Cluster) -> None:
    cluster.enterprise = False
    cluster.call(NODES)
    assert cluster.done == ["stable", "restart", "stable"]


def test_the_only_node_is_restarted_without_quiesce(cluster: Cluster) -> None:
    cluster.objects = "0"
    cluster.copies = "1"
    cluster.call(NODES[:1])
    assert cluster.done == ["stable", "restart", "stable"]


def test_the_only_copy_in_memory_is_not_lost(cluster: Cluster) -> None:
    cluster.enterprise, cluster.copies = False, "1"
    with pytest.raises(subject.RestartError, match="the only copy of 10 records"):
        cluster.call(NODES)
    assert "restart" not in cluster.done
    cluster.call(NODES, memory=False)
    assert "restart" in cluster.done


def test_a_node_is_not_restarted_while_another_is_missing(cluster: Cluster) -> None:
    cluster.fails_at = "stable 1"
    with pytest.raises(ClusterError, match="before the restart of this node"):
        cluster.call(NODES)
    assert cluster.done == ["stable"]


def test_a_node_that_cannot_hand_over_serves_again(cluster: Cluster) -> None:
    cluster.fails_at = "stable 2"
    with pytest.raises(ClusterError, match="after this node was quiesced"):
        cluster.call(NODES)
    assert f"quiesce-undo: {NODES[0]}" in cluster.done and "restart" not in cluster.done


def test_check_mode_changes_nothing(cluster: Cluster) -> None:
    assert cluster.call(NODES, check=True)["changed"] and cluster.done == []
