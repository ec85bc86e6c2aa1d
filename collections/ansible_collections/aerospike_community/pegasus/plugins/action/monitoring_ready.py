# Copyright (c) Pegasus authors. SPDX-License-Identifier: Apache-2.0
"""Wait until the monitoring is ready, or the host of one of its targets has failed."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from ..plugin_utils.awaited import AwaitingAction


class ActionModule(AwaitingAction):
    """Waits for the exporters of the hosts."""

    def awaited(self, arguments: dict[str, Any]) -> Collection[str]:
        """The addresses of the targets, without their ports."""
        return [str(target["address"]).rpartition(":")[0] for target in arguments.get("targets") or []]
