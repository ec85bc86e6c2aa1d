"""Answers of the info protocol, compared with a real Community Edition 8.0.0.15 on 2026-11-25."""

from __future__ import annotations

import aerospike
import pytest
from aerospike import exception as errors
from aerospike_helpers.batch import records as batch

from tests.contract.simulated_servers import server_of


@pytest.fixture(scope="module")
def community(simulated_cluster, tmp_path_factory):
    return simulated_cluster(1, server=server_of(tmp_path_factory.mktemp("community"), "8.0.0.15")).nodes[0]


@pytest.mark.parametrize(
    ("command", "answer"),
    [
        ("quiesce:", "ERROR:25:enterprise only"),
        ("racks:", "ERROR:25:enterprise only"),
        ("roster:", "ERROR:25:enterprise only"),
        ("namespace/none", "type=unknown"),
        ("cluster-stable:namespace=none", "ERROR:20:namespace not found on node"),
        ("tip:host=127.0.0.9", "ERROR:4:missing 'port'"),
        ("tip:port=3002", "ERROR:4:missing 'host'"),
        ("tip:host=127.0.0.9;port=3002", "ok"),
        ("tip-clear:", "ERROR:4:missing 'host-port-list'"),
        ("tip-clear:host-port-list=127.0.0.9:x", "ERROR::0 cleared, 0 not found"),
        ("release", "ERROR:4:unrecognized command"),
        ("get-config:context=x", "ERROR:4:invalid context"),
        ("get-config:context=namespace;id=None", "ERROR:20:namespace not found on node"),
        ("set-config:service;query-max-done=1", "ERROR:4:missing 'context'"),
        ("set-config:context=nonsense;a=b", "ERROR:4:invalid context"),
        ("set-config:context=service;work-directory=/x", "ERROR:4:invalid set-config parameter"),
        ("set-config:context=service;query-max-done=abc", "ERROR:4:invalid set-config parameter"),
        ("set-config:context=service;query-max-done=50", "ok"),
        ("set-config:context=network;heartbeat.interval=1", "ERROR:4:invalid set-config parameter"),
        ("set-config:context=network;heartbeat.interval=160", "ok"),
        ("set-config:context=namespace;id=None;nsup-period=60", "ERROR:20:namespace not found on node"),
        ("set-config:context=namespace;id=Test;nsup-period=60", "ok"),
        ("set-config:context=namespace;namespace=Test;nsup-period=61", "ok"),
        ("set-config:context=namespace;id=Test;default-ttl=30d", "ok"),
        ("set-config:context=namespace;id=Test;compression=zstd", "ERROR:4:invalid set-config parameter"),
        ("set-config:context=namespace;id=Test;rack-id=1", "ERROR:4:invalid set-config parameter"),
        ("set-config:context=namespace;id=Test;stop-writes-used-pct=71", "ok"),
        ("set-config:context=namespace;id=Test;max-write-cache=128M", "ok"),
        ("set-config:context=namespace;id=Test;set=s;enable-index=true", "ok"),
    ],
)
def test_answers_equal_those_of_the_real_server(community, command: str, answer: str) -> None:
    assert community.info(command) == answer


def test_a_seed_is_added_and_removed_once(community) -> None:
    """From the source of 8.0.0.15 and 8.1.2.0. A node that finds itself behind a seed removes that seed."""
    answers = {
        "tip:host=127.0.0.8;port=3002": ["ok", "ERROR::unknown"],
        "tip-clear:host-port-list=127.0.0.8:3002,127.0.0.7:3002": ["ERROR::1 cleared, 1 not found"],
        "tip-clear:host-port-list=127.0.0.8:3002": ["ERROR::0 cleared, 1 not found"],
    }
    assert {command: [community.info(command) for _ in expected] for command, expected in answers.items()} == answers
    assert community.info("tip:host=127.0.0.8;port=3002") == "ok"
    assert community.info("tip-clear:host-port-list=127.0.0.8:3002") == "ok"


def test_get_config_shows_what_was_set(community) -> None:
    community.info("set-config:context=namespace;id=Test;default-ttl=30d")
    community.info("set-config:context=namespace;id=Test;stop-writes-used-pct=71")
    community.info("set-config:context=network;heartbeat.interval=170")
    shown = dict(value.split("=", 1) for value in community.info("get-config:context=namespace;id=Test").split(";"))
    assert shown["default-ttl"] == "2592000"
    assert shown["storage-engine.stop-writes-used-pct"] == "71"
    assert shown["index-type"] == shown["sindex-type"] == "mem"
    network = dict(value.split("=", 1) for value in community.info("get-config:context=network").split(";"))
    assert network["heartbeat.interval"] == "170"


def test_the_statistics_begin_with_the_best_practices(community) -> None:
    first = community.info("statistics").split(";")[0]
    practices = community.info("best-practices").removeprefix("failed_best_practices=")
    assert first == f"failed_best_practices={'false' if practices == 'none' else 'true'}"
    namespace = community.info("namespace/Test")
    # The real server has these only with a budget for indexes, or on devices.
    assert "indexes_memory_used_pct" not in namespace and "cache_read_pct" not in namespace
    assert community.info("replicas-all").startswith("Test:1,")


def test_the_community_edition_refuses_durable_deletes(community) -> None:
    client = aerospike.client({"hosts": [("127.0.0.1", community.port)]}).connect()
    client.put(("Test", "set", 1), {"a": 1})
    with pytest.raises(errors.AerospikeError) as refused:
        client.remove(("Test", "set", 1), policy={"durable_delete": True})
    assert refused.value.code == 25
    rows = [batch.Remove(("Test", "set", 1), policy={"durable_delete": True}) for _ in range(2)]
    assert [row.result for row in client.batch_write(batch.BatchRecords(rows)).batch_records] == [25, 25]
    stats = dict(value.split("=", 1) for value in community.info("namespace/Test").split(";"))
    assert (stats["client_delete_error"], stats["batch_sub_delete_error"], stats["objects"]) == ("1", "2", "1")
    client.remove(("Test", "set", 1))
    client.close()
