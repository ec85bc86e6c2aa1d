# Copyright (c) Pegasus authors. SPDX-License-Identifier: Apache-2.0
"""Quiesce nodes, so that they own no partition, and let them serve again."""

from __future__ import annotations

from collections.abc import Sequence

from .cluster import query_all
from .health import Statistics
from .info import info_value

QUIESCE = "quiesce:"
SERVE_AGAIN = "quiesce-undo:"


def send(command: str, targets: Sequence[str], members: Sequence[str], port: int) -> None:
    """Send the targets QUIESCE or SERVE_AGAIN, and let the cluster of all members form again, so that it takes effect.

    :raises InfoError: a target refused, or doesn't answer
    """
    for host in targets:
        info_value(host, command, port=port)
    # Only the principal node reclusters; the others answer that they aren't the principal.
    query_all(members, lambda host: info_value(host, "recluster:", port=port))


def is_quiesced(node: Statistics | None) -> bool:
    """Return whether a node is quiesced in every namespace."""
    return node is not None and all(
        values.get("effective_is_quiesced") == "true" for values in node.namespaces.values()
    )


def any_quiesced(node: Statistics | None) -> bool:
    """Return whether a node is quiesced in a namespace, or will be when the cluster forms again."""
    names = ("effective_is_quiesced", "pending_quiesce")
    return node is not None and any(values.get(name) == "true" for values in node.namespaces.values() for name in names)
