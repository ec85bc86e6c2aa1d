# Copyright (c) Pegasus authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""How many nodes a cluster can lose. Pure."""

from __future__ import annotations


def stop_problem(nodes: int, left: int, copies: int) -> str:
    """Say why a cluster of ``nodes`` may not be brought down to ``left`` that run, or nothing.

    Counted are all that would be down, not only those that are stopped now: the copies that they held may not have been
    made again yet.

    :param copies: of each record (the replication factor in effect)
    """
    down = nodes - left
    if left > 0 and down < copies:
        return ""
    if left == 0:
        return f"no node of {nodes} would be left, and data that is only in memory would be lost"
    spare = copies - 1
    return (
        f"{down} of {nodes} nodes would be down; with {copies} {'copies' if copies > 1 else 'copy'} of each record "
        f"the data survives the loss of {spare}: records would be lost or out of reach"
    )
