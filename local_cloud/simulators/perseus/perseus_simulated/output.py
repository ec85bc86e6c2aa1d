"""Prints as the real Perseus does: a separate line in one write, the table cell by cell.

The real Perseus prints a row in a hundred small writes, one for each cell and even each blank. Its stdout is locked for
a complete row, its stderr isn't: if both go to one file, stack traces split rows.
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
