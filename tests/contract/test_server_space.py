"""Space as the real server counts it: in write blocks, with a reserve, so that small devices are full early."""

from collections.abc import Iterator

import aerospike
import pytest
from aerospike import exception as errors
from aerospike_helpers.batch import records as batch
from aerospike_helpers.operations import operations as op
from asd_simulated import limits
from asd_simulated.blocks import BLOCK_SIZE, HEADER_SIZE, MASTER, PROLE, UNCACHED, Device, OutOfSpaceError, layout
from asd_simulated.config.model import NamespaceConfig
from asd_simulated.log import Log
from asd_simulated.storage import Namespace, Record

from tests.contract.simulated_servers import SimulatedCluster, server_of, values, wait_for

MIB = 2**20
FILE = "storage-engine device {{\n file {path}/data\n filesize {size}\n{lines}\n}}"


def space(sizes: list[int], numbers: tuple[int, ...] = (8, 1), **storage: object) -> Namespace:
    engine = "device" if sizes else "memory"
    return Namespace(NamespaceConfig("Test", engine=engine, storage=storage, numbers=numbers), sizes)


def record(size: int, version: int = 1) -> Record:
    return Record(b"set", None, 1, bytes(size), version, 0, version)


def digest(number: int) -> bytes:
    return number.to_bytes(4, "little") + bytes(12) + number.to_bytes(4, "big")


def fill(namespace: Namespace, numbers: range, size: int) -> int:
    """Write records until there is no space.

    :returns: how many were written
    """
    for count, number in enumerate(numbers):
        try:
            namespace.put(digest(number), record(size))
        except OutOfSpaceError:
            return count
    return len(numbers)


# --- A device's blocks ------------------------------------------------------------------------------------------------


def test_a_disk_of_2_gib_in_5_partitions_is_out_of_space_at_18_percent() -> None:
    """As on a real server: 43 blocks of 8 MiB in each partition, one for the header and eight in reserve."""
    namespace = space([347 * MIB] * 5)
    assert namespace.capacity == 5 * 344 * MIB, "rounded down to whole blocks"
    assert namespace.avail_pct == 97
    assert fill(namespace, range(10_000), MIB) < 5 * 34 * 8
    assert namespace.avail_pct == 18


def test_overwritten_records_fill_a_small_device_though_it_is_mostly_empty() -> None:
    """The blocks of the last 256 MiB are in the post-write cache: what is obsolete in them isn't freed."""

    def overwrite(namespace: Namespace) -> None:
        for number in range(40, 60):  # replicas of another node's records
            namespace.put(digest(number), record(MIB - 100), PROLE)
        for number in range(2000):
            namespace.put(digest(number % 40), record(MIB - 100, number))

    small, large = space([347 * MIB]), space([4 * 1024 * MIB])
    with pytest.raises(OutOfSpaceError):
        overwrite(small)
    assert small.used_pct < 20
    assert small.avail_pct == 18
    overwrite(large)
    assert large.avail_pct > 85, "where there is room for the cache, blocks are freed"


def test_a_smaller_post_write_cache_leaves_room_on_a_small_device() -> None:
    namespace = space([347 * MIB], **{"post-write-cache": 32 * MIB})
    for number in range(2000):
        namespace.put(digest(number % 40), record(MIB - 100, number))
    assert namespace.avail_pct > 50


def test_records_of_blocks_that_are_mostly_obsolete_move_and_stay_counted() -> None:
    device = Device(HEADER_SIZE + 20 * BLOCK_SIZE, BLOCK_SIZE, 2, lambda: BLOCK_SIZE // 2, lambda _: 0)
    size = BLOCK_SIZE // 8
    placed = [device.place(size, MASTER) for _ in range(8 * 10)]
    assert device.free == 10
    for number, block in enumerate(placed):
        if number % 8 > 2:  # three of eight stay, in each block but the open one
            device.release(block, size)
    assert device.used == 30 * size
    assert device.free >= 14, "the rest is in few blocks"
    for number, block in enumerate(placed):
        if number % 8 <= 2:
            device.release(block, size)
    assert device.used == 0
    assert device.free >= 18


def test_clients_replicas_and_migrations_fill_blocks_of_their_own() -> None:
    device = Device(HEADER_SIZE + 20 * BLOCK_SIZE, BLOCK_SIZE, 8, lambda: 0, lambda _: 0)
    assert len({id(device.place(100, who)) for who in (MASTER, PROLE, UNCACHED)}) == 3
    assert device.free == 17


def test_memory_is_in_eight_stripes_with_one_block_in_reserve() -> None:
    namespace = space([], **{"data-size": 1024 * MIB})
    assert [device.total for device in namespace.devices] == [128 * MIB] * 8
    assert namespace.avail_pct == 93
    fill(namespace, range(10_000), MIB)
    assert namespace.avail_pct == 6
    assert space([], **{"data-size": 512 * MIB}).avail_pct == 87


def test_before_7_0_blocks_are_smaller_and_memory_has_none() -> None:
    config = NamespaceConfig("Test", engine="device", numbers=(6, 4))
    (device,) = layout(config, [347 * MIB])
    assert (device.size, device.free, device.reserve) == (MIB, 339, 8)
    assert layout(NamespaceConfig("Test", engine="memory", numbers=(6, 4)), []) == []


def test_what_a_device_held_before_a_restart_has_space_again() -> None:
    device = Device(HEADER_SIZE + 10 * BLOCK_SIZE, BLOCK_SIZE, 8, lambda: 0, lambda _: 0)
    for _ in range(8 * 12):
        device.restore(BLOCK_SIZE // 8)
    assert device.free == 0
    with pytest.raises(OutOfSpaceError):
        device.place(100, MASTER)


# --- Limits -----------------------------------------------------------------------------------------------------------


def reasons(namespace: Namespace, **values_: object) -> list[str]:
    namespace.config.values.update(values_)
    return limits._stop_reasons(namespace)


def test_writes_stop_by_used_and_by_available_percent(monkeypatch) -> None:
    monkeypatch.setattr(limits, "memory_pct", lambda: 50)
    namespace = space([1024 * MIB])
    assert reasons(namespace) == []
    fill(namespace, range(720), MIB)
    assert reasons(namespace) == ["data-used-pct"]
    namespace.config.storage.update({"stop-writes-used-pct": 0, "stop-writes-avail-pct": 50})
    assert reasons(namespace) == ["data-avail-pct"]
    namespace.config.storage["stop-writes-avail-pct"] = 0
    assert reasons(namespace) == []
    assert reasons(namespace, **{"indexes-memory-budget": 1024}) == ["indexes-memory"]
    monkeypatch.setattr(limits, "memory_pct", lambda: 91)
    assert reasons(namespace) == ["sys-memory", "indexes-memory"]
    assert reasons(namespace, **{"stop-writes-sys-memory-pct": 0, "indexes-memory-budget": 0}) == []


def test_6_4_has_its_own_limits(monkeypatch) -> None:
    monkeypatch.setattr(limits, "memory_pct", lambda: 50)
    namespace = space([1024 * MIB], numbers=(6, 4))
    namespace.config.values["memory-size"] = 1024 * MIB
    assert reasons(namespace) == []
    fill(namespace, range(740), MIB)
    assert reasons(namespace) == ["device-used-pct"]
    namespace.config.storage.update({"max-used-pct": 100, "min-avail-pct": 50})
    assert reasons(namespace) == ["device-avail-pct"]
    assert reasons(namespace, **{"memory-size": 1024}) == ["memory", "device-avail-pct"]


def test_a_breached_limit_of_eviction_removes_what_would_expire_first() -> None:
    namespace = space([], **{"data-size": 1024 * MIB, "evict-used-pct": 1})
    namespace.config.values["evict-tenths-pct"] = 100
    for number in range(50):
        expiring = record(MIB)
        expiring.void_time = 10**9 + number
        namespace.put(digest(number), expiring)
    limits.evict(namespace, Log())
    assert namespace.hwm_breached
    assert namespace.stats["evicted_objects"] == 5
    assert digest(4) not in namespace.partitions[4] and digest(5) in namespace.partitions[5]
    namespace.config.storage["evict-used-pct"] = 0
    limits.evict(namespace, Log())
    assert not namespace.hwm_breached


# --- A server ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def full(simulated_cluster, tmp_path) -> Iterator[SimulatedCluster]:
    """One node on a file of 128 MiB: seven of its sixteen blocks can be written."""
    storage = FILE.format(path=tmp_path, size="128M", lines="stop-writes-used-pct 0")
    made = simulated_cluster(1, replication_factor=1, storage=storage)
    yield made
    made.stop()


def write(client, number: int) -> None:
    client.put(("Test", "big", number), {"pad": b"x" * 1_000_000})


@pytest.mark.slow
def test_a_server_without_space_refuses_writes_and_counts_them(full) -> None:
    (node,) = full.nodes
    client = aerospike.client({"hosts": full.hosts}).connect()
    with pytest.raises(errors.AerospikeError) as refused:
        for number in range(100):
            write(client, number)
    assert refused.value.code == 8
    stats = node.stats()
    assert 48 <= int(stats["objects"]) <= 56, "seven blocks of 8 MiB"
    assert (stats["data_avail_pct"], stats["stop_writes"]) == ("50", "false")
    assert stats["storage-engine.file[0].free_wblocks"] == "8"
    assert stats["client_write_error"] == "1"
    rows = [batch.Write(("Test", "big", 1000 + number), [op.write("pad", b"x" * 100_000)]) for number in range(20)]
    answers = client.batch_write(batch.BatchRecords(rows)).batch_records
    failed = sum(answer.result == 8 for answer in answers)
    assert failed > 5
    assert node.stats()["batch_sub_write_error"] == str(failed)
    assert "WARNING (drv_ssd): (drv_ssd.c:1782) {Test} out of space" in node.log
    wait_for(lambda: "{Test} out of space" in node.log.partition("(repeated:")[2], "the number of refusals")
    client.remove(("Test", "big", 1))
    client.close()


@pytest.mark.slow
def test_writes_stop_when_too_few_blocks_are_free(simulated_cluster, tmp_path) -> None:
    storage = FILE.format(path=tmp_path, size="128M", lines="stop-writes-avail-pct 95")
    (node,) = simulated_cluster(1, replication_factor=1, storage=storage).nodes
    client = aerospike.client({"hosts": [("127.0.0.1", node.port)]}).connect()
    wait_for(lambda: node.stats()["stop_writes"] == "true", "the evaluation after 10 s")
    assert "{Test} breached stop-writes limit (data-avail-pct)" in node.log
    with pytest.raises(errors.AerospikeError) as refused:
        write(client, 1)
    assert refused.value.code == 8
    rows = [batch.Write(("Test", "set", number), [op.write("n", 1)]) for number in range(10)]
    assert {row.result for row in client.batch_write(batch.BatchRecords(rows)).batch_records} == {8}
    stats = node.stats()
    assert (stats["client_write_error"], stats["batch_sub_write_error"]) == ("1", "10")
    assert (stats["hwm_breached"], stats["clock_skew_stop_writes"], stats["dead_partitions"]) == ("false", "false", "0")
    client.close()


@pytest.mark.slow
def test_a_replica_without_space_is_missing_and_its_migrations_never_end(simulated_cluster, tmp_path) -> None:
    """The client's writes succeed anyway, and the data has one copy."""
    made = simulated_cluster(2, start=False)
    small = FILE.format(path=tmp_path, size="128M", lines="")
    made.nodes[1].options = {**made.nodes[1].options, "storage": small}
    for node in made.nodes:
        node.start()
    made.wait_stable()
    client = aerospike.client({"hosts": made.hosts}).connect()
    written = []
    for number in range(90):
        try:
            write(client, number)
            written.append(number)
        except errors.AerospikeError as error:
            assert error.code == 8  # the small node is the master of this record
    first, second = made.nodes
    masters = sum(int(node.stats()["master_objects"]) for node in made.nodes)
    copies = sum(int(node.stats()["objects"]) for node in made.nodes)
    assert masters == len(written)
    assert copies < 2 * masters
    assert "{Test} out of space" in second.log
    second.stop()
    made.wait_stable()
    second.start()
    made.wait_stable(ignore_migrations=True)
    wait_for(lambda: second.log.count("{Test} out of space") > 1, "a refused migration")
    assert made.stable_key() == ""
    assert int(first.stats()["migrate_tx_partitions_remaining"]) > 0
    assert first.info("truncate:namespace=Test") == "ok"
    made.wait_stable()
    client.close()
    made.stop()


@pytest.mark.slow
def test_a_full_set_refuses_writes_with_another_code(simulated_cluster) -> None:
    (node,) = simulated_cluster(1, replication_factor=1, namespace_lines="set few {\n stop-writes-count 3\n }").nodes
    client = aerospike.client({"hosts": [("127.0.0.1", node.port)]}).connect()
    for number in range(3):
        client.put(("Test", "few", number), {"a": 1})
    client.put(("Test", "few", 1), {"a": 2})  # an update creates nothing
    client.put(("Test", "many", 3), {"a": 1})
    with pytest.raises(errors.AerospikeError) as refused:
        client.put(("Test", "few", 3), {"a": 1})
    assert refused.value.code == 22
    assert "stop-writes-count=3" in node.info("sets/Test/few")
    client.close()


@pytest.mark.slow
def test_6_4_has_its_own_names(simulated_cluster, tmp_path) -> None:
    made = simulated_cluster(
        1,
        replication_factor=1,
        server=server_of(tmp_path, "6.4.0.34"),
        namespace_lines="memory-size 1G",
        storage=FILE.format(path=tmp_path, size="128M", lines="min-avail-pct 10"),
    )
    (node,) = made.nodes
    stats = node.stats()
    assert not [name for name in stats if name.startswith("data_")]
    assert (stats["device_total_bytes"], stats["device_available_pct"]) == (str(128 * MIB), "93")
    assert (stats["device_free_pct"], stats["memory_free_pct"]) == ("100", "100")
    assert values(node.info("get-config:context=namespace;id=Test"))["storage-engine.min-avail-pct"] == "10"


@pytest.mark.slow
def test_a_restarted_node_answers_only_when_its_records_are_loaded(full) -> None:
    (node,) = full.nodes
    client = aerospike.client({"hosts": full.hosts}).connect()
    for number in range(300):
        client.put(("Test", "set", number), {"n": number})
    client.close()
    node.stop()
    node.start()
    full.wait_stable()
    lines = node.log.splitlines()
    loaded = next(number for number, line in enumerate(lines) if "{Test} loaded: objects 300 device-pcts (100)" in line)
    ready = [number for number, line in enumerate(lines) if "service ready: soon there will be cake!" in line]
    assert loaded < ready[1]
    assert node.stats()["objects"] == "300"
