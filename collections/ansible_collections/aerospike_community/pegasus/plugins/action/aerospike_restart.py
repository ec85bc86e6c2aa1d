# Copyright (c) Pegasus authors. SPDX-License-Identifier: Apache-2.0
"""Restart the nodes of a cluster one by one, with any strategy of the play.

`throttle` can't do that: with the strategy free, the task of an included role is a different task for each host.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
from pathlib import Path
from typing import Any, TextIO

from ansible import constants
from ansible_collections.aerospike_community.pegasus.plugins.plugin_utils.waits import WaitingAction


class ActionModule(WaitingAction):
    """Run the module of the same name under a lock. After a failure, skip the other nodes in the same play."""

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Wait for the lock, then restart this node."""
        super().run(tmp, task_vars)
        variables = task_vars or {}
        if self._task.check_mode:
            return self._execute_module(task_vars=variables)
        cluster = sorted(map(str, self._task.args.get("cluster", [])))
        scope = [*cluster, str(variables.get("ansible_play_name"))]
        # Ansible removes the folder at the end of the run.
        folder = Path(constants.DEFAULT_LOCAL_TMP)
        name = f"aerospike-restart-{hashlib.sha256(','.join(scope).encode()).hexdigest()[:16]}"
        with (folder / f"{name}-queue").open("a") as queue:
            fcntl.flock(queue, fcntl.LOCK_SH)
            with (folder / name).open("a+", encoding="utf-8") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                result = self.take_turn(lock, variables, len(cluster))
            fcntl.flock(queue, fcntl.LOCK_UN)
            self.wait_for_others(queue, variables)
        return result

    def wait_for_others(self, queue: TextIO, variables: dict[str, Any]) -> None:
        """Wait for the nodes that are in the queue, because the task after this one requires a complete cluster."""
        try:
            fcntl.flock(queue, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self.show(variables, "its turn is over; waiting for the nodes that restart after it")
            fcntl.flock(queue, fcntl.LOCK_EX)

    def take_turn(self, lock: TextIO, variables: dict[str, Any], nodes: int) -> dict[str, Any]:
        """Restart this node, unless a restart has failed before."""
        turn = _read(lock)
        if turn["failed"]:
            return _skipped(turn["failed"])
        # Whatever ends this turn without a result, such as a lost connection, leaves the node's state unknown.
        _write(lock, {**turn, "failed": str(variables.get("inventory_hostname", "another node"))})
        label = f"restart {turn['done'] + 1} of at most {nodes}"
        result = self.run_module(variables, label=label, limit=float(self._task.args.get("timeout", 3600)))
        if not result.get("failed") and not result.get("unreachable"):
            _write(lock, {"done": turn["done"] + 1})
        return result


def _skipped(failed: str) -> dict[str, Any]:
    """Return the result of a node that isn't restarted, because the restart of another node failed."""
    return {
        "failed": True,
        "changed": False,
        "not_waited_for": [failed],
        "msg": f"not restarted, because the restart of {failed} failed; this node is still running as before. Expected "
        f"each node to join again before the next restart. Repair {failed} and run again",
    }


def _read(lock: TextIO) -> dict[str, Any]:
    """Return how many nodes were restarted, and which restart failed."""
    lock.seek(0)
    text = lock.read()
    return {"done": 0, "failed": "", **(json.loads(text) if text else {})}


def _write(lock: TextIO, turn: dict[str, Any]) -> None:
    lock.seek(0)
    lock.truncate()
    json.dump(turn, lock)
    lock.flush()
