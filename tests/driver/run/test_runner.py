"""Real runs of ansible-playbook with tiny playbooks on localhost."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from pegasus_driver.cli import main
from pegasus_driver.run import runner
from pegasus_driver.run.events import HostResult, NoHosts, Problem, Stats, Warning, parse
from pegasus_driver.run.outcome import Record, exit_code
from pegasus_driver.run.processes import carries, processes
from pegasus_driver.run.recorder import RUNS_KEPT, make_run_folder
from pegasus_driver.run.runner import PlaybookRun, Request
from pegasus_driver.world import World
from tests.driver.fakes import FakeWorld

MIXED = """\
- name: Nobody
  hosts: nobody
  tasks: [{ansible.builtin.ping: {}}]
- name: Kinds
  hosts: localhost
  tasks:
    - name: See our configuration
      ansible.builtin.assert:
        that:
          - lookup('config', 'CONFIG_FILE') == lookup('env', 'PROJECT') ~ '/ansible.cfg'
          - lookup('config', 'HOST_KEY_CHECKING')
          - chaos_nodes == [2]
          - given == 'from the shell'
    - name: Ignore
      ansible.builtin.command: /bin/false
      ignore_errors: true
    - name: Rescue
      block: [{ansible.builtin.command: /bin/false}]
      rescue: [{ansible.builtin.debug: {msg: rescued}}]
    - name: Keep a secret
      ansible.builtin.command: "sh -c 'echo hunter2; exit 1'"
      no_log: true
      ignore_errors: true
    - name: Loop
      ansible.builtin.command: "test {{ item }} = a"
      loop: [a, b]
"""


def wait_until(condition: Callable[[], bool], seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "the condition was never met"
        time.sleep(0.02)


def start(project: Path, playbook: str, **environ: str) -> PlaybookRun:
    (project / "playbooks" / "setup.yml").write_text(playbook)
    run = PlaybookRun(
        Request(
            root=project,
            playbook=project / "playbooks" / "setup.yml",
            inventories=[project / "inventories" / "local"],
            folder=make_run_folder(project, "setup", datetime.now(UTC)),
            extra_vars={"chaos_nodes": [2]},
            arguments=["-e", "given='from the shell'"],
            environ={**os.environ, "PROJECT": str(project), **environ},
        )
    )
    run.start()
    return run


def finish(run: PlaybookRun) -> list:
    events = []
    while (raw := run.events.get(timeout=60)) is not None:
        events += parse(raw)
    assert run.join(30)
    return events


def files_with(folder: Path, text: bytes) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file() and text in path.read_bytes()]


@pytest.mark.slow
def test_a_run_gives_typed_events_and_leaves_no_secret(project: Path) -> None:
    run = start(project, MIXED, AWS_SECRET_ACCESS_KEY="AKIA-NOT-ON-DISK", HUGE="x" * 100_000)
    events = finish(run)
    assert run.outcome == runner.Outcome(2)
    results = {event.task: event for event in events if isinstance(event, HostResult)}
    assert results["See our configuration"].status == "ok", results["See our configuration"].message
    assert results["Ignore"].ignored and "exit code: 1" in results["Ignore"].message
    assert "hunter2" not in results["Keep a secret"].message and "no_log" in results["Keep a secret"].message
    assert "b: non-zero return code" in results["Loop"].message
    assert "command: test b = a" in results["Loop"].message
    assert any(isinstance(event, NoHosts) for event in events)
    assert any(isinstance(event, Warning) and "nobody" in event.text for event in events)
    (stats,) = [event for event in events if isinstance(event, Stats)]
    assert (stats.hosts["localhost"].failed, stats.hosts["localhost"].rescued) == (1, 1)
    record = Record()
    for event in events:
        record.add(event)
    (failure,) = record.failures()
    assert failure.task == "Loop" and exit_code(record, 2) == 5
    # No file contains the environment variables or the secret of a no_log task.
    folder = run.request.folder
    assert folder.stat().st_mode & 0o777 == 0o700
    assert list((folder / "artifacts/run/job_events").iterdir()), "events are kept as evidence"
    assert not files_with(project / ".pegasus", b"AKIA-NOT-ON-DISK")
    assert not files_with(project / ".pegasus", b"hunter2")
    assert not (folder / "artifacts/run/command").exists()


def test_a_playbook_that_ansible_refuses(project: Path) -> None:
    run = start(project, "- hosts: localhost\n  tusks: []\n")
    events = finish(run)
    assert run.outcome.rc not in (0, None)
    assert any(isinstance(event, Problem) and "tusks" in event.text for event in events)


@pytest.mark.slow
def test_a_locale_that_is_not_installed_is_replaced(project: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from tests.driver.run.test_runner import start, finish\n"
        "run = start(Path(sys.argv[1]), '- hosts: localhost\\n  tasks: [{ansible.builtin.debug: {msg: hello}}]\\n')\n"
        "finish(run); sys.exit(run.outcome.rc)"
    )
    environ = {**os.environ, "LC_ALL": "xx_YY.UTF-8"}
    done = subprocess.run(
        [sys.executable, "-c", code, project],
        cwd=Path(__file__).parents[3],
        env=environ,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr


SLOW = """\
- hosts: localhost
  tasks:
    - name: Take long
      ansible.builtin.command: "sh -c 'echo $$ > {{ lookup('env', 'PROJECT') }}/pid; TRAP exec sleep 300'"
"""


def has_ended(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
    except OSError:
        return True


def pid_in(project: Path) -> int:
    path = project / "pid"
    wait_until(lambda: path.is_file() and path.read_text().strip().isdigit())
    return int(path.read_text())


@pytest.mark.slow
@pytest.mark.parametrize("how", ["cancel", "cancel a deaf task", "kill"])
def test_a_cancelled_run_leaves_no_process(project: Path, monkeypatch: pytest.MonkeyPatch, how: str) -> None:
    monkeypatch.setattr(runner, "GRACE", 1.0)
    deaf = "deaf" in how
    run = start(project, SLOW.replace("TRAP ", "trap '' INT TERM HUP; " if deaf else ""))
    pid = pid_in(project)
    ansible = run._own_children()
    assert len(ansible) == 1
    run.kill() if how == "kill" else run.cancel()
    finish(run)
    wait_until(lambda: has_ended(pid) and has_ended(ansible[0]), 1)
    assert not [pid for pid in processes() if pid != os.getpid() and carries(pid, run._mark)]


def test_the_newest_runs_are_kept(tmp_path: Path) -> None:
    first = datetime(2026, 11, 24, tzinfo=UTC)
    folders = [make_run_folder(tmp_path, "setup", first + timedelta(seconds=n)) for n in range(25)]
    again = make_run_folder(tmp_path, "setup", first + timedelta(seconds=24))
    assert again != folders[-1] and again.is_dir()
    left = sorted(path.name for path in (tmp_path / ".pegasus/runs").iterdir())
    assert len(left) == RUNS_KEPT and {folders[-1].name, again.name} <= set(left)
    # The new run keeps its folder even if the clock was set back.
    assert make_run_folder(tmp_path, "setup", first - timedelta(days=1)).is_dir()


@pytest.mark.slow
def test_the_whole_command_with_a_real_run(project: Path, world: FakeWorld) -> None:
    (project / "playbooks/status.yml").write_text(
        "- name: Look\n  hosts: localhost\n  tasks:\n    - name: Speak\n      ansible.builtin.debug: {msg: hello}\n"
    )
    world.cloud.running = True
    host = world.real()
    code = main(["status"], World(**{**vars(host), "environ": dict(os.environ), "run_playbook": PlaybookRun}))
    assert code == 0, world.errors
    assert "Look" in world.text and "hello" in world.text and "status of Bench: done" in world.text


@pytest.mark.slow
def test_ctrl_c_on_the_whole_command(project: Path, world: FakeWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    (project / "playbooks/setup.yml").write_text(SLOW.replace("TRAP ", ""))
    sent: list[int] = []

    def tick(self: object, now: float) -> None:
        if not sent and (project / "pid").is_file():
            sent.append(1)
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr("pegasus_driver.view.plain.PlainView.tick", tick)
    host = world.real()
    environ = {**os.environ, "PROJECT": str(project)}
    code = main(["setup"], World(**{**vars(host), "environ": environ, "run_playbook": PlaybookRun}))
    assert code == 130
    assert "Ansible finishes its current tasks" in world.text and "interrupted after" in world.errors
    assert has_ended(pid_in(project))
