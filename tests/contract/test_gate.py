"""The gate of destructive actions against simulated servers: the sequence that lost a quarter of the records.

Node 2 stops and comes back empty. Until the partition migrations have ended, node 1 has the only copy of some records.
"""

from __future__ import annotations

import json
import re
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import aerospike
import pytest
from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.testing import patch_module_args
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.aerospike import info as info_protocol
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.aerospike import migrations
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.faults import drain
from ansible_collections.aerospike_community.pegasus.plugins.modules import (
    aerospike_gate,
    aerospike_recount,
    chaos_node,
)

from tests.contract.conftest import ClusterFactory
from tests.contract.simulated_servers import SERVER, SimulatedCluster, SimulatedNode, values, wait_for

# They wait for heartbeats.
pytestmark = pytest.mark.slow
RECORDS = 3000
KEYS = [("Test", "kept", number) for number in range(RECORDS)]
POLICY = {"total_timeout": 10000, "max_retries": 50, "sleep_between_retries": 100}


@pytest.fixture(params=["community", "enterprise"])
def edition(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def cluster(
    simulated_cluster: ClusterFactory, edition: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[SimulatedCluster]:
    """Three nodes with records. They answer at 10.0.0.1 to 10.0.0.3, port 3000, as nodes on hosts of their own do."""
    server = tmp_path / "server"
    shutil.copytree(SERVER, server, ignore=shutil.ignore_patterns("__pycache__"))
    (server / "release.json").write_text(json.dumps({"version": "8.0.0.4", "edition": edition}))
    made = simulated_cluster(3, server=server)
    ports = {address(node): node.port for node in made.nodes}

    def connect(where: tuple[str, int], timeout: float) -> socket.socket:
        return socket.create_connection(("127.0.0.1", ports[where[0]]), timeout)

    monkeypatch.setattr(info_protocol, "socket", SimpleNamespace(create_connection=connect))
    client = aerospike.client({"hosts": made.hosts, "policies": {"write": POLICY, "batch": POLICY}}).connect()
    for key in KEYS:
        client.put(key, {"n": key[2]})
    client.close()
    yield made
    made.stop()


class Run:
    """Runs modules as Ansible does: in slices, with the state of the last slice."""

    def __init__(self, cluster: SimulatedCluster, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.warnings: list[str] = []
        self.nodes = [{"index": node.index, "address": address(node)} for node in cluster.nodes]
        self.tmp_path, self.capsys = tmp_path, capsys

    def slice(self, module: Any, target: SimulatedNode, resume: dict[str, Any] | None = None, **more: Any) -> Any:
        """Call a module once and return its result."""
        arguments = {
            "cluster": self.nodes, "targets": [address(target)], "resume": resume or {},
            "_ansible_remote_tmp": str(self.tmp_path), **more,
        }  # fmt: skip
        self.capsys.readouterr()
        with patch_module_args(arguments), pytest.raises(SystemExit):
            module.main()
        return json.loads(self.capsys.readouterr().out)

    def until_done(self, module: Any, target: SimulatedNode, **more: Any) -> Any:
        """Call a module until it waits no longer and return its last result."""
        resume: dict[str, Any] = {}

        def result() -> Any:
            nonlocal resume
            found = self.slice(module, target, resume, **more)
            resume = found.get("waiting", {}).get("resume", {})
            return None if "waiting" in found else found

        return wait_for(result, "a module that waits no longer")


@pytest.fixture
def run(
    cluster: SimulatedCluster, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Run:
    made = Run(cluster, tmp_path, capsys)
    monkeypatch.setattr(AnsibleModule, "warn", lambda _, text: made.warnings.append(text))
    return made


def address(node: SimulatedNode) -> str:
    return f"10.0.0.{node.index}"


def hold(cluster: SimulatedCluster, threads: int = 0) -> None:
    """Hold the migrations, or let them continue."""
    for node in cluster.running:
        assert node.info(f"set-config:context=service;migrate-threads={threads}") == "ok"


def come_back_empty(cluster: SimulatedCluster, node: SimulatedNode) -> None:
    """Stop a node and start it again, before the others have replaced its copies. The migrations are held."""
    hold(cluster)
    node.stop()
    cluster.wait_stable(ignore_migrations=True)
    node.start()
    cluster.wait_stable(ignore_migrations=True)
    hold(cluster)


def kept(cluster: SimulatedCluster) -> int:
    """Return the records that a client can read."""
    client = aerospike.client({"hosts": cluster.hosts, "policies": {"batch": POLICY}}).connect()
    found = [
        record.result == 0
        for at in range(0, RECORDS, 500)
        for record in client.batch_read(KEYS[at : at + 500]).batch_records
    ]
    client.close()
    return sum(found)


def test_a_node_with_the_only_copy_is_removed_after_the_migrations_and_loses_no_record(cluster, run) -> None:
    """Point 1 of the issue."""
    first, second, _ = cluster.nodes
    come_back_empty(cluster, second)
    left = migrations.query([address(node) for node in cluster.nodes], 3000)
    both = sum(int(values(node.info("statistics"))["migrate_partitions_remaining"]) for node in cluster.nodes)
    assert left.left > 0 and both == 2 * left.left, "a migration counts once"

    found = run.slice(aerospike_gate, first, action="drain", no_quiesce=True)
    assert (found["waiting"]["left"], found["waiting"]["unit"]) == (left.left, "partition migrations")
    stalled = run.slice(aerospike_gate, first, {"give_up": "it stalled"}, action="drain", no_quiesce=True)
    assert stalled["failed"] and stalled["error_class"] == "readiness"
    assert f"of {RECORDS:,} records of namespace Test; {left} left" in stalled["msg"]
    assert "--accept-data-loss" in stalled["next_step"]

    hold(cluster, threads=1)
    approval = run.until_done(aerospike_gate, first, action="drain", no_quiesce=True)
    assert approval["approved"] == [address(first)]
    assert approval["before"]["namespaces"]["Test"]["records"] == RECORDS
    first.stop()
    compared = run.until_done(aerospike_recount, first, approval=approval)
    assert compared["note"] == [
        f"namespace Test: {RECORDS:,} records before the removal of node 1, {RECORDS:,} after",
        "no partition migration is left: the other nodes have every copy",
    ]
    assert kept(cluster) == RECORDS


@pytest.mark.parametrize("edition", ["community"], indirect=True)
def test_an_accepted_loss_is_reported_with_both_figures(cluster, run) -> None:
    first, second, _ = cluster.nodes
    come_back_empty(cluster, second)
    approval = run.slice(aerospike_gate, first, action="drain", no_quiesce=True, accept_data_loss=True)
    assert approval["accepted"] and approval["approved"] == [address(first)]
    assert re.search("node 1 holds .* partition migrations left", run.warnings[0])
    first.kill()
    cluster.wait_stable(ignore_migrations=True)
    hold(cluster, threads=1)
    cluster.wait_stable()

    found = RECORDS - kept(cluster)
    assert found > 0, "the loss that the gate prevents"
    assert not run.slice(aerospike_recount, first, approval=approval, accept_data_loss=True).get("failed")
    assert f"found {RECORDS - found:,}: {found:,} are lost" in run.warnings[-1]
    refused = run.slice(aerospike_recount, first, approval=approval)
    assert refused["failed"] and refused["error_class"] == "readiness"
    assert f"expected {RECORDS:,} records as before the removal of node 1" in refused["msg"]
    assert "Nothing was terminated: ./pegasus-driver restart-node 1" in refused["next_step"]


@pytest.mark.parametrize("edition", ["community"], indirect=True)
def test_the_community_edition_is_refused_at_once_without_no_quiesce(cluster, run) -> None:
    first, second, _ = cluster.nodes
    come_back_empty(cluster, second)
    refused = run.slice(aerospike_gate, first, action="drain")
    assert refused["failed"] and "--no-quiesce" in refused["msg"]


@pytest.mark.parametrize("edition", ["enterprise"], indirect=True)
def test_a_quiesced_node_is_drained_in_slices_and_serves_again_if_that_stalls(cluster, run, monkeypatch) -> None:
    monkeypatch.setattr(drain, "QUIET_SECONDS", 0.2)
    first = cluster.nodes[0]
    approval = run.until_done(aerospike_gate, first, action="drain")
    hold(cluster)
    fault = {"action": "drain", "index": 3, "gate": approval}
    waiting = run.slice(chaos_node, first, **fault)["waiting"]
    while waiting["unit"] != "partition migrations":
        waiting = run.slice(chaos_node, first, waiting["resume"], **fault)["waiting"]
    assert waiting["left"] > 0 and first.stats()["effective_is_quiesced"] == "true"

    stalled = {**waiting["resume"], "give_up": "nothing has moved for 2 min"}
    failed = run.slice(chaos_node, first, stalled, **fault)
    assert failed["failed"] and "nothing has moved for 2 min" in failed["msg"]
    assert first.stats()["effective_is_quiesced"] == "false"

    hold(cluster, threads=1)
    cluster.wait_stable()
    done = run.until_done(chaos_node, first, **fault)
    assert "no partition migration is left: the other nodes have every copy" in done["note"]
    assert first.stats()["master_objects"] == "0"
    first.stop()
    assert not run.until_done(aerospike_recount, first, approval=approval).get("failed")
    assert kept(cluster) == RECORDS


@pytest.mark.parametrize("edition", ["community"], indirect=True)
def test_a_fault_on_a_node_that_was_not_asked_about_is_refused(cluster, run) -> None:
    approval = run.until_done(aerospike_gate, cluster.nodes[0], action="drain", no_quiesce=True)
    refused = run.slice(chaos_node, cluster.nodes[1], action="drain", index=1, no_quiesce=True, gate=approval)
    assert refused["failed"] and "expected the approval of the gate (aerospike_gate) for node 2" in refused["msg"]
