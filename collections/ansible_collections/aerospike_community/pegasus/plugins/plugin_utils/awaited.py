# Copyright (c) Pegasus authors. SPDX-License-Identifier: Apache-2.0
"""Runs a module that waits for other hosts, until they are ready or one of them has failed in this run."""

from __future__ import annotations

import time
from collections.abc import Collection
from typing import Any

from ..module_utils.aerospike.slices import LOOK, WAITED
from ..module_utils.aerospike.waiting import Waiting, WaitProgress
from .failures import failed_among, not_waited_for
from .waits import SHOW_SECONDS, WaitingAction


class AwaitingAction(WaitingAction):
    """An action plugin whose module waits for what other hosts of the run do (module_utils/aerospike/slices.py)."""

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Run the module of the plugin's name until it is done or fails."""
        super().run(tmp, task_vars)
        variables = task_vars or {}
        arguments = dict(self._task.args)
        awaited = self.awaited(arguments)
        progress, began = WaitProgress(), time.monotonic()
        shown = began
        resume: dict[str, Any] = {}
        while True:
            failed = failed_among(awaited)
            if failed:
                resume = {**resume, LOOK: True}
            given = {**arguments, "resume": resume} if resume else arguments
            result: dict[str, Any] = self._execute_module(module_args=given, task_vars=variables)
            if "waiting" not in result:
                return result
            if failed:
                return not_waited_for(failed)
            waiting, now = Waiting(**result["waiting"]), time.monotonic()
            resume = {**waiting.resume, WAITED: now - began}
            progress.add(waiting, now)
            if now - shown >= SHOW_SECONDS:
                shown = now
                self.show(variables, progress.describe(now))

    def awaited(self, arguments: dict[str, Any]) -> Collection[str]:
        """Return the names or addresses of the hosts that the module waits for."""
        raise NotImplementedError
