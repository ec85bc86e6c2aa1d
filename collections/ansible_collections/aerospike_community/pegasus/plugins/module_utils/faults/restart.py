# Copyright (c) Pegasus authors. SPDX-License-Identifier: Apache-2.0
"""Restart a node: the undo of stop, kill and an interrupted drain, or by force a restart of a running node."""

from __future__ import annotations

import time
from functools import cached_property

from ..aerospike import cluster, gate, health, migrations, quiesce
from ..host.systemd import UnitState
from . import memory
from .contract import Effect, Fault, FaultError

SETTLE_SECONDS = 1.0
POLL_SECONDS = 0.2


class Restart(Fault):
    """Start or restart the service. It took effect if the node is in a stable cluster with all nodes that are up."""

    name = noun = "restart"
    afterwards = gate.BACK

    @classmethod
    def gated(cls, force: bool) -> bool:
        """Only a forced restart takes a running node down."""
        return force

    @cached_property
    def before(self) -> UnitState:
        """The service's state before the restart."""
        return self.service_state()

    @cached_property
    def expected(self) -> list[str]:
        """The nodes of the cluster after the restart: two nodes that restart together wait for each other."""
        running = {*self.alive, *self.params["targets"]}
        return [host for host in self.addresses if host in running]

    @cached_property
    def drained(self) -> bool:
        """Whether the node runs and serves nothing, because a drain was interrupted. A restart would end that too."""
        if not self.before.running or self.params["force"]:
            return False
        return self.quiesced()

    @property
    def verb(self) -> str:
        """What systemd does: start or restart."""
        return "restart" if self.before.running else "start"

    def satisfied(self) -> Effect | None:
        """A running node stays as it is, unless forced or drained."""
        if not self.before.running or self.params["force"] or self.drained:
            return None
        key = cluster.wait_until_stable(self.expected, self.port, self.timeout)
        self.notes.append(
            f"{self.subject} is already running, in a stable cluster of {len(self.expected)}: nothing was done "
            f"(--force, or -e chaos_force=true, restarts it)"
        )
        return Effect(self.expected, key, changed=False)

    def refusal(self) -> str:
        """A node that doesn't run has nothing to lose."""
        return super().refusal() if self.before.running else ""

    def plan(self) -> Effect:
        self.notes.append(f"{self.subject} would {'serve again' if self.drained else f'be {self.verb}ed'}")
        return Effect(self.expected)

    def inject(self) -> None:
        """Start the service, even if systemd gave up on it after too many failures. Let a drained node serve again."""
        if self.drained:
            quiesce.send(quiesce.SERVE_AGAIN, self.acts_on, self.alive, self.port)
            self.wait_until_serving()
            return
        if self.before.active == "failed":
            self.systemd.call("reset-failed", self.params["service"])
        self.systemd.call(self.verb, self.params["service"])

    def verify(self) -> Effect:
        """Verify that the service keeps running and measure its cluster."""
        self.systemd.wait_until_up(self.params["service"], SETTLE_SECONDS)
        key = cluster.wait_until_stable(self.expected, self.port, self.timeout)
        memory.forget()
        done = "serves again" if self.drained else f"was {self.verb}ed"
        missing = len(self.addresses) - len(self.expected)
        left = migrations.query(self.expected, self.port)
        self.notes.append(
            f"{self.subject} {done}: {len(self.expected)} nodes form a stable cluster, "
            + (f"{missing} still stopped" if missing else "all nodes are up")
            + (f", {left} left" if left.left else "")
        )
        return Effect(self.expected, key)

    def quiesced(self) -> bool:
        """Return whether this node is quiesced now."""
        return any(quiesce.any_quiesced(node) for node in health.query(self.acts_on, self.port).values())

    def wait_until_serving(self) -> None:
        """Wait until the quiesce is undone. Raises FaultError if it isn't in time."""
        deadline = time.monotonic() + self.timeout
        while self.quiesced():
            if time.monotonic() > deadline:
                raise FaultError(f"{self.subject}: expected it to serve again, found it quiesced")
            time.sleep(POLL_SECONDS)
