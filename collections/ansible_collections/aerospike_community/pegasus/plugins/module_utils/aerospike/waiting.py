# Copyright (c) Pegasus authors. SPDX-License-Identifier: Apache-2.0
"""Waits that show what they wait for, and end when nothing moves any more. Pure.

A module that waits for a cluster does so in slices of SLICE_SECONDS. If a slice isn't enough, its result has the key
``waiting`` (:class:`Waiting` as a dictionary), and the action plugin of the module calls it again with the option
``resume`` (plugin_utils/waits.py). The slices keep short waits on the host, where polling is cheap; between them the
control machine shows the progress and decides whether to go on.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any, TypeVar

# Seconds that a module polls before it returns. Longer slices show progress later, shorter slices cost module calls.
SLICE_SECONDS = 5.0
# Seconds between two polls of a slice.
POLL_SECONDS = 0.5
# After so many seconds without any movement, a wait has failed.
STALL_SECONDS = 120.0
# After so many changes from one wait to another, all have failed: a node that keeps crashing never lets them end.
MOST_CHANGES = 20
# The rate is that of the last minute: the rate of migrations changes with the load.
RATE_SECONDS = 60.0


@dataclass(frozen=True)
class Waiting:
    """What a module still waits for.

    ``left``: the figure that must become 0, such as partition migrations; ``unit`` is its plural. ``activity``: any
    number that changes while something moves although ``left`` doesn't change, such as records sent. ``reasons``: what
    may hold it up, such as a full disk. ``resume``: the module's own state, for the next call. ``detail``: what moves,
    in words.
    """

    purpose: str  # "partition migrations to end, before the restart of this node"
    left: int
    unit: str  # "partition migrations"
    activity: int = 0
    reasons: list[str] = field(default_factory=list)
    resume: dict[str, Any] = field(default_factory=dict)
    detail: str = ""

    def result(self) -> dict[str, Any]:
        """Return the module's result. The action plugin never passes it on to Ansible."""
        return {"changed": False, "waiting": asdict(self)}

    @property
    def figure(self) -> str:
        """The figure with its unit: ``1,234 partition migrations left``, ``1 node left``."""
        return f"{self.left:,} {self.unit.removesuffix('s') if self.left == 1 else self.unit} left"


Left = TypeVar("Left")


def poll(find: Callable[[], Left | None], seconds: float = SLICE_SECONDS) -> Left | None:
    """Call ``find`` until it returns None, because nothing is left, at most for a slice. Return its last result."""
    deadline = time.monotonic() + seconds
    while True:
        left = find()
        if left is None or time.monotonic() >= deadline:
            return left
        time.sleep(POLL_SECONDS)


class WaitProgress:
    """Follows one wait: its rate, its estimated time, whether it has stalled.

    ``now`` is in seconds of one clock.

    :param limit: seconds after which a wait has failed if something moves, but the figure doesn't fall; 0 for none
    """

    def __init__(self, limit: float = 0.0) -> None:
        self.limit = limit
        self.purpose = ""
        self.changes = 0  # of the purpose
        self.began = self.moved = self.fell = 0.0
        self.lowest = self.activity = 0
        self.samples: deque[tuple[float, int]] = deque()

    def add(self, waiting: Waiting, now: float) -> None:
        """Add a slice's result. A new purpose begins a new wait."""
        if waiting.purpose != self.purpose:
            self.purpose, self.began, self.moved, self.fell = waiting.purpose, now, now, now
            self.lowest, self.activity = waiting.left, waiting.activity
            self.samples.clear()
            self.changes += 1
        # A figure that rises and falls again isn't progress: only a new lowest value is.
        if waiting.left < self.lowest:
            self.fell = self.moved = now
        elif waiting.activity != self.activity:
            self.moved = now
        self.lowest, self.activity = min(self.lowest, waiting.left), waiting.activity
        self.samples.append((now, waiting.left))
        while now - self.samples[0][0] > RATE_SECONDS:
            self.samples.popleft()
        self.latest = waiting

    @property
    def rate(self) -> float:
        """The decrease of the figure per second in the last minute; 0 if it doesn't decrease."""
        (since, before), (until, after) = self.samples[0], self.samples[-1]
        return max(0.0, (before - after) / (until - since)) if until > since else 0.0

    def stalled(self, now: float) -> bool:
        """Return whether the wait has failed: nothing moves, the figure doesn't fall, or the cluster doesn't settle."""
        unmoved, unsettled = now - self.moved >= STALL_SECONDS, self.changes > MOST_CHANGES
        return unmoved or unsettled or 0 < self.limit <= now - self.fell

    def describe(self, now: float) -> str:
        """Return the wait in one line, the figure first, because a narrow terminal cuts the end.

        ``1,234 partition migrations left, 41 a second, about 30 s to go; waiting 35 s for migrations to end``
        """
        figure = [self.latest.figure]
        if self.rate:
            figure += [f"{self.rate:,.0f} a second" if self.rate >= 1 else f"{self.rate * 60:,.1f} a minute"]
            figure += [f"about {duration(self.latest.left / self.rate)} to go"]
        elif now - self.moved >= 2 * SLICE_SECONDS:
            figure += [f"nothing has moved for {duration(now - self.moved)}"]
        parts = [", ".join(figure), self.latest.detail, f"waiting {duration(now - self.began)} for {self.purpose}"]
        return "; ".join([part for part in parts if part] + self.latest.reasons)

    def stall_message(self, now: float) -> str:
        """Return the message of a wait that has failed."""
        latest = self.latest
        reasons = "".join(f"\n  {reason}" for reason in latest.reasons)
        why = f". What may hold it up:{reasons}" if reasons else ""
        if now - self.moved >= STALL_SECONDS:
            still = f"nothing has moved for {duration(now - self.moved)}"
        elif self.changes > MOST_CHANGES:
            still = f"the cluster doesn't settle: something else had to be waited for {self.changes} times"
        else:
            still = f"no fewer for {duration(now - self.fell)}, although something moves"
        return f"expected {self.purpose}, found {latest.figure}, and {still}{why}"


def duration(seconds: float) -> str:
    """Return seconds as ``45 s``, ``3 min 20 s`` or ``2 h 5 min``."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
