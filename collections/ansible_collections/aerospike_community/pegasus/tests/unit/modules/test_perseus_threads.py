"""Setting the live load, and the proof that Perseus applies it, with a real process that prints a table."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from ansible.playbook.task import Task
from ansible.plugins.action import ActionBase
from ansible_collections.aerospike_community.pegasus.plugins.action.perseus_threads import ActionModule
from ansible_collections.aerospike_community.pegasus.plugins.filter.perseus_client import perseus_programs
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.perseus import live_load as subject
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.perseus.threads import WORKLOADS, render

HEADER = (
    "| Test Cases: | Write       | Read        | Total TPS      |\n"
    "|             |             |             |                |\n"
)
ROW = "| 12          | 5           | 7           | 12             |\n"
# Starts and ends as many threads as stdin requests, with Java's names of Perseus's workload threads. "other" starts a
# thread with another name.
PERSEUS = """
import itertools, sys, threading
numbers, running = itertools.count(), []

def work(name, stop, started):
    open(f"/proc/self/task/{threading.get_native_id()}/comm", "w").write(name)
    started.set()
    stop.wait()

def start(name):
    stop, started = threading.Event(), threading.Event()
    thread = threading.Thread(target=work, args=(name, stop, started), daemon=True)
    thread.start()
    started.wait()
    return thread, stop

for line in sys.stdin:
    word, _, value = line.strip().partition(" ")
    for _ in range(int(value)):
        if word == "start":
            running.append(start(f"Thread-{next(numbers)}"))
        elif word == "end":
            thread, stop = running.pop()
            stop.set()
            thread.join()
        else:
            start("pool-1-thread-1")
    print("done", flush=True)
"""


def load(**threads: int) -> dict[str, int]:
    return dict.fromkeys(WORKLOADS, 0) | threads


class Perseus:
    """A process that starts and ends threads when a test requests it."""

    def __init__(self, folder: Path) -> None:
        self.file, self.log = folder / "threads.yaml", folder / "perseus.log"
        self.log.write_text(HEADER + "| Threads:    | 1           | 1           |                |\n")
        self.process = subprocess.Popen(
            [sys.executable, "-c", PERSEUS], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.command("start 2")
        self.command("other 1")

    def command(self, line: str) -> None:
        assert self.process.stdin and self.process.stdout
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        assert self.process.stdout.readline() == "done\n"

    def print(self, text: str) -> None:
        with self.log.open("a") as stream:
            stream.write(text)

    def prove(self, old: dict[str, int], new: dict[str, int], timeout: float = 0.3) -> str:
        """Do what the module does with valid content."""
        watch = subject.LoadWatch(self.log, self.process.pid)
        subject.replace(self.file, render(new).encode())
        # Before the wait and not beside it: a busy machine could take longer for it than the timeout.
        self.react()
        return watch.wait(old, new, timeout)

    def react(self) -> None:
        """What Perseus does after the file is replaced. A test sets it."""


@pytest.fixture
def perseus(tmp_path):
    running = Perseus(tmp_path)
    yield running
    running.process.kill()
    running.process.wait()
    for stream in (running.process.stdin, running.process.stdout):
        stream.close()


@pytest.mark.parametrize(
    ("old", "new", "what"),
    [
        ({"write": 1, "read": 1}, {"write": 3, "read": 2}, ["start 3"]),
        ({"write": 1, "read": 1}, {"write": 1}, ["end 1"]),
        ({"write": 1, "read": 1}, {}, ["end 2"]),
        ({"write": 1, "read": 1}, {"write": 2}, ["end 1", "start 1"]),
        # The file was missing or invalid.
        ({}, {"write": 1, "read": 3}, ["start 2", "row"]),
    ],
)
def test_the_threads_of_the_process_prove_the_load(perseus, old, new, what):
    perseus.react = lambda: [perseus.print(ROW) if line == "row" else perseus.command(line) for line in what]
    assert perseus.prove(load(**old) if old else {}, load(**new), 5) == "process"


@pytest.mark.parametrize("queries", [0, 9])  # they have no column here, so they have no threads
def test_an_unchanged_load_is_proven_by_a_row(perseus, queries):
    """Its threads alone don't prove that the process isn't stuck."""
    with pytest.raises(subject.NotAppliedError, match=r"has 2 workload threads \(2 before\)"):
        perseus.prove(load(write=1, read=1), load(write=1, read=1, rangeQuery=queries))

    perseus.react = lambda: perseus.print(ROW)
    assert perseus.prove(load(write=1, read=1), load(write=1, read=1, rangeQuery=queries), 5) == "process"


@pytest.mark.parametrize(
    ("new", "what", "message"),
    [
        ({"write": 3, "read": 1}, ["start 1"], r"has 3 workload threads \(2 before\)"),
        ({"write": 3, "read": 1}, ["start 1", "other 1"], "has 3 workload threads"),
        ({"write": 1}, [], "has 2 workload threads"),
        # The right number, but no thread started and none ended, so these are the old threads.
        ({"write": 2}, [], "expected write 2, read 0 within .*, found no Threads row"),
    ],
)
def test_other_threads_prove_nothing(perseus, new, what, message):
    perseus.react = lambda: [perseus.command(line) for line in what]
    with pytest.raises(subject.NotAppliedError, match=message):
        perseus.prove(load(write=1, read=1), load(**new))


def test_threads_prove_nothing_before_a_header_names_the_enabled_workloads(perseus):
    perseus.log.write_text("")
    with pytest.raises(subject.NotAppliedError):
        perseus.prove(load(write=1, read=1), load(write=1, read=1))


def test_an_old_threads_row_is_no_proof_but_a_new_one_is(perseus):
    """Both have the requested counts, but the old row was printed before the file was replaced."""
    with pytest.raises(subject.NotAppliedError, match="found no Threads row"):
        perseus.prove(load(write=3), load(write=1, read=1))

    perseus.react = lambda: perseus.print("| Threads:    | 2           | 1           |                |\n")
    with pytest.raises(subject.NotAppliedError, match=r"expected write 1, read 1 within .*, found write 2, read 1"):
        perseus.prove(load(write=3), load(write=1, read=1))

    perseus.react = lambda: perseus.print(HEADER + "| Threads:    | 1           | 1           |                |\n")
    assert perseus.prove(load(write=3), load(write=1, read=1), 5) == "threads row"


def test_a_perseus_that_exits_is_no_proof(perseus):
    perseus.react = perseus.process.kill
    with pytest.raises(subject.NotAppliedError, match="its process exited"):
        # A killed process is a zombie until its parent waits for it. Its threads end before or shortly after.
        threading.Timer(0.2, perseus.process.wait).start()
        perseus.prove(load(write=1), load(write=3), 10)


def test_the_file_is_replaced_and_never_written_in_place(perseus):
    perseus.file.write_text("old")
    with perseus.file.open() as reader:
        subject.replace(perseus.file, render(load(write=7)).encode())
        assert reader.read() == "old"
    assert "write: 7\n" in perseus.file.read_text()
    assert perseus.file.stat().st_mode & 0o777 == 0o644
    assert sorted(path.name for path in perseus.file.parent.iterdir()) == ["perseus.log", "threads.yaml"]


# --- The program on the host ----------------------------------------------------------------------------------------


@pytest.fixture
def programs(tmp_path):
    """The folder of programs on a host that was set up."""
    folder = tmp_path / "programs"
    for file in perseus_programs(str(folder)):
        Path(file["path"]).parent.mkdir(parents=True, exist_ok=True)
        Path(file["path"]).write_text(file["content"])
    return folder


@pytest.fixture(autouse=True)
def without_ansible(monkeypatch):
    """The base class needs a task of a real playbook."""
    monkeypatch.setattr(ActionBase, "run", lambda *_, **__: {})


class Host(ActionModule):
    """The action plugin on this machine, without a connection. `sent`: whether it fell back to the module."""

    def __init__(self, arguments: dict[str, Any], check: bool = False) -> None:
        self._task = Task()
        self._task.args, self._task.check_mode = arguments, check
        self.sent = False

    def _low_level_execute_command(self, command: str, in_data: bytes) -> dict[str, Any]:
        environ = {"PATH": os.environ["PATH"], "PYTHONDONTWRITEBYTECODE": "1"}
        done = subprocess.run(["/bin/sh", "-c", command], input=in_data, capture_output=True, check=False, env=environ)
        return {"rc": done.returncode, "stdout": done.stdout.decode(), "stderr": done.stderr.decode()}

    def _execute_module(self, **_: Any) -> dict[str, Any]:
        self.sent = True
        return {"changed": False, "message": "Perseus runs the load"}


def test_the_installed_program_replaces_the_module(tmp_path, programs):
    live = tmp_path / "live.yaml"
    arguments = {"content": render(load(write=3)), "path": str(live), "programs": str(programs)}
    host = Host(arguments, check=True)
    assert host.run()["changed"] is True
    assert not live.exists()
    result = Host(arguments).run(task_vars={"inventory_hostname": "Client-1"})
    assert result["threads"]["write"] == 3
    assert result["annotation"] == ["Client-1 write 0 -> 3"]
    assert "note" not in result, "nothing was proven"
    assert live.read_text() == render(load(write=3))
    again = Host(arguments).run()
    assert again["changed"] is False and "annotation" not in again
    refused = Host({**arguments, "content": "write: 010"}).run()
    assert refused["failed"] and refused["error_class"] == "configuration"
    assert "threads.yaml was refused" in refused["msg"]
    assert live.read_text() == render(load(write=3))
    assert not host.sent


def test_a_host_without_the_program_uses_the_module(tmp_path):
    host = Host({"content": render(load()), "path": str(tmp_path / "live.yaml"), "programs": str(tmp_path / "none")})
    result = host.run(task_vars={"inventory_hostname": "Client-1"})
    assert host.sent
    assert result["note"] == ["Client-1: Perseus runs the load"]


def test_a_broken_program_is_reported_and_not_replaced_by_the_module(tmp_path, programs):
    (program,) = programs.rglob("live_load.py")
    program.write_text("raise SystemExit('out of order')")
    host = Host({"content": render(load()), "path": str(tmp_path / "live.yaml"), "programs": str(programs)})
    result = host.run()
    assert result["failed"]
    assert "exited with 1: out of order. Run setup-clients to install it again" in result["msg"]
    assert not host.sent


def test_a_service_that_is_not_running_gets_no_load(tmp_path):
    (tmp_path / "systemctl").write_text("#!/bin/sh\necho 0\n")
    (tmp_path / "systemctl").chmod(0o755)
    live = tmp_path / "live.yaml"
    request = {"content": render(load()), "path": str(live), "rows_file": "/nonexistent", "service": "perseus",
               "prove": True, "timeout": 1, "check": False}  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-m", subject.__name__], input=json.dumps(request), capture_output=True, text=True, check=True,
        env=os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}",
                          "PYTHONPATH": str(Path(subject.__file__).parents[6])},
    )  # fmt: skip
    assert "expected the service perseus to run, found that it isn't running" in json.loads(done.stdout)["msg"]
    assert not live.exists()
