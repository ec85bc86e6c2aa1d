# Copyright (c) Pegasus authors. SPDX-License-Identifier: Apache-2.0
"""Stop a node's process gracefully."""

from __future__ import annotations

import time
from pathlib import Path
from typing import ClassVar

from ..aerospike import cluster
from ..aerospike.info import InfoError, info_pairs
from .contract import Effect, Fault, FaultError
from .data_loss import stop_problem

POLL_SECONDS = 0.1


class Stop(Fault):
    """Stop the service. It took effect if the process exited and the other nodes are a stable, smaller cluster."""

    name = "stop"
    past: ClassVar[str] = "stopped"
    undone_by = "restart"
    process = 0

    def satisfied(self) -> Effect | None:
        """A node that is not running stays as it is."""
        if self.service_state().running:
            return None
        self.notes.append(f"{self.subject} is already stopped: nothing was done")
        return Effect(self.alive, changed=False)

    def refusal(self) -> str:
        """Refuse if more nodes would be down than the namespace has spare copies."""
        moving = cluster.partitions_to_move(self.alive, self.port)
        problem = stop_problem(len(self.params["cluster"]), len(self.others), self.copies(), moving)
        return f"{self.subject} was not {self.past}: {problem}" if problem else ""

    def plan(self) -> Effect:
        self.notes.append(f"{self.subject} would be {self.past}")
        return Effect(self.others)

    def inject(self) -> None:
        """Stop the process through its service."""
        self.process = self.main_process()
        self.systemd.call("stop", self.params["service"])

    def verify(self) -> Effect:
        """Verify that the process exited and measure the cluster that is left."""
        self.wait_for_exit()
        key = cluster.wait_until_stable(self.others, self.port, self.timeout) if self.others else ""
        rest = f"the other {len(self.others)} form a stable cluster" if self.others else "no node is left"
        self.notes.append(f"{self.subject} is {self.past} and {rest}")
        return Effect(self.others, key)

    def copies(self) -> int:
        """Return the replication factor in effect: a small cluster has fewer copies than configured."""
        configured: int = self.params["replication_factor"]
        for host in self.alive:
            try:
                statistics = info_pairs(host, f"namespace/{self.params['namespace']}", port=self.port)
                return min(configured, int(statistics.get("effective_replication_factor", configured)))
            except (InfoError, ValueError):
                continue
        return configured

    def main_process(self) -> int:
        """Return the id of the node's process, 0 if it has none."""
        _, out, _ = self.run(["systemctl", "show", "--property=MainPID", "--value", self.params["service"]])
        return int(out.strip() or 0)

    def wait_for_exit(self) -> None:
        """Wait until the process has exited. Raises FaultError if it still runs, or systemd started another."""
        deadline = time.monotonic() + self.timeout
        while True:
            state = self.systemd.state(self.params["service"])
            runs = self.process > 0 and Path(f"/proc/{self.process}").exists()
            if state.active in ("inactive", "failed") and not runs:
                return
            if time.monotonic() > deadline:
                raise FaultError(
                    f"{self.subject}: expected no process and the service inactive, found the service "
                    f"{state.describe()} and process {self.process} {'running' if runs else 'exited'}"
                )
            time.sleep(POLL_SECONDS)
