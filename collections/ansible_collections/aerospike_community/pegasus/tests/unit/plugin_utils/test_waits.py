"""An action plugin calls its module in slices, shows the progress, and gives up when nothing moves."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from ansible.errors import AnsibleConnectionFailure
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.aerospike.waiting import (
    STALL_SECONDS,
    Waiting,
)
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.results import READINESS
from ansible_collections.aerospike_community.pegasus.plugins.plugin_utils import waits as subject

SLICE = 6.0  # seconds that a call of the module takes


class Action(subject.WaitingAction):
    """An action plugin."""

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        return self.run_module(task_vars or {})


class Module:
    """The module: answers, one for each call, and the arguments of the calls."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *answers: dict[str, Any] | Exception) -> None:
        self.answers = list(answers)
        self.calls: list[dict[str, Any]] = []
        self.shown: list[str] = []
        self.now = 1000.0
        monkeypatch.setattr(subject.time, "monotonic", lambda: self.now)

    def execute(self, module_args: dict[str, Any], task_vars: dict[str, Any]) -> dict[str, Any]:
        self.now += SLICE
        self.calls.append(module_args)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if module_args.get("resume", {}).get("give_up"):
            answer = self.answers[-1]
        if isinstance(answer, Exception):
            raise answer
        return answer

    def run(self, **more: Any) -> dict[str, Any]:
        action = object.__new__(Action)
        action._task = SimpleNamespace(args={"index": 2})
        action._display = SimpleNamespace(display=self.shown.append)
        action._execute_module = self.execute
        return action.run_module({"inventory_hostname": "B-2"}, **more)


def waiting(left: int, activity: int = 0, **resume: Any) -> dict[str, Any]:
    return Waiting("them to end", left, "migrations", activity, resume=resume).result()


def test_a_module_that_is_done_at_once_is_called_once(monkeypatch: pytest.MonkeyPatch) -> None:
    module = Module(monkeypatch, {"changed": True})
    assert module.run() == {"changed": True}
    assert module.calls == [{"index": 2}] and module.shown == []


def test_the_module_goes_on_where_it_was_and_its_progress_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = [waiting(900 - 100 * number, step=number) for number in range(1, 5)]
    module = Module(monkeypatch, *answers, {"changed": True})
    assert module.run(label="restart 1 of at most 3") == {"changed": True}
    assert [call.get("resume") for call in module.calls] == [None, *({"step": number} for number in range(1, 5))]
    begin = "progress: B-2: restart 1 of at most 3: "
    assert module.shown == [
        f"{begin}800 migrations left; waiting 0 s for them to end",
        f"{begin}600 migrations left, 17 a second, about 36 s to go; waiting 12 s for them to end",
    ]


def test_a_failure_ends_it(monkeypatch: pytest.MonkeyPatch) -> None:
    module = Module(monkeypatch, waiting(9), {"failed": True, "msg": "no"})
    assert module.run() == {"failed": True, "msg": "no"}


def test_a_wait_in_which_nothing_moves_ends_and_lets_the_module_undo(monkeypatch: pytest.MonkeyPatch) -> None:
    module = Module(monkeypatch, *[waiting(9, step=1)] * 100, {"failed": True, "msg": "undone", "changes": ["x"]})
    result = module.run()
    assert module.now - 1000 < STALL_SECONDS + 60, "within three minutes"
    last = module.calls[-1]["resume"]
    assert last["step"] == 1 and last["give_up"].startswith(
        "expected them to end, found 9 migrations left, and nothing"
    )
    assert result["failed"] and result["error_class"] == READINESS and result["changes"] == ["x"]
    assert result["msg"] == f"{last['give_up']}\nundone"
    assert "nothing has moved for" in module.shown[-1]


def test_the_reason_is_not_said_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    module = Module(monkeypatch, waiting(9))
    original = module.execute

    def execute(module_args: dict[str, Any], task_vars: dict[str, Any]) -> dict[str, Any]:
        reason = module_args.get("resume", {}).get("give_up")
        return {"failed": True, "msg": f"{reason}\nundone"} if reason else original(module_args, task_vars)

    module.execute = execute  # type: ignore[method-assign]
    assert module.run()["msg"].count("expected them to end") == 1


def test_the_reason_survives_a_lost_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    module = Module(monkeypatch, *[waiting(9)] * 100, AnsibleConnectionFailure("lost"))
    result = module.run()
    assert result["failed"] and "found 9 migrations left" in result["msg"] and "lost" in result["msg"]


def test_a_figure_that_does_not_fall_ends_it_at_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = [waiting(9, activity=number) for number in range(2000)]
    module = Module(monkeypatch, *answers, {"failed": True, "msg": ""})
    assert "no fewer for 10 min" in module.run(limit=600)["msg"]


def test_movement_has_no_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = [waiting(3000 - number) for number in range(2000)]
    module = Module(monkeypatch, *answers, {"changed": True})
    assert module.run(limit=600) == {"changed": True} and module.now > 1000 + 3600
