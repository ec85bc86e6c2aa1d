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
# Reads the file when told to on stdin, and starts as many threads as told.
PERSEUS = """
import sys, threading, time
for line in sys.stdin:
    word, _, value = line.strip().partition(" ")
    if word == "read":
        open(value).read()
    else:
        for _ in range(int(value)):
            threading.Thread(target=time.sleep, args=(60,), daemon=True).start()
    print("done", flush=True)
"""


def load(**threads: int) -> dict[str, int]:
    return dict.fromkeys(WORKLOADS, 0) | threads


class Perseus:
    """The process; reading and starting threads is what a test tells it to."""

    def __init__(self, folder: Path) -> None:
        self.file, self.log = folder / "threads.yaml", folder / "perseus.log"
        self.log.write_text(HEADER + "| Threads:    | 1           | 1           |                |\n")
        self.process = subprocess.Popen(
            [sys.executable, "-c", PERSEUS], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.tell("start 2")

    def tell(self, line: str) -> None:
        assert self.process.stdin and self.process.stdout
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        assert self.process.stdout.readline() == "done\n"

    def read(self) -> None:
        self.tell(f"read {self.file}")

    def say(self, text: str) -> None:
        with self.log.open("a") as stream:
            stream.write(text)

    def prove(self, old: dict[str, int], new: dict[str, int], timeout: float = 0.3) -> str:
        """What the module does once the content is checked."""
        proof = subject.Proof(self.file, self.log, self.process.pid)
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


def reads_are_noted(folder: Path) -> bool:
    probe = folder / "probe"
    probe.write_text("x")
    subject.forget_reads(probe)
    probe.read_text()
    return probe.stat().st_atime_ns > 0


@pytest.fixture
def noted(tmp_path):
    if not reads_are_noted(tmp_path):
        pytest.skip("this file system notes no reads (noatime): only the Threads row proves anything here")


def test_more_threads_are_proof(perseus):
    perseus.then = lambda: perseus.tell("start 3")
    assert perseus.prove(load(write=1, read=1), load(write=3, read=2), 5) == "process"


def test_a_read_without_the_threads_is_none(perseus, noted):
    """Its reading thread died of something in the middle of the file."""
    perseus.then = perseus.read
    with pytest.raises(subject.NotTakenOverError, match=r"has read the new file and has \d+ threads"):
        perseus.prove(load(write=1, read=1), load(write=3, read=1))


def test_too_few_threads_and_no_read_are_none(perseus):
    perseus.then = lambda: perseus.tell("start 1")
    with pytest.raises(subject.NotTakenOverError, match="has not read the new file"):
        perseus.prove(load(write=1, read=1), load(write=3, read=1))


def test_fewer_threads_are_proven_by_the_read(perseus, noted):
    perseus.then = perseus.read
    assert perseus.prove(load(write=3, read=1), load(write=1), 5) == "read"


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


@pytest.mark.parametrize(
    ("old", "new", "columns", "threads"),
    [
        ({"write": 1}, {"write": 3}, {"write"}, 2),
        ({"write": 3}, {"write": 1}, {"write"}, 0),
        ({"write": 3, "read": 1}, {"write": 2, "read": 4}, {"write", "read"}, 2),
        ({"write": 1, "udf": 0}, {"write": 1, "udf": 9}, {"write"}, 0),  # no column, no threads
        ({}, {"write": 1}, {"write"}, None),
        ({"write": 1}, {"write": 2}, set(), None),
    ],
)
def test_how_many_threads_more(old, new, columns, threads):
    assert subject.growth(old, new, columns) == threads
