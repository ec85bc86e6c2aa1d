"""The live load is set, and the proof that Perseus took it over, against a real process that prints a table."""

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
# Begins and ends as many threads as told on stdin, named as Java names those of Perseus's workloads; "other" begins one
# with another name.
PERSEUS = """
import itertools, sys, threading
numbers, running = itertools.count(), []

def work(name, stop, began):
    open(f"/proc/self/task/{threading.get_native_id()}/comm", "w").write(name)
    began.set()
    stop.wait()

def begin(name):
    stop, began = threading.Event(), threading.Event()
    thread = threading.Thread(target=work, args=(name, stop, began), daemon=True)
    thread.start()
    began.wait()
    return thread, stop

for line in sys.stdin:
    word, _, value = line.strip().partition(" ")
    for _ in range(int(value)):
        if word == "begin":
            running.append(begin(f"Thread-{next(numbers)}"))
        elif word == "end":
            thread, stop = running.pop()
            stop.set()
            thread.join()
        else:
            begin("pool-1-thread-1")
    print("done", flush=True)
"""


def load(**threads: int) -> dict[str, int]:
    return dict.fromkeys(WORKLOADS, 0) | threads


class Perseus:
    """The process; beginning and ending threads is what a test tells it to."""

    def __init__(self, folder: Path) -> None:
        self.file, self.log = folder / "threads.yaml", folder / "perseus.log"
        self.log.write_text(HEADER + "| Threads:    | 1           | 1           |                |\n")
        self.process = subprocess.Popen(
            [sys.executable, "-c", PERSEUS], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.tell("begin 2")
        self.tell("other 1")

    def tell(self, line: str) -> None:
        assert self.process.stdin and self.process.stdout
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        assert self.process.stdout.readline() == "done\n"

    def say(self, text: str) -> None:
        with self.log.open("a") as stream:
            stream.write(text)

    def prove(self, old: dict[str, int], new: dict[str, int], timeout: float = 0.3) -> str:
        """What the module does once the content is checked."""
        proof = subject.Proof(self.log, self.process.pid)
        subject.replace(self.file, render(new).encode())
        then = threading.Thread(target=self.then)
        then.start()
        try:
            return proof.wait(old, new, timeout)
        finally:
            then.join()

    def then(self) -> None:
        """What happens after the new file is there."""


@pytest.fixture
def perseus(tmp_path):
    one = Perseus(tmp_path)
    yield one
    one.process.kill()
    one.process.wait()
    for stream in (one.process.stdin, one.process.stdout):
        stream.close()


@pytest.mark.parametrize(
    ("old", "new", "what"),
    [
        ({"write": 1, "read": 1}, {"write": 3, "read": 2}, ["begin 3"]),
        ({"write": 1, "read": 1}, {"write": 1}, ["end 1"]),
        ({"write": 1, "read": 1}, {}, ["end 2"]),
        ({"write": 1, "read": 1}, {"write": 2}, ["end 1", "begin 1"]),
        # Its file was missing or no good.
        ({}, {"write": 1, "read": 3}, ["begin 2", "row"]),
    ],
)
def test_its_threads_are_proof(perseus, old, new, what):
    perseus.then = lambda: [perseus.say(ROW) if line == "row" else perseus.tell(line) for line in what]
    assert perseus.prove(load(**old) if old else {}, load(**new), 5) == "process"


@pytest.mark.parametrize("queries", [0, 9])  # they have no column here, and so no threads
def test_a_load_that_stays_is_proven_by_a_row(perseus, queries):
    """Threads alone would prove it of a process that is stuck as well."""
    with pytest.raises(subject.NotTakenOverError, match=r"has 2 workload threads \(2 before\)"):
        perseus.prove(load(write=1, read=1), load(write=1, read=1, rangeQuery=queries))

    perseus.then = lambda: perseus.say(ROW)
    assert perseus.prove(load(write=1, read=1), load(write=1, read=1, rangeQuery=queries), 5) == "process"


@pytest.mark.parametrize(
    ("new", "what", "message"),
    [
        ({"write": 3, "read": 1}, ["begin 1"], r"has 3 workload threads \(2 before\)"),
        ({"write": 3, "read": 1}, ["begin 1", "other 1"], "has 3 workload threads"),
        ({"write": 1}, [], "has 2 workload threads"),
        # As many as before, but none began and none ended: these are still the old ones.
        ({"write": 2}, [], "expected write 2, read 0 within .*, found no Threads row"),
    ],
)
def test_other_threads_are_none(perseus, new, what, message):
    perseus.then = lambda: [perseus.tell(line) for line in what]
    with pytest.raises(subject.NotTakenOverError, match=message):
        perseus.prove(load(write=1, read=1), load(**new))


def test_threads_prove_nothing_before_a_header_says_which_workloads_are_on(perseus):
    perseus.log.write_text("")
    with pytest.raises(subject.NotTakenOverError):
        perseus.prove(load(write=1, read=1), load(write=1, read=1))


def test_the_old_threads_row_is_no_proof_and_the_new_one_is(perseus):
    """Both hold the asked counts; one was printed before."""
    with pytest.raises(subject.NotTakenOverError, match="found no Threads row"):
        perseus.prove(load(write=3), load(write=1, read=1))

    perseus.then = lambda: perseus.say("| Threads:    | 2           | 1           |                |\n")
    with pytest.raises(subject.NotTakenOverError, match=r"expected write 1, read 1 within .*, found write 2, read 1"):
        perseus.prove(load(write=3), load(write=1, read=1))

    perseus.then = lambda: perseus.say(HEADER + "| Threads:    | 1           | 1           |                |\n")
    assert perseus.prove(load(write=3), load(write=1, read=1), 5) == "threads row"


def test_a_perseus_that_ends_is_no_proof(perseus):
    perseus.then = perseus.process.kill
    with pytest.raises(subject.NotTakenOverError, match="its process ended"):
        # A killed process is a zombie until its parent looks; its threads are gone by then or shortly after.
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


# --- How the host is told -------------------------------------------------------------------------------------------


@pytest.fixture
def programs(tmp_path):
    """The folder of a host that has been set up."""
    folder = tmp_path / "programs"
    for file in perseus_programs(str(folder)):
        Path(file["path"]).parent.mkdir(parents=True, exist_ok=True)
        Path(file["path"]).write_text(file["content"])
    return folder


@pytest.fixture(autouse=True)
def without_ansible(monkeypatch):
    """The base class asks the task for what only a playbook gives it."""
    monkeypatch.setattr(ActionBase, "run", lambda *_, **__: {})


class Host(ActionModule):
    """The action on this machine, without Ansible's connection; `sent` says whether it fell back to the module."""

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
        return {"changed": False, "message": "the load of threads.yaml runs"}


def test_the_installed_program_does_what_the_module_would(tmp_path, programs):
    live = tmp_path / "live.yaml"
    asked = {"content": render(load(write=3)), "path": str(live), "programs": str(programs)}
    host = Host(asked, check=True)
    assert host.run()["changed"] is True
    assert not live.exists()
    result = Host(asked).run(task_vars={"inventory_hostname": "Client-1"})
    assert result["threads"]["write"] == 3
    assert result["annotation"] == ["Client-1 write 0 -> 3"]
    assert "note" not in result, "nothing was proven"
    assert live.read_text() == render(load(write=3))
    again = Host(asked).run()
    assert again["changed"] is False and "annotation" not in again
    refused = Host({**asked, "content": "write: 010"}).run()
    assert refused["failed"] and refused["error_class"] == "configuration"
    assert "threads.yaml was refused" in refused["msg"]
    assert live.read_text() == render(load(write=3))
    assert not host.sent


def test_a_host_without_the_program_gets_the_module(tmp_path):
    host = Host({"content": render(load()), "path": str(tmp_path / "live.yaml"), "programs": str(tmp_path / "none")})
    result = host.run(task_vars={"inventory_hostname": "Client-1"})
    assert host.sent
    assert result["note"] == ["Client-1: the load of threads.yaml runs"]


def test_a_program_that_breaks_is_told_and_not_hidden_by_the_module(tmp_path, programs):
    (program,) = programs.rglob("live_load.py")
    program.write_text("raise SystemExit('out of order')")
    host = Host({"content": render(load()), "path": str(tmp_path / "live.yaml"), "programs": str(programs)})
    result = host.run()
    assert result["failed"]
    assert "exited with 1: out of order. Run setup-clients to install it again" in result["msg"]
    assert not host.sent


def test_a_service_that_does_not_run_takes_no_load_over(tmp_path):
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
    assert "expected the service perseus to run, found that it doesn't" in json.loads(done.stdout)["msg"]
    assert not live.exists()
