"""Locks, interruptions and questions."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest

from pegasus_driver.exit_codes import ExitCode
from pegasus_driver.run.lock import environment_lock, lock_path
from pegasus_driver.run.processes import LOCK_VARIABLE
from pegasus_driver.run.state import Ending, RunState
from tests.driver.fakes import (
    GOOD,
    FakeWorld,
    Instance,
    failed,
    ok,
    play,
    stats,
)

PLACE = Path("local/us-east-1/Bench")  # of tests/driver/fakes.py


def test_a_second_action_is_refused_and_names_the_first(world: FakeWorld) -> None:
    since = datetime(2026, 11, 24, 3, 5, tzinfo=UTC)
    with environment_lock(world.root, PLACE, "setup", since):
        assert world.run("destroy") == ExitCode.USAGE
        when = since.astimezone().strftime("%H:%M")
        assert f"setup of Bench has been running since {when} (pid {os.getpid()})" in world.errors
        assert world.run("status") == 0  # changes nothing
    assert world.run("setup") == 0


@pytest.mark.parametrize("place", ["local/eu-west-1/Bench", "aws/us-east-1/Bench"])
def test_an_action_in_another_region_or_backend_does_not_lock_this_environment(world: FakeWorld, place: str) -> None:
    with environment_lock(world.root, Path(place), "setup", datetime(2026, 11, 24, 3, 5, tzinfo=UTC)):
        assert world.run("setup") == 0


def test_an_action_on_aws_does_not_lock_the_local_cloud(world: FakeWorld) -> None:
    world.cloud.running = True
    with environment_lock(world.root, Path("aws/us-east-1/Bench"), "setup", datetime(2026, 11, 24, 3, 5, tzinfo=UTC)):
        assert world.run("local", "stop") == 0 and "stopped" in world.text


def test_the_local_cloud_is_not_stopped_during_an_action(world: FakeWorld) -> None:
    world.cloud.running = True
    with environment_lock(world.root, PLACE, "setup", datetime(2026, 11, 24, 3, 5, tzinfo=UTC)):
        assert world.run("local", "stop") == ExitCode.USAGE
        assert "setup of Bench has been running since" in world.errors and "Ctrl-C" in world.errors
        assert world.cloud.calls == []
        # destroy ends with this, while it holds the lock itself.
        assert world.run("local", "stop", "--if-empty") == 0
    # The lock file of a killed driver isn't held.
    lock_path(world.root, PLACE).write_text('{"action": "setup", "pid": 1, "since": "2026-11-24T03:05:00+00:00"}')
    world.cloud.running = True
    assert world.run("local", "stop") == 0 and "stopped" in world.text


def test_processes_of_a_killed_driver_are_killed(world: FakeWorld) -> None:
    mark = {LOCK_VARIABLE: str(lock_path(world.root, PLACE))}
    with subprocess.Popen(["sleep", "300"], env={**os.environ, **mark}) as orphan:
        assert world.run("status") == 0 and orphan.poll() is None
        assert world.run("setup") == 0
        assert "whose driver was killed" in world.text
        assert orphan.wait(10) == -signal.SIGKILL
    assert world.requests[-1].environ[LOCK_VARIABLE] == mark[LOCK_VARIABLE]
    assert world.run("setup") == 0 and "killed" not in world.text


def test_a_defect_in_the_view_does_not_leave_ansible_running(world: FakeWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    def handle(self: object, event: object, now: float) -> None:
        if world.runs:
            raise ValueError("defect")

    world.endless, world.events = True, GOOD
    monkeypatch.setattr("pegasus_driver.view.plain.PlainView.handle", handle)
    assert world.run("setup") == ExitCode.INTERNAL
    assert world.runs[0].killed


def test_a_terminal_that_closes_does_not_stop_the_action(world: FakeWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    def closed(self: object, *arguments: object) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr("pegasus_driver.view.plain.PlainView.handle", closed)
    world.events = GOOD
    assert world.run("setup") == 0


def interrupt() -> None:
    os.kill(os.getpid(), signal.SIGINT)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupt_while_ansible_runs(
    world: FakeWorld, monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    before = signal.getsignal(signal.SIGINT)
    world.endless = True
    world.cloud.instances = [Instance(), Instance(name="Bench-2", state="pending")]
    world.events = [play("Set up the hosts")]
    seen = []

    def tick(self: object, now: float) -> None:
        if world.runs and not seen:
            seen.append(now)
            os.kill(os.getpid(), number)

    monkeypatch.setattr("pegasus_driver.view.plain.PlainView.tick", tick)
    assert world.run("setup") == ExitCode.INTERRUPTED
    assert world.runs[0].cancelled and not world.runs[0].killed
    assert "2 instances of the local cloud: Bench-1 (running), Bench-2 (pending)" in world.errors
    assert "continue:      ./pegasus-driver setup" in world.errors
    assert "take it down:  ./pegasus-driver destroy" in world.errors
    assert signal.getsignal(signal.SIGINT) is before


def test_a_second_interrupt_kills(world: FakeWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    world.endless = world.stubborn = True
    world.events = [play("Set up the hosts")]

    def tick(self: object, now: float) -> None:
        if world.runs and not world.runs[0].killed:
            interrupt()

    monkeypatch.setattr("pegasus_driver.view.plain.PlainView.tick", tick)
    assert world.run("setup") == ExitCode.INTERRUPTED
    assert world.runs[0].killed


def test_an_interrupted_command_suggests_itself(world: FakeWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    (world.root / "other.yml").write_text((world.root / "group_vars/all/config.yml").read_text())

    def start(root: Path, say: object, to_remove: bool) -> None:
        raise KeyboardInterrupt

    world.cloud.start = start  # type: ignore[method-assign,assignment]
    assert world.run("setup", "--config", "other.yml") == ExitCode.INTERRUPTED
    assert "continue:      ./pegasus-driver setup --config other.yml\n" in world.errors


def test_interrupt_while_the_cloud_starts(world: FakeWorld) -> None:
    def start(root: Path, say: object, to_remove: bool) -> None:
        interrupt()
        time.sleep(5)  # the interrupt ends it

    world.cloud.start = start  # type: ignore[method-assign,assignment]
    assert world.run("setup") == ExitCode.INTERRUPTED
    assert not world.requests
    assert "No instance exists." in world.errors and "interrupted after" in world.errors


def asking() -> dict:
    return ok("localhost", "List what will be destroyed", "r", "aerospike_community.pegasus.ec2_environment",
              question="Destroy these 2 parts of Bench?",
              message=["terminate Bench-1 (i-1, server)", "delete the key pair pegasus-Bench"])  # fmt: skip


def answer_file(world: FakeWorld) -> Path | None:
    path = world.requests[-1].extra_vars.get("ec2_provision_answer_file")
    return Path(path) if path else None


@pytest.mark.parametrize("output", ["auto", "plain"])
def test_on_a_terminal_destroy_shows_its_list_and_asks_for_confirmation(world: FakeWorld, output: str) -> None:
    world.terminal, world.answers = True, ["yes"]
    world.events = [play("Take down"), asking(), asking(), stats(ok={"localhost": 1})]
    world.cloud.running = True
    assert world.run("destroy", "--output", output) == 0
    assert world.questions == ["Destroy these 2 parts of Bench? [yes/no]"]
    assert world.text.index("terminate Bench-1 (i-1, server)") < world.text.index("done in")
    path = answer_file(world)
    assert path and path.exists() and not world.runs[-1].killed


@pytest.mark.parametrize("answer", ["no", "", "^C", "yess"])
def test_anything_but_yes_changes_nothing(world: FakeWorld, answer: str) -> None:
    world.terminal, world.answers = True, [answer]
    world.events = [play("Take down"), asking(), failed("localhost", "Wait for the answer")]
    world.cloud.running = True
    assert world.run("destroy") == ExitCode.INTERRUPTED
    assert "not confirmed, so nothing was changed" in world.errors and "FAILED" not in world.errors
    path = answer_file(world)
    assert path and not path.exists() and world.runs[-1].killed
    assert "stop --if-empty" not in world.cloud.calls


def test_a_declined_launch_leaves_nothing(world: FakeWorld) -> None:
    config = world.root / "group_vars/all/config.yml"
    config.write_text(config.read_text().replace("backend: local", "backend: aws"))
    (world.root / "features.conf").write_text("feature-key-version 2\nasdb-cluster-nodes-limit 0\n")
    extra = ["-e", "aerospike_server_features_file=features.conf"]
    world.terminal, world.answers = True, ["n"]
    world.events = [play("Launch"), asking(), failed("localhost", "Wait for the answer")]
    assert world.run("setup", *extra) == ExitCode.INTERRUPTED
    assert "not confirmed, so nothing was changed" in world.errors and "Bench is unchanged" in world.errors
    assert "may exist" not in world.errors and "take it down" not in world.errors
    assert "continue:      ./pegasus-driver setup" in world.errors


@pytest.mark.parametrize("action", ["setup", "setup-cluster", "add-nodes", "destroy", "destroy-clients"])
def test_with_yes_the_playbook_is_confirmed_without_a_question(world: FakeWorld, action: str) -> None:
    (world.root / "playbooks" / f"{action}.yml").write_text("[]\n")
    world.terminal = world.cloud.running = True
    world.events = [asking()]
    assert world.run(action, "--yes") == 0
    assert world.requests[-1].extra_vars["ec2_provision_approved"] is True
    assert answer_file(world) is None and world.questions == []


@pytest.mark.parametrize(("terminal", "options"), [(False, []), (True, ["--output", "json"]), (True, ["--dry-run"])])
def test_without_a_user_to_ask_the_playbook_decides(world: FakeWorld, terminal: bool, options: list[str]) -> None:
    """It destroys without a question, and refuses a launch above the limit."""
    world.terminal, world.cloud.running = terminal, True
    world.events = [asking()]
    assert world.run("destroy", *options) == 0
    assert world.questions == [] and not set(world.requests[-1].extra_vars) & {
        "ec2_provision_answer_file", "ec2_provision_approved"
    }  # fmt: skip


def test_a_live_view_leaves_the_terminal_to_the_question(tmp_path: Path) -> None:
    from pegasus_driver.run.events import Question
    from pegasus_driver.view.live import LiveView

    class Terminal(io.StringIO):
        encoding = "utf-8"

        def isatty(self) -> bool:
            return True

    out = Terminal()
    view = LiveView(RunState("destroy", "Bench", "local"), out, io.StringIO())
    view.start(0.0)
    view.ask(Question("Destroy?", ("terminate Bench-1",)), 0.1)
    assert not view._live.is_started and "terminate Bench-1" in out.getvalue()
    view.tick(1.0)
    assert view._live.is_started
    view.finish(Ending(ExitCode.OK, "destroy", "Bench", 1.0), 2.0)
    assert not view._live.is_started
