# Copyright (c) Pegasus authors. SPDX-License-Identifier: Apache-2.0
"""Kernel settings of a host: compare, set, verify. A setting that the kernel refuses is reported and is no error.

The kernel of a container refuses most of them.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

SYSCTL = Path("/proc/sys")
SYSFS = Path("/sys")


@dataclass
class KernelOutcome:
    """What happened to the requested settings, each as ``path: text``."""

    changed: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)


def apply(settings: Mapping[str, object], root: Path, *, write: bool = True) -> KernelOutcome:
    """Set each setting that differs and read it back.

    :param settings: name of a kernel parameter (``vm.swappiness``, root SYSCTL) or path below ``root`` -> value
    :param root: SYSCTL or SYSFS
    :param write: False only reports what would change
    """
    outcome = KernelOutcome()
    for name, value in settings.items():
        path = root / (name.replace(".", "/") if root == SYSCTL else name)
        expected = str(int(value)) if isinstance(value, bool) else str(value)
        try:
            found = current(path.read_text(encoding="ascii"))
        except OSError as error:
            outcome.refused.append(f"{path}: expected {expected}, found nothing ({error.strerror})")
            continue
        if found == normal(expected):
            continue
        if not write:
            # Root may write everywhere but on a read-only file system, such as a container's.
            if os.access(path, os.W_OK):
                outcome.changed.append(f"{path}: {found} -> {expected}")
            else:
                outcome.refused.append(f"{path}: expected {expected}, found {found} (read-only)")
            continue
        reason = "the kernel kept its value"
        try:
            path.write_text(f"{expected}\n", encoding="ascii")
        except OSError as error:
            reason = str(error.strerror)
        now = current(path.read_text(encoding="ascii"))
        if now == normal(expected):
            outcome.changed.append(f"{path}: {found} -> {expected}")
        else:
            outcome.refused.append(f"{path}: expected {expected}, found {now} ({reason})")
    return outcome


def current(text: str) -> str:
    """Return a setting's value; of alternatives (``always madvise [never]``) the selected one."""
    choice = re.search(r"\[(\S+)\]", text)
    return choice.group(1) if choice else normal(text)


def normal(value: str) -> str:
    """Return a value with single blanks between its numbers."""
    return " ".join(str(value).split())
