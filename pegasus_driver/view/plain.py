"""The view for a pipe or a log: lines that are never rewritten."""

from typing import TextIO

from pegasus_driver.run.events import Event, Output, PlayStarted, Question, Stats
from pegasus_driver.run.progress import Stage
from pegasus_driver.run.state import Ending, RunState
from pegasus_driver.run.view import Stream, View

from .report import ending_lines
from .text import changed, duration, hosts

# Seconds without output after which a line shows that the run continues.
HEARTBEAT = 30.0


class PlainView(View):
    """Stages as they begin, roles as their hosts finish them, failures, warnings and notes."""

    def __init__(self, state: RunState, stdout: TextIO, stderr: TextIO, verbose: bool = False) -> None:
        super().__init__(state)
        self._out = Stream(stdout)
        self._err = Stream(stderr)
        self._verbose = verbose
        self._started = 0.0
        self._last = 0.0  # when the last line was printed
        self._reported_roles: set[tuple[int, str]] = set()  # (number of the stage, role)
        self._reported_stages: set[int] = set()

    def start(self, now: float) -> None:
        self._started = self._last = now
        self._out.line(self.state.title)

    def say(self, text: str, now: float) -> None:
        for line in text.splitlines():
            self._line(line, now)

    def handle(self, event: Event, now: float) -> None:
        if isinstance(event, Output):
            if self._verbose:
                self._out.line(event.text)
                self._last = now
            return
        stages = self.state.progress.stages
        if isinstance(event, PlayStarted):
            self._end_stages(stages[:-1], now)
            self._line(event.name, now)
        elif isinstance(event, Stats):
            self._end_stages(stages, now)
        self._report_roles(now)
        for line, _ in self.notices(event):
            self._line(f"  {line}", now)

    def ask(self, question: Question, now: float) -> None:
        for line in question.lines:
            self._line(f"  {line}", now)

    def tick(self, now: float) -> None:
        if now - self._last < HEARTBEAT:
            return
        stage = self.state.progress.current
        slowest = stage.slowest() if stage else None
        detail = f": {slowest[0]}: {slowest[1].task}, {duration(now - slowest[1].since)}" if slowest else ""
        self._line(f"  still running{detail}", now)

    def finish(self, ending: Ending, now: float) -> None:
        out, error = ending_lines(ending)
        for line in out:
            self._out.line(line)
        for line in error:
            self._err.line(line)

    def _line(self, text: str, now: float) -> None:
        self._last = now
        minutes, seconds = divmod(int(now - self._started), 60)
        self._out.line(f"[{minutes:2}:{seconds:02}] {text}")

    def _report_roles(self, now: float) -> None:
        """Print a line for each role that all its hosts have finished."""
        stages = self.state.progress.stages
        if not stages or self.state.progress.current is None:
            return
        number = len(stages) - 1
        for name, role in stages[-1].roles.items():
            if role.ended is None:
                self._reported_roles.discard((number, name))  # a host entered it again: report it again
            else:
                self._report_role(number, name, now)

    def _report_role(self, number: int, name: str, now: float) -> None:
        if (number, name) in self._reported_roles:
            return
        self._reported_roles.add((number, name))
        role = self.state.progress.stages[number].roles[name]
        count = f", {changed(role.changed)}" if role.changed else ""
        self._line(f"  {name}: {hosts(role)}{count}", now)

    def _end_stages(self, stages: list[Stage], now: float) -> None:
        """Report the remaining roles of the last of these stages, once."""
        number = len(stages) - 1
        if number < 0 or number in self._reported_stages:
            return
        self._reported_stages.add(number)
        for name in stages[number].roles:
            self._report_role(number, name, now)
        if stages[number].empty:
            self._line("  no hosts", now)
