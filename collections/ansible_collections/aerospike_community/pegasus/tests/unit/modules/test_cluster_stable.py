"""cluster_stable: its slices, and the message at the end of all of them."""

from __future__ import annotations

import json
from typing import Any

import pytest
from ansible.module_utils.testing import patch_module_args
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.aerospike import cluster, slices
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.aerospike.info import InfoError
from ansible_collections.aerospike_community.pegasus.plugins.modules import cluster_stable

HOSTS = ["10.0.0.1", "10.0.0.2"]


@pytest.fixture
def nodes(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """The cluster key of each node that answers."""
    keys = dict.fromkeys(HOSTS, "KEY")

    def query(host: str, size: int, **_: Any) -> str:
        if host not in keys:
            raise InfoError(f"{host}:3000 does not answer")
        return keys[host]

    monkeypatch.setattr(cluster, "cluster_stable", query)
    monkeypatch.setattr(cluster_stable.health, "query", lambda hosts, port: {})
    monkeypatch.setattr(slices, "SLICE_SECONDS", 0.01)
    return keys


def run(capsys: pytest.CaptureFixture[str], **arguments: Any) -> dict[str, Any]:
    with patch_module_args({"hosts": HOSTS, **arguments}), pytest.raises(SystemExit):
        cluster_stable.main()
    return json.loads(capsys.readouterr().out)


def test_a_slice_that_is_not_enough_returns_what_is_missing(
    nodes: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    del nodes["10.0.0.2"]
    waiting = run(capsys, timeout=300)["waiting"]
    assert (waiting["purpose"], waiting["left"], waiting["unit"]) == ("a stable cluster of 2 nodes", 1, "nodes")
    assert waiting["resume"] == {"members": HOSTS}
    assert "waiting" in run(capsys, timeout=300, resume={**waiting["resume"], slices.LOOK: True})
    nodes["10.0.0.2"] = "KEY"
    assert run(capsys, timeout=300, resume=waiting["resume"])["cluster_key"] == "KEY"


def test_the_last_slice_fails_with_the_whole_timeout(nodes: dict[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    del nodes["10.0.0.2"]
    result = run(capsys, timeout=300, resume={"waited": 300, "members": HOSTS})
    assert "expected 2 nodes with one cluster key within 300 s, found 1 such nodes" in result["msg"]
    assert result["error_class"] == "readiness"


def test_the_skipped_nodes_are_those_of_the_first_slice(
    nodes: dict[str, str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster_stable, "answering", lambda hosts, port: [host for host in hosts if host in nodes])
    del nodes["10.0.0.2"]
    nodes["10.0.0.1"] = "KEY"
    monkeypatch.setattr(cluster, "cluster_stable", lambda *_, **__: (_ for _ in ()).throw(InfoError("unstable")))
    waiting = run(capsys, timeout=300, partial=True)["waiting"]
    nodes["10.0.0.2"] = "KEY"
    monkeypatch.setattr(cluster, "cluster_stable", lambda *_, **__: "KEY")
    result = run(capsys, timeout=300, partial=True, resume=waiting["resume"])
    assert (result["members"], result["absent"]) == (["10.0.0.1"], ["10.0.0.2"])
