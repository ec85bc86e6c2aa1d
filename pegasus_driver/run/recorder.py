"""The private folder of one playbook run: Ansible's artifacts, the event stream, the summary."""

import contextlib
import fcntl
import io
import json
import os
import re
import shutil
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TextIO

from .lock import is_held, private_folder
from .records import RecordView, end_record
from .state import Ending, RunState
from .view import Stream

RUNS_KEPT = 20
# The event stream in a run's folder; locked while the run writes it.
EVENTS = "events.ndjson"

_RUN_NAME = re.compile(r"\d{8}T\d{6}Z-[a-z0-9-]+")


def make_run_folder(root: Path, action: str, now: datetime) -> Path:
    """Create .pegasus/runs/<UTC time>-<action> (0700). Remove all but the newest RUNS_KEPT folders and those in use."""
    runs = private_folder(private_folder(root / ".pegasus") / "runs")
    name = f"{now.astimezone(UTC):%Y%m%dT%H%M%SZ}-{action}"
    for attempt in range(1, 100):
        folder = runs / (name if attempt == 1 else f"{name}-{attempt}")
        with contextlib.suppress(FileExistsError):
            folder.mkdir(mode=0o700)
            break
    else:
        raise OSError(f"{runs} holds 99 runs of one second")
    old = sorted(path for path in runs.iterdir() if _RUN_NAME.fullmatch(path.name) and path != folder)
    for path in old[: -(RUNS_KEPT - 1)]:
        if not is_held(path / EVENTS):
            shutil.rmtree(path, ignore_errors=True)
    return folder


def private_file(path: Path) -> TextIO:
    """Open a new file that only its owner can read."""
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8")


class Recorder(RecordView):
    """Writes the event stream and the summary into the run's folder, independent of what the user sees.

    Records that come before there is a folder are kept for it. A disk that is full ends the recording, not the run.
    """

    def __init__(self, state: RunState, wall: Callable[[], datetime]) -> None:
        self._file: TextIO | None = None
        self._folder: Path | None = None
        self._kept = io.StringIO()
        super().__init__(state, self._kept, wall)

    def open(self, folder: Path) -> None:
        """Start writing into a run's folder."""
        self._folder, self._file = folder, private_file(folder / EVENTS)
        fcntl.flock(self._file, fcntl.LOCK_SH)  # until it is closed: nobody removes the folder of a run in progress
        self._file.write(self._kept.getvalue())
        self._out = Stream(self._file)

    def finish(self, ending: Ending, now: float) -> None:
        super().finish(ending, now)
        if self._file is None or self._folder is None:
            return
        with contextlib.suppress(OSError):
            self._file.close()
        with contextlib.suppress(OSError), private_file(self._folder / "summary.json") as file:
            file.write(json.dumps(end_record(ending, now), default=str, indent=1) + "\n")
