# Copyright (c) Pegasus authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""The live load on a client's host: puts threads.yaml in place in one step, and sees that Perseus takes it over.

The module perseus_threads uses it, and it is a program on hosts that the role perseus_client has set up:

    python3 -s -m ansible_collections.aerospike_community.pegasus.plugins.module_utils.live_load

It reads set_load's arguments as one JSON object from stdin, and prints its result. Standard library only.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from ansible_collections.aerospike_community.pegasus.plugins.module_utils.host.file_replacement import replace

from .rows import LogFollower, TableReader
from .threads import ThreadsFileError, parse, render

POLL_SECONDS = 0.02
# The last header is at most 10 rows back; error lines may stand between.
LOOK_BACK_BYTES = 128 * 1024
# How Java names threads that got no name of their own, which a kernel shows. Only Perseus's workload threads are such:
# its timers are pool-N-thread-M, the client's tend and Aerospike-N (Perseus 935c175, client 7.1.0, JDK 17).
WORKLOAD_THREAD = re.compile(r"Thread-\d+")
SEEN_IN = {"process": "its process's threads", "threads row": "its Threads row"}


# Those of the module.
ARGUMENTS: dict[str, Any] = {
    "content": {"type": "str", "required": True},
    "path": {"type": "path", "default": "/var/lib/perseus/threads.yaml"},
    "prove": {"type": "bool", "default": False},
    "rows_file": {"type": "path", "default": "/var/log/perseus/perseus.log"},
    "service": {"type": "str", "default": "perseus"},
    "timeout": {"type": "float", "default": 40},
    "programs": {"type": "path"},
}


class NotTakenOverError(Exception):
    """Perseus doesn't show the new load."""


class Proof:
    """One Perseus, watched from before the new file is there until it shows the new load."""

    def __init__(self, rows_file: Path, process: int) -> None:
        """:param process: Perseus's process id"""
        self.process = Path(f"/proc/{process}/task")
        self.follower = LogFollower(rows_file, LOOK_BACK_BYTES)
        self.table = TableReader()
        # What was printed until now names the columns; its Threads row may be 10 rows old.
        self.table.feed_all(self.follower.lines())
        self.columns = {column.workload for column in self.table.columns}
        self.table.threads = {}
        self.alive = False  # whether it printed a row since
        self.threads_before = self.workload_threads() or set()
        self.began = time.monotonic()

    def wait(self, old: dict[str, int], new: dict[str, int], timeout: float) -> str:
        """Return what shows the new load.

        :param old: the load that the file held before; empty where that isn't known
        :raises NotTakenOverError: nothing did within ``timeout`` seconds, or Perseus ended
        """
        while True:
            self.alive = bool(self.table.feed_all(self.follower.lines())) or self.alive
            printed = self.table.threads
            if printed and all(new[name] == count for name, count in printed.items() if name in new):
                return "threads row"
            threads = self.workload_threads()
            if threads is None:
                raise NotTakenOverError("expected Perseus to run on, found that its process ended")
            if self.shows(threads, old, new):
                return "process"
            if time.monotonic() - self.began > timeout:
                raise NotTakenOverError(self.describe(new, threads, timeout))
            time.sleep(POLL_SECONDS)

    def shows(self, threads: set[str], old: dict[str, int], new: dict[str, int]) -> bool:
        """Whether the process's workload threads are those of the new load. They don't tell whose they are, so beside
        their number as many must have begun and ended as the change asks for: write 1, read 0 isn't write 0, read 1.

        Where no thread has to begin or end, a row shows that the process isn't stuck. A workload without a column is
        off, and has no threads whatever the file says.
        """
        if not self.columns:
            return False
        change = [new[name] - old.get(name, new[name]) for name in new if name in self.columns]
        begun, ended = threads - self.threads_before, self.threads_before - threads
        return (
            len(threads) == sum(count for name, count in new.items() if name in self.columns)
            and len(begun) >= sum(count for count in change if count > 0)
            and len(ended) >= -sum(count for count in change if count < 0)
            and (any(change) or self.alive)
        )

    def workload_threads(self) -> set[str] | None:
        """The ids of the process's workload threads; nothing when the process is gone."""
        try:
            threads = list(self.process.iterdir())
        except OSError:
            return None
        return {thread.name for thread in threads if WORKLOAD_THREAD.fullmatch(name_of(thread))}

    def describe(self, new: dict[str, int], threads: set[str], timeout: float) -> str:
        """What was expected and found, for the failure's message."""
        printed = self.table.threads
        row = ", ".join(f"{name} {count}" for name, count in printed.items()) or "no Threads row"
        wanted = ", ".join(f"{name} {count}" for name, count in new.items() if name in (printed or self.columns or new))
        return (
            f"expected {wanted} within {timeout:.0f} s, found {row}; its process has {len(threads)} workload threads "
            f"({len(self.threads_before)} before)"
        )


def name_of(thread: Path) -> str:
    """A thread's name, at most 15 characters; empty when it is gone."""
    try:
        return (thread / "comm").read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""


def running_process(service: str) -> int:
    """Perseus's process id; 0 where it doesn't run (also while it waits for its next automatic restart)."""
    command = ["systemctl", "show", "--property=MainPID", "--value", service]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return int(done.stdout.strip() or 0)


def counts_of(text: str) -> dict[str, int]:
    """The load in a file's text; nothing where Perseus couldn't read it either."""
    try:
        return parse(text)
    except ThreadsFileError:
        return {}


def set_load(
    *,
    content: str,
    path: str,
    rows_file: str,
    service: str,
    prove: bool,
    timeout: float,
    check: bool,
    programs: str | None = None,
) -> dict[str, Any]:
    """Put the load in place and prove it, as asked; return the result of the module perseus_threads, failed or not.

    The arguments are the module's, which describes them.

    :param check: change nothing
    """
    try:
        threads = parse(content)
    except ThreadsFileError as error:
        reasons = "\n".join(f"  {problem}" for problem in error.problems)
        reason = f"threads.yaml was refused and the live load stays as it is:\n{reasons}"
        problems = {"problems": error.problems, "error_class": "configuration"}
        return {"failed": True, "changed": False, "msg": reason, **problems}
    try:
        return _set_load(Path(path), threads, Path(rows_file), service if prove else "", timeout, check)
    except NotTakenOverError as error:
        reason = (
            f"Perseus doesn't show the load of threads.yaml: {error}. A Perseus that once got a value of a wrong "
            "type never reads the file again until it restarts: rerun-clients"
        )
    except OSError as error:
        reason = f"{path} can't be written: {error}"
    return {"failed": True, "changed": False, "msg": reason}


def _set_load(
    path: Path, threads: dict[str, int], rows_file: Path, service: str, timeout: float, check: bool
) -> dict[str, Any]:
    """Raises NotTakenOverError, OSError.

    :param service: whose process has to prove it; empty where nothing is to be proven
    """
    new = render(threads)
    old = path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
    result: dict[str, Any] = {
        "changed": old != new,
        "threads": threads,
        "before": counts_of(old),
        "diff": {"before_header": str(path), "after_header": str(path), "before": old, "after": new},
        "proof": "",
        "seconds": 0.0,
        "message": "",
    }
    process = running_process(service) if service else 0
    if service and not process:
        raise NotTakenOverError(f"expected the service {service} to run, found that it doesn't")
    if check:
        return result
    proof = Proof(rows_file, process) if process else None
    if old != new:
        replace(path, new.encode())
    if not proof:
        return result
    kind = proof.wait(counts_of(old), threads, timeout)
    seconds = round(time.monotonic() - proof.began, 2)
    message = f"the load of threads.yaml runs, {seconds:.1f} s after the file was there (seen in {SEEN_IN[kind]})"
    return {**result, "proof": kind, "seconds": seconds, "message": message}


if __name__ == "__main__":
    print(json.dumps(set_load(**json.load(sys.stdin))))
