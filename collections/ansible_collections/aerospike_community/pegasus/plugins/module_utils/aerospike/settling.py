# Copyright (c) Pegasus authors. SPDX-License-Identifier: Apache-2.0
"""What a cluster still has to do until it has settled: all nodes answer, agree, and have every copy. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from . import health
from .migrations import UNIT
from .survey import Survey
from .waiting import Waiting


def unsettled(found: Survey, cluster: Sequence[str], when: str) -> Waiting | None:
    """Return what the nodes of a cluster still have to do, or None.

    :param when: for messages: "after the restart of node 2"
    """
    missing = [host for host in cluster if host not in found.nodes]
    if missing:
        reasons = [f"node {host} doesn't answer: {found.errors.get(host, 'no answer')}" for host in missing]
        return Waiting(f"every node to answer, {when}", len(missing), "nodes", reasons=reasons)
    if not found.key:
        size = f"one stable cluster of {len(cluster)} node{'s' if len(cluster) > 1 else ''}"
        return Waiting(f"{size}, {when}", max(1, found.outside), "nodes outside it")
    if found.settled:
        return None
    migrations = found.migrations
    reasons = [problem.reason for problem in health.problems(found.statistics)]
    # Not settled with nothing left: a migration began or ended between the answers.
    left = max(1, migrations.left)
    return Waiting(f"{UNIT} to end, {when}", left, UNIT, migrations.activity, reasons=reasons)
