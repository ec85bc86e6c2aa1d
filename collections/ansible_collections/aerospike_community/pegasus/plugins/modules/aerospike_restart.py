#!/usr/bin/python
# Copyright (c) Pegasus authors. SPDX-License-Identifier: Apache-2.0
"""Restart a node of a running cluster without a loss of data, and wait until it has joined again."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: aerospike_restart
short_description: Restart a node of a running cluster without a loss of data
description:
  - Waits until all nodes form a stable cluster without partition migrations, and refuses if records would be lost. Then
    quiesces this node if its edition can, restarts its service, and waits until it has loaded its data, has joined, and
    no partition migration is left.
  - Restarts the nodes of a cluster one by one with any strategy. After a failed restart, skips the other nodes.
  - Shows what it waits for. A wait ends without success if nothing has moved for two minutes.
author: Pegasus authors
options:
  cluster:
    description: Addresses of all nodes. One of them is this host's.
    type: list
    elements: str
    required: true
  reasons: {description: "Reasons for the restart, for messages.", type: list, elements: str, default: []}
  service: {description: The server's unit., type: str, default: aerospike}
  port: {description: Service port., type: int, default: 3000}
  timeout:
    description:
      - Seconds after which a wait ends if its figure hasn't fallen, although something moves. A wait whose figure falls
        has no limit.
    type: int
    default: 3600
  resume: {description: State of an earlier call. The action plugin sets it., type: dict, default: {}}
attributes:
  check_mode: {description: Reports what it would do., support: full}
  diff_mode: {description: Has none., support: none}
"""

EXAMPLES = r"""
- name: Restart the servers node by node
  aerospike_community.pegasus.aerospike_restart:
    cluster: [10.0.0.1, 10.0.0.2, 10.0.0.3]
"""

RETURN = r"""
changes: {description: What was done, a line each., returned: always, type: list, elements: str}
cluster_key: {description: The key of the cluster after the restart., returned: success, type: str}
seconds: {description: Duration., returned: success, type: float}
error_class: {description: C(readiness) if the cluster isn't ready for it., returned: failure, type: str}
next_step: {description: How to go on., returned: failure, type: str}
journal: {description: The server's most telling log lines., returned: failure, type: list, elements: str}
"""

import socket
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, replace
from functools import cached_property
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ..module_utils.aerospike import gate, quiesce
from ..module_utils.aerospike.editions import without_quiesce
from ..module_utils.aerospike.health import query_node
from ..module_utils.aerospike.info import InfoError, info_value
from ..module_utils.aerospike.loading import Moves, loading
from ..module_utils.aerospike.settling import unsettled
from ..module_utils.aerospike.survey import survey
from ..module_utils.aerospike.waiting import SLICE_SECONDS, Left, Waiting, poll
from ..module_utils.host.processes import used
from ..module_utils.host.systemd import ServiceError, Systemd, UnitState, important_lines
from ..module_utils.results import READINESS

GO_ON = "Then run the same command again: it restarts the nodes that still need it"
# Lines of the server's log that are read to find how far it is.
LOG_LINES = 30


class RestartError(Exception):
    """The restart was refused, or a wait ended without success. The text says what was found."""


class Restart:
    """The restart of a node, in steps. A call continues with the step in which the call before it had to wait."""

    def __init__(self, module: AnsibleModule) -> None:
        self.params, self.check = module.params, module.check_mode
        self.systemd = Systemd(module.run_command)
        self.cluster, self.port, self.service = self.params["cluster"], self.params["port"], self.params["service"]
        self.state: dict[str, Any] = {"step": 0, "began": time.time(), **self.params["resume"]}
        self.deadline = time.monotonic() + SLICE_SECONDS
        self.steps: Sequence[Callable[[], Waiting | None]] = (
            self.pass_gate,
            self.begin_quiesce,
            self.hand_over,
            self.restart,
            self.start,
            self.load,
            self.settle,
        )
        self.key = ""

    @cached_property
    def own(self) -> str:
        """The address of this node. Raises RestartError if it isn't among those of the cluster."""
        return own_address(self.cluster)

    @property
    def changes(self) -> list[str]:
        """What is done, for the result."""
        why = "; ".join(self.params["reasons"])
        return [f"restart of {self.service}, node by node" + (f": {why}" if why else "")]

    @property
    def restarted(self) -> bool:
        """Whether the service was restarted."""
        return "restarted_at" in self.state

    def run(self) -> dict[str, Any]:
        """Take the steps. Return the module's result: that of the restart, or of a wait that needs another call.

        :raises RestartError, gate.GateError: the restart was refused, or the wait was given up
        :raises ServiceError, InfoError: a step failed
        """
        if self.check:
            return {"changed": True, "changes": self.changes}
        if "give_up" in self.state:
            raise RestartError(self.state["give_up"])
        while self.state["step"] < len(self.steps):
            waiting = self.steps[self.state["step"]]()
            if waiting is not None:
                return replace(waiting, resume=self.state).result()
            self.state["step"] += 1
        seconds = round(time.time() - self.state["began"], 1)
        return {"changed": True, "changes": self.changes, "cluster_key": self.key, "seconds": seconds}

    def undo(self) -> str:
        """Let a node serve again that was quiesced and not restarted. Return how the node is now."""
        if self.restarted:
            return "This node was restarted. Nodes after it are not restarted"
        if self.state.get("quiesced"):
            try:
                quiesce.send(quiesce.SERVE_AGAIN, [self.own], self.cluster, self.port)
            except InfoError as error:
                return f"This node was not restarted, but it is still quiesced and serves nothing, because {error}"
        return "This node was not restarted and serves as before. Nodes after it are not restarted either"

    # --- Steps: each returns what it waits for, or None once it is done ---------------------------------------------

    def pass_gate(self) -> Waiting | None:
        """Wait until this node may go down without a loss of data."""
        return self.ask_gate(hands_over=self.can_quiesce)

    def begin_quiesce(self) -> Waiting | None:
        """Begin to hand this node's partitions over to the others, if it can."""
        if self.can_quiesce:
            self.state["quiesced"] = True
            quiesce.send(quiesce.QUIESCE, [self.own], self.cluster, self.port)
        return None

    def hand_over(self) -> Waiting | None:
        """Wait until a quiesced node has handed everything over."""
        if not self.state.get("quiesced"):
            return None
        # Until the recluster takes effect, the old cluster still counts as stable.
        return self.poll(self.not_quiesced) or self.ask_gate(hands_over=False)

    def restart(self) -> Waiting | None:
        """Restart the service. systemd's command returns at once, because a server may take minutes to stop."""
        state = self.systemd.state(self.service)
        self.state |= {"restarted_at": time.time(), "started_before": state.started_at}
        self.systemd.call("restart", "--no-block", self.service)
        return None

    def start(self) -> Waiting | None:
        """Wait until the old process has ended and a new process runs."""
        state = self.poll(self.not_started)
        if state is None:
            return None
        purpose, detail = f"the server to stop and start, {self.when}", f"the service is {state.describe()}"
        return Waiting(purpose, 1, "servers", self.moves(state, ""), detail=detail)

    def load(self) -> Waiting | None:
        """Wait until the server has loaded its data: until then it doesn't answer."""
        state = self.poll(self.not_answering)
        if state is None:
            return None
        lines = self.systemd.log_lines(self.service, since=self.state["restarted_at"], count=LOG_LINES)
        found = loading(lines)
        moves = self.moves(state, lines[-1] if lines else "")
        return Waiting(f"this node to load its data, {self.when}", found.left, found.unit, moves, detail=found.detail)

    def settle(self) -> Waiting | None:
        """Wait until all nodes form one cluster again, and no partition migration is left."""
        return self.poll(self.unsettled)

    # --- What the steps share ----------------------------------------------------------------------------------------

    when = "after the restart of this node"

    def poll(self, find: Callable[[], Left | None]) -> Left | None:
        """Wait as long as this call may take."""
        return poll(find, self.deadline - time.monotonic())

    def ask_gate(self, *, hands_over: bool) -> Waiting | None:
        """Wait until the gate lets this node go down. Raises gate.GateError if it never will."""
        request = gate.Request(
            cluster=self.cluster,
            targets=[self.own],
            action="the restart of this node",
            afterwards=gate.BACK,
            port=self.port,
            names={self.own: "this node"},
            all_up=True,
            hands_over=hands_over,
        )
        outcome = gate.pass_gate(request, max(0.0, self.deadline - time.monotonic()))
        return outcome if isinstance(outcome, Waiting) else None

    @property
    def can_quiesce(self) -> bool:
        """Whether this node's edition can quiesce, and other nodes exist that could take over."""
        return len(self.cluster) > 1 and not without_quiesce([self.own], self.port)

    def not_quiesced(self) -> Waiting | None:
        """Return what to wait for until the node's quiesce has taken effect."""
        if quiesce.is_quiesced(query_node(self.own, self.port)):
            return None
        return Waiting("this node to be quiesced, before its restart", 1, "nodes")

    def not_started(self) -> UnitState | None:
        """Return the service's state until a new process runs. Raises ServiceError if systemd gave up."""
        state = self.systemd.state(self.service)
        if state.running and state.started_at != self.state["started_before"]:
            self.state["restarts"] = state.restarts
            return None
        if state.active in ("failed", "inactive") and not state.job:
            raise ServiceError(f"{self.when}: expected {self.service} active, found {state.describe()}")
        return state

    def not_answering(self) -> UnitState | None:
        """Return the service's state until its server answers."""
        state = self.service_state()
        with suppress(InfoError):
            info_value(self.own, "node", port=self.port)
            return None
        return state

    def unsettled(self) -> Waiting | None:
        """Return what the cluster still has to do, None if nothing."""
        self.service_state()
        found = survey(self.cluster, self.port)
        self.key = found.key
        return unsettled(found, self.cluster, self.when)

    def service_state(self) -> UnitState:
        """Return the service's state. Raises ServiceError if its new process has ended."""
        state = self.systemd.state(self.service)
        down = state.active in ("failed", "inactive") or state.sub == "auto-restart"
        if down or state.restarts > self.state["restarts"]:
            raise ServiceError(f"{self.when}: expected {self.service} active, found {state.describe()}")
        return state

    def moves(self, state: UnitState, last_line: str) -> int:
        """Return how often the server's process was seen to move since the restart."""
        found = Moves.after(self.state.get("moves", {}), time.time(), state.pid, used(state.pid), last_line)
        self.state["moves"] = asdict(found)
        return found.count


def own_address(cluster: Sequence[str]) -> str:
    """Return which address of a cluster is this host's. Raises RestartError if none is."""
    for address in cluster:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        with socket.socket(family, socket.SOCK_DGRAM) as probe, suppress(OSError):
            probe.bind((address, 0))
            return address
    raise RestartError(
        f"expected an address of this host among those of the cluster ({', '.join(cluster)}), found none: check "
        f"aerospike_server_seeds"
    )


def failure(restart: Restart, error: Exception) -> dict[str, Any]:
    """Undo what can be undone. Return the result: what was found, the log lines that explain it, how to go on."""
    state = restart.undo()
    result: dict[str, Any] = {"msg": f"{error}\n{state}", "journal": [], "changes": []}
    if restart.restarted:
        since = restart.state["restarted_at"]
        lines = important_lines(restart.systemd.log_lines(restart.service, since=since))
        first = f"{lines[0]}\n" if lines and ("CRITICAL" in lines[0] or "FAILED" in lines[0]) else ""
        result = {"msg": f"{first}{error}\n{state}", "journal": lines, "changes": restart.changes}
    if isinstance(error, (RestartError, gate.GateError)):
        result["error_class"] = READINESS
    return {**result, "next_step": f"Remove the cause. {GO_ON}"}


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "cluster": {"type": "list", "elements": "str", "required": True},
            "reasons": {"type": "list", "elements": "str", "default": []},
            "service": {"type": "str", "default": "aerospike"},
            "port": {"type": "int", "default": 3000},
            "timeout": {"type": "int", "default": 3600},
            "resume": {"type": "dict", "default": {}},
        },
        supports_check_mode=True,
    )
    restart = Restart(module)
    try:
        result = restart.run()
    except (RestartError, gate.GateError, InfoError, ServiceError) as error:
        module.fail_json(**failure(restart, error))
    module.exit_json(**result)


if __name__ == "__main__":
    main()
