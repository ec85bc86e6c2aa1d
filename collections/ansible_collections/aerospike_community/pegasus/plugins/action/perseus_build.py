# Copyright (c) Pegasus authors. SPDX-License-Identifier: Apache-2.0
"""Build Perseus on this host or, for another client, on the host that builds, unless that host has failed."""

from __future__ import annotations

from typing import Any

from ansible.plugins.action import ActionBase

from ..plugin_utils.failures import failed_among, not_waited_for


class ActionModule(ActionBase):
    """Run the module of the same name. A failure of a build on another host is that host's failure."""

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Run the module, unless the build has failed before."""
        super().run(tmp, task_vars)
        variables = task_vars or {}
        builder = str(self._task.delegate_to or "")
        if builder in ("", str(variables.get("inventory_hostname"))):
            return self._execute_module(task_vars=variables)
        failed = failed_among([builder])
        if failed:
            return not_waited_for(failed)
        result: dict[str, Any] = self._execute_module(task_vars=variables)
        return {**result, "not_waited_for": [builder]} if result.get("failed") else result
