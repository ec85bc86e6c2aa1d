"""Rolling restarts of simulated servers: every record survives, and each wait has the figure of the servers."""

from __future__ import annotations

import json
import shutil
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import aerospike
import pytest
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.aerospike import info as info_protocol
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.aerospike.waiting import Waiting
from ansible_collections.aerospike_community.pegasus.plugins.modules import aerospike_restart as subject

from tests.contract.simulated_servers import SERVER, SimulatedCluster, SimulatedNode, wait_for

# They wait for heartbeats.
pytestmark = pytest.mark.slow
RECORDS = 1000


def address(node: SimulatedNode) -> str:
    return f"10.0.0.{node.index}"


def unique(cluster: SimulatedCluster) -> int:
    return sum(int(node.stats()["master_objects"]) for node in cluster.running)


def hold(nodes: list[SimulatedNode], threads: int) -> None:
    """Hold the migrations that nodes send (0), or let them continue."""
    for node in nodes:
        assert node.info(f"set-config:context=service;migrate-threads={threads}") == "ok"


@pytest.fixture(params=["community", "enterprise"])
def cluster(
    request: pytest.FixtureRequest,
    simulated_cluster: Callable[..., SimulatedCluster],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[SimulatedCluster]:
    """Three nodes with records, at 10.0.0.1 to 10.0.0.3, port 3000, as nodes on hosts of their own."""
    server = tmp_path / "server"
    shutil.copytree(SERVER, server, ignore=shutil.ignore_patterns("__pycache__"))
    (server / "release.json").write_text(json.dumps({"version": "8.0.0.4", "edition": request.param}))
    made = simulated_cluster(3, server=server)
    ports = {address(node): node.port for node in made.nodes}

    def connect(where: tuple[str, int], timeout: float) -> socket.socket:
        return socket.create_connection(("127.0.0.1", ports[where[0]]), timeout)

    monkeypatch.setattr(info_protocol, "socket", SimpleNamespace(create_connection=connect))
    client = aerospike.client({"hosts": made.hosts}).connect()
    for number in range(RECORDS):
        client.put(("Test", "kept", number), {"n": number})
    client.close()
    yield made
    made.stop()


class Host:
    """The host of a node, whose service manager is this test."""

    def __init__(self, cluster: SimulatedCluster, node: SimulatedNode, monkeypatch: pytest.MonkeyPatch) -> None:
        self.node, self.started = node, int(time.time()) - 1000
        self.cluster = [address(each) for each in cluster.nodes]
        self.resume: dict[str, Any] = {}
        monkeypatch.setattr(subject, "own_address", lambda _: address(node))

    def run(self, command: list[str], **_: Any) -> tuple[int, str, str]:
        if command[0] == "journalctl":
            return 0, self.node.log, ""
        if command[1] == "restart":
            self.node.stop()
            self.node.start()
            self.started += 100
        moment = time.strftime("Tue %Y-%m-%d %H:%M:%S UTC", time.gmtime(self.started))
        return 0, f"ActiveState=active\nExecMainStartTimestamp={moment}\n", ""

    def slice(self) -> dict[str, Any]:
        """Call the module once, with the state of the call before."""
        params = {"cluster": self.cluster, "reasons": [], "service": "aerospike",
                  "port": 3000, "timeout": 60, "resume": self.resume}  # fmt: skip
        module = SimpleNamespace(params=params, check_mode=False, run_command=self.run)
        result = subject.Restart(module).run()  # type: ignore[arg-type]
        self.resume = json.loads(json.dumps(result.get("waiting", {}).get("resume", {})))
        return result

    def finish(self) -> dict[str, Any]:
        """Call the module until it is done."""

        def done() -> dict[str, Any] | None:
            result = self.slice()
            return None if "waiting" in result else result

        found: dict[str, Any] = wait_for(done, "the end of the restart")
        return found


def test_every_node_restarts_and_no_record_is_lost(cluster: SimulatedCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    for node in cluster.nodes:
        before = node.process
        result = Host(cluster, node, monkeypatch).finish()
        assert node.process is not before and node.running
        assert result["cluster_key"] == cluster.stable_key() != ""
        assert unique(cluster) == RECORDS


def test_the_migrations_after_a_restart_are_waited_for(
    cluster: SimulatedCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, *others = cluster.nodes
    monkeypatch.setattr(subject, "SLICE_SECONDS", 0.5)
    host = Host(cluster, first, monkeypatch)
    restarted = Host.run

    def run(self: Host, command: list[str], **more: Any) -> tuple[int, str, str]:
        if command[1:2] == ["restart"]:
            hold(others, 0)
        return restarted(self, command, **more)

    monkeypatch.setattr(Host, "run", run)

    def migrating() -> Waiting | None:
        result = host.slice()
        assert "waiting" in result, "it ended before its migrations did"
        waiting = Waiting(**result["waiting"])
        return waiting if waiting.purpose == "partition migrations to end, after the restart of this node" else None

    found = wait_for(migrating, "the wait for migrations")
    sending = sum(int(node.stats()["migrate_tx_partitions_remaining"]) for node in cluster.nodes)
    assert (found.left, found.unit) == (sending, "partition migrations") and sending > 2000
    assert wait_for(migrating, "the same wait").left == sending, "nothing moves"
    hold(others, 1)
    host.finish()
    assert unique(cluster) == RECORDS
