# Copyright (c) Pegasus authors. SPDX-License-Identifier: Apache-2.0
"""Runs a module that waits in slices until it is done, shows its progress, and ends a wait in which nothing moves."""

from __future__ import annotations

import time
from typing import Any

from ansible.errors import AnsibleError
from ansible.plugins.action import ActionBase
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.aerospike.waiting import (
    Waiting,
    WaitProgress,
)
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.results import READINESS, progress_line

# Seconds between two lines of progress. Ansible shows each of them, the driver those that it has room for.
SHOW_SECONDS = 10.0


class WaitingAction(ActionBase):
    """An action plugin whose module may return ``waiting`` (module_utils/aerospike/waiting.py)."""

    def run_module(
        self,
        task_vars: dict[str, Any],
        arguments: dict[str, Any] | None = None,
        *,
        label: str = "",
        limit: float = 0.0,
    ) -> dict[str, Any]:
        """Run the module of the plugin's name until it is done, fails, or its wait ends without success.

        A wait ends if nothing has moved for two minutes. Then the module is called a last time with ``give_up``, the
        reason, in ``resume``, so that it can undo what it began; its failure is returned with the reason in front.

        :param arguments: of the module; by default those of the task
        :param label: what each line of progress begins with, such as ``restart 2 of at most 3``
        :param limit: seconds after which a wait also ends if its figure hasn't fallen; 0 for none
        """
        given = dict(self._task.args if arguments is None else arguments)
        progress, shown = WaitProgress(limit), -SHOW_SECONDS
        resume: dict[str, Any] = {}
        while True:
            resumed = {"resume": resume} if resume else {}
            result = self._execute_module(module_args=given | resumed, task_vars=task_vars)
            if "waiting" not in result or result.get("failed"):
                return result
            waiting, now = Waiting(**result["waiting"]), time.monotonic()
            progress.add(waiting, now)
            resume = waiting.resume
            if progress.stalled(now):
                return self._give_up(given, resume, progress.stall_message(now), task_vars)
            if now - shown >= SHOW_SECONDS:
                shown = now
                self.show(task_vars, f"{label}: {progress.describe(now)}" if label else progress.describe(now))

    def show(self, task_vars: dict[str, Any], text: str) -> None:
        """Show a line of progress of this host while the task runs."""
        self._display.display(progress_line(str(task_vars.get("inventory_hostname", "")), text))

    def _give_up(
        self, given: dict[str, Any], resume: dict[str, Any], reason: str, task_vars: dict[str, Any]
    ) -> dict[str, Any]:
        """Call the module a last time and return its failure with the reason in front."""
        try:
            last = self._execute_module(
                module_args=given | {"resume": {**resume, "give_up": reason}}, task_vars=task_vars
            )
        except AnsibleError as error:  # such as a host that can't be reached any more
            last = {"changed": False, "msg": str(error)}
        message = str(last.get("msg", ""))
        text = message if reason in message else f"{reason}\n{message}".strip()
        return {**last, "failed": True, "msg": text, "error_class": READINESS}
