# Copyright (c) Pegasus authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""How many nodes a cluster can lose, and who uses one. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence


def stop_problem(nodes: int, left: int, copies: int, moving: int = 0) -> str:
    """Say why a cluster of ``nodes`` may not be brought down to ``left`` that run, or nothing.

    Counted are all that would be down, not only those that are stopped now: the copies that they held may not have been
    made again yet.

    :param copies: of each record (the replication factor in effect)
    :param moving: partitions that the nodes still have to move; a node that came back empty gets its copies by that
    """
    down = nodes - left
    if left > 0 and down < copies and not moving:
        return ""
    if left == 0:
        return f"no node of {nodes} would be left, and data that is only in memory would be lost"
    if down < copies:
        return (
            f"the cluster still moves partitions ({moving} to go), and until it has, there may be records that only "
            f"this node has. Wait until none is left (Grafana shows how many there are)"
        )
    spare = copies - 1
    return (
        f"{down} of {nodes} nodes would be down; with {copies} {'copies' if copies > 1 else 'copy'} of each record "
        f"the data survives the loss of {spare}: records would be lost or out of reach"
    )


def removal_problem(others: int, down: Sequence[str], stopped: int, copies: int) -> str:
    """Say why nodes may not be taken away for good, or nothing.

    :param others: nodes that stay and answer
    :param down: nodes that would stay and don't answer
    :param stopped: nodes to take whose database is stopped: what only they have is lost with them
    :param copies: of each record
    """
    if not others:
        return "no node would be left, and the data with it (destroy-cluster takes the whole cluster)"
    if down:
        return f"{', '.join(down)} is stopped, so not every copy can be taken over: bring it back first (restart-node)"
    if stopped and stopped >= copies:
        return (
            f"{stopped} of the nodes to take are stopped; with {copies} {'copies' if copies > 1 else 'copy'} of each "
            f"record there may be some that only they have: bring one back first (restart-node)"
        )
    return ""


# A client that still asks a node that owns nothing is served through another: that counts as use.
_USE = re.compile(r"(client|batch_sub)_(read|write|delete|udf|proxy)_(?!error|timeout)\w+")


def client_operations(statistics: Mapping[str, str]) -> int:
    """Add up the operations of clients that a node has counted, from its ``namespace/<name>`` statistics."""
    return sum(int(value) for name, value in statistics.items() if _USE.fullmatch(name) and value.isdecimal())
