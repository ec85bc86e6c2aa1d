"""Dry runs, a user's playbook, logs, and what a run keeps in its folder."""

from __future__ import annotations

import json
import os
import signal
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TextIO

import pytest

from pegasus_driver.exit_codes import ExitCode
from pegasus_driver.run.recorder import Recorder, make_run_folder
from pegasus_driver.run.state import Ending, RunState
from tests.driver.fakes import MODULE, FakeWorld, Instance, began, failed, ok, play, raw, stats

CHANGES = [
    play("Launch"),
    ok("localhost", "Launch the instances", "ec2_provision", MODULE + "ec2_environment", changed=True,
       changes=["launch 3 x i4i.large as Bench-1 to Bench-3 (server)"]),
    play("Set up the hosts"),
    began("Bench-1", "Configure", "server"),
    began("Bench-2", "Configure", "server"),
    *[ok(host, "Configure", "server", MODULE + "host_service", changed=True, changes=["wrote /etc/x.conf"],
         diff=[{"before_header": "/etc/x.conf", "after_header": "/etc/x.conf", "before": "a\nb\n", "after": "a\nc\n"}])
      for host in ("Bench-1", "Bench-2")],
    stats(ok={"Bench-1": 1}),
]  # fmt: skip


def folder_of(world: FakeWorld) -> Path:
    return world.requests[-1].folder


def lines(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


# --- dry runs -------------------------------------------------------------------------------------------------------


def test_a_dry_run_shows_the_plan_and_restores_the_cloud(world: FakeWorld) -> None:
    world.events = CHANGES
    assert world.run("setup", "--dry-run") == 0
    assert list(world.requests[0].arguments) == ["--check", "--diff"]
    text = world.text
    assert "launch 3 x i4i.large as Bench-1 to Bench-3 (server)" in text
    assert "WOULD CHANGE  Bench-1, Bench-2: server: Configure\n  wrote /etc/x.conf\n" in text
    assert "  -b\n  +c\n" in text and text.count("wrote /etc/x.conf") == 1
    assert "(dry run: changes nothing)" in text
    assert "dry run, 3 changes found" in text and "nothing was changed" in text
    assert "edit threads.yaml" not in text
    assert world.cloud.calls == ["start", "stop --if-empty"] and not world.cloud.running


def test_a_dry_run_keeps_a_running_cloud(world: FakeWorld) -> None:
    world.cloud.running, world.cloud.instances = True, [Instance()]
    for action in ("setup", "destroy"):
        assert world.run(action, "--dry-run") == 0
    assert "stop --if-empty" not in world.cloud.calls and world.cloud.running


def test_a_dry_run_that_is_interrupted_or_fails_stops_the_cloud_too(world: FakeWorld) -> None:
    world.rc, world.events = 2, [play("p"), failed("localhost", msg="m"), stats(failures={"localhost": 1})]
    assert world.run("setup", "--dry-run") == ExitCode.HOST
    assert world.cloud.calls == ["start", "stop --if-empty"]


def test_a_dry_run_does_not_adopt_what_a_crash_left(world: FakeWorld) -> None:
    world.cloud.left = ["container pegasus-i-1"]
    for action in (["setup"], ["destroy"], ["stop-node", "1"]):
        assert world.run(*action, "--dry-run") == 0
        assert "container pegasus-i-1" in world.text
    assert not world.cloud.calls and not world.requests


def test_a_dry_run_as_records(world: FakeWorld) -> None:
    world.events = CHANGES
    assert world.run("setup", "--dry-run", "--output", "json") == 0
    records = [json.loads(line) for line in world.text.splitlines()]
    assert records[0]["type"] == "start" and records[0]["dry_run"] is True
    assert records[-1]["plan"][0] == {
        "host": "localhost", "task": "Launch the instances", "role": "ec2_provision",
        "lines": ["launch 3 x i4i.large as Bench-1 to Bench-3 (server)"],
    }  # fmt: skip
    assert world.run("setup", "--output", "json") == 0
    assert json.loads(world.text.splitlines()[-1])["plan"] is None


@pytest.mark.parametrize("action", ["status", "logs"])
def test_actions_that_change_nothing_have_no_dry_run(world: FakeWorld, action: str) -> None:
    assert world.run(action, "--dry-run") == ExitCode.USAGE
    assert "--dry-run" in world.errors


def test_differences_of_files_are_cut_and_secrets_stay_hidden(world: FakeWorld) -> None:
    many = "".join(f"{number}\n" for number in range(500))
    world.events = [
        play("p"),
        ok("Bench-1", "Write", changed=True, diff={"before": "", "after": many}),
        ok("Bench-2", "Secret", changed=True, censored="hidden by no_log"),
        ok("Bench-2", "Act", action=MODULE + "chaos_node", changed=True, message="node 2 would be stopped"),
        ok("Bench-3", "Mode", changed=True, diff={"before": {"mode": "0644"}, "after": {"mode": "0600"}}),
        stats(ok={"Bench-1": 1}),
    ]
    assert world.run("setup", "--dry-run") == 0
    assert "+49\n" in world.text and "+400\n" not in world.text and "more lines" in world.text
    assert "WOULD CHANGE  Bench-2: Act\n  node 2 would be stopped\n" in world.text
    assert "  -mode: 0644\n  +mode: 0600\n" in world.text and "Bench-2: Secret\n" in world.text


# --- what a run keeps -----------------------------------------------------------------------------------------------


def test_every_run_keeps_its_events_and_a_summary(world: FakeWorld) -> None:
    world.events = [*CHANGES[:-1], raw("verbose", stdout="Ansible's text"), CHANGES[-1]]
    assert world.run("setup") == 0
    folder = folder_of(world)
    for name in ("events.ndjson", "summary.json"):
        assert (folder / name).stat().st_mode & 0o777 == 0o600
    records = lines(folder / "events.ndjson")
    assert [record["type"] for record in records[:3]] == ["start", "play_started", "message"], "from the start"
    assert {record["type"] for record in records} >= {"host_result", "stats", "end"}
    assert "Ansible's text" not in (folder / "events.ndjson").read_text()
    summary = json.loads((folder / "summary.json").read_text())
    assert {**records[-1], "time": None} == {**summary, "time": None}
    assert summary["exit_code"] == 0 and summary["run_folder"] == f".pegasus/runs/{folder.name}"


def test_the_record_is_what_json_output_prints(world: FakeWorld) -> None:
    world.events = CHANGES
    assert world.run("setup", "--output", "json") == 0
    assert world.text == (folder_of(world) / "events.ndjson").read_text()


def test_timings_of_stages_and_roles(world: FakeWorld) -> None:
    world.events = CHANGES
    assert world.run("setup", "--output", "json") == 0
    stages = json.loads(world.text.splitlines()[-1])["stages"]
    assert [stage["name"] for stage in stages] == [
        "Start the local cloud", "Start Ansible", "Launch", "Set up the hosts",
    ]  # fmt: skip
    last = stages[-1]
    assert (last["hosts"], last["changed"], last["failed"]) == (2, 2, 0) and last["seconds"] >= 0
    (role,) = last["roles"]
    assert (role["name"], role["hosts"], role["changed"]) == ("server", 2, 2) and role["seconds"] >= 0


def test_a_failed_run_keeps_its_record_too(world: FakeWorld) -> None:
    world.rc, world.events = 2, [play("p"), failed("Bench-1", msg="no memory"), stats(failures={"Bench-1": 1})]
    assert world.run("setup") == ExitCode.HOST
    summary = json.loads((folder_of(world) / "summary.json").read_text())
    assert summary["result"] == "host" and summary["failures"][0]["message"] == "no memory"
    assert summary["stages"][-1]["failed"] == 1


def test_an_interrupted_run_keeps_its_record_too(world: FakeWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    world.endless, world.events = True, [play("Set up the hosts")]

    def tick(self: object, now: float) -> None:
        if world.runs and not world.runs[0].cancelled:
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr("pegasus_driver.view.plain.PlainView.tick", tick)
    assert world.run("setup") == ExitCode.INTERRUPTED
    assert json.loads((folder_of(world) / "summary.json").read_text())["existing"] == [
        "No instance exists. The local cloud is running."
    ]


def test_a_record_that_can_not_be_written_is_no_failure(world: FakeWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path) -> TextIO:
        return Path("/dev/full").open("w")

    world.events = CHANGES
    monkeypatch.setattr("pegasus_driver.run.recorder.private_file", full)
    assert world.run("setup") == 0
    assert "done in" in world.text


def test_the_folder_of_a_run_in_progress_is_kept(tmp_path: Path) -> None:
    """A status every minute during a long setup creates more folders than are kept."""
    first = datetime(2026, 11, 24, tzinfo=UTC)
    folder, other = (make_run_folder(tmp_path, "setup", first + timedelta(seconds=number)) for number in range(2))
    recorder = Recorder(RunState("setup", "Bench", "local"), lambda: first)
    recorder.open(folder)
    for number in range(2, 30):
        make_run_folder(tmp_path, "status", first + timedelta(seconds=number))
    assert folder.is_dir() and not other.exists()
    recorder.finish(Ending(ExitCode.OK, "setup", "Bench", 1.0), 1.0)
    make_run_folder(tmp_path, "status", first + timedelta(seconds=30))
    assert not folder.exists()


# --- a user's playbook, logs ----------------------------------------------------------------------------------------


def test_a_users_playbook(world: FakeWorld) -> None:
    world.cloud.running, world.events = True, CHANGES
    (world.root / "mine").mkdir()
    (world.root / "mine/own.yml").write_text("[]\n")
    assert world.run("run", "mine/own.yml", "--limit", "servers", "--tags", "a,b", "-e", "x=1") == 0
    request = world.requests[-1]
    assert request.playbook == world.root / "mine/own.yml"
    assert request.inventories == [world.root / "inventories/local", world.root / "inventories/variables"]
    assert list(request.arguments) == ["-e", "x=1", "--tags", "a,b", "--limit", "servers"]
    assert "run mine/own.yml --tags a,b --limit servers of Bench: done" in world.text
    assert world.run("run", "mine/own.yml", "--dry-run") == 0
    assert list(world.requests[-1].arguments) == ["--check", "--diff"]
    assert world.run("run", "nothing.yml") == ExitCode.USAGE
    assert "nothing.yml isn't a file, expected a playbook" in world.errors


def test_logs(world: FakeWorld) -> None:
    world.cloud.running = True
    (world.root / "playbooks/logs.yml").write_text("[]\n")
    assert world.run("logs", "--to", "bug.tar.gz") == 0
    assert world.requests[-1].extra_vars == {"logs_path": str(world.root / "bug.tar.gz")}
    assert world.run("logs") == 0 and world.requests[-1].extra_vars == {}
    world.rc = 2
    world.events = [
        play("p"),
        failed("localhost", "Join", action=MODULE + "logs_archive", msg="could not be reached: Bench-3",
               error_class="ssh", next_step="Try again"),
        stats(failures={"localhost": 1}),
    ]  # fmt: skip
    assert world.run("logs") == ExitCode.SSH
    assert "could not be reached: Bench-3" in world.errors
