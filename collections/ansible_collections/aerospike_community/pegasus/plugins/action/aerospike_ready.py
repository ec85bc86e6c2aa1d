# Copyright (c) Pegasus authors. SPDX-License-Identifier: Apache-2.0
"""Wait until a node is in its cluster, or the host of another node has failed."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from ..plugin_utils.awaited import AwaitingAction


class ActionModule(AwaitingAction):
    """Waits for the other nodes."""

    def awaited(self, arguments: dict[str, Any]) -> Collection[str]:
        """The addresses of the nodes."""
        return [str(peer) for peer in arguments.get("peers") or []]
