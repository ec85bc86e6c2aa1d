"""Migrations as the real server does and counts them, and what is lost with a node before they are done.

`migrate-threads 0` holds them, on the nodes that send; so does `migrate-max-num-incoming 0` on the node that receives.
"""

from collections.abc import Iterator

import aerospike
import pytest

from tests.contract.simulated_servers import SimulatedCluster, SimulatedNode, values, wait_for

# They wait for heartbeats.
pytestmark = pytest.mark.slow
RECORDS = 3000
KEYS = [("Test", "kept", number) for number in range(RECORDS)]
PATIENT = {"total_timeout": 8000, "socket_timeout": 1000, "max_retries": 40, "sleep_between_retries": 100}


@pytest.fixture
def cluster(simulated_cluster) -> Iterator[SimulatedCluster]:
    made = simulated_cluster(3)
    yield made
    made.stop()


@pytest.fixture
def client(cluster: SimulatedCluster):
    policies = dict.fromkeys(("read", "write", "batch"), PATIENT)
    made = aerospike.client({"hosts": cluster.hosts, "policies": policies}).connect()
    for key in KEYS:
        made.put(key, {"n": key[2]})
    yield made
    made.close()


def hold(nodes: list[SimulatedNode], threads: int = 0) -> None:
    """Hold the migrations of these nodes, or continue them with a number of threads."""
    for node in nodes:
        assert node.info(f"set-config:context=service;migrate-threads={threads}") == "ok"


def lost(client) -> int:
    records = []
    for at in range(0, RECORDS, 500):
        records += client.batch_read(KEYS[at : at + 500]).batch_records
    return sum(record.result != 0 for record in records)


def unique(cluster: SimulatedCluster) -> int:
    return sum(int(node.stats()["master_objects"]) for node in cluster.running)


def pending(node: SimulatedNode) -> tuple[int, int, int]:
    """What a node has yet to send, to receive, and the sum that its statistics give."""
    stats = node.stats()
    sending, receiving = (int(stats[f"migrate_{way}_partitions_remaining"]) for way in ("tx", "rx"))
    return sending, receiving, int(values(node.info("statistics"))["migrate_partitions_remaining"])


@pytest.mark.parametrize("awaited", [False, True])
def test_a_node_that_is_lost_before_the_migrations_are_done_takes_records_with_it(cluster, client, awaited):
    """Stop node 2, start it again, stop node 1: with data in memory, what only node 1 still had is lost."""
    hold(cluster.nodes)
    cluster.nodes[1].stop()
    cluster.wait_stable(ignore_migrations=True)
    if awaited:
        hold(cluster.running, 1)
        cluster.wait_stable()
        hold(cluster.running)
    cluster.nodes[1].start()
    cluster.wait_stable(ignore_migrations=True)
    assert cluster.nodes[1].stats()["objects"] == "0", "it returns without its records"
    if awaited:
        hold(cluster.nodes, 1)
        cluster.wait_stable()
    assert unique(cluster) == RECORDS
    cluster.nodes[0].stop()
    cluster.wait_stable(ignore_migrations=True)
    hold(cluster.running, 1)
    cluster.wait_stable()
    share = lost(client) / RECORDS
    assert share == 0 if awaited else 0.25 < share < 0.42, share
    assert unique(cluster) == RECORDS - lost(client)


def test_held_migrations_stay_pending_and_clients_are_served(cluster, client):
    hold(cluster.nodes)
    cluster.nodes[1].stop()
    cluster.wait_stable(ignore_migrations=True)
    cluster.nodes[1].start()
    key = cluster.wait_stable(ignore_migrations=True)
    counts = [pending(node) for node in cluster.nodes]
    assert all(total == sending + receiving for sending, receiving, total in counts)
    sending, receiving, total = map(sum, zip(*counts, strict=True))
    assert sending == receiving == total // 2
    assert 2500 < sending < 2950, "two thirds of 4096 partitions lack the copy of one node"
    for node in cluster.nodes:
        assert node.info("cluster-stable:size=3;ignore-migrations=true") == key
        assert node.info("cluster-stable:size=3;ignore-migrations=false") == "ERROR:7:unstable cluster"
        assert node.stats()["migrate_tx_partitions_active"] == "0"
    for item in KEYS[:200]:
        client.put(item, {"late": 1})
    assert not lost(client)
    assert sum(pending(node)[0] for node in cluster.nodes) > 2500, "nothing has moved"
    hold(cluster.nodes, 1)
    cluster.wait_stable()
    assert [pending(node) for node in cluster.nodes] == [(0, 0, 0)] * 3
    assert all(client.get(item)[2] == {"n": item[2], "late": 1} for item in KEYS[:200])
    assert unique(cluster) == RECORDS


def test_the_receiving_node_can_hold_migrations_too(cluster, client):
    cluster.nodes[2].stop()
    cluster.wait_stable()
    cluster.nodes[2].options = {**cluster.nodes[2].options, "service_lines": "migrate-max-num-incoming 0"}
    cluster.nodes[2].start()
    cluster.wait_stable(ignore_migrations=True)
    wait_for(lambda: pending(cluster.nodes[2])[1] > 2500, "migrations pending")
    assert cluster.nodes[2].stats()["objects"] == "0"
    assert cluster.nodes[2].info("set-config:context=service;migrate-max-num-incoming=4") == "ok"
    cluster.wait_stable()
    assert unique(cluster) == RECORDS


def test_the_log_says_what_is_expected_and_what_remains(cluster, client):
    for node in cluster.nodes:
        assert node.info("set-config:context=service;ticker-interval=1") == "ok"
    hold(cluster.nodes)
    assert "{Test} rebalanced: expected-migrations (0,0,0) fresh-partitions 4096" in cluster.nodes[0].log
    cluster.nodes[1].stop()
    cluster.wait_stable(ignore_migrations=True)
    sending, receiving, _ = pending(cluster.nodes[0])
    assert (
        f"{{Test}} rebalanced: expected-migrations ({sending},{receiving},0) fresh-partitions 0" in cluster.nodes[0].log
    )
    line = f"{{Test}} migrations: remaining ({sending},{receiving},0) active (0,"
    wait_for(lambda: line in cluster.nodes[0].log, line)
