"""The view for programs: one JSON object per line (run/records.py). The last record has the type "end"."""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, TextIO

from pegasus_driver.run.events import Event
from pegasus_driver.run.records import VERBOSE, as_line, end_record, event_record, message_record, start_record
from pegasus_driver.run.state import Ending, RunState

from .base import Stream, View


class JsonView(View):
    """Doesn't ask: a program can't answer."""

    def __init__(self, state: RunState, stdout: TextIO, wall: Callable[[], datetime], verbose: bool = False) -> None:
        """:param wall: the time for records whose event has none"""
        super().__init__(state)
        self._out = Stream(stdout)
        self._wall = wall
        self._verbose = verbose

    def start(self, now: float) -> None:
        self._write(start_record(self.state))

    def say(self, text: str, now: float) -> None:
        self._write(message_record(text))

    def handle(self, event: Event, now: float) -> None:
        if self._verbose or not isinstance(event, VERBOSE):
            self._write(event_record(event))

    def finish(self, ending: Ending, now: float) -> None:
        self._write(end_record(ending, now))

    def _write(self, record: Mapping[str, Any]) -> None:
        self._out.line(as_line(record, self._wall()))
