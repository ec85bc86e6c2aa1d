# Copyright (c) Pegasus authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""Has all hosts of a run install the same version where `latest` or a pattern is asked for.

A site may publish another version between two hosts' looks at its listing. So a host chooses first, and what the first
host of a kind (distribution and architecture) chose is what all of its kind install. The hosts read the listing, not
this machine, because a mirror may be reachable for them alone; and none waits for another.
"""

from __future__ import annotations

import fcntl
import json
from pathlib import Path
from typing import Any

from ansible import constants
from ansible.plugins.action import ActionBase
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.host.artifacts import is_exact


class ActionModule(ActionBase):
    """Runs the module of the same name: once for an exact version, otherwise to choose and then to install."""

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Install; a choice that was made for this kind of host before counts."""
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
    """Add a choice to those of this run, unless there is one of its name already; return all."""
    # The folder is this run's own, and goes with it.
    with (Path(constants.DEFAULT_LOCAL_TMP) / "artifact-choices").open("a+", encoding="utf-8") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        stream.seek(0)
        made: dict[str, Any] = json.loads(stream.read() or "{}")
        if choice.keys() - made.keys():
            made = {**choice, **made}
            stream.truncate(0)
            stream.write(json.dumps(made))
        return made
