"""Clusters of simulated servers: they form, lose nodes and get them back, without losing records."""

import re
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import aerospike
import pytest
from aerospike import exception as errors

from tests.contract.simulated_servers import SimulatedCluster, SimulatedNode, values, wait_for

# They wait for heartbeats.
pytestmark = pytest.mark.slow
RECORDS = 3000
PATIENT = {"total_timeout": 8000, "socket_timeout": 1000, "max_retries": 40, "sleep_between_retries": 100}


def connect(cluster: SimulatedCluster):
    policies = dict.fromkeys(("read", "write", "operate", "remove", "batch"), PATIENT)
    return aerospike.client({"hosts": cluster.hosts, "policies": policies}).connect()


def fill(client, count: int = RECORDS) -> list[tuple[str, str, int]]:
    keys = [("Test", "kept", number) for number in range(count)]
    for key in keys:
        client.put(key, {"n": key[2], "pad": "x" * 100})
    return keys


def lost(client, keys) -> list[int]:
    """The numbers of the records that are missing or wrong."""
    records = []
    for at in range(0, len(keys), 500):
        records += client.batch_read(keys[at : at + 500]).batch_records
    return [record.key[2] for record in records if record.result != 0 or record.record[2]["n"] != record.key[2]]


def objects(cluster: SimulatedCluster) -> list[int]:
    return [int(node.stats()["objects"]) for node in cluster.running]


@pytest.fixture(scope="module")
def cluster(simulated_cluster) -> SimulatedCluster:
    return simulated_cluster(3)


@pytest.fixture(scope="module")
def client(cluster):
    made = connect(cluster)
    yield made
    made.close()


@pytest.fixture(autouse=True)
def complete_again(request) -> Iterator[None]:
    """Each test leaves the shared cluster complete, even if it fails."""
    yield
    if "cluster" in request.fixturenames:
        shared = request.getfixturevalue("cluster")
        for node in shared.nodes:
            if not node.running:
                node.start()
        shared.wait_stable()


def test_a_cluster_forms_and_agrees(simulated_cluster):
    made = simulated_cluster(3, start=False)
    for node in made.nodes:
        node.start()
    key = made.wait_stable(ignore_migrations=True)
    facts = [values(node.info("statistics")) for node in made.nodes]
    assert {statistics["cluster_key"] for statistics in facts} == {key}
    assert {statistics["cluster_size"] for statistics in facts} == {"3"}
    assert len({statistics["cluster_principal"] for statistics in facts}) == 1
    made.stop()


def test_cluster_stable_reports_what_is_wrong(cluster):
    node = cluster.nodes[0]
    assert node.info("cluster-stable:size=4") == "ERROR:7:cluster not specified size"
    assert node.info("cluster-stable:size=x") == "ERROR:4:bad size"
    assert node.info("cluster-stable:ignore-migrations=maybe") == "ERROR:4:bad ignore migrations"
    assert node.info("cluster-stable:namespace=none") == "ERROR:20:namespace not found on node"
    assert node.info("cluster-stable:") == node.info("cluster-stable:size=3;ignore-migrations=true;namespace=Test")


def test_the_partitions_are_shared_evenly_and_each_has_one_master(cluster):
    rows = [line.split(":") for line in cluster.nodes[0].info("partition-info").split(";")[1:]]
    masters = [row[2] for row in rows]
    assert len(rows) == 4096
    assert all(masters.count(node.info("node")) > 1100 for node in cluster.nodes)
    assert all(len(set(row[3].split(","))) == 2 and row[2] == row[3].split(",")[0] for row in rows)
    assert len({node.info("partition-info") for node in cluster.nodes}) == 1


@pytest.mark.parametrize("index", [0, 1, 2])
@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_stopping_any_node_loses_no_record(cluster, client, index, how):
    keys = fill(client)
    node = cluster.nodes[index]
    begin = time.monotonic()
    assert node.stop(how) == (0 if how == signal.SIGTERM else -9)
    assert not lost(client, keys)  # the client continues with the other nodes before the cluster has noticed
    cluster.wait_stable(ignore_migrations=True)
    assert time.monotonic() - begin > 1.0  # the heartbeat timeout
    cluster.wait_stable()
    assert not lost(client, keys)
    assert len(set(objects(cluster))) == 1  # two nodes, two copies: each has everything
    node.start()
    cluster.wait_stable()
    assert not lost(client, keys)
    assert all(int(node.stats()["master_objects"]) > RECORDS / 5 for node in cluster.nodes)
    assert not any(int(node.stats()["non_replica_objects"]) for node in cluster.nodes)


def test_a_rolling_restart_during_writes_loses_nothing(cluster, client):
    keys = fill(client, 500)
    with writing(client) as written:
        for node in cluster.nodes:
            node.stop()
            written.wait_for_more(50)
            cluster.wait_stable()
            node.start()
            cluster.wait_stable()
            written.wait_for_more(50)
    keys += written.keys
    assert not lost(client, keys)
    client.truncate("Test", "kept", 0)
    assert objects(cluster) == [0, 0, 0]


class Writing:
    """The confirmed writes of a thread that writes continuously."""

    def __init__(self) -> None:
        self.keys: list[tuple[str, str, int]] = []
        self.stopped = threading.Event()

    def run(self, client) -> None:
        number = 1_000_000
        while not self.stopped.is_set():
            number += 1
            try:
                client.put(("Test", "kept", number), {"n": number})
                self.keys.append(("Test", "kept", number))
            except errors.AerospikeError:
                pass
            self.stopped.wait(0.005)

    def wait_for_more(self, count: int) -> None:
        target = len(self.keys) + count
        wait_for(lambda: len(self.keys) >= target, f"{count} more writes confirmed")


@contextmanager
def writing(client) -> Iterator[Writing]:
    work = Writing()
    thread = threading.Thread(target=work.run, args=(client,))
    thread.start()
    try:
        yield work
    finally:
        work.stopped.set()
        thread.join()


def test_a_restart_faster_than_the_heartbeats_notice_loses_nothing(cluster, client):
    keys = fill(client)
    before = cluster.wait_stable()
    for node in cluster.nodes:
        node.kill()
        node.start()
        wait_for(lambda: cluster.stable_key() not in ("", before), "a new cluster")  # noqa: B023
        before = cluster.wait_stable()
        assert not lost(client, keys)


def test_writes_while_a_node_is_down_reach_it_after_its_return(cluster, client):
    keys = fill(client, 600)
    cluster.nodes[1].kill()
    cluster.wait_stable()
    for key in keys[:200]:
        client.put(key, {"n": key[2], "late": 1})
    for key in keys[200:300]:
        client.remove(key)
    cluster.nodes[1].start()
    cluster.wait_stable()
    cluster.nodes[0].kill()
    assert all(client.get(key)[2].get("late") == 1 for key in keys[:200])
    assert not any(client.exists(key)[1] for key in keys[200:300])
    assert not lost(client, keys[300:])


def test_a_node_that_was_paused_is_merged_again(cluster, client):
    keys = fill(client, 600)
    node = cluster.nodes[2]
    assert node.process is not None
    node.process.send_signal(signal.SIGSTOP)
    others = cluster.nodes[:2]
    wait_for(lambda: all(node.info("cluster-stable:size=2").isalnum() for node in others), "two nodes stable")
    for key in keys[:300]:
        client.put(key, {"n": key[2], "late": 1})
    node.process.send_signal(signal.SIGCONT)
    cluster.wait_stable()
    assert all(client.get(key)[2].get("late") == 1 for key in keys[:300])
    assert not lost(client, keys)


def test_a_quiesced_node_hands_over_and_is_then_stopped_without_an_error(cluster, client):
    keys = fill(client, 600)
    node = cluster.nodes[1]
    assert node.info("quiesce:") == "ok"
    assert {node.info("recluster:") for node in cluster.nodes} == {"ok", "ignored-by-non-principal"}
    wait_for(lambda: node.stats()["effective_is_quiesced"] == "true", "quiesced")
    cluster.wait_stable()
    wait_for(lambda: objects(cluster)[1] == 0, "its data has moved")
    wait_for(lambda: quiet(node), "no more clients")
    plain = aerospike.client({"hosts": [("127.0.0.1", cluster.nodes[0].port)]}).connect()
    node.stop()
    for key in keys:
        plain.put(key, {"n": key[2]}, policy={"max_retries": 0})
    plain.close()
    cluster.wait_stable()
    assert not lost(client, keys)


def quiet(node: SimulatedNode) -> bool:
    """Whether no client operation runs within 0.2 s."""

    def done() -> int:
        return sum(int(value) for name, value in node.stats().items() if re.fullmatch("client_.*_success", name))

    before = done()
    time.sleep(0.2)
    return done() == before


def test_replication_factor_one_loses_what_the_stopped_node_had(simulated_cluster):
    made = simulated_cluster(2, replication_factor=1)
    client = connect(made)
    keys = fill(client, 1000)
    made.nodes[0].stop()
    made.wait_stable()
    assert 300 < len(lost(client, keys)) < 700
    made.nodes[0].start()
    made.wait_stable()
    assert 300 < len(lost(client, keys)) < 700
    client.close()
    made.stop()


def test_clusters_of_different_names_stay_separate(simulated_cluster):
    one = simulated_cluster(1, cluster_name="one")
    other = simulated_cluster(1, start=False, cluster_name="other")
    other.nodes[0].seeds.append(one.nodes[0].ports["heartbeat"])
    other.nodes[0].start()
    other.wait_stable()
    wait_for(lambda: "ignoring node" in one.nodes[0].log, "a warning")
    assert one.stable_key()
    one.stop()
    other.stop()


def test_a_node_that_knows_one_seed_finds_all(simulated_cluster):
    made = simulated_cluster(4, start=False)
    first = made.nodes[0].ports["heartbeat"]
    for node in made.nodes:
        node.seeds = [first]
        node.start()
    made.wait_stable()
    assert all(int(values(node.info("statistics"))["heartbeat_connections"]) == 3 for node in made.nodes)
    made.nodes[0].stop()  # the others no longer need the seed
    made.wait_stable()
    made.stop()


def test_eight_nodes(simulated_cluster):
    made = simulated_cluster(8, start=False)
    for node in made.nodes:
        node.start()
    made.wait_stable()
    client = connect(made)
    keys = fill(client, 500)
    made.nodes[3].kill()
    assert not lost(client, keys)
    made.wait_stable()
    assert not lost(client, keys)
    client.close()
    made.stop()
