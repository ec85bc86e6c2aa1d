"""perseus_nodes: a client whose nodes don't exist any more gets the current nodes and restarts; any other doesn't."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.host.systemd import ServiceError, Systemd
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.perseus.configuration import (
    PerseusConfigError,
)
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.perseus.nodes import known_nodes
from ansible_collections.aerospike_community.pegasus.plugins.modules import perseus_nodes as subject
from ansible_collections.aerospike_community.pegasus.tests.unit.role_templates import perseus_configuration

OLD, NEW = ["10.0.0.1", "10.0.0.2"], ["10.0.0.2", "10.0.0.3"]
OTHERS = ["10.0.0.8", "10.0.0.9"]


class Client:
    """A client: its configuration, its Perseus and the nodes to which that is connected."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.file = folder / "configuration.yaml"
        self.file.write_text(perseus_configuration(hosts=OLD))
        os.utime(self.file, (1000, 1000))
        self.active, self.connections = "active", set(OLD)
        self.refuses = ""
        self.done: list[str] = []
        monkeypatch.setattr(subject, "running_process", lambda _: 4242 if self.active == "active" else 0)
        monkeypatch.setattr(subject, "connected_nodes", lambda process, port: self.connections)

    def systemctl(self, command: list[str], **_: Any) -> tuple[int, str, str]:
        if command[1] == "show":
            return 0, f"LoadState=loaded\nActiveState={self.active}\nSubState=x\n", ""
        self.done.append(" ".join(command[1:]))
        return (1, "", self.refuses) if self.refuses else (0, "", "")

    def call(self, hosts: list[str], check: bool = False) -> dict[str, Any]:
        params = {"path": str(self.file), "hosts": hosts, "port": 3000, "service": "perseus", "grace": 0.01}
        return subject.Nodes(params, Systemd(self.systemctl), check).run()

    @property
    def nodes(self) -> list[str]:
        return known_nodes(self.file.read_text())


@pytest.fixture
def client(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Client:
    return Client(tmp_path, monkeypatch)


def test_a_new_cluster_restarts_perseus(client: Client) -> None:
    """Every node was replaced: destroy-cluster, then setup-cluster."""
    result = client.call(OTHERS)
    assert client.nodes == OTHERS and client.done == ["restart perseus"]
    assert result["restarted"] and result["unproven"] and result["before"] == OLD
    assert result["changes"] == [
        "server nodes of Perseus: 10.0.0.1, 10.0.0.2 -> 10.0.0.8, 10.0.0.9",
        "restarted perseus: none of the nodes that it knew is a server node any more",
    ]


@pytest.mark.parametrize("active", ["failed", "activating"])
def test_a_perseus_that_can_not_start_without_its_nodes_is_restarted(client: Client, active: str) -> None:
    client.active, client.connections = active, set()
    assert client.call(OTHERS)["restarted"]
    assert client.done == [*(["reset-failed perseus"] if active == "failed" else []), "restart perseus"]


def test_a_stopped_perseus_stays_stopped(client: Client) -> None:
    client.active, client.connections = "inactive", set()
    result = client.call(OTHERS)
    assert client.nodes == OTHERS and not client.done
    assert not result["restarted"] and not result["unproven"]


@pytest.mark.parametrize(
    ("hosts", "connections"),
    [
        (NEW, OLD),  # one of the old nodes is left
        (NEW, []),  # Perseus will find it again
        (OTHERS, ["10.0.0.9"]),  # all were replaced one by one, and Perseus found the others
    ],
)
def test_a_perseus_that_finds_the_cluster_is_not_restarted(
    client: Client, hosts: list[str], connections: list[str]
) -> None:
    client.connections = set(connections)
    result = client.call(hosts)
    assert client.nodes == hosts and not client.done and result["changed"]
    assert result["unproven"] is (not connections), "without a connection, the load must be verified"
    # A service that is older than its file would be restarted by the next setup.
    assert client.file.stat().st_mtime == 1000


def test_unchanged_nodes_change_nothing(client: Client) -> None:
    result = client.call(OLD)
    assert not result["changed"] and not result["diff"] and not result["unproven"] and not client.done


def test_a_dry_run_changes_nothing(client: Client) -> None:
    client.connections = set()
    result = client.call(OTHERS, check=True)
    assert result["restarted"] and len(result["changes"]) == 2 and result["diff"]
    assert client.nodes == OLD and not client.done


def test_a_client_without_perseus_is_left_alone(client: Client) -> None:
    client.file.unlink()
    assert client.call(OTHERS)["changed"] is False
    assert not client.done and not client.file.exists()


def test_a_perseus_that_does_not_start_is_a_failure(client: Client) -> None:
    client.connections, client.refuses = set(), "Job for perseus.service failed"
    with pytest.raises(ServiceError, match="Job for perseus"):
        client.call(OTHERS)
    assert client.nodes == OTHERS


def test_a_broken_configuration_is_not_changed(client: Client) -> None:
    client.file.write_text(perseus_configuration(hosts=OLD)[:100])
    with pytest.raises(PerseusConfigError):
        client.call(OTHERS)
    assert not client.done
