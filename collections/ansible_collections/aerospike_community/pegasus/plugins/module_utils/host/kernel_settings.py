# Copyright (c) Pegasus authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""Kernel settings of a host: compare, set, verify. A kernel that refuses (a container's) is reported, not an error."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path


@dataclass
class KernelOutcome:
    """What became of the asked settings, each as ``name: text``."""

    changed: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)


def apply(settings: Mapping[str, str], root: Path, *, write: bool = True) -> KernelOutcome:
    """Bring each setting to its value and read it back.

    :param settings: path below ``root`` (``vm/swappiness``) -> value
    :param root: /proc/sys or /sys
    :param write: False only says what would change
    """
    outcome = KernelOutcome()
    for name, wanted in settings.items():
        path = root / name
        try:
            found = current(path.read_text(encoding="ascii"))
        except OSError as error:
            outcome.refused.append(f"{path}: expected {wanted}, found nothing ({error.strerror})")
            continue
        if found == normal(wanted):
            continue
        if not write and not os.access(path, os.W_OK):
            # Root may write anything but a file system that is mounted read-only, as a container's are.
            outcome.refused.append(f"{path}: expected {wanted}, found {found} (read-only)")
            continue
        if not write:
            if os.access(path, os.W_OK):
                outcome.changed.append(f"{path}: {found} -> {wanted}")
            else:
                outcome.refused.append(f"{path}: expected {wanted}, found {found} (it can't be written)")
            continue
        reason = "the kernel kept its own"
        try:
            path.write_text(f"{wanted}\n", encoding="ascii")
        except OSError as error:
            reason = str(error.strerror)
        now = current(path.read_text(encoding="ascii"))
        if now == normal(wanted):
            outcome.changed.append(f"{path}: {found} -> {wanted}")
        else:
            outcome.refused.append(f"{path}: expected {wanted}, found {now} ({reason})")
    return outcome


def current(text: str) -> str:
    """Return a setting's value; of a choice (``always madvise [never]``) the chosen one."""
    choice = re.search(r"\[(\S+)\]", text)
    return choice.group(1) if choice else normal(text)


def normal(value: str) -> str:
    """One blank between the numbers of a setting that has several."""
    return " ".join(str(value).split())
