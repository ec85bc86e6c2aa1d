# Copyright (c) Pegasus authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""Lets the nodes of a cluster take turns at their restart, whatever the play's strategy is.

`throttle` doesn't do it: in a role that is included under the strategy free, each host's task counts as another one.
"""

from __future__ import annotations

import fcntl
import hashlib
from pathlib import Path
from typing import Any

from ansible import constants
from ansible.plugins.action import ActionBase


class ActionModule(ActionBase):
    """Runs the module of the same name while it holds a lock. After a failure nobody goes on, in the same play."""

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Wait for the turn, and take it."""
        super().run(tmp, task_vars)
        variables = task_vars or {}
        if self._task.check_mode:
            return self._execute_module(task_vars=variables)
        turns = [*sorted(map(str, self._task.args.get("cluster", []))), str(variables.get("ansible_play_name"))]
        name = f"aerospike-restart-{hashlib.sha256(','.join(turns).encode()).hexdigest()[:16]}"
        # The folder is this run's own, and goes with it.
        with (Path(constants.DEFAULT_LOCAL_TMP) / name).open("a+", encoding="utf-8") as turn:
            fcntl.flock(turn, fcntl.LOCK_EX)
            turn.seek(0)
            broken = turn.read().strip()
            if broken:
                return {
                    "failed": True,
                    "changed": False,
                    "msg": f"not restarted, because the restart of {broken} failed before; this node goes on as it "
                    "was. Expected each node to come back before the next one's turn: mend that one, then run again",
                }
            result = self._execute_module(task_vars=variables)
            if result.get("failed") or result.get("unreachable"):
                turn.write(str(variables.get("inventory_hostname", "another node")))
            return result
