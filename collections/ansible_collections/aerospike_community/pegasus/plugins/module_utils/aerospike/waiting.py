# Copyright (c) Pegasus authors. SPDX-License-Identifier: Apache-2.0
"""Waits that show what they wait for, and end when nothing moves any more. Pure.

A module that waits for a cluster does so in slices of SLICE_SECONDS. If a slice isn't enough, its result has the key
``waiting`` (:class:`Waiting` as a dictionary), and the action plugin of the module calls it again with the option
``resume`` (plugin_utils/waits.py). The slices keep short waits on the host, where polling is cheap; between them the
control machine shows the progress and decides whether to go on.
"""

from __future__ import annotations

from collections import deque
from dataclasses import asdict, dataclass, field
from typing import Any

# Seconds that a module polls before it returns. Longer slices show progress later, shorter slices cost module calls.
SLICE_SECONDS = 5.0
# After so many seconds without any movement, a wait has failed.
STALL_SECONDS = 120.0
# The rate is that of the last minute: the rate of migrations changes with the load.
RATE_SECONDS = 60.0


@dataclass(frozen=True)
class Waiting:
    """What a module still waits for.

    ``left``: the figure that must become 0, such as partition migrations. ``activity``: any number that changes while
    something moves although ``left`` doesn't change, such as records sent. ``reasons``: what may hold it up, such as a
    full disk. ``resume``: the module's own state, for the next call.
    """

    purpose: str  # "partition migrations to end, before the restart of this node"
    left: int
    unit: str  # "partition migrations"
    activity: int = 0
    reasons: list[str] = field(default_factory=list)
    resume: dict[str, Any] = field(default_factory=dict)

    def result(self) -> dict[str, Any]:
        """Return the module's result. The action plugin never passes it on to Ansible."""
        return {"changed": False, "waiting": asdict(self)}


class WaitProgress:
    """Follows one wait: its rate, its estimated time, whether it has stalled. ``now`` is seconds of one clock."""

    def __init__(self) -> None:
        self.purpose = ""
        self.began = self.moved = 0.0
        self.lowest = self.activity = 0
        self.samples: deque[tuple[float, int]] = deque()

    def add(self, waiting: Waiting, now: float) -> None:
        """Add a slice's result. A new purpose begins a new wait."""
        if waiting.purpose != self.purpose:
            self.purpose, self.began, self.moved = waiting.purpose, now, now
            self.lowest, self.activity = waiting.left, waiting.activity
            self.samples.clear()
        # A figure that rises and falls again isn't progress: only a new lowest value is.
        if waiting.left < self.lowest or waiting.activity != self.activity:
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
        """Return whether nothing has moved for STALL_SECONDS."""
        return now - self.moved >= STALL_SECONDS

    def describe(self, now: float) -> str:
        """Return the wait in one line: ``waiting 35 s for ...: 1,234 ... left, 41 a second, about 30 s to go``."""
        parts = [f"{self.latest.left:,} {self.latest.unit} left"]
        if self.rate:
            parts += [f"{self.rate:,.0f} a second" if self.rate >= 1 else f"{self.rate * 60:,.1f} a minute"]
            parts += [f"about {duration(self.latest.left / self.rate)} to go"]
        elif now - self.moved >= 2 * SLICE_SECONDS:
            parts += [f"nothing has moved for {duration(now - self.moved)}"]
        text = f"waiting for {duration(now - self.began)} for {self.purpose}: {', '.join(parts)}"
        return "; ".join([text, *self.latest.reasons])

    def stall_message(self, now: float) -> str:
        """Return the message of a wait that ends because nothing moves."""
        latest = self.latest
        reasons = "".join(f"\n  {reason}" for reason in latest.reasons)
        why = f". What may hold it up:{reasons}" if reasons else ""
        return (
            f"expected {self.purpose}, found {latest.left:,} {latest.unit} left, and nothing has moved for "
            f"{duration(now - self.moved)}{why}"
        )


def duration(seconds: float) -> str:
    """Return seconds as ``45 s``, ``3 min 20 s`` or ``2 h 5 min``."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
