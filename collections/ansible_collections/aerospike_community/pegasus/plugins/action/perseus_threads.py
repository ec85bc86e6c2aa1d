# Copyright (c) Pegasus authors. SPDX-License-Identifier: Apache-2.0
"""Set the live load by the program that is installed on a client, or else by the module.

Ansible copies a module's libraries on each call, and the host compiles them each time. That is most of the time that
copy-threads takes.
"""

from __future__ import annotations

import json
import shlex
from typing import Any

from ansible.plugins.action import ActionBase

from ..module_utils.perseus import live_load
from ..module_utils.perseus.threads import describe_change

# Messages of the shell and of Python if the program, or a part of it, isn't installed.
NOT_INSTALLED = ("No module named", "not found")


class ActionModule(ActionBase):
    """Runs live_load on the host, with become as for any module."""

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return the module's result, with lines that name the host."""
        super().run(tmp, task_vars)
        _, arguments = self.validate_argument_spec(live_load.ARGUMENTS)
        result = self._run_program(arguments) if arguments["programs"] else None
        result = result or self._execute_module(task_vars=task_vars)
        host = (task_vars or {}).get("inventory_hostname", "")
        if result.get("message"):
            result["note"] = [f"{host}: {result['message']}"]
        if result.get("changed") and "threads" in result:
            result["annotation"] = [f"{host} {describe_change(result['before'], result['threads'])}"]
        return result

    def _run_program(self, arguments: dict[str, Any]) -> dict[str, Any] | None:
        """Return the result of the installed program, or None if it isn't installed."""
        command = f"PYTHONPATH={shlex.quote(arguments['programs'])} /usr/bin/python3 -s -m {live_load.__name__}"
        request = json.dumps({**arguments, "check": self._task.check_mode})
        done = self._low_level_execute_command(command, in_data=request.encode())
        if done["rc"] and any(text in done["stderr"] + done["stdout"] for text in NOT_INSTALLED):
            return None
        try:
            return dict(json.loads(done["stdout"]))
        except ValueError:
            output = (done["stderr"] or done["stdout"]).strip()
            return {
                "failed": True,
                "msg": f"the program that sets the load exited with {done['rc']}: {output or 'no output'}. "
                "Run setup-clients to install it again",
            }
