"""Answers of the info protocol, compared with a real Community Edition 8.0.0.15 on 2026-11-25."""

from __future__ import annotations

import json
import shutil

import pytest

from tests.contract.simulated_servers import SERVER


@pytest.fixture(scope="module")
def community(simulated_cluster, tmp_path_factory):
    server = tmp_path_factory.mktemp("community") / "server"
    shutil.copytree(SERVER, server, ignore=shutil.ignore_patterns("__pycache__"))
    (server / "release.json").write_text(json.dumps({"version": "8.0.0.15", "edition": "community"}))
    return simulated_cluster(1, server=server).nodes[0]


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
