# Copyright (c) Pegasus authors. SPDX-License-Identifier: Apache-2.0
"""The contract of a fault: what it refuses, and how it is injected, verified and undone.

The module chaos_node calls the methods in this order: ``satisfied``, ``refusal``, then ``inject`` and ``verify``, or
``plan`` in check mode. It calls ``undo`` if ``inject`` or ``verify`` fails.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

from ..aerospike.cluster import answering
from ..host.systemd import Systemd, UnitState, important_lines

LOG_LINES = 100


class FaultError(Exception):
    """The fault did not take effect. The text says what was expected and what was found."""


class RefusedError(FaultError):
    """The fault was refused. Nothing was changed."""


@dataclass(frozen=True)
class Effect:
    """What was measured: the addresses of the nodes that serve as one cluster, and the key of that cluster."""

    members: Sequence[str]
    cluster_key: str = ""
    changed: bool = True


class Fault:
    """A fault on the nodes ``targets`` of a cluster. ``params`` are the parameters of the module chaos_node."""

    name: ClassVar[str]
    undone_by: ClassVar[str] = ""  # the fault that undoes this one, if `undo` doesn't

    def __init__(self, params: Mapping[str, Any], run: Callable[..., tuple]) -> None:
        self.params, self.run = params, run
        self.port, self.timeout = params["port"], params["timeout"]
        self.systemd = Systemd(run)
        self.notes: list[str] = []  # what happened so far: for the result, and for the message of a failure

    @cached_property
    def alive(self) -> list[str]:
        """The nodes that answered first."""
        return answering(self.params["cluster"], self.port)

    @cached_property
    def others(self) -> list[str]:
        """The nodes that answered first, without the targets."""
        return [host for host in self.alive if host not in self.params["targets"]]

    @property
    def subject(self) -> str:
        """What the fault acts on, for messages."""
        return f"node {self.params['index']}"

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
        """Return why the fault needs ``force``, such as a loss of data, or an empty text."""
        return ""

    def plan(self) -> Effect:
        """Describe the planned effect, for check mode."""
        raise NotImplementedError

    def inject(self) -> None:
        """Inject the fault."""
        raise NotImplementedError

    def verify(self) -> Effect:
        """Measure the effect. Raises FaultError if the fault did not take effect."""
        raise NotImplementedError

    def undo(self) -> None:
        """Undo the fault and verify that the nodes are healthy again. Without effect if the fault has ``undone_by``."""

    def log_lines(self) -> list[str]:
        """Return the log lines of the node that explain a failure, the most telling first."""
        return important_lines(self.systemd.log_lines(self.params["service"], count=LOG_LINES))
