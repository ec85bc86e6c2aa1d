# Copyright (c) Pegasus authors. SPDX-License-Identifier: Apache-2.0
"""Empty nodes before they are removed, from any host that reaches the cluster.

Only the Enterprise Edition can quiesce. Without quiesce, a drain changes nothing: the gate has waited until the other
nodes have every copy, the caller stops the node, and the other nodes replace its copies.
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

from ..aerospike import cluster, gate, health, migrations, quiesce
from ..aerospike.editions import without_quiesce
from ..aerospike.survey import survey
from ..aerospike.waiting import SLICE_SECONDS, Waiting
from .contract import NO_QUIESCE, Effect, Fault, node_names

POLL_SECONDS = 0.5
# Clients learn the new owners of partitions within a second or two.
QUIET_SECONDS = 3.0
# A client that still uses a node without partitions is served by proxy: that counts as use.
_USE = re.compile(r"(client|batch_sub)_(read|write|delete|udf|proxy)_(?!error|timeout)\w+")


class Drain(Fault):
    """Quiesce the targets. It took effect if no client uses them and the other nodes have every copy."""

    name = "drain"
    noun = "removal"
    afterwards = gate.REMOVED
    quiesced = False

    def __init__(self, params: Mapping[str, Any], run: Any) -> None:
        super().__init__(params, run)
        self.done: list[str] = []  # the steps of `verify` that are finished

    @classmethod
    def precondition(cls, running: Sequence[str], params: Mapping[str, Any]) -> str:
        """Refuse nodes that can't quiesce, unless that was asked for."""
        if params["no_quiesce"]:
            return ""
        unable = without_quiesce(running, params["port"])
        if not unable:
            return ""
        names = node_names(params["cluster"])
        return (
            f"{', '.join(names[host] for host in unable)}: expected an edition that can quiesce, so that clients leave "
            f"a node before it stops, found the Community Edition. To proceed without quiesce: {NO_QUIESCE}. Clients "
            f"may then get errors for a moment. No record is lost: the removal waits for the partition migrations "
            f"before and after the stop, and compares the records"
        )

    @classmethod
    def hands_over(cls, params: Mapping[str, Any]) -> bool:
        """A quiesced node hands everything over."""
        return not params["no_quiesce"]

    @property
    def acts_on(self) -> list[str]:
        """The targets that run."""
        return self.running

    @property
    def subject(self) -> str:
        return self.named(self.params["targets"])

    @cached_property
    def running(self) -> list[str]:
        """The targets that answered first."""
        return [host for host in self.params["targets"] if host in self.alive]

    @property
    def quiesces(self) -> bool:
        """Whether there is something to hand over, and somebody to take it."""
        return bool(self.running and self.others) and not self.params["no_quiesce"]

    @property
    def members(self) -> list[str]:
        """All nodes that run, the targets last."""
        return [*self.others, *self.running]

    def plan(self) -> Effect:
        if not self.quiesces:
            return Effect(self.others, changed=False)
        self.notes.append(f"{self.subject} would be quiesced: {len(self.others)} nodes would own all partitions")
        return Effect(self.others)

    def inject(self) -> None:
        """Quiesce the targets, if they can be and other nodes exist."""
        if not self.quiesces:
            return
        # A cluster that isn't stable can't hand anything over.
        cluster.wait_until_stable(self.alive, self.port, self.timeout)
        self.quiesced = True
        self.send_to_targets(quiesce.QUIESCE)

    def verify(self) -> Effect | Waiting:
        """Wait until the targets own nothing, clients have left them, and the other nodes have every copy."""
        deadline = time.monotonic() + SLICE_SECONDS
        steps = [self.owning_nothing, self.unused, self.migrated] if self.quiesced else []
        for step in steps:
            if step.__name__ in self.done:
                continue
            while waiting := step():
                if time.monotonic() >= deadline:
                    return waiting
                time.sleep(POLL_SECONDS)
            self.done.append(step.__name__)
        return Effect(self.others, changed=self.quiesced)

    def state(self) -> dict[str, Any]:
        return {**super().state(), "quiesced": self.quiesced, "done": self.done}

    def restore(self, state: Mapping[str, Any]) -> None:
        super().restore(state)
        self.quiesced, self.done = state["quiesced"], list(state["done"])

    def undo(self) -> None:
        """Let the targets serve again."""
        if self.quiesced:
            self.send_to_targets(quiesce.SERVE_AGAIN)

    def log_lines(self) -> list[str]:
        """Return nothing: the log of this host is not that of a target."""
        return []

    def send_to_targets(self, command: str) -> None:
        """Send each target a command, and wait until the cluster has formed again."""
        quiesce.send(command, self.running, self.members, self.port)
        time.sleep(POLL_SECONDS)
        cluster.wait_until_stable(self.members, self.port, self.timeout)

    # The steps: each returns what it still waits for, or None.

    def owning_nothing(self) -> Waiting | None:
        """The targets own no partition."""
        nodes = health.query(self.running, self.port)
        late = [host for host in self.running if not quiesce.is_quiesced(nodes.get(host))]
        if late:
            return Waiting(f"{self.subject} to be quiesced", len(late), "nodes")
        self.notes.append(f"quiesced: {len(self.others)} nodes own all partitions")
        return None

    def unused(self) -> Waiting | None:
        """No client uses the targets."""
        before = health.query(self.running, self.port)
        time.sleep(QUIET_SECONDS)
        after = health.query(self.running, self.port)
        used = sum(client_operations(node) for node in after.values()) - sum(map(client_operations, before.values()))
        if used or len(after) < len(self.running):
            return Waiting(f"clients to leave {self.subject} (operations in {QUIET_SECONDS:.0f} s)", used, "operations")
        self.notes.append(f"no client has used it for {QUIET_SECONDS:.0f} s")
        return None

    def migrated(self) -> Waiting | None:
        """The other nodes have every copy."""
        if self.accepted:
            return None
        found = survey(self.members, self.port)
        if len(found.nodes) < len(self.members) or not found.settled:
            reasons = [problem.reason for problem in health.problems(found.statistics)]
            left = found.migrations
            purpose = f"{migrations.UNIT} to end, before {self.subject} may stop"
            return Waiting(purpose, max(left.left, 1), migrations.UNIT, left.activity, reasons)
        self.notes.append(f"no {migrations.UNIT[:-1]} is left: the other nodes have every copy")
        return None


def client_operations(node: health.Statistics) -> int:
    """Return the operations of clients that a node has counted, in all namespaces."""
    return sum(
        int(value)
        for values in node.namespaces.values()
        for name, value in values.items()
        if _USE.fullmatch(name) and value.isdecimal()
    )
