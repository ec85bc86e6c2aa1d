# Copyright (c) Pegasus authors. SPDX-License-Identifier: Apache-2.0
"""Wait until all nodes of a cluster agree, or the host of one of them has failed."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from ..plugin_utils.awaited import AwaitingAction


class ActionModule(AwaitingAction):
    """Waits for the nodes."""

    def awaited(self, arguments: dict[str, Any]) -> Collection[str]:
        """The addresses of the nodes."""
        return [str(host) for host in arguments.get("hosts") or []]
