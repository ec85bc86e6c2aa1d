"""chaos_node: it carries out every fault by the same contract."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
import yaml
from ansible.module_utils.testing import patch_module_args
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.faults.contract import (
    Effect,
    Fault,
    FaultError,
)
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.faults.registry import FAULTS
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.host.systemd import ServiceError
from ansible_collections.aerospike_community.pegasus.plugins.modules import chaos_node as subject


class Recorded(Fault):
    """A fault that records the calls of the contract."""

    name = "stop"
    undone_by = "restart"
    calls: list[str]
    refuses = ""
    fails: dict[str, Exception]
    done = False

    def step(self, name: str) -> None:
        self.calls.append(name)
        if name in self.fails:
            raise self.fails[name]

    def satisfied(self) -> Effect | None:
        self.step("satisfied")
        return Effect(["a"], changed=False) if self.done else None

    def refusal(self) -> str:
        self.step("refusal")
        return self.refuses

    def plan(self) -> Effect:
        self.step("plan")
        return Effect(["a"])

    def inject(self) -> None:
        self.step("inject")
        self.notes.append("injected")

    def verify(self) -> Effect:
        self.step("verify")
        return Effect(["a", "b"], "KEY")

    def undo(self) -> None:
        self.step("undo")

    def log_lines(self) -> list[str]:
        return ["CRITICAL (config)"]


@pytest.fixture
def fault(monkeypatch: pytest.MonkeyPatch) -> type[Recorded]:
    """A fresh fault in the place of stop."""
    fresh: Any = type("Fresh", (Recorded,), {"calls": [], "fails": {}})
    monkeypatch.setitem(FAULTS, "stop", fresh)
    return fresh


@pytest.fixture
def run(tmp_path, capsys):
    """Run the module; return its result, failed or not."""

    def run_module(check: bool = False, **changed: Any) -> dict[str, Any]:
        arguments = {
            "action": "stop", "index": 2, "cluster": ["a", "b"], "targets": ["b"], "namespace": "test",
            "replication_factor": 2, "_ansible_check_mode": check, "_ansible_remote_tmp": str(tmp_path), **changed,
        }  # fmt: skip
        capsys.readouterr()
        with patch_module_args(arguments), pytest.raises(SystemExit):
            subject.main()
        return json.loads(capsys.readouterr().out)

    return run_module


def test_the_documented_actions_are_those_of_the_registry():
    documented = yaml.safe_load(subject.DOCUMENTATION)["options"]["action"]["description"]
    assert set(re.findall(r"V\((\w+)\)", documented)) == set(FAULTS)


def test_every_fault_is_undone_by_a_fault_or_on_its_own():
    assert {fault.undone_by for fault in FAULTS.values()} - {""} <= set(FAULTS)
    lasting = [name for name, fault in FAULTS.items() if not fault.undone_by and fault.undo is Fault.undo]
    assert lasting == ["restart"]


def test_a_fault_is_injected_then_verified(fault, run):
    result = run()
    assert fault.calls == ["satisfied", "refusal", "inject", "verify"]
    assert result["changed"] and result["note"] == ["injected"]
    assert (result["members"], result["cluster_size"], result["cluster_key"]) == (["a", "b"], 2, "KEY")


def test_a_node_in_the_requested_state_is_left_alone(fault, run):
    fault.done = True
    assert run()["changed"] is False
    assert fault.calls == ["satisfied"]


def test_a_refused_fault_needs_force(fault, run):
    fault.refuses = "node 2 was not stopped: data would be lost"
    result = run()
    assert result["failed"] and result["next_step"] == ""
    assert result["msg"] == (
        "node 2 was not stopped: data would be lost. To proceed anyway: --force, or -e chaos_force=true"
    )
    assert fault.calls == ["satisfied", "refusal"]
    assert run(force=True)["changed"]


def test_check_mode_checks_the_refusal_and_injects_nothing(fault, run):
    assert run(check=True)["changed"]
    assert fault.calls == ["satisfied", "refusal", "plan"]
    fault.refuses = "node 2 was not stopped"
    assert run(check=True)["failed"]


@pytest.mark.parametrize("step", ["inject", "verify"])
def test_a_fault_that_fails_is_undone(fault, run, step):
    fault.fails = {step: FaultError("expected no process")}
    result = run()
    assert fault.calls[-2:] == [step, "undo"]
    assert result["msg"].startswith("expected no process") and result["log"] == []
    assert result["next_step"] == "To undo it: ./pegasus-driver restart-node 2"


def test_a_failure_of_the_service_shows_its_log(fault, run):
    fault.fails = {"verify": ServiceError("expected it active, found failed")}
    result = run()
    assert result["msg"] == (
        "node 2: stop has not taken effect: expected it active, found failed\n  before that: injected\n"
        "In the log of aerospike on this host, most telling first:\n  CRITICAL (config)"
    )
    assert result["log"] == ["CRITICAL (config)"]


def test_a_failed_undo_is_reported_with_the_failure_before(fault, run):
    fault.fails = {"verify": FaultError("no effect"), "undo": FaultError("still quiesced")}
    assert run()["msg"].startswith("no effect\nUndoing it failed too: still quiesced")
