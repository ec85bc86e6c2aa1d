"""The interface through which a run shows itself; pegasus_driver.view has what users see."""

from typing import TextIO

from .events import Event, HostResult, Note, Question, Report, Warning
from .state import Ending, RunState


class View:
    """Shows one run. The run's state already contains what a method is about.

    ``now`` is in seconds of one clock, the same for all calls.
    """

    def __init__(self, state: RunState) -> None:
        self.state = state
        self._lines_of_report: tuple[str, ...] = ()
        self._seen_warnings: set[str] = set()

    def start(self, now: float) -> None:
        """The run begins."""

    def say(self, text: str, now: float) -> None:
        """The driver reports what it does."""

    def handle(self, event: Event, now: float) -> None:
        """Something happened."""

    def ask(self, question: Question, now: float) -> None:
        """Show what a question is about, and leave the terminal alone until the next call."""

    def tick(self, now: float) -> None:
        """Some time has passed."""

    def finish(self, ending: Ending, now: float) -> None:
        """The run is over."""

    def notices(self, event: Event) -> list[tuple[str, str]]:
        """Return the lines that an event adds to the output, each with its kind: failure, warning or note."""
        match event:
            case HostResult(status="failed" | "unreachable", ignored=False):
                where = f"{event.role}: " if event.role else ""
                first = event.message.splitlines()[:1]  # the report has the rest
                lines = [f"{event.status}: {event.host}: {where}{event.task}", *(f"  {line}" for line in first)]
                return [(line, "failure") for line in lines]
            case Warning(deprecation=False) if event.text not in self._seen_warnings:
                self._seen_warnings.add(event.text)
                return [(f"warning: {event.text}", "warning")]
            case Report():
                self._lines_of_report = event.lines
            case Note() if event.lines != self._lines_of_report:
                return [(line, "note") for line in event.lines]
        return []


class Stream:
    """Writes lines. A reader that has closed the pipe (`| head`) or a full disk silences it, and the run continues."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._broken = False

    def line(self, text: str) -> None:
        if self._broken:
            return
        try:
            self._stream.write(text + "\n")
            self._stream.flush()
        except (OSError, ValueError):
            self._broken = True
