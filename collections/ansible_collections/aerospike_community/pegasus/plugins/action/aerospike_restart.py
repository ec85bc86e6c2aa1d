# Copyright (c) Pegasus authors. SPDX-License-Identifier: Apache-2.0
"""Restart the nodes of a cluster one by one, with any strategy of the play.

`throttle` can't do that: with the strategy free, the task of an included role is a different task for each host.
"""

from __future__ import annotations

import fcntl
import hashlib
from pathlib import Path
from typing import Any

from ansible import constants
from ansible.plugins.action import ActionBase


class ActionModule(ActionBase):
    """Run the module of the same name under a lock. After a failure, skip the other nodes in the same play."""

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Wait for the lock, then restart this node."""
        super().run(tmp, task_vars)
        variables = task_vars or {}
        if self._task.check_mode:
            return self._execute_module(task_vars=variables)
        scope = [*sorted(map(str, self._task.args.get("cluster", []))), str(variables.get("ansible_play_name"))]
        name = f"aerospike-restart-{hashlib.sha256(','.join(scope).encode()).hexdigest()[:16]}"
        # Ansible removes the folder at the end of the run.
        with (Path(constants.DEFAULT_LOCAL_TMP) / name).open("a+", encoding="utf-8") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            lock.seek(0)
            failed = lock.read().strip()
            if failed:
                return {
                    "failed": True,
                    "changed": False,
                    "msg": f"not restarted, because the restart of {failed} failed; this node is still running as "
                    f"before. Expected each node to join again before the next restart. Repair {failed} and run again",
                }
            result = self._execute_module(task_vars=variables)
            if result.get("failed") or result.get("unreachable"):
                lock.write(str(variables.get("inventory_hostname", "another node")))
            return result
