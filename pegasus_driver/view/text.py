"""Numbers and tables as text."""

from collections.abc import Iterable, Sequence
from typing import Any

from pegasus_driver.run.progress import RoleProgress


def duration(seconds: float) -> str:
    """3.4 -> "3.4 s", 83 -> "1:23 min", 3723 -> "1:02:03 h"."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    rounded = round(seconds)
    if rounded < 60:
        return f"{rounded} s"
    minutes, rest = divmod(rounded, 60)
    if minutes < 60:
        return f"{minutes}:{rest:02} min"
    return f"{minutes // 60}:{minutes % 60:02}:{rest:02} h"


def table(rows: Iterable[Sequence[Any]], indent: str = "  ") -> list[str]:
    """Align rows of cells. Columns without any content are left out, numbers are right-aligned."""
    cells = [["" if cell is None else str(cell) for cell in row] for row in rows]
    if not cells:
        return []
    used = [column for column in range(len(cells[0])) if any(row[column] for row in cells[1:] or cells)]
    widths = {column: max(len(row[column]) for row in cells) for column in used}
    plain = {column: [row[column].replace(",", "").replace(".", "") for row in cells[1:]] for column in used}
    align = {c: str.rjust if plain[c] and all(map(str.isdigit, plain[c])) else str.ljust for c in used}
    return [(indent + "  ".join(align[c](row[c], widths[c]) for c in used)).rstrip() for row in cells]


def hosts(role: RoleProgress, idle: int = 0) -> str:
    """How many hosts have finished a role; idle: the hosts that seem to have finished it."""
    failed = f", {len(role.failed)} failed" if role.failed else ""
    return f"{len(role.left) + idle} of {len(role.entered)} host{'s' if len(role.entered) != 1 else ''}{failed}"


def changed(count: int) -> str:
    return f"changed {count}" if count else ""


def columns(left: str, right: str, width: int) -> str:
    """left and right at the two ends of a line; left is cut if both don't fit."""
    room = width - len(right) - 1
    if len(left) > room:
        left = left[: max(0, room - 1)] + "~"
    return f"{left:<{room}} {right}" if right else left
