"""Prints as the real one does: a line of its own in one piece, the table cell by cell.

The real one's rows come in a hundred small writes (each cell, even each blank, is one). Its stdout is locked for a
whole row, its stderr isn't: where both go to one file, stack traces tear rows apart.
"""

from __future__ import annotations

import re
import sys
import threading

_CELL = re.compile(r"[^|\n]*[|\n]+")
_lock = threading.Lock()


def say(text: str) -> None:
    """A line on stdout."""
    with _lock:
        _write(f"{text}\n")


def table(lines: list[str]) -> None:
    """Lines of the table on stdout."""
    with _lock:
        for cell in _CELL.findall("\n".join([*lines, ""])):
            _write(cell)


def _write(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()
