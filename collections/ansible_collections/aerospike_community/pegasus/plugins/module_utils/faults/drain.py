# Copyright (c) Pegasus authors. SPDX-License-Identifier: Apache-2.0
"""Empty nodes before they are removed, from any host that reaches the cluster.

Only the Enterprise Edition can quiesce. On the Community Edition, a forced drain changes nothing: the caller stops the
node and drains again. The drain of a stopped node waits until the other nodes have every copy.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import cached_property

from ..aerospike import cluster
from ..aerospike.info import info_pairs, info_value
from .contract import Effect, Fault, FaultError
from .data_loss import client_operations, removal_problem

POLL_SECONDS = 0.5
# Clients learn the new owners of partitions within a second or two.
QUIET_SECONDS = 3.0


class Drain(Fault):
    """Quiesce the targets. It took effect if no client uses them and the other nodes have every copy."""

    name = "drain"
    quiesced = False

    @property
    def subject(self) -> str:
        return f"node {', '.join(self.params['targets'])}"

    @cached_property
    def running(self) -> list[str]:
        """The targets that answered first."""
        return [host for host in self.params["targets"] if host in self.alive]

    @cached_property
    def can_quiesce(self) -> bool:
        """Whether the targets run an edition that can quiesce."""
        return bool(self.running) and "community" not in info_value(self.running[0], "edition", port=self.port).lower()

    @property
    def members(self) -> list[str]:
        """All nodes that run, the targets last."""
        return [*self.others, *self.running]

    def refusal(self) -> str:
        """Refuse if copies would be lost, or if clients would get errors."""
        known = {*self.alive, *self.params["targets"]}
        down = [host for host in self.params["cluster"] if host not in known]
        stopped = len(self.params["targets"]) - len(self.running)
        problem = removal_problem(len(self.others), down, stopped, self.params["replication_factor"])
        if not problem and self.running and not self.can_quiesce:
            problem = (
                "the Community Edition has no quiesce, so clients would get errors, and the data would have fewer "
                "copies until the other nodes have copied it again (stop, wait for the migrations, terminate)"
            )
        return f"nothing was removed: {problem}" if problem else ""

    def plan(self) -> Effect:
        if not (self.can_quiesce and self.others):
            return Effect(self.others, changed=False)
        self.notes.append(f"{self.subject} would be quiesced: {len(self.others)} nodes would own all partitions")
        return Effect(self.others)

    def inject(self) -> None:
        """Quiesce the targets, if they can be and other nodes exist."""
        if not self.others:
            return
        # A cluster that isn't stable can't hand anything over.
        cluster.wait_until_stable(self.alive, self.port, self.timeout)
        if self.can_quiesce:
            self.quiesced = True
            self.send_to_targets("quiesce:")

    def verify(self) -> Effect:
        """Wait until the targets own nothing, clients have left them, and the other nodes have every copy."""
        if self.quiesced:
            self.wait("the target to be quiesced", self.timeout, self.not_quiesced)
            self.notes.append(f"quiesced: {len(self.others)} nodes own all partitions")
            self.wait("no client to use the target", self.timeout, self.in_use)
            self.notes.append(f"no client has used it for {QUIET_SECONDS:.0f} s")
            self.wait_for_migrations(self.members)
        elif self.others and not self.running:
            self.wait_for_migrations(self.others)
        return Effect(self.others, changed=self.quiesced)

    def undo(self) -> None:
        """Let the targets serve again."""
        if self.quiesced:
            self.send_to_targets("quiesce-undo:")

    def log_lines(self) -> list[str]:
        """Return nothing: the log of this host is not that of a target."""
        return []

    def send_to_targets(self, command: str) -> None:
        """Send each target a command, and recluster so that it takes effect."""
        for host in self.running:
            info_value(host, command, port=self.port)
        # Only the principal node reclusters; the others answer that they aren't the principal.
        cluster.query_all(self.members, lambda host: info_value(host, "recluster:", port=self.port))
        time.sleep(POLL_SECONDS)
        cluster.wait_until_stable(self.members, self.port, self.timeout)

    def wait_for_migrations(self, nodes: list[str]) -> None:
        """Wait until no node has a partition to send or to receive. Raises FaultError if some still have."""

        def remaining() -> str:
            answers, errors = cluster.query_all(
                nodes,
                lambda host: info_pairs(host, "statistics", port=self.port).get("migrate_partitions_remaining", "?"),
            )
            left = {host: count for host, count in {**answers, **errors}.items() if count != "0"}
            return ", ".join(f"{host}: {count}" for host, count in left.items())

        self.wait("every migration to be done", self.params["migration_timeout"], remaining)
        self.notes.append("no migration is left: the other nodes have every copy")

    def not_quiesced(self) -> str:
        """Return the targets that aren't quiesced yet."""
        late = (host for host in self.running if self.statistics(host).get("effective_is_quiesced") != "true")
        return ", ".join(late)

    def in_use(self) -> str:
        """Return the targets that counted operations of clients in QUIET_SECONDS."""
        before = {host: client_operations(self.statistics(host)) for host in self.running}
        time.sleep(QUIET_SECONDS)
        grown = {host: client_operations(self.statistics(host)) - before[host] for host in self.running}
        use = (f"{host}: {count} operations in {QUIET_SECONDS:.0f} s" for host, count in grown.items() if count)
        return ", ".join(use)

    def statistics(self, host: str) -> dict[str, str]:
        """Return the statistics of the namespace on a node."""
        return info_pairs(host, f"namespace/{self.params['namespace']}", port=self.port)

    def wait(self, expected: str, timeout: float, remaining: Callable[[], str]) -> None:
        """Wait until ``remaining`` returns an empty text. Raises FaultError after ``timeout`` seconds."""
        deadline = time.monotonic() + timeout
        while True:
            found = remaining()
            if not found:
                return
            if time.monotonic() > deadline:
                raise FaultError(f"expected {expected} within {timeout:.0f} s, found {found}")
            time.sleep(POLL_SECONDS)
