# Copyright (c) Pegasus authors. SPDX-License-Identifier: Apache-2.0
"""The contract of a fault: what it refuses, and how it is injected, verified and undone.

A fault is ``gated`` by default, because it takes nodes down: before the first target is touched, the module
aerospike_gate has to approve all of them (module_utils/aerospike/gate.py). Then the module chaos_node calls the fault's
methods in this order: ``satisfied``, ``refusal``, then ``inject`` and ``verify``, or ``plan`` in check mode. While
``verify`` returns a Waiting, it is called again in a new process, after ``restore`` with the result of ``state``.
``undo`` is called if ``inject`` or ``verify`` fails, or if nothing moves any more.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, ClassVar

from ..aerospike import gate
from ..aerospike.cluster import answering
from ..aerospike.waiting import Waiting
from ..host.systemd import Systemd, UnitState, important_lines

LOG_LINES = 100
# How to proceed although a fault is refused.
ACCEPT = "--accept-data-loss, or -e chaos_accept_data_loss=true"
NO_QUIESCE = "--no-quiesce, or -e chaos_no_quiesce=true"


class FaultError(Exception):
    """The fault did not take effect. The text says what was expected and what was found."""


class RefusedError(FaultError):
    """The fault was refused. Nothing was changed."""


@dataclass(frozen=True)
class Effect:
    """What was measured: the addresses of the nodes that serve as one cluster, and the key of that cluster.

    ``before``: the count of the records before the nodes went down (aerospike.records.snapshot), {} if unknown.
    """

    members: Sequence[str]
    cluster_key: str = ""
    changed: bool = True
    before: Mapping[str, Any] = field(default_factory=dict)


class Fault:
    """A fault on the nodes ``targets`` of a cluster. ``params`` are the parameters of the module chaos_node."""

    name: ClassVar[str]
    noun: ClassVar[str]  # for messages: "the stop of node 2"
    undone_by: ClassVar[str] = ""  # the fault that undoes this one, if `undo` doesn't
    afterwards: ClassVar[str] = gate.DOWN  # what the targets are afterwards, as the gate calls it

    def __init__(self, params: Mapping[str, Any], run: Callable[..., tuple]) -> None:
        self.params, self.run = params, run
        self.port, self.timeout = params["port"], params["timeout"]
        self.addresses = [node["address"] for node in params["cluster"]]
        self.systemd = Systemd(run)
        self.notes: list[str] = []  # what happened so far: for the result, and for the message of a failure

    @classmethod
    def gated(cls, force: bool) -> bool:
        """Return whether the gate has to approve the targets: they go down while they run."""
        return True

    @classmethod
    def precondition(cls, running: Sequence[str], params: Mapping[str, Any]) -> str:
        """Return why the targets that run can't have this fault, with the way to proceed, or an empty text.

        The gate asks this first, so that nobody waits for migrations before a refusal.
        """
        return ""

    @classmethod
    def hands_over(cls, params: Mapping[str, Any]) -> bool:
        """Return whether the other nodes get everything that the targets hold, before they go down."""
        return False

    @cached_property
    def alive(self) -> list[str]:
        """The nodes that answered first."""
        return answering(self.addresses, self.port)

    @cached_property
    def others(self) -> list[str]:
        """The nodes that answered first, without the targets."""
        return [host for host in self.alive if host not in self.params["targets"]]

    @property
    def acts_on(self) -> list[str]:
        """The addresses of the nodes that this call takes down: for a fault that runs on its node, this node."""
        return [node["address"] for node in self.params["cluster"] if node["index"] == self.params["index"]]

    @property
    def subject(self) -> str:
        """What the fault acts on, for messages."""
        return f"node {self.params['index']}"

    @property
    def accepted(self) -> bool:
        """Whether a loss of data was accepted."""
        return bool(self.params["gate"].get("accepted"))

    def named(self, hosts: Sequence[str]) -> str:
        """Return the names of nodes: ``node 2, node 3``."""
        names = node_names(self.params["cluster"])
        return ", ".join(names.get(host, f"node {host}") for host in hosts)

    def service_state(self) -> UnitState:
        """Return the state of the node's service. Raises RefusedError if this host has no such service."""
        state = self.systemd.state(self.params["service"])
        if not state.loaded:
            raise RefusedError(f"expected a service {self.params['service']} on this host, found none")
        return state

    def satisfied(self) -> Effect | None:
        """Return the effect if the nodes are already in the requested state: then nothing is done."""
        return None

    def refusal(self) -> str:
        """Return why the fault is refused, with the way to proceed, or an empty text."""
        return self.unapproved() or self.precondition(
            [host for host in self.params["targets"] if host in self.alive], self.params
        )

    def unapproved(self) -> str:
        """Return why the gate's approval doesn't cover what this fault would do, or an empty text."""
        approval = self.params["gate"]
        if not self.gated(self.params["force"]) or self.accepted:
            return ""
        missing = [host for host in self.acts_on if host not in approval.get("approved", [])]
        if missing:
            return (
                f"expected the approval of the gate (aerospike_gate) for {self.named(missing)}, found none. The gate "
                f"approves running nodes that answer, so not a node that is still starting, or hangs. Wait until the "
                f"node answers. To proceed anyway: {ACCEPT}"
            )
        lost = [host for host in approval["members"] if host not in [*self.alive, *self.params["targets"]]]
        if lost:
            return f"{self.named(lost)} answered the gate and doesn't answer any more: run this again"
        return ""

    def plan(self) -> Effect:
        """Describe the planned effect, for check mode."""
        raise NotImplementedError

    def inject(self) -> None:
        """Inject the fault."""
        raise NotImplementedError

    def verify(self) -> Effect | Waiting:
        """Measure the effect, or return what it still waits for. Raises FaultError if the fault did not take effect."""
        raise NotImplementedError

    def state(self) -> dict[str, Any]:
        """Return what the next call of ``verify`` has to know, in another process. It can be sent as JSON."""
        return {"alive": self.alive, "notes": self.notes}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take over the ``state`` of an earlier call."""
        self.alive, self.notes = list(state["alive"]), list(state["notes"])

    def undo(self) -> None:
        """Undo the fault and verify that the nodes are healthy again. Without effect if the fault has ``undone_by``."""

    def log_lines(self) -> list[str]:
        """Return the log lines of the node that explain a failure, the most telling first."""
        return important_lines(self.systemd.log_lines(self.params["service"], count=LOG_LINES))


def node_names(cluster: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Return the names of nodes by address, for messages: ``node 2``."""
    return {node["address"]: f"node {node['index']}" for node in cluster}
