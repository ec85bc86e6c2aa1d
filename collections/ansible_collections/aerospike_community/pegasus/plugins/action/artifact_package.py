# Copyright (c) Pegasus authors. SPDX-License-Identifier: Apache-2.0
"""Make all hosts of a run install the same version if ``latest`` or a pattern is requested.

A site may publish another version between two hosts' queries. Each host therefore chooses a version first, and all
hosts with the same distribution and architecture install the version that the first of them chose. The hosts read the
listing themselves, because a mirror may be reachable only from them. No host waits for another.
"""

from __future__ import annotations

import fcntl
import json
from pathlib import Path
from typing import Any

from ansible import constants
from ansible.plugins.action import ActionBase

from ..module_utils.host.artifacts import is_exact


class ActionModule(ActionBase):
    """Run the module of the same name: once for an exact version, otherwise to choose and then to install."""

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Install the version that this run has already chosen, or choose it."""
        super().run(tmp, task_vars)
        arguments = dict(self._task.args)
        if is_exact(str(arguments.get("version", ""))):
            return self._execute_module(module_args=arguments, task_vars=task_vars)
        arguments["chosen"] = settle({})
        result = self._execute_module(module_args={**arguments, "choose": True}, task_vars=task_vars)
        if result.get("failed") or result.get("unreachable") or not result.get("choice"):
            return result
        arguments["chosen"] = settle(result["choice"])
        return self._execute_module(module_args=arguments, task_vars=task_vars)


def settle(choice: dict[str, Any]) -> dict[str, Any]:
    """Add a choice to the choices of this run unless its key exists; return all choices."""
    # Ansible removes this folder at the end of the run.
    with (Path(constants.DEFAULT_LOCAL_TMP) / "artifact-choices").open("a+", encoding="utf-8") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        stream.seek(0)
        choices: dict[str, Any] = json.loads(stream.read() or "{}")
        if choice.keys() - choices.keys():
            choices = {**choice, **choices}
            stream.truncate(0)
            stream.write(json.dumps(choices))
        return choices
