# Copyright (c) Pegasus authors. SPDX-License-Identifier: Apache-2.0
"""Report the environment without repeating the failures of this run as problems."""

from __future__ import annotations

from typing import Any

from ansible.plugins.action import ActionBase

from ..plugin_utils.failures import failed_hosts


class ActionModule(ActionBase):
    """Run the module of the same name with the hosts that have failed in this run."""

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Run the module."""
        super().run(tmp, task_vars)
        failed = [host.name for host in failed_hosts()]
        return self._execute_module(module_args={**self._task.args, "failed": failed}, task_vars=task_vars)
