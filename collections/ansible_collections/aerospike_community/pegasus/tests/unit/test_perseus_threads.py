"""The proof that Perseus took a load over, against a real process that prints a table and reads the file."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.threads_file import WORKLOADS, render
from ansible_collections.aerospike_community.pegasus.plugins.modules import perseus_threads as subject

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
        subject.replace(self.file, render(new))
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
    began = time.monotonic()
    with pytest.raises(subject.NotTakenOverError, match="its process ended"):
        # A killed process is a zombie until its parent looks; its threads are gone by then or shortly after.
        threading.Timer(0.2, perseus.process.wait).start()
        perseus.prove(load(write=1), load(write=3), 10)
    assert time.monotonic() - began < 5


def test_the_file_is_replaced_and_never_written_in_place(perseus):
    perseus.file.write_text("old")
    with perseus.file.open() as reader:
        subject.replace(perseus.file, render(load(write=7)))
        assert reader.read() == "old"
    assert "write: 7\n" in perseus.file.read_text()
    assert perseus.file.stat().st_mode & 0o777 == 0o644
    assert sorted(path.name for path in perseus.file.parent.iterdir()) == ["perseus.log", "threads.yaml"]
