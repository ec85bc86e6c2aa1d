"""Keeps a run's records in its folder, independent of what the user sees."""

import contextlib
import fcntl
import io
import json
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, TextIO

from .events import Event
from .folder import EVENTS, private_file
from .records import VERBOSE, as_line, end_record, event_record, message_record, start_record
from .state import Ending, RunState


class Recorder:
    """Writes the event stream and the summary. Records that come before there is a folder are kept for it.

    A disk that is full ends the recording, not the run.
    """

    def __init__(self, wall: Callable[[], datetime]) -> None:
        self._wall = wall
        self._file: TextIO = io.StringIO()
        self._folder: Path | None = None
        self._broken = False

    def open(self, folder: Path) -> None:
        """Start writing into a run's folder.

        :raises OSError:
        """
        kept = self._file
        self._folder, self._file = folder, private_file(folder / EVENTS)
        fcntl.flock(self._file, fcntl.LOCK_SH)  # until it is closed: nobody removes the folder of a run in progress
        if isinstance(kept, io.StringIO):
            self._file.write(kept.getvalue())

    def start(self, state: RunState) -> None:
        self._write(start_record(state))

    def say(self, text: str) -> None:
        self._write(message_record(text))

    def handle(self, event: Event) -> None:
        if not isinstance(event, VERBOSE):
            self._write(event_record(event))

    def finish(self, ending: Ending, now: float) -> None:
        record = end_record(ending, now)
        self._write(record)
        with contextlib.suppress(OSError):
            self._file.close()
        if self._folder:
            with contextlib.suppress(OSError), private_file(self._folder / "summary.json") as file:
                file.write(json.dumps(record, default=str, indent=1) + "\n")

    def _write(self, record: Mapping[str, Any]) -> None:
        if self._broken:
            return
        try:
            self._file.write(as_line(record, self._wall()) + "\n")
            self._file.flush()
        except (OSError, ValueError):
            self._broken = True
