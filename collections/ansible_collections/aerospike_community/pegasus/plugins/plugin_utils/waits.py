# Copyright (c) Pegasus authors. SPDX-License-Identifier: Apache-2.0
"""Runs a module that waits in slices until it is done, shows its progress, and ends a wait in which nothing moves."""

from __future__ import annotations

import time
from typing import Any

from ansible.plugins.action import ActionBase
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.aerospike.waiting import (
    Waiting,
    WaitProgress,
)
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.results import READINESS, progress_line

# Seconds between two lines of progress without --verbose.
SHOW_SECONDS = 5.0


class WaitingAction(ActionBase):
    """An action plugin whose module may return ``waiting`` (module_utils/aerospike/waiting.py)."""

    def run_module(self, task_vars: dict[str, Any], arguments: dict[str, Any] | None = None) -> dict[str, Any]:
        """Run the module of the plugin's name until it is done, fails, or nothing has moved for two minutes.

        After a stall, the module is called a last time with ``give_up`` in ``resume``, so that it can undo what it
        began; its failure is returned with the reason of the stall in front.
        """
        given = dict(self._task.args if arguments is None else arguments)
        host = str(task_vars.get("inventory_hostname", ""))
        progress, shown = WaitProgress(), 0.0
        resume: dict[str, Any] = {}
        while True:
            result = self._execute_module(
                module_args=given | ({"resume": resume} if resume else {}), task_vars=task_vars
            )
            if "waiting" not in result or result.get("failed"):
                return result
            waiting, now = Waiting(**result["waiting"]), time.monotonic()
            progress.add(waiting, now)
            resume = waiting.resume
            if progress.stalled(now):
                reason = progress.stall_message(now)
                last = self._execute_module(
                    module_args=given | {"resume": {**resume, "give_up": reason}}, task_vars=task_vars
                )
                message = str(last.get("msg", ""))
                text = message if reason in message else f"{reason}\n{message}".strip()
                return {**last, "failed": True, "msg": text, "error_class": READINESS}
            if now - shown >= SHOW_SECONDS:
                shown = now
                self._display.display(progress_line(host, progress.describe(now)))
