# Copyright (c) Pegasus authors. SPDX-License-Identifier: Apache-2.0
"""Restart a node: the undo of stop and kill, or by force a restart of a running node."""

from __future__ import annotations

from functools import cached_property

from ..aerospike import cluster
from ..host.systemd import UnitState
from .contract import Effect, Fault

SETTLE_SECONDS = 1.0


class Restart(Fault):
    """Start or restart the service. It took effect if the node is in a stable cluster with all nodes that are up."""

    name = "restart"

    @cached_property
    def before(self) -> UnitState:
        """The service's state before the restart."""
        return self.service_state()

    @cached_property
    def expected(self) -> list[str]:
        """The nodes of the cluster after the restart: two nodes that restart together wait for each other."""
        running = {*self.alive, *self.params["targets"]}
        return [host for host in self.params["cluster"] if host in running]

    @property
    def verb(self) -> str:
        """What systemd does: start or restart."""
        return "restart" if self.before.running else "start"

    def satisfied(self) -> Effect | None:
        """A running node stays as it is, unless forced."""
        if not self.before.running or self.params["force"]:
            return None
        key = cluster.wait_until_stable(self.expected, self.port, self.timeout)
        self.notes.append(
            f"{self.subject} is already running, in a stable cluster of {len(self.expected)}: nothing was done "
            f"(--force, or -e chaos_force=true, restarts it)"
        )
        return Effect(self.expected, key, changed=False)

    def plan(self) -> Effect:
        self.notes.append(f"{self.subject} would be {self.verb}ed")
        return Effect(self.expected)

    def inject(self) -> None:
        """Start the service, even if systemd gave up on it after too many failures."""
        if self.before.active == "failed":
            self.systemd.call("reset-failed", self.params["service"])
        self.systemd.call(self.verb, self.params["service"])

    def verify(self) -> Effect:
        """Verify that the service keeps running and measure its cluster."""
        self.systemd.wait_until_up(self.params["service"], SETTLE_SECONDS)
        key = cluster.wait_until_stable(self.expected, self.port, self.timeout)
        missing = len(self.params["cluster"]) - len(self.expected)
        moving = cluster.partitions_to_move(self.expected, self.port)
        self.notes.append(
            f"{self.subject} was {self.verb}ed: {len(self.expected)} nodes form a stable cluster, "
            + (f"{missing} still stopped" if missing else "all nodes are up")
            + (f", {moving} partitions still to migrate" if moving else "")
        )
        return Effect(self.expected, key)
