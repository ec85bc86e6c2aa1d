# Copyright (c) Pegasus authors. SPDX-License-Identifier: Apache-2.0
"""Run the module of the same name, which waits in slices, and show its progress."""

from __future__ import annotations

from typing import Any

from ansible_collections.aerospike_community.pegasus.plugins.plugin_utils.waits import WaitingAction


class ActionModule(WaitingAction):
    """See plugin_utils/waits.py."""

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Run the module until it is done."""
        super().run(tmp, task_vars)
        return self.run_module(task_vars or {})
