"""The official client from PyPI against a simulated cluster of three nodes."""

import time

import aerospike
import pytest
from aerospike import exception as errors
from aerospike_helpers import expressions as exp
from aerospike_helpers.batch import records as batch
from aerospike_helpers.operations import expression_operations, list_operations
from aerospike_helpers.operations import operations as op

from tests.contract.simulated_servers import SimulatedCluster, values, wait_for

# The client warns about what its next release drops, which doesn't matter here.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


@pytest.fixture(scope="module")
def cluster(simulated_cluster) -> SimulatedCluster:
    return simulated_cluster(3)


@pytest.fixture(scope="module")
def client(cluster):
    connected = aerospike.client({"hosts": cluster.hosts[:1]}).connect()
    yield connected
    connected.close()


@pytest.fixture
def key(request):
    return "Test", "set", request.node.name


def total(cluster: SimulatedCluster, name: str) -> int:
    return sum(int(node.stats()[name]) for node in cluster.nodes)


def test_one_seed_leads_to_all_nodes(cluster, client):
    wait_for(lambda: len(client.get_node_names()) == 3, "three nodes known to the client")
    assert {node["node_name"] for node in client.get_node_names()} == {node.info("node") for node in cluster.nodes}


def test_every_type_comes_back(client, key):
    bins = {
        "int": -5,
        "big": 2**62,
        "float": 1.5,
        "text": "größe",
        "blob": b"\0\1",
        "yes": True,
        "list": [1, "a", [2]],
        "map": {"a": 1, "b": [1, 2]},
        "empty": "",
    }
    client.put(key, bins)
    got_key, meta, got = client.get(key)
    assert got == bins
    assert meta == {"gen": 1, "ttl": aerospike.TTL_NEVER_EXPIRE}
    assert got_key[:2] == key[:2]


def test_keys_of_every_type_and_a_stored_key(client):
    for user_key in (7, "seven", bytearray(b"seven")):
        client.put(("Test", "keys", user_key), {"a": 1}, policy={"key": aerospike.POLICY_KEY_SEND})
        assert client.get(("Test", "keys", user_key))[2] == {"a": 1}
    stored = client.query("Test", "keys").results()
    assert sorted(str(record[0][2]) for record in stored) == sorted(["7", "seven", str(bytearray(b"seven"))])


def test_update_keeps_other_bins_and_remove_bin_removes_a_bin(client, key):
    client.put(key, {"a": 1, "b": 2})
    client.put(key, {"b": 3, "c": 4})
    assert client.get(key)[2] == {"a": 1, "b": 3, "c": 4}
    client.remove_bin(key, ["a"])
    assert client.get(key)[2] == {"b": 3, "c": 4}
    client.remove_bin(key, ["b", "c"])
    assert client.exists(key)[1] is None


def test_select_and_exists(client, key):
    client.put(key, {"a": 1, "b": 2})
    assert client.select(key, ["b", "missing"])[2] == {"b": 2}
    assert client.exists(key)[1]["gen"] == 1
    assert client.exists((*key[:2], "no such"))[1] is None
    with pytest.raises(errors.RecordNotFound):
        client.get((*key[:2], "no such"))


def test_operate(client, key):
    client.put(key, {"n": 1, "t": "b", "f": 0.5})
    _, meta, bins = client.operate(
        key,
        [
            op.increment("n", 4),
            op.read("n"),
            op.append("t", "c"),
            op.prepend("t", "a"),
            op.read("t"),
            op.increment("f", 0.25),
            op.read("f"),
            op.write("w", 9),
            op.increment("new", 3),
            op.touch(),
        ],
    )
    assert bins == {"n": 5, "t": "abc", "f": 0.75}
    assert meta["gen"] == 2
    assert client.get(key)[2] == {"n": 5, "t": "abc", "f": 0.75, "w": 9, "new": 3}
    ordered = client.operate_ordered(key, [op.read("n"), op.increment("n", 1), op.read("n")])[2]
    assert ordered == [("n", 5), ("n", 6)]
    with pytest.raises(errors.BinIncompatibleType):
        client.increment(key, "t", 1)
    client.operate(key, [op.delete()])
    assert client.exists(key)[1] is None


def test_touch_and_ttl(client, key):
    client.put(key, {"a": 1}, meta={"ttl": 100})
    assert 0 < client.get(key)[1]["ttl"] <= 100
    client.touch(key, 500)
    assert 100 < client.get(key)[1]["ttl"] <= 500
    client.put(key, {"a": 2}, meta={"ttl": aerospike.TTL_DONT_UPDATE})
    assert 100 < client.get(key)[1]["ttl"] <= 500
    client.put(key, {"a": 3}, meta={"ttl": aerospike.TTL_NEVER_EXPIRE})
    assert client.get(key)[1]["ttl"] == aerospike.TTL_NEVER_EXPIRE
    with pytest.raises(errors.RecordNotFound):
        client.touch((*key[:2], "no such"))


def test_expiry(cluster, client, key):
    before = total(cluster, "objects")
    client.put(key, {"a": 1}, meta={"ttl": 1})
    wait_for(lambda: client.exists(key)[1] is None, "record expired")
    wait_for(lambda: total(cluster, "objects") == before, "both copies removed")


def test_generations(client, key):
    client.put(key, {"a": 1})
    equal, greater = {"gen": aerospike.POLICY_GEN_EQ}, {"gen": aerospike.POLICY_GEN_GT}
    client.put(key, {"a": 2}, meta={"gen": 1}, policy=equal)
    with pytest.raises(errors.RecordGenerationError):
        client.put(key, {"a": 3}, meta={"gen": 1}, policy=equal)
    with pytest.raises(errors.RecordGenerationError):
        client.put(key, {"a": 3}, meta={"gen": 2}, policy=greater)
    client.put(key, {"a": 3}, meta={"gen": 9}, policy=greater)
    with pytest.raises(errors.RecordGenerationError):
        client.remove(key, meta={"gen": 1}, policy=equal)
    client.remove(key, meta={"gen": 3}, policy=equal)


def test_existence_policies(client, key):
    def put(bins, exists):
        client.put(key, bins, policy={"exists": exists})

    for exists in (aerospike.POLICY_EXISTS_UPDATE, aerospike.POLICY_EXISTS_REPLACE):
        with pytest.raises(errors.RecordNotFound):
            put({"a": 1}, exists)
    put({"a": 1}, aerospike.POLICY_EXISTS_CREATE)
    with pytest.raises(errors.RecordExistsError):
        put({"a": 2}, aerospike.POLICY_EXISTS_CREATE)
    put({"b": 2}, aerospike.POLICY_EXISTS_UPDATE)
    assert client.get(key)[2] == {"a": 1, "b": 2}
    put({"c": 3}, aerospike.POLICY_EXISTS_REPLACE)
    assert client.get(key)[2] == {"c": 3}
    put({"d": 4}, aerospike.POLICY_EXISTS_CREATE_OR_REPLACE)
    assert client.get(key)[2] == {"d": 4}


def test_remove(client, key):
    client.put(key, {"a": 1})
    client.remove(key)
    with pytest.raises(errors.RecordNotFound):
        client.remove(key)
    client.put(key, {"a": 1})
    client.remove(key, policy={"durable_delete": True})
    assert client.exists(key)[1] is None
    client.put(key, {"a": 2})
    assert client.get(key)[1]["gen"] > 1  # it continues the tombstone's generation


def test_batches(client):
    keys = [("Test", "batch", number) for number in range(500)]
    written = client.batch_write(
        batch.BatchRecords(
            [batch.Write(key, [op.write("n", number), op.write("t", "x")]) for number, key in enumerate(keys)]
        )
    )
    assert all(record.result == 0 for record in written.batch_records)
    found = client.batch_read([*keys, ("Test", "batch", "missing")])
    assert [record.record[2]["n"] for record in found.batch_records[:-1]] == list(range(500))
    assert found.batch_records[-1].result == 2
    assert [r.record[2] for r in client.batch_read(keys[:3], ["n"]).batch_records] == [{"n": 0}, {"n": 1}, {"n": 2}]
    assert all(record.record[1]["gen"] == 1 for record in client.batch_read(keys[:3], []).batch_records)
    grown = client.batch_operate(keys[:9], [op.increment("n", 100), op.read("n")])
    assert [record.record[2]["n"] for record in grown.batch_records] == list(range(100, 109))
    mixed = client.batch_write(
        batch.BatchRecords(
            [
                batch.Read(keys[0], [op.read("n")]),
                batch.Write(keys[1], [op.write("n", 0)]),
                batch.Remove(keys[2]),
                batch.Read(keys[3], None, read_all_bins=True),
                batch.Remove(("Test", "batch", "missing")),
                batch.Write(keys[4], [op.write("n", 1)], policy={"exists": aerospike.POLICY_EXISTS_CREATE}),
            ]
        )
    )
    assert [record.result for record in mixed.batch_records] == [0, 0, 0, 0, 2, 5]
    assert mixed.batch_records[3].record[2] == {"n": 103, "t": "x"}
    removed = client.batch_remove(keys)
    assert sorted({record.result for record in removed.batch_records}) == [0, 2]
    assert all(record.result == 2 for record in client.batch_read(keys).batch_records)


def test_truncate(cluster, client):
    for number in range(50):
        client.put(("Test", "one", number), {"a": 1})
        client.put(("Test", "two", number), {"a": 1})
    time.sleep(0.002)  # the next record is newer than the truncation, which counts in milliseconds
    client.truncate("Test", "one", 0)
    assert not any(client.exists(("Test", "one", number))[1] for number in range(50))
    assert all(client.exists(("Test", "two", number))[1] for number in range(50))
    client.put(("Test", "one", 1), {"a": 2})
    assert client.get(("Test", "one", 1))[2] == {"a": 2}
    assert cluster.nodes[0].info("truncate:namespace=no;set=one") == "ERROR:20:namespace not found"


def test_info(cluster, client):
    builds = client.info_all("build")
    assert len(builds) == 3
    assert {answer.strip() for _, answer in builds.values()} == {"8.0.0.4"}
    name = client.get_node_names()[0]["node_name"]
    assert "Enterprise Edition SIMULATED" in client.info_single_node("edition", name)
    assert client.is_connected()
    statistics = values(cluster.nodes[0].info("statistics"))
    assert statistics["cluster_size"] == "3"
    assert statistics["cluster_key"] == cluster.stable_key()
    assert int(statistics["client_connections"]) >= 1
    assert cluster.nodes[0].info("no-such-command").startswith("ERROR:4:")
    assert cluster.nodes[0].info("namespace/none") == "type=unknown"  # as a real 8.0.0.15 answers
    assert "{Test}-read:msec," in cluster.nodes[0].info("latencies:")


def test_filters_and_expression_operations(client, key):
    client.put(key, {"a": 5, "t": "x"})
    good, bad = exp.GT(exp.IntBin("a"), 4).compile(), exp.GT(exp.IntBin("a"), 5).compile()
    assert client.get(key, policy={"expressions": good})[2]["a"] == 5
    for attempt in (
        lambda: client.get(key, policy={"expressions": bad}),
        lambda: client.put(key, {"a": 6}, policy={"expressions": bad}),
    ):
        with pytest.raises(errors.FilteredOut):
            attempt()
    either = exp.Or(exp.Eq(exp.IntBin("a"), 1), exp.LE(exp.IntBin("a"), 5))
    assert client.exists(key, policy={"expressions": exp.And(exp.Eq(exp.StrBin("t"), "x"), either).compile()})[1]
    double = exp.Mul(exp.IntBin("a"), 2).compile()
    got = client.operate(
        key,
        [
            expression_operations.expression_read("twice", double),
            expression_operations.expression_write("b", double),
            op.read("b"),
        ],
    )[2]
    assert got == {"twice": 10, "b": 10}
    choice = exp.Cond(exp.GT(exp.IntBin("a"), 100), "big", "small").compile()
    assert client.operate(key, [expression_operations.expression_read("size", choice)])[2] == {"size": "small"}


def test_scans(cluster, client):
    client.truncate("Test", "scan", 0)
    for number in range(300):
        client.put(("Test", "scan", number), {"n": number, "x": 1})
    assert sorted(record[2]["n"] for record in client.query("Test", "scan").results()) == list(range(300))
    some = client.query("Test", "scan")
    some.max_records = 10
    assert len(some.results()) == 10
    chosen = client.query("Test", "scan")
    chosen.select("n")
    assert all(set(record[2]) == {"n"} for record in chosen.results())


def test_what_is_not_simulated_fails_with_an_error(client, key):
    client.put(key, {"a": 1, "l": [1]})
    with pytest.raises(errors.UnsupportedFeature):
        client.operate(key, [list_operations.list_append("l", 2)])
    with pytest.raises(errors.AerospikeError):
        client.index_single_value_create("Test", "set", "a", aerospike.INDEX_NUMERIC, "index")
    with pytest.raises(errors.AerospikeError):
        client.apply(key, "module", "function", [])


def test_other_errors(client, key):
    with pytest.raises(errors.NamespaceNotFound):
        client.put(("None", "set", 1), {"a": 1})
    with pytest.raises(errors.RecordTooBig):
        client.put(key, {"a": "x" * 1_100_000})
    assert client.exists(key)[1] is None


def test_counters_count_what_was_done(cluster, client):
    names = (
        "client_write_success",
        "client_read_success",
        "client_read_not_found",
        "client_delete_success",
        "batch_sub_read_success",
        "batch_sub_write_success",
        "objects",
    )
    before = {name: total(cluster, name) for name in names}
    for number in range(40):
        client.put(("Test", "count", number), {"n": number})
    for number in range(30):
        client.get(("Test", "count", number))
    client.exists(("Test", "count", "missing"))
    # A node's part of a batch with only one row is sent as a single request: enough rows that no part is.
    client.batch_read([("Test", "count", number) for number in range(40)])
    client.batch_operate([("Test", "count", number) for number in range(40)], [op.write("m", 1)])
    for number in range(5):
        client.remove(("Test", "count", number))
    after = {name: total(cluster, name) - before[name] for name in names}
    assert after == {
        "client_write_success": 40,
        "client_read_success": 30,
        "client_read_not_found": 1,
        "client_delete_success": 5,
        "batch_sub_read_success": 40,
        "batch_sub_write_success": 40,
        "objects": 70,
    }


def test_each_record_has_the_configured_number_of_copies(cluster):
    shares = [node.stats() for node in cluster.nodes]
    assert all(stats["effective_replication_factor"] == "2" for stats in shares)
    masters = sum(int(stats["master_objects"]) for stats in shares)
    assert masters == sum(int(stats["prole_objects"]) for stats in shares)
    assert not any(int(stats["non_replica_objects"]) for stats in shares)


def test_a_login_is_ignored_as_in_a_server_without_security(cluster):
    client = aerospike.client({"hosts": cluster.hosts, "user": "admin", "password": "admin"}).connect()
    client.put(("Test", "set", "login"), {"a": 1})
    client.close()
