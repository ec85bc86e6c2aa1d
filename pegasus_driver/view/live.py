"""The live view on a terminal: stages, roles and hosts, redrawn. Failures, warnings and notes scroll by above it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TextIO

from pegasus_driver.run.events import Event, PlayStarted, Question
from pegasus_driver.run.progress import Stage
from pegasus_driver.run.state import Ending, RunState
from pegasus_driver.run.view import View

from .report import ending_lines, headline
from .text import changed, columns, duration, hosts

if TYPE_CHECKING:
    from rich.text import Text

# A task is shown as slow after so many seconds.
SLOW = 3.0
STYLES = {"failure": "red", "warning": "yellow", "note": None}


class LiveView(View):
    """A picture that is redrawn: stages, how many hosts are done, elapsed times, slow tasks."""

    def __init__(self, state: RunState, stdout: TextIO, stderr: TextIO) -> None:
        super().__init__(state)
        from rich.console import Console  # takes 0.1 s, so not for --help or pipes
        from rich.live import Live

        self._console = Console(file=stdout, highlight=False, emoji=False, markup=False)
        self._errors = Console(file=stderr, highlight=False, emoji=False, markup=False, soft_wrap=True)
        # Redrawn in tick(), so that no other thread draws while events are handled.
        self._live = Live(console=self._console, auto_refresh=False, redirect_stdout=False, redirect_stderr=False)
        self._message = ""
        self._started = self._drawn = 0.0
        unicode = (getattr(stdout, "encoding", "") or "").lower().replace("-", "") == "utf8"
        self._done, self._fail, self._dash = ("✔", "✘", "─") if unicode else ("+", "x", "-")
        self._spin = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏" if unicode else "|/-\\"

    def start(self, now: float) -> None:
        self._started = now
        self._live.start()
        self._draw(now)

    def say(self, text: str, now: float) -> None:
        self._message = text.strip().splitlines()[-1] if text.strip() else ""
        self._draw(now)

    def handle(self, event: Event, now: float) -> None:
        if isinstance(event, PlayStarted):
            self._message = ""
        for line, kind in self.notices(event):
            self._live.console.print(line, style=STYLES[kind], soft_wrap=True)

    def ask(self, question: Question, now: float) -> None:
        self._live.stop()
        for line in question.lines:
            self._console.print(f"  {line}", soft_wrap=True)

    def tick(self, now: float) -> None:
        if now - self._drawn >= 0.1:
            self._draw(now)

    def finish(self, ending: Ending, now: float) -> None:
        self._message = ""
        self._draw(now)
        self._live.stop()
        out, error = ending_lines(ending)
        for line in out:
            style = "bold yellow" if "SIMULATED" in line else "bold green" if line == headline(ending) else None
            self._console.print(line, style=style, soft_wrap=True)
        for line in error:
            bold = line.startswith(("FAILED", "ERROR")) or line == headline(ending)
            self._errors.print(line, style="bold red" if bold else None)

    def _draw(self, now: float) -> None:
        self._drawn = now
        if not self._live.is_started:  # a question was asked
            self._live.start()
        self._live.update(self.view(now), refresh=True)

    def view(self, now: float) -> Text:
        """Return the picture, at most as large as the terminal: the oldest stages give way."""
        from rich.text import Text

        width = max(40, self._console.width - 4)  # room for the ^C that a terminal echoes
        rows: list[tuple[str, str]] = []
        for stage in self.state.progress.stages:
            rows += self._stage(stage, now, width)
        if self._message:
            rows.append((f"{self._tick(now)} {self._message}", "cyan"))
        room = max(3, self._console.height - 4)
        rows = rows[-room:]
        head = columns(self.state.title, duration(now - self._started), width)
        text = Text(no_wrap=True, overflow="ellipsis")
        text.append(head + "\n", style="bold")
        text.append(self._dash * width + "\n", style="dim")
        for index, (row, style) in enumerate(rows):
            text.append(row[:width] + ("" if index == len(rows) - 1 else "\n"), style=style)
        return text

    def _tick(self, now: float) -> str:
        return self._spin[int(now * 8) % len(self._spin)]

    def _stage(self, stage: Stage, now: float, width: int) -> list[tuple[str, str]]:
        over = stage.ended is not None
        if stage.failed:
            mark, style = self._fail, "red"
        elif stage.interrupted:
            mark, style = self._dash, "yellow"
        elif over:
            mark, style = self._done, "green"
        else:
            mark, style = self._tick(now), "cyan"
        took = duration((stage.ended if stage.ended is not None else now) - stage.started)
        counts = [f"{stage.done(now)} of {len(stage.hosts)} hosts"] if len(stage.hosts) > 1 else []
        counts += [f"changed {stage.changed}"] if stage.changed else []
        detail = "no hosts" if stage.empty else "  ".join(counts)
        rows = [(columns(f"{mark} {stage.name}", f"{detail}  {took:>9}", width), style)]
        if over and not stage.failed and stage is not self.state.progress.stages[-1] and len(stage.hosts) < 2:
            return rows
        for name, role in stage.roles.items():
            idle = stage.idle_in(name, now)
            finished = role.ended is not None or len(role.left | role.failed) + idle == len(role.entered)
            running = self._dash if stage.interrupted else self._tick(now)
            mark = self._fail if role.failed else self._done if finished else running
            slow = "" if finished else _slow(stage.slowest(name), now)
            left = f"    {mark} {name:<18} {hosts(role, idle):<14} {slow}"
            ended = role.ended if role.ended is not None else role.active if finished else now
            took = duration(ended - role.started)
            style = "red" if role.failed else "green" if finished else ""
            rows.append((columns(left, f"{changed(role.changed)}  {took:>9}", width), style))
        if not over and (outside := stage.slowest("")):
            rows.append((columns(f"    {self._tick(now)} {_slow(outside, now, always=True)}", "", width), ""))
        return rows


def _slow(item: tuple[str, Any] | None, now: float, always: bool = False) -> str:
    """Return "Benchmark-2 12 s: Start the service" if the task is slow.

    The task's name comes last, because a narrow terminal cuts the end.
    """
    if item is None or (not always and now - item[1].since < SLOW):
        return ""
    name, host = item
    retry = f" ({host.retry})" if host.retry else ""
    return f"{name} {duration(now - host.since)}{retry}: {host.task}"
