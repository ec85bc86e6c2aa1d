# Copyright (c) Pegasus authors. SPDX-License-Identifier: Apache-2.0
"""The gate: whether nodes may be taken down without a loss of data.

Every destructive action on a node passes it first: stop, kill, removal, restart of a running node, rolling change, any
fault. It asks all nodes about all namespaces. It lets the targets pass if

- the nodes are one stable cluster, and every node that has to be up answers;
- no partition migration is left on any node: until then, a node may hold the only copy of some records;
- every namespace that holds records has more copies of each than nodes go down, and serves all its partitions.

    outcome = pass_gate(Request(cluster, targets, "the stop of node 2"))   # raises GateError: a definite refusal
    if isinstance(outcome, Waiting):
        module.exit_json(**outcome.result())      # the action plugin calls again: plugin_utils/waits.py
    outcome.before                                # the records, to compare with later: records.compare

With ``accept_data_loss`` it lets everything pass at once, and the warnings have the figures.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from . import health
from .migrations import UNIT
from .records import number, snapshot, unique
from .survey import Survey, survey
from .waiting import SLICE_SECONDS, Waiting

POLL_SECONDS = 0.5
# What the targets are afterwards: stopped for a time, running again with what they have on disk, or removed for good.
DOWN, BACK, REMOVED = "down", "back", "removed"


class GateError(Exception):
    """The action is refused: waiting wouldn't help. The text has the figures, without advice on how to proceed."""


@dataclass(frozen=True)
class Request:
    """What is asked of the gate.

    ``cluster``: addresses of all nodes. Those that don't answer were down before; with ``all_up``, the gate waits for
    them. ``targets``: addresses of the nodes that go down together. ``action``: what is done to them, for messages.
    ``names``: names of the nodes by address, for messages. ``afterwards``: DOWN, BACK or REMOVED. ``hands_over``: the
    targets will be quiesced first, and then the other nodes get what only they have.
    """

    cluster: Sequence[str]
    targets: Sequence[str]
    action: str  # "the stop of node 2"
    afterwards: str = DOWN
    port: int = 3000
    names: Mapping[str, str] = field(default_factory=dict)
    all_up: bool = False
    hands_over: bool = False
    accept_data_loss: bool = False

    def named(self, hosts: Sequence[str]) -> str:
        """Return the names of nodes: ``node 2, node 3``."""
        return ", ".join(self.names.get(host, f"node {host}") for host in hosts)


@dataclass(frozen=True)
class Approval:
    """The targets may go down. ``as_dict`` can be sent as JSON.

    ``approved``: the targets; without ``accepted``, only those that run. ``members``: the nodes that answered.
    ``before``: the records before, see records.snapshot. ``accepted``: whether a loss of data was accepted.
    """

    approved: list[str]
    members: list[str]
    cluster_key: str
    before: dict[str, Any]
    notes: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    accepted: bool = False

    def as_dict(self) -> dict[str, Any]:
        """Return the fields by name."""
        return asdict(self)


@dataclass(frozen=True)
class Obstacle:
    """Why the targets may not go down. ``waiting``: what has to happen first, None if waiting doesn't help."""

    text: str
    waiting: Waiting | None = None


def pass_gate(
    request: Request,
    seconds: float = SLICE_SECONDS,
    ask: Callable[[Sequence[str], int], Survey] = survey,
) -> Approval | Waiting:
    """Wait at most ``seconds`` until the targets may go down. Return the approval, or what it still waits for.

    :raises GateError: the action would lose data, and waiting doesn't help
    """
    deadline = time.monotonic() + seconds
    while True:
        found = ask(request.cluster, request.port)
        obstacle = find_obstacle(request, found)
        if obstacle is None or request.accept_data_loss:
            # Again: the cluster must not have changed meanwhile, and the count of records needs two surveys.
            again = ask(request.cluster, request.port)
            obstacle = find_obstacle(request, again)
            if obstacle is None or request.accept_data_loss:
                return _approve(request, found, again, obstacle)
        if obstacle.waiting is None:
            raise GateError(f"{request.action} is refused: {obstacle.text}")
        if time.monotonic() >= deadline:
            return obstacle.waiting
        time.sleep(POLL_SECONDS)


def explain(request: Request, ask: Callable[[Sequence[str], int], Survey] = survey) -> str:
    """Return why the targets may not go down now, or an empty text. For check mode, and for the end of a wait."""
    obstacle = find_obstacle(request, ask(request.cluster, request.port))
    return obstacle.text if obstacle else ""


def find_obstacle(request: Request, found: Survey) -> Obstacle | None:
    """Return why the targets may not go down, or None. Pure."""
    missing = [host for host in request.cluster if host not in found.nodes]
    if request.all_up and missing:
        errors = [f"{request.named([host])}: {found.errors.get(host, 'no answer')}" for host in missing]
        text = f"expected every node to answer, found {len(missing)} of {len(request.cluster)} that don't"
        return _wait(request, "every node to answer", "\n  ".join([text, *errors]), len(missing), "nodes", errors)
    running = [host for host in request.targets if host in found.nodes]
    if not running and request.afterwards != REMOVED:
        return None
    staying = [host for host in found.nodes if host not in request.targets]
    if not staying and request.afterwards == REMOVED:
        return Obstacle("no node would be left, and the data would be lost (destroy-cluster removes the whole cluster)")
    if not found.key:
        expected = f"one stable cluster of the {len(found.nodes)} nodes that answer"
        views = _views(request, found)
        text = f"the {len(found.nodes)} nodes that answer are not one stable cluster"
        return _wait(request, expected, text, found.outside or 1, "nodes", views)
    return _unserved(request, found) or _too_few_copies(request, found, running, staying) or _migrating(request, found)


def stake(request: Request, found: Survey) -> str:
    """Return what the targets hold: ``node 2 holds 984,835 of 1,477,253 records of namespace Test``, or nothing."""
    parts = []
    for name in found.namespaces:
        objects = {host: number(values, "objects") for host, values in found.values(name).items()}
        if any(objects.values()):
            # During migrations, a master may not have all records of its partitions yet.
            records = max(unique(found, name), *objects.values())
            held = min(records, sum(objects.get(host, 0) for host in request.targets))
            parts.append(f"{held:,} of {records:,} records of namespace {name}")
    running = [host for host in request.targets if host in found.nodes]
    if not parts or not running:
        return ""
    return f"{request.named(running)} {'hold' if len(running) > 1 else 'holds'} {' and '.join(parts)}"


def _wait(
    request: Request, purpose: str, text: str, left: int, unit: str, reasons: list[str], activity: int = 0
) -> Obstacle:
    return Obstacle(text, Waiting(f"{purpose}, before {request.action}", left, unit, activity, reasons))


def _views(request: Request, found: Survey) -> list[str]:
    """Return how each node sees its cluster, and why the others don't answer."""
    seen = [
        f"{request.named([host])} in a cluster of {node.statistics.node.get('cluster_size', '?')}"
        + (f", stable with the key {node.key}" if node.key else ", not stable or of another size")
        for host, node in found.nodes.items()
    ]
    return seen + [f"{request.named([host])} doesn't answer: {error}" for host, error in found.errors.items()]


def _unserved(request: Request, found: Survey) -> Obstacle | None:
    """Partitions that no node serves: strong consistency only."""
    for name in found.namespaces:
        values = found.values(name).values()
        counts = [
            f"{most:,} {kind} partitions"
            for kind in ("unavailable", "dead")
            if (most := max(number(node, f"{kind}_partitions") for node in values))
        ]
        if counts:
            return Obstacle(
                f"namespace {name} has {' and '.join(counts)}: start the stopped nodes first (restart-node)"
            )
    return None


def _too_few_copies(request: Request, found: Survey, running: list[str], staying: list[str]) -> Obstacle | None:
    """Records that no node that stays would hold."""
    down = [host for host in request.cluster if host not in found.nodes and host not in request.targets]
    stopped = [host for host in request.targets if host not in running]
    for name in found.namespaces:
        values = found.values(name)
        if not any(number(node, "objects") for node in values.values()):
            continue
        if request.afterwards == BACK and not any(_volatile(values[host]) for host in running if host in values):
            continue
        copies = min(number(node, "effective_replication_factor") or 1 for node in values.values())
        number_of = f"are only {copies} copies" if copies > 1 else "is only 1 copy"
        only = f"there {number_of} of each record of namespace {name}"
        if not staying:
            return Obstacle(f"no other node is up; {stake(request, found)}")
        if any(node.get("strong-consistency") == "true" for node in values.values()):
            # Its copies aren't replaced on other nodes: the nodes that were down before count too.
            lost = [*down, *request.targets]
        else:
            # No partition migration is left, so the copies of nodes that were down before have been replaced.
            lost = [host for host in running if not (request.hands_over or _quiesced(values.get(host, {})))]
        if len(lost) >= copies:
            together = f"{len(lost)} nodes would be down" if len(lost) > 1 else "it would be down"
            return Obstacle(f"{only}, and {together}: records would be lost or out of reach; {stake(request, found)}")
        if request.afterwards == REMOVED and len(stopped) >= copies:
            return Obstacle(
                f"{request.named(stopped)} {'are' if len(stopped) > 1 else 'is'} stopped, and {only}: "
                f"start one first (restart-node), because no other node may hold its records"
            )
    return None


def _volatile(values: Mapping[str, str]) -> bool:
    """Return whether a node loses the data of a namespace in a restart: it is in memory without a file or device."""
    backed = any(name.startswith(("storage-engine.device[", "storage-engine.file[")) for name in values)
    return values.get("storage-engine", "memory") == "memory" and not backed


def _quiesced(values: Mapping[str, str]) -> bool:
    """Return whether a node is quiesced: without migrations, the other nodes then have everything that it holds."""
    return values.get("effective_is_quiesced") == "true"


def _migrating(request: Request, found: Survey) -> Obstacle | None:
    """Partition migrations that are left: the targets may hold the only copy of some records."""
    migrations = found.migrations
    if found.settled:
        return None
    held = stake(request, found)
    where = f"{held}; " if held else ""
    text = f"{where}{migrations} left: until they end, some records may exist only on one node"
    reasons = [problem.reason for problem in health.problems(found.statistics)]
    # Not settled with nothing left: a migration began or ended between the answers.
    return _wait(request, f"{UNIT} to end", text, max(migrations.left, 1), UNIT, reasons, migrations.activity)


def _approve(request: Request, first: Survey, second: Survey, obstacle: Obstacle | None) -> Approval:
    running = [host for host in request.targets if host in second.nodes]
    held = stake(request, second)
    notes, warnings = [], []
    if obstacle:
        warnings = [f"{request.action} proceeds, because a loss of data was accepted: {obstacle.text}"]
    elif held and request.afterwards != BACK:
        notes = [
            f"{held}; no partition migration is left"
            + ("" if request.hands_over else ": other nodes have a copy of each")
        ]
    return Approval(
        approved=list(request.targets) if request.accept_data_loss else running,
        members=list(second.nodes),
        cluster_key=second.key,
        before=snapshot(first, second),
        notes=notes,
        warnings=warnings,
        accepted=request.accept_data_loss,
    )
