"""Queries of several nodes in parallel, and the wait for a stable cluster."""

from __future__ import annotations

import pytest
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.aerospike import cluster as subject
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.aerospike.cluster import (
    ClusterError,
    answering,
    wait_until_stable,
)
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.aerospike.info import InfoError


def test_the_partitions_to_move_of_all_answering_nodes_add_up(monkeypatch: pytest.MonkeyPatch) -> None:
    left = {"a": {"migrate_partitions_remaining": "3"}, "b": {"migrate_partitions_remaining": "4"}, "old": {}}

    def query(host: str, *_: object, **__: object) -> dict[str, str]:
        if host == "down":
            raise InfoError("refused")
        return left[host]

    monkeypatch.setattr(subject, "info_pairs", query)
    assert subject.partitions_to_move(["a", "b", "old", "down"], 3000) == 7


def test_a_cluster_is_stable_if_all_nodes_report_one_key(monkeypatch: pytest.MonkeyPatch) -> None:
    keys = {"a": iter(["K1", "K2", "K2"]), "b": iter(["K0", "K2", "K2"])}
    monkeypatch.setattr(subject, "POLL_SECONDS", 0.001)
    monkeypatch.setattr(subject, "cluster_stable", lambda host, size, **_: next(keys[host]))
    assert wait_until_stable(["a", "b"], 3000, 10) == "K2"


def test_an_unstable_cluster_is_reported_node_by_node(monkeypatch: pytest.MonkeyPatch) -> None:
    def query(host: str, size: int, **_: object) -> str:
        if host == "b":
            raise InfoError("b:3000 answers with ERROR::unstable-cluster")
        return "K1"

    monkeypatch.setattr(subject, "cluster_stable", query)
    with pytest.raises(ClusterError, match="expected 2 nodes with one cluster key") as caught:
        wait_until_stable(["a", "b"], 3000, 0)
    assert caught.value.answers == {"a": "K1", "b": "b:3000 answers with ERROR::unstable-cluster"}


def test_the_answering_nodes_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def query(host: str, *_: str, **__: object) -> dict[str, str]:
        if host == "b":
            raise InfoError("refused")
        return {"node": "BB1"}

    monkeypatch.setattr(subject, "info", query)
    assert answering(["a", "b", "c"], 3000) == ["a", "c"]
    assert answering([], 3000) == []
