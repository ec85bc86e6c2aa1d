"""The panes of `pegasus-driver tail`: one per client, each in its colour, side by side as far as the width allows."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, TextIO

if TYPE_CHECKING:
    from rich.text import Text

COLOURS = ("cyan", "green", "yellow", "magenta", "blue", "bright_red", "bright_cyan", "bright_green")
# Characters: the narrowest useful pane, a column of counts, the column of row numbers.
NARROWEST, COLUMN, NUMBER = 36, 10, 6
# Lines: a title, the names, the threads, a row.
LOWEST = 4
KEPT = 400
# Workloads whose names are too long for a column.
SHORT = {
    "expressionRead": "exprRead", "expressionWrite": "exprWrite", "batchWrite": "batWrite", "batchRead": "batRead",
    "numericSearch": "numSearch", "stringSearch": "strSearch", "geospatialSearch": "geoSearch",
    "udfAggregation": "udfAggr", "rangeQuery": "range",
}  # fmt: skip


@dataclass(frozen=True)
class Line:
    """One line of a client's log, or what happened to the connection to it."""

    client: str
    kind: Literal["line", "connected", "lost"]
    text: str = ""
    old: bool = False  # from before the command began


@dataclass
class Pane:
    """One client: its last rows and messages. An item is a row, or a text between rows."""

    name: str
    reader: Any
    items: deque[Any] = field(default_factory=lambda: deque(maxlen=KEPT))
    state: str = "connecting"

    def take(self, line: Line) -> None:
        if line.kind == "connected":
            self.state = ""
        elif line.kind == "lost":
            self.state = f"connection lost, reconnecting: {line.text}"
        else:
            row = self.reader.feed(line.text)
            if row:
                self.items.append(row)
            elif line.text.strip() and not line.text.startswith(("|", "=", "-")):
                self.items.append(line.text)

    def columns(self, width: int) -> tuple[list[str], int]:
        """Choose the workloads to show: the active workloads first, as far as the width allows, and the total.

        :returns: names of columns, number of active workloads without a column
        """
        rows = [item for item in self.items if not isinstance(item, str)]
        known = list(rows[-1].counts) if rows else ["total"]
        room = max(1, (width - NUMBER) // COLUMN)
        names = [name for name in known if name != "total"]
        threads = self.reader.threads
        active = [name for name in names if threads.get(name) or any(row.counts.get(name) for row in rows[-5:])]
        chosen = active[: room - 1] or names[: room - 1]
        return [*chosen, "total"], max(0, len(active) - len(chosen))

    def lines(self, width: int, height: int) -> list[tuple[str, str]]:
        """Return (text, kind) from top to bottom; kind is head, threads, row, message, lost or empty."""
        columns, _ = self.columns(width)
        threads = self.reader.threads

        def cells(first: str, values: Sequence[str]) -> str:
            return (f"{first:>{NUMBER}}" + "".join(f"{value:>{COLUMN}}" for value in values))[:width]

        top = [(cells("", [SHORT.get(name, name)[: COLUMN - 1] for name in columns]), "head")]
        if threads:
            counts = [str(threads.get(name, "")) if name != "total" else "" for name in columns]
            top.append((cells("thr.", counts), "threads"))
        if self.state:
            top.append((self.state[:width], "lost"))
        body: list[tuple[str, str]] = []
        for item in list(self.items)[-max(1, height - len(top)) :]:
            if isinstance(item, str):
                body.append((item[:width], "message"))
            else:
                body.append((cells(str(item.number), [f"{item.counts.get(name, 0):,}" for name in columns]), "row"))
        lines = (top + body)[:height]
        return lines + [("", "empty")] * (height - len(lines))


STYLES = {"head": "bold", "threads": "dim", "message": "red", "lost": "bold red"}


class Panes:
    """The whole terminal, redrawn when a line has come or the size has changed."""

    def __init__(self, panes: Sequence[Pane], stdout: TextIO) -> None:
        from rich.console import Console
        from rich.live import Live

        self.panes = list(panes)
        self.gone = False
        self._console = Console(file=stdout, highlight=False, emoji=False, markup=False)
        self._live = Live(console=self._console, auto_refresh=False, screen=True, redirect_stdout=False,
                          redirect_stderr=False)  # fmt: skip
        self._by_name = {pane.name: pane for pane in panes}
        self._changed = True
        self._size = (0, 0)

    def start(self) -> None:
        self._live.start()

    def take(self, line: Line) -> None:
        self._by_name[line.client].take(line)
        self._changed = True

    def tick(self) -> None:
        size = (self._console.width, self._console.height)
        if self._changed or size != self._size:
            self._changed, self._size = False, size
            try:
                self._live.update(self.view(*size), refresh=True)
            except OSError:
                self.gone = True

    def finish(self) -> None:
        self._live.stop()

    def view(self, width: int, height: int) -> Text:
        """Return the picture: rows of panes, as many side by side as fit. Clients without a pane are counted."""
        from rich.text import Text

        across = max(1, min(len(self.panes), (width + 3) // (NARROWEST + 3)))
        shown = self.panes
        if len(shown) > across * (height // LOWEST):
            height = max(LOWEST, height - 1)  # for the line with their number
            shown = shown[: across * (height // LOWEST)]
        down = -(-len(shown) // across)
        each = (width - 3 * (across - 1)) // across
        tall = height // down
        text = Text(no_wrap=True, overflow="crop")
        for first in range(0, len(shown), across):
            group = shown[first : first + across]
            bodies = [pane.lines(each, tall - 1) for pane in group]
            for row in range(tall):
                for column, pane in enumerate(group):
                    colour = COLOURS[(first + column) % len(COLOURS)]
                    if column:
                        text.append(" │ ", "dim")
                    if row == 0:
                        _, left = pane.columns(each)
                        title = f" {pane.name} (+{left} workloads) " if left else f" {pane.name} "
                        text.append(title.center(each, "─")[:each], f"bold {colour}")
                    else:
                        line, kind = bodies[column][row - 1]
                        text.append(f"{line:<{each}}", STYLES.get(kind, colour))
                if first + across < len(shown) or row < tall - 1:
                    text.append("\n")
        if len(shown) < len(self.panes):
            more = f"{len(self.panes) - len(shown)} more clients: enlarge the terminal, or choose clients: tail 1 2"
            text.append(f"\n{more}"[: width + 1], "bold yellow")
        return text
