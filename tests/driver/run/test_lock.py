"""The locks of an environment: which actions exclude each other, and what a killed driver leaves behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from itertools import product
from pathlib import Path

import pytest

from pegasus_driver import ROOT
from pegasus_driver.actions import ACTIONS, HOSTS, Action
from pegasus_driver.errors import LockedError
from pegasus_driver.exit_codes import ExitCode
from pegasus_driver.parts import ALL, Part
from pegasus_driver.run.lock import environment_lock, holders, lock_folder
from pegasus_driver.run.processes import LOCK_VARIABLE, lock_mark
from tests.driver.fakes import FakeWorld

PLACE = Path("local/us-east-1/Bench")  # of tests/driver/fakes.py
SINCE = datetime(2026, 11, 24, 3, 5, tzinfo=UTC)
BY_NAME = {action.name: action for action in ACTIONS}


def exclude_each_other(root: Path, first: Action, second: Action) -> bool:
    """Whether the second action is refused while the first one runs."""
    with environment_lock(root, PLACE, first.name, first.parts, SINCE):
        try:
            with environment_lock(root, PLACE, second.name, second.parts, SINCE):
                return False
        except LockedError as error:
            assert first.name in error.message and str(os.getpid()) in error.message
            return True


# Exact, because each pair is a decision: what may run while hosts are set up, nodes restart, or the load changes.
ALLOWED_WITH = {
    "setup": {"copy-threads", "extend", "allow-me"},
    "remove-node": {"copy-threads", "extend", "allow-me"},
    "stop-node": {"setup-clients", "destroy-clients", "rebuild-clients", "build-clients", "rerun-clients",
                  "copy-threads", "setup-grafana", "destroy-grafana", "extend", "allow-me"},
    "copy-threads": {"setup", "setup-cluster", "destroy-cluster", "add-nodes", "stop-node", "restart-node", "kill-node",
                     "remove-node", "setup-clients", "rebuild-clients", "build-clients", "rerun-clients",
                     "setup-grafana", "destroy-grafana", "extend", "allow-me"},
    "destroy-clients": {"stop-node", "restart-node", "kill-node", "allow-me"},
    "destroy": set(),
    "reap": set(),
    "run": set(),
}  # fmt: skip


@pytest.mark.parametrize("name", ALLOWED_WITH)
def test_what_may_run_beside_an_action(tmp_path: Path, name: str) -> None:
    changing = [action for action in ACTIONS if action.parts]
    allowed = {other.name for other in changing if not exclude_each_other(tmp_path, BY_NAME[name], other)}
    assert allowed == ALLOWED_WITH[name]


def test_each_pair_excludes_each_other_exactly_if_it_shares_a_part(tmp_path: Path) -> None:
    for first, second in product(ACTIONS, repeat=2):
        shared = bool(set(first.parts) & set(second.parts))
        assert exclude_each_other(tmp_path, first, second) is shared, (first.name, second.name)


def test_actions_that_launch_or_terminate_instances_exclude_each_other() -> None:
    """They all change the monitors' list of targets. Two launches at once would both create the missing instances."""
    names = {action.name for action in ACTIONS if action.launches or action.name.startswith("destroy")} - {
        "copy-threads"
    }
    assert all(Part.MONITORS in BY_NAME[name].parts for name in names | {"remove-node", "reap"})


def test_a_refusal_names_every_holder_and_the_shared_parts(world: FakeWorld) -> None:
    world.cloud.running = True
    with (
        environment_lock(world.root, PLACE, "setup", HOSTS, SINCE),
        environment_lock(world.root, PLACE, "extend", [Part.EXPIRY], SINCE),
    ):
        when = SINCE.astimezone().strftime("%H:%M")
        assert world.run("destroy") == ExitCode.USAGE
        assert (
            f"setup of Bench has been running since {when} (pid {os.getpid()}) and changes the servers, the clients "
            "and the monitors, which destroy changes too; "
            f"extend of Bench has been running since {when} (pid {os.getpid()}) and changes the expiry, which destroy "
            "changes too" in world.errors
        )
        assert "kill and its pid" in world.errors
        assert world.run("status") == 0  # changes nothing
    assert world.run("setup") == 0


def test_a_refused_action_holds_nothing(tmp_path: Path) -> None:
    with environment_lock(tmp_path, PLACE, "copy-threads", [Part.LOAD], SINCE):
        with pytest.raises(LockedError), environment_lock(tmp_path, PLACE, "destroy", ALL, SINCE):
            pass
        with environment_lock(tmp_path, PLACE, "setup", HOSTS, SINCE):
            assert len(holders(tmp_path, "local", SINCE)) == 2
    assert holders(tmp_path, "local", SINCE) == []


@pytest.mark.parametrize("place", ["local/eu-west-1/Bench", "aws/us-east-1/Bench", "local/us-east-1/Bench.servers"])
def test_an_action_on_another_environment_does_not_lock_this_one(world: FakeWorld, place: str) -> None:
    with environment_lock(world.root, Path(place), "setup", ALL, SINCE):
        assert world.run("setup") == 0


def test_an_action_on_aws_does_not_lock_the_local_cloud(world: FakeWorld) -> None:
    world.cloud.running = True
    with environment_lock(world.root, Path("aws/us-east-1/Bench"), "setup", HOSTS, SINCE):
        assert world.run("local", "stop") == 0 and "stopped" in world.text


@pytest.mark.parametrize(("action", "parts"), [("setup", HOSTS), ("copy-threads", (Part.LOAD,))])
def test_the_local_cloud_is_not_stopped_during_an_action(world: FakeWorld, action: str, parts: Sequence[Part]) -> None:
    world.cloud.running = True
    with environment_lock(world.root, PLACE, action, parts, SINCE):
        assert world.run("local", "stop") == ExitCode.USAGE
        assert world.errors.count(f"{action} of Bench has been running since") == 1 and "Ctrl-C" in world.errors
        assert world.cloud.calls == []
        # destroy ends with this, while it holds the locks itself.
        assert world.run("local", "stop", "--if-empty") == 0
    # The lock file of a killed driver isn't held.
    stale = lock_folder(world.root, PLACE) / "servers.lock"
    stale.write_text('{"action": "setup", "pid": 1, "since": "2026-11-24T03:05:00+00:00"}')
    world.cloud.running = True
    assert world.run("local", "stop") == 0 and "stopped" in world.text


HOLDER = """
import sys
from datetime import UTC, datetime
from pathlib import Path
from pegasus_driver.actions import ACTIONS
from pegasus_driver.run.lock import environment_lock
action = next(action for action in ACTIONS if action.name == sys.argv[2])
with environment_lock(Path(sys.argv[1]), Path(sys.argv[3]), action.name, action.parts, datetime.now(UTC)):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_killed_driver_releases_its_parts(tmp_path: Path) -> None:
    command = [sys.executable, "-c", HOLDER, str(tmp_path), "setup", str(PLACE)]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as driver:
        assert driver.stdout is not None and driver.stdout.readline() == "held\n"
        with pytest.raises(LockedError, match=f"pid {driver.pid}"):
            ExitStack().enter_context(environment_lock(tmp_path, PLACE, "stop-node", [Part.SERVERS], SINCE))
        with environment_lock(tmp_path, PLACE, "copy-threads", [Part.LOAD], SINCE):
            driver.kill()
            driver.wait(30)
    with environment_lock(tmp_path, PLACE, "stop-node", [Part.SERVERS], SINCE):
        assert [line.split()[0] for line in holders(tmp_path, "local", SINCE)] == ["stop-node"]


@pytest.mark.parametrize(
    ("killed", "next_action", "ended"),
    [
        ("setup", "setup", True),
        ("setup", "setup-clients", True),  # one common part is enough: nobody else can hold it
        ("copy-threads", "destroy", True),
        # The load belongs to another run, which may be in progress.
        ("setup", "copy-threads", False),
        ("copy-threads", "setup", False),
        ("setup", "status", False),
    ],
)
def test_leftovers_of_a_killed_driver_are_killed_by_the_next_holder(
    world: FakeWorld, killed: str, next_action: str, ended: bool
) -> None:
    mark = {LOCK_VARIABLE: lock_mark(lock_folder(world.root, PLACE), BY_NAME[killed].parts)}
    (world.root / "playbooks" / f"{next_action}.yml").touch()
    world.cloud.running = True
    with subprocess.Popen(["sleep", "300"], env={**os.environ, **mark}) as orphan:
        try:
            assert world.run(next_action) == 0
            assert ("whose driver was killed" in world.text) is ended
            assert orphan.poll() is None or ended
            assert not ended or orphan.wait(10) == -signal.SIGKILL
        finally:
            orphan.kill()
    if ended:
        assert world.run(next_action) == 0 and "killed" not in world.text


def test_leftovers_of_another_environment_stay(world: FakeWorld) -> None:
    mark = {LOCK_VARIABLE: lock_mark(lock_folder(world.root, Path("local/us-east-1/Other")), ALL)}
    with subprocess.Popen(["sleep", "300"], env={**os.environ, **mark}) as process:
        try:
            assert world.run("setup") == 0
            assert process.poll() is None
        finally:
            process.kill()


def test_a_run_marks_its_processes_with_its_parts(world: FakeWorld) -> None:
    assert world.run("setup") == 0
    folder = lock_folder(world.root, PLACE)
    assert world.requests[-1].environ[LOCK_VARIABLE] == f"{folder}:servers,clients,monitors"
    assert world.run("status") == 0
    assert LOCK_VARIABLE not in world.requests[-1].environ
