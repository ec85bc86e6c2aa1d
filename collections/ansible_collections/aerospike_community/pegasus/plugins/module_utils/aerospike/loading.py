# Copyright (c) Pegasus authors. SPDX-License-Identifier: Apache-2.0
"""How far a server is that loads its data after a start. Until it has, it answers no query. Pure.

Its log is all that it says, in every release: ``{Test} loaded: objects 1234 device-pcts (12,13)``. Between two
such lines and in its other steps, only the use of the processor and of the disks shows that it moves.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..host.processes import Used

_LOADED = re.compile(r"\{([^}]+)\} loaded: objects (\d+).* device-pcts \(([\d,]+)\)")
# What is in front of a line's message: "Nov 30 2026 02:11:22 GMT: INFO (drv_ssd): (drv_ssd.c:4001) ".
_PREFIX = re.compile(r"^.*? (?:CRITICAL|WARNING|INFO|DEBUG|DETAIL) \([^)]*\): \([^)]*\) ")
MAX_LINE = 120  # characters of a line that are shown
# A process that moves uses at least this share of a processor, or reads and writes so many bytes, between two looks.
SHARE = 0.05
BYTES = 1024 * 1024


@dataclass(frozen=True)
class Loading:
    """``left``: percent of the data, 1 if the server doesn't say. ``detail``: its last log line."""

    left: int
    unit: str
    detail: str


def loading(lines: Sequence[str]) -> Loading:
    """Return how far a server is by the lines of its log since the start, oldest first."""
    own = [_PREFIX.sub("", line) for line in lines if _PREFIX.match(line)]  # not those of systemd
    detail = f"its log: {own[-1].strip()[:MAX_LINE]}" if own else ""
    found = next((match for line in reversed(lines) if (match := _LOADED.search(line))), None)
    if found is None:
        return Loading(1, "nodes", detail)
    left = 100 - min(int(text) for text in found.group(3).split(",") if text)
    detail = f"namespace {found.group(1)}: {int(found.group(2)):,} records loaded"
    return Loading(max(1, left), "percent of the data", detail)


@dataclass(frozen=True)
class Moves:
    """What a process did until a moment, and how often it was seen to move. ``as_dict`` can be sent as JSON."""

    now: float = 0.0  # seconds of one clock
    pid: int = 0
    processor_seconds: float = 0.0
    disk_bytes: int = 0
    last_line: str = ""  # of its log
    count: int = 0

    @classmethod
    def after(cls, before: Mapping[str, Any], now: float, pid: int, used: Used, last_line: str) -> Moves:
        """Compare with what was found before. The count grows if the process moved: the activity of a wait.

        :param before: the fields of what was found before; {} at the first time
        """
        then = cls(**before)
        busy = used.processor_seconds - then.processor_seconds >= SHARE * max(0.0, now - then.now)
        moved = pid != then.pid or last_line != then.last_line or busy or used.disk_bytes - then.disk_bytes >= BYTES
        return cls(now, pid, used.processor_seconds, used.disk_bytes, last_line, then.count + moved)
