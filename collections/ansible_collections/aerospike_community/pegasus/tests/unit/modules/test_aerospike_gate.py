"""aerospike_gate and aerospike_recount as modules: what they ask, and what their results have."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.testing import patch_module_args
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.aerospike import gate, recount
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.aerospike.survey import Survey
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.faults import drain
from ansible_collections.aerospike_community.pegasus.plugins.modules import aerospike_gate, aerospike_recount
from ansible_collections.aerospike_community.pegasus.tests.unit.module_utils.aerospike.surveys import (
    A,
    B,
    C,
    migrating,
    node,
    three,
)

NODES = [{"index": index, "address": address, "kind": "server"} for index, address in enumerate((A, B, C), 1)]


class Cluster:
    """What the nodes answer, and how often they were asked."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.survey, self.asked, self.community = three(), 0, False
        self.warnings: list[str] = []
        monkeypatch.setattr(AnsibleModule, "warn", lambda _, text: self.warnings.append(text))
        monkeypatch.setattr(aerospike_gate, "answering", lambda hosts, _: [h for h in hosts if h in self.survey.nodes])
        monkeypatch.setattr(drain, "without_quiesce", lambda hosts, _: list(hosts) if self.community else [])
        for module, name in (
            (aerospike_gate, "pass_gate"),
            (aerospike_gate, "explain"),
            (aerospike_recount, "recount"),
        ):
            function = getattr(gate if module is aerospike_gate else recount, name)
            monkeypatch.setattr(module, name, self.with_answers(function))

    def with_answers(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(request: Any, **options: Any) -> Any:
            return function(
                request, **{"ask": self.ask, **({} if function is gate.explain else {"seconds": 0}), **options}
            )

        return call

    def ask(self, hosts: Sequence[str], _: int) -> Survey:
        self.asked += 1
        return Survey({host: answer for host, answer in self.survey.nodes.items() if host in hosts})


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Cluster:
    return Cluster(monkeypatch)


@pytest.fixture
def run(tmp_path, capsys) -> Callable[..., Any]:
    def call(module: Any, check: bool = False, **options: Any) -> Any:
        arguments = {
            "cluster": NODES,
            "targets": [B],
            "_ansible_check_mode": check,
            "_ansible_remote_tmp": str(tmp_path),
        }
        with patch_module_args({**arguments, **options}), pytest.raises(SystemExit):
            module.main()
        return json.loads(capsys.readouterr().out)

    return call


def test_the_result_has_what_chaos_node_and_the_recount_take(cluster, run) -> None:
    result = run(aerospike_gate, action="stop")
    assert result["approved"] == [B] and result["members"] == [A, B, C] and result["accepted"] is False
    assert result["before"]["namespaces"]["test"]["records"] == 900
    assert result["note"][0].startswith("node 2 holds 600 of 900 records")


def test_a_restart_of_a_node_that_may_be_running_asks_only_if_forced(cluster, run) -> None:
    assert run(aerospike_gate, action="restart")["approved"] == [] and cluster.asked == 0
    assert run(aerospike_gate, action="restart", force=True)["approved"] == [B] and cluster.asked


def test_it_waits_and_gives_up_with_the_figures(cluster, run) -> None:
    cluster.survey = migrating()
    waiting = run(aerospike_gate, action="kill", targets=[A])["waiting"]
    assert (waiting["left"], waiting["purpose"]) == (2726, "partition migrations to end, before the kill of node 1")
    result = run(aerospike_gate, action="kill", targets=[A], resume={"give_up": "nothing has moved"})
    assert result["failed"] and result["error_class"] == "readiness"
    assert "node 1 holds 800 of 800 records of namespace test; 2,726 partition migrations left" in result["msg"]
    assert "--accept-data-loss" in result["next_step"]


def test_check_mode_does_not_wait(cluster, run) -> None:
    cluster.survey = migrating()
    result = run(aerospike_gate, check=True, action="stop", targets=[A])
    assert result["approved"] == [A] and "the stop of node 1 would wait: node 1 holds" in result["note"][0]
    refused = run(aerospike_gate, check=True, action="stop", targets=[A, B, C])
    assert refused["failed"] and "the stop of node 1, node 2, node 3 is refused" in refused["msg"]


def test_a_missing_word_is_reported_before_any_wait(cluster, run) -> None:
    cluster.survey, cluster.community = migrating(), True
    refused = run(aerospike_gate, action="drain")
    assert refused["failed"] and "--no-quiesce" in refused["msg"] and cluster.asked == 0
    assert run(aerospike_gate, action="drain", no_quiesce=True)["waiting"]
    assert "approved" in run(aerospike_gate, action="stop", accept_data_loss=True)


def test_missing_records_fail_the_run_before_the_termination(cluster, run) -> None:
    approval = run(aerospike_gate, action="drain")
    cluster.survey = Survey({A: node(498, 249), C: node(498, 249)})
    result = run(aerospike_recount, approval=approval)
    assert result["failed"] and result["error_class"] == "readiness"
    assert result["msg"].startswith(
        "namespace test: expected 900 records as before the removal of node 2, because nothing was written or removed "
        "meanwhile, found 498: 402 are lost"
    )
    assert result["next_step"].startswith("Nothing was terminated: ./pegasus-driver restart-node 2 brings")
    accepted = run(aerospike_recount, approval=approval, accept_data_loss=True)
    assert not accepted.get("failed") and "402 are lost" in cluster.warnings[0]


def test_a_second_removal_finds_the_loss_of_the_first(cluster, run) -> None:
    """The node is stopped now: only the host that stopped it knows how many records there were."""
    before = run(aerospike_gate, action="drain")["before"]
    cluster.survey = Survey({A: node(498, 249), C: node(498, 249)})
    approval = run(aerospike_gate, action="drain")
    assert approval["approved"] == [] and not run(aerospike_recount, approval=approval).get("failed")
    result = run(aerospike_recount, approval=approval, stopped=[{"before": before}, {}])
    assert result["failed"] and "402 are lost" in result["msg"]


def test_the_recount_waits_for_every_node_that_stays(cluster, run) -> None:
    approval = run(aerospike_gate, action="drain")
    cluster.survey = Survey({A: node(900, 450)})
    waiting = run(aerospike_recount, approval=approval)["waiting"]
    assert (waiting["left"], waiting["purpose"]) == (1, "every node to answer, before the end of the removal of node 2")
    cluster.survey = Survey({A: node(900, 450, tx=4), C: node(900, 450, rx=4)})
    assert run(aerospike_recount, approval=approval)["waiting"]["left"] == 4
    at_once = run(aerospike_recount, approval=approval, accept_data_loss=True)
    assert at_once["note"][-1] == (
        "the count isn't final: 4 partition migrations left: until they end, some records may exist only on one node"
    )
