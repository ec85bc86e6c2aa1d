# Copyright (c) Pegasus authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""Has the live load set by the program that a client's host has already, where it has; else sends the module.

A module brings its libraries along each time, and each host compiles them anew: most of the time of copy-threads.
"""

from __future__ import annotations

import json
import shlex
from typing import Any

from ansible.plugins.action import ActionBase
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.perseus import live_load
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.results import CONFIGURATION

# What the shell and Python say where the program, or its part, isn't installed.
ABSENT = ("No module named", "not found")


class ActionModule(ActionBase):
    """Runs live_load on the host, with become as for any module."""

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return the module's result."""
        super().run(tmp, task_vars)
        _, asked = self.validate_argument_spec(live_load.ARGUMENTS)
        found = self._by_program(asked) if asked["programs"] else None
        result = found or self._execute_module(task_vars=task_vars)
        if result.get("message"):
            result["note"] = f"{(task_vars or {}).get('inventory_hostname')}: {result['message']}"
        if result.get("problems"):
            result["error_class"] = CONFIGURATION
        return result

    def _by_program(self, asked: dict[str, Any]) -> dict[str, Any] | None:
        """What the installed program says; None where there is none."""
        command = f"PYTHONPATH={shlex.quote(asked['programs'])} /usr/bin/python3 -s -m {live_load.__name__}"
        request = json.dumps({**asked, "check": self._task.check_mode})
        done = self._low_level_execute_command(command, in_data=request.encode())
        if done["rc"] and any(words in done["stderr"] + done["stdout"] for words in ABSENT):
            return None
        try:
            return dict(json.loads(done["stdout"]))
        except ValueError:
            said = (done["stderr"] or done["stdout"]).strip()
            return {
                "failed": True,
                "msg": f"the program that sets the load ended with {done['rc']}: {said or 'nothing was said'}. "
                "setup-clients installs it anew",
            }
