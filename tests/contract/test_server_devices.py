"""Data on devices survives the server's restart, as in the real server. Tested on files: devices need privileges."""

import signal
from pathlib import Path

import aerospike
import pytest
from asd_simulated.config.model import NamespaceConfig
from asd_simulated.devices import HEADER_SIZE, Device
from asd_simulated.journal import ENTRY, Journal
from asd_simulated.storage import Namespace, Record

from tests.contract.simulated_servers import wait_for

FILES = "storage-engine device {{\n file {path}/one\n file {path}/two\n filesize 128M\n{lines}\n}}"
# They wait for heartbeats.
pytestmark = pytest.mark.slow
WAITING = {"total_timeout": 10_000, "max_retries": 100, "sleep_between_retries": 50}


def client_of(cluster):
    policies = dict.fromkeys(("read", "write", "remove", "batch"), WAITING)
    return aerospike.client({"hosts": cluster.hosts, "policies": policies}).connect()


def one_node(simulated_cluster, path: Path, lines: str = ""):
    """One server whose namespace is in two files under `path`."""
    return simulated_cluster(1, replication_factor=1, storage=FILES.format(path=path, lines=lines))


def beginning(path: Path) -> bytes:
    """The first data behind a device's header."""
    with path.open("rb") as stream:
        stream.seek(HEADER_SIZE)
        return stream.read(2**20)


def again(cluster, number: int = signal.SIGTERM) -> None:
    for node in cluster.nodes:
        node.stop(number)
    for node in cluster.nodes:
        node.start()
    cluster.wait_stable()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_writes_survive_a_restart(simulated_cluster, tmp_path, number):
    cluster = one_node(simulated_cluster, tmp_path)
    client = client_of(cluster)
    for key in range(300):
        client.put(("Test", "set", key), {"n": key})
    for key in range(100):
        client.put(("Test", "set", key), {"late": key})
    for key in range(100, 150):
        client.remove(("Test", "set", key))
    client.put(("Test", "set", "last"), {"text": "the very last one"})
    wait_for(lambda: b"the very last one" in beginning(tmp_path / "one") + beginning(tmp_path / "two"), "a flush")
    client.close()

    again(cluster, number)
    assert "{Test} loaded: objects 251 (SIMULATED)" in cluster.nodes[0].log
    client = client_of(cluster)
    assert cluster.nodes[0].stats()["objects"] == "251"
    assert client.get(("Test", "set", 7))[2] == {"n": 7, "late": 7}
    assert client.get(("Test", "set", 7))[1]["gen"] == 2
    assert not client.exists(("Test", "set", 120))[1]
    client.close()


def test_a_cluster_that_was_stopped_completely_has_its_records_again(simulated_cluster):
    """In memory everything would be lost. Any node may return first."""
    cluster = simulated_cluster(3, start=False)
    for node in cluster.nodes:
        node.options = {**node.options, "storage": FILES.format(path=node.folder, lines="")}
        node.start()
    cluster.wait_stable()
    client = client_of(cluster)
    keys = [("Test", "set", number) for number in range(600)]
    for key in keys:
        client.put(key, {"n": key[2]})
    cluster.nodes[0].stop()  # it misses the next writes
    cluster.wait_stable()
    for key in keys[:200]:
        client.put(key, {"late": key[2]})
    client.close()

    for node in cluster.running:
        node.stop()
    for node in cluster.nodes:
        node.start()
    cluster.wait_stable()
    client = client_of(cluster)
    found = [client.get(key)[2] for key in keys]
    client.close()
    assert found[:200] == [{"n": number, "late": number} for number in range(200)]
    assert found[200:] == [{"n": number} for number in range(200, 600)]


def test_a_truncated_set_stays_empty_and_cold_start_empty_discards_all(simulated_cluster, tmp_path):
    cluster = one_node(simulated_cluster, tmp_path)
    node, client = cluster.nodes[0], client_of(cluster)
    for key in range(50):
        client.put(("Test", "gone", key), {"n": key})
        client.put(("Test", "kept", key), {"n": key})
    assert node.info("truncate:namespace=Test;set=gone") == "ok"
    client.close()
    again(cluster)
    assert node.stats()["objects"] == "50"
    node.options = {**node.options, "storage": FILES.format(path=tmp_path, lines="cold-start-empty true")}
    again(cluster)
    assert node.stats()["objects"] == "0"


# --- The journal alone ----------------------------------------------------------------------------------------------


def space(folder: Path, room: int, empty: bool = False) -> Namespace:
    """A namespace on two devices with `room` bytes each behind the header."""
    devices = [Device(str(folder / name), HEADER_SIZE + room) for name in ("a", "b")]
    for device in devices:
        with Path(device.path).open("ab") as stream:
            stream.truncate(device.size)
    return Namespace(NamespaceConfig("Test", engine="device"), 2 * room, Journal(devices, empty))


def record(generation: int) -> Record:
    return Record(b"set", None, 1, b"x" * 60, generation, 0, generation)


def digests(count: int) -> list[bytes]:
    """Digests of different partitions, alternating between the two devices."""
    return [bytes([number]) + bytes(18) + bytes([number]) for number in range(count)]


def content(namespace: Namespace) -> dict[bytes, int]:
    return {digest: record.generation for partition in namespace.partitions for digest, record in partition.items()}


def test_a_full_device_is_rewritten_with_its_live_records(tmp_path):
    namespace = space(tmp_path, 20_000)
    for generation in range(1, 40):  # 40 records of about 150 bytes, 39 times: five times the devices' capacity
        for digest in digests(40):
            namespace.put(digest, record(generation))
    namespace.remove(digests(3)[2])
    namespace.flush()
    expected = dict.fromkeys(digests(40), 39)
    del expected[digests(3)[2]]
    assert content(namespace) == expected == content(space(tmp_path, 20_000))


def test_a_dropped_partition_stays_dropped_and_later_writes_stay(tmp_path):
    namespace = space(tmp_path, 100_000)
    same = [bytes([1, 0, *[0] * 14, *number.to_bytes(4, "big")]) for number in range(6)]  # one partition, both devices
    for digest in same:
        namespace.put(digest, record(1))
    namespace.drop_partition(1)
    namespace.put(same[0], record(2))
    namespace.put(same[1], record(2))
    namespace.flush()
    assert content(space(tmp_path, 100_000)) == {same[0]: 2, same[1]: 2}


def test_a_damaged_entry_ends_the_reading_and_is_overwritten(tmp_path):
    namespace = space(tmp_path, 100_000)
    for digest in digests(8):
        namespace.put(digest, record(1))
    namespace.flush()
    path = tmp_path / "a"
    data = bytearray(path.read_bytes())
    size = ENTRY.unpack_from(data, HEADER_SIZE)[0]
    data[HEADER_SIZE + ENTRY.size + size + ENTRY.size + 5] ^= 0xFF  # in the second entry's payload
    path.write_bytes(data)
    namespace = space(tmp_path, 100_000)
    assert len(content(namespace)) == 5, "four on the other device and the first on this device"
    for digest in digests(8):
        namespace.put(digest, record(2))
    namespace.flush()
    assert content(space(tmp_path, 100_000)) == dict.fromkeys(digests(8), 2)
    assert content(space(tmp_path, 100_000, empty=True)) == {} == content(space(tmp_path, 100_000))
