# Copyright (c) Pegasus authors. SPDX-License-Identifier: Apache-2.0
"""The live load of a client: replaces threads.yaml in one step, and verifies that Perseus applies it.

The module perseus_threads uses it. The Ansible role perseus_client also installs it on clients as a program:

    python3 -s -m ansible_collections.aerospike_community.pegasus.plugins.module_utils.perseus.live_load

The program reads its options and ``check`` as a JSON object from stdin, and prints the result. Standard library only.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from ..host.file_replacement import replace
from .rows import LogFollower, TableReader
from .threads import ThreadsFileError, parse, render

POLL_SECONDS = 0.02
# The last header is at most 10 rows back, but there may be error lines in between.
LOOK_BACK_BYTES = 128 * 1024
# Java's default name of a thread, as the kernel shows it. Only Perseus's workload threads have it. Its timers are named
# pool-N-thread-M, the threads of the Aerospike client tend and Aerospike-N (Perseus 935c175, client 7.1.0, JDK 17).
WORKLOAD_THREAD = re.compile(r"Thread-\d+")
EVIDENCE = {"process": "the threads of its process", "threads row": "the counts of its Threads row"}
# The options of the module.
ARGUMENTS: dict[str, Any] = {
    "content": {"type": "str", "required": True},
    "path": {"type": "path", "default": "/var/lib/perseus/threads.yaml"},
    "prove": {"type": "bool", "default": False},
    "rows_file": {"type": "path", "default": "/var/log/perseus/perseus.log"},
    "service": {"type": "str", "default": "perseus"},
    "timeout": {"type": "float", "default": 40},
    "programs": {"type": "path"},
}


class NotAppliedError(Exception):
    """Perseus doesn't run the new load."""


class LoadWatch:
    """Watches a Perseus from before the file is replaced until it runs the new load."""

    def __init__(self, rows_file: Path, process: int) -> None:
        self.process = Path(f"/proc/{process}/task")
        self.follower = LogFollower(rows_file, LOOK_BACK_BYTES)
        self.table = TableReader()
        # Earlier output is read only for the names of the columns. Its Threads row may be 10 rows old.
        self.table.feed_all(self.follower.lines())
        self.columns = {column.workload for column in self.table.columns}
        self.table.threads = {}
        self.alive = False  # whether Perseus has printed a row since
        self.threads_before = self.workload_threads() or set()
        self.began = time.monotonic()

    def wait(self, old: dict[str, int], new: dict[str, int], timeout: float) -> str:
        """Wait until Perseus runs the new load. Return what proves it, a key of EVIDENCE. Raises NotAppliedError.

        :param old: the load before; {} if unknown
        """
        while True:
            self.alive = bool(self.table.feed_all(self.follower.lines())) or self.alive
            printed = self.table.threads
            if printed and all(new[name] == count for name, count in printed.items() if name in new):
                return "threads row"
            threads = self.workload_threads()
            if threads is None:
                raise NotAppliedError("expected Perseus to keep running, found that its process exited")
            if self.proves(threads, old, new):
                return "process"
            if time.monotonic() - self.began > timeout:
                raise NotAppliedError(self.describe(new, threads, timeout))
            time.sleep(POLL_SECONDS)

    def proves(self, threads: set[str], old: dict[str, int], new: dict[str, int]) -> bool:
        """Return whether the workload threads of the process are those of the new load.

        A thread's name doesn't show its workload. So their total must be right, and as many threads must have started
        and ended as the change requires: write 1, read 0 isn't write 0, read 1. If the change requires neither, a row
        proves that the process isn't stuck. A workload without a column is disabled and never has threads.
        """
        if not self.columns:
            return False
        change = [new[name] - old.get(name, new[name]) for name in new if name in self.columns]
        started, ended = threads - self.threads_before, self.threads_before - threads
        return (
            len(threads) == sum(count for name, count in new.items() if name in self.columns)
            and len(started) >= sum(count for count in change if count > 0)
            and len(ended) >= -sum(count for count in change if count < 0)
            and (any(change) or self.alive)
        )

    def workload_threads(self) -> set[str] | None:
        """Return the ids of the process's workload threads, or None if the process has exited."""
        try:
            threads = list(self.process.iterdir())
        except OSError:
            return None
        return {thread.name for thread in threads if WORKLOAD_THREAD.fullmatch(name_of(thread))}

    def describe(self, new: dict[str, int], threads: set[str], timeout: float) -> str:
        """Return what was expected and found."""
        printed = self.table.threads
        row = ", ".join(f"{name} {count}" for name, count in printed.items()) or "no Threads row"
        shown = printed or self.columns or new
        expected = ", ".join(f"{name} {count}" for name, count in new.items() if name in shown)
        return (
            f"expected {expected} within {timeout:.0f} s, found {row}; its process has {len(threads)} workload threads "
            f"({len(self.threads_before)} before)"
        )


def name_of(thread: Path) -> str:
    """Return a thread's name, at most 15 characters, or "" if the thread has ended."""
    try:
        return (thread / "comm").read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""


def running_process(service: str) -> int:
    """Return Perseus's process id, or 0 if it isn't running (also while systemd waits to restart it)."""
    command = ["systemctl", "show", "--property=MainPID", "--value", service]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return int(done.stdout.strip() or 0)


def set_load(params: dict[str, Any], check: bool) -> dict[str, Any]:
    """Set the load and verify it. Return the result of the module perseus_threads, failed or not.

    :param params: the options in ARGUMENTS
    :param check: whether to change nothing
    """
    try:
        threads = parse(params["content"])
    except ThreadsFileError as error:
        reasons = "\n".join(f"  {problem}" for problem in error.problems)
        reason = f"threads.yaml was refused. The live load is unchanged:\n{reasons}"
        # results.CONFIGURATION, which isn't installed on clients.
        problems = {"problems": error.problems, "error_class": "configuration"}
        return {"failed": True, "changed": False, "msg": reason, **problems}
    try:
        return _set_load(params, threads, check)
    except NotAppliedError as error:
        reason = (
            f"Perseus doesn't run the load of threads.yaml: {error}. After a value of the wrong type, Perseus doesn't "
            "read the file again until it restarts: run rerun-clients"
        )
    except OSError as error:
        reason = f"{params['path']} can't be written: {error}"
    return {"failed": True, "changed": False, "msg": reason}


def _set_load(params: dict[str, Any], threads: dict[str, int], check: bool) -> dict[str, Any]:
    """Set the load of valid threads. Raises NotAppliedError, or OSError if the file can't be written."""
    path, service, new = Path(params["path"]), params["service"], render(threads)
    old = path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
    try:
        before = parse(old)
    except ThreadsFileError:
        before = {}  # Perseus couldn't read the file either
    result: dict[str, Any] = {
        "changed": old != new,
        "threads": threads,
        "before": before,
        "diff": {"before_header": str(path), "after_header": str(path), "before": old, "after": new},
        "proof": "",
        "seconds": 0.0,
        "message": "",
    }
    process = running_process(service) if params["prove"] else 0
    if params["prove"] and not process:
        raise NotAppliedError(f"expected the service {service} to run, found that it isn't running")
    if check:
        return result
    watch = LoadWatch(Path(params["rows_file"]), process) if process else None
    if old != new:
        replace(path, new.encode())
    if not watch:
        return result
    kind = watch.wait(before, threads, params["timeout"])
    seconds = round(time.monotonic() - watch.began, 2)
    message = f"Perseus runs the load of threads.yaml, {seconds:.1f} s after the copy ({EVIDENCE[kind]} show it)"
    return {**result, "proof": kind, "seconds": seconds, "message": message}


if __name__ == "__main__":
    request = json.load(sys.stdin)
    print(json.dumps(set_load(request, request["check"])))
