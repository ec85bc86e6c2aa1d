# Copyright (c) Pegasus authors. SPDX-License-Identifier: Apache-2.0
"""Count the records again after nodes went down for good, and compare with the count before."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from .gate import POLL_SECONDS, REMOVED, GateError, Request, find_obstacle
from .records import Comparison, compare
from .survey import Survey, survey
from .waiting import SLICE_SECONDS, Waiting


@dataclass(frozen=True)
class Recount:
    """What is compared.

    ``staying``: addresses of the nodes that have to have every record. ``befores``: counts from before, each as
    records.snapshot has it; empty ones are ignored. ``since``: the moment of those counts, for messages. ``names``: the
    nodes' names by address. ``at_once``: don't wait for partition migrations, so that the count may not be final.
    """

    staying: Sequence[str]
    befores: Sequence[Mapping[str, Any]]
    since: str  # "the removal of node 1"
    port: int = 3000
    names: Mapping[str, str] = field(default_factory=dict)
    at_once: bool = False


def recount(
    request: Recount, seconds: float = SLICE_SECONDS, ask: Callable[[Sequence[str], int], Survey] = survey
) -> Comparison | Waiting:
    """Wait at most ``seconds`` until the other nodes have every copy, then compare. Return what it still waits for.

    :raises GateError: waiting doesn't help, such as partitions that no node serves
    """
    gate = Request(
        request.staying, [], f"the end of {request.since}", REMOVED, request.port, request.names, all_up=True
    )
    deadline = time.monotonic() + seconds
    while True:
        found = ask(request.staying, request.port)
        obstacle = find_obstacle(gate, found)
        if obstacle is None or request.at_once:
            result = Comparison()
            for before in request.befores:
                compared = compare(before, found, request.since) if before else Comparison()
                result.lines += [line for line in compared.lines if line not in result.lines]
                result.problems += [line for line in compared.problems if line not in result.problems]
            if obstacle:
                result.lines.append(f"the count isn't final: {obstacle.text}")
            elif not result.problems:
                result.lines.append("no partition migration is left: the other nodes have every copy")
            return result
        if obstacle.waiting is None:
            raise GateError(obstacle.text)
        if time.monotonic() >= deadline:
            return obstacle.waiting
        time.sleep(POLL_SECONDS)
