# Copyright (c) Pegasus authors. SPDX-License-Identifier: Apache-2.0
"""Whether a fault would lose data, and whether clients use a node. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence


def stop_problem(nodes: int, left: int, copies: int, moving: int = 0) -> str:
    """Return why a cluster of ``nodes`` may not shrink to ``left`` running nodes, or an empty text.

    Nodes that were stopped before count too: the cluster may not have replaced their copies yet.

    :param copies: copies of each record (the replication factor in effect)
    :param moving: partitions still to migrate: a node that came back empty gets its copies by migration
    """
    down = nodes - left
    if left > 0 and down < copies and not moving:
        return ""
    if left == 0:
        return f"no node of {nodes} would be left, and data that is only in memory would be lost"
    if down < copies:
        return (
            f"the cluster still migrates partitions ({moving} to go). Until it is done, some records may exist only on "
            f"this node. Wait until no partition is left (Grafana shows the number)"
        )
    spare = copies - 1
    return (
        f"{down} of {nodes} nodes would be down; with {copies} {'copies' if copies > 1 else 'copy'} of each record "
        f"the data survives the loss of {spare}: records would be lost or out of reach"
    )


def removal_problem(others: int, down: Sequence[str], stopped: int, copies: int) -> str:
    """Return why nodes may not be removed for good, or an empty text.

    :param others: number of nodes that stay and answer
    :param down: nodes that would stay and don't answer
    :param stopped: number of nodes to remove whose database is stopped: records that only they have would be lost
    """
    if not others:
        return "no node would be left, and the data would be lost (destroy-cluster removes the whole cluster)"
    if down:
        return f"{', '.join(down)} is stopped, so not every copy can be handed over: start it first (restart-node)"
    if stopped and stopped >= copies:
        return (
            f"{stopped} of the nodes to remove are stopped; with {copies} {'copies' if copies > 1 else 'copy'} of each "
            f"record there may be some that only they have: start one of them first (restart-node)"
        )
    return ""


# A client that still uses a node without partitions is served by proxy: that counts as use.
_USE = re.compile(r"(client|batch_sub)_(read|write|delete|udf|proxy)_(?!error|timeout)\w+")


def client_operations(statistics: Mapping[str, str]) -> int:
    """Return the operations of clients that a node has counted in its ``namespace/<name>`` statistics."""
    return sum(int(value) for name, value in statistics.items() if _USE.fullmatch(name) and value.isdecimal())
