"""The state of one run: what it is, how far it is, what came of it. Steps write it; view and recorder read it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pegasus_driver.exit_codes import ExitCode

from .events import Event, Stats
from .outcome import Change, Failure, Record
from .progress import Progress, Stage


@dataclass
class RunState:
    """One run. Times are seconds of one clock (World.monotonic)."""

    action: str  # the command as the user types it
    environment: str
    backend: str
    dry_run: bool = False
    options: str = ""  # what further commands need to address the same environment: " --config FILE"
    started: float = 0.0
    folder: Path | None = None  # the run's private folder, once there is a playbook run
    record: Record = field(default_factory=Record)
    progress: Progress = field(default_factory=Progress)
    # The result, as far as it is known.
    code: ExitCode = ExitCode.OK
    message: str = ""  # instead of "done"
    problems: list[str] = field(default_factory=list)
    next_step: str = ""
    declined: bool = False  # the user didn't confirm
    failed_before: Sequence[Failure] = ()  # what had failed when the run was interrupted

    @property
    def title(self) -> str:
        dry = " (dry run: changes nothing)" if self.dry_run else ""
        return f"Pegasus {self.action}: {self.environment} on {self.backend}{dry}"

    def add(self, event: Event, now: float) -> None:
        """Fold an event into the record and the progress."""
        self.record.add(event)
        self.progress.handle(event, now)

    def close(self, now: float) -> None:
        """End the current stage: nothing happens any more."""
        if self.code is ExitCode.OK:
            self.progress.handle(Stats({}), now)  # ends a stage that isn't a play
        self.progress.interrupt(now)


@dataclass(frozen=True)
class Ending:
    """What is reported at the end of a command."""

    code: ExitCode
    action: str
    environment: str
    elapsed: float  # seconds
    changed: int = 0
    failures: Sequence[Failure] = ()
    problems: Sequence[str] = ()
    report: Mapping[str, Any] | None = None
    not_ready: Sequence[str] = ()  # the report's problems, where they aren't a failure
    message: str = ""  # instead of "done"
    existing: Sequence[str] = ()  # what exists after an interruption
    next_steps: Sequence[str] = ()
    plan: Sequence[Change] | None = None  # what a dry run found
    stages: Sequence[Stage] = ()
    run_folder: str = ""  # of the log, the event stream and the summary
    options: str = ""  # see RunState
