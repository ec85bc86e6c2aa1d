# Copyright (c) Pegasus authors. SPDX-License-Identifier: Apache-2.0
"""What a process of the host has used so far. Needs Linux's /proc."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")


@dataclass(frozen=True)
class Used:
    """What a process has used since its start; 0 if there is no such process."""

    processor_seconds: float = 0.0
    disk_bytes: int = 0  # read from disks and written to them; needs root to know


def used(pid: int) -> Used:
    """Return what a process has used."""
    try:
        # The name, in parentheses, may contain blanks.
        values = (PROC / str(pid) / "stat").read_text(encoding="utf-8").rpartition(")")[2].split()
        ticks = int(values[11]) + int(values[12])
    except (OSError, ValueError, IndexError):
        return Used()
    return Used(ticks / os.sysconf("SC_CLK_TCK"), _disk_bytes(pid))


def _disk_bytes(pid: int) -> int:
    try:
        lines = (PROC / str(pid) / "io").read_text(encoding="utf-8").splitlines()
        return sum(int(line.split()[1]) for line in lines if line.startswith(("read_bytes:", "write_bytes:")))
    except (OSError, ValueError, IndexError):
        return 0
