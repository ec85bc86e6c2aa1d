"""Judges a run: which hosts failed, of what class, and which exit code that makes. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from pegasus_driver.exit_codes import BY_CAUSE, OF_ERROR_CLASS, ExitCode

from .events import Event, HostResult, HostStats, NoHosts, Problem, Report, Stats, Warning


@dataclass(frozen=True)
class Failure:
    """Why a host failed: its last failed task, and the class of what made it fail."""

    host: str
    task: str
    role: str
    message: str
    code: ExitCode
    next_step: str = ""  # the module's own advice


@dataclass(frozen=True)
class Change:
    """What a task changed on a host, or would change in a dry run."""

    host: str
    task: str
    role: str
    lines: tuple[str, ...]


@dataclass
class Record:
    """What a run's events add up to."""

    results: dict[str, list[HostResult]] = field(default_factory=dict)  # failed ones by host, in order
    problems: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    stats: dict[str, HostStats] | None = None
    report: Report | None = None
    empty_plays: list[str] = field(default_factory=list)
    changes: list[Change] = field(default_factory=list)

    @property
    def changed(self) -> int:
        """Number of task results that changed something."""
        return len(self.changes)

    def add(self, event: Event) -> None:
        match event:
            case HostResult(status="failed" | "unreachable", ignored=False):
                self.results.setdefault(event.host, []).append(event)
            case HostResult(status="changed"):
                self.changes.append(Change(event.host, event.task, event.role, event.changes))
            case Problem() if event.text not in self.problems:
                self.problems.append(event.text)
            case Warning(deprecation=False) if event.text not in self.warnings:
                self.warnings.append(event.text)
            case Stats():
                self.stats = dict(event.hosts)
            case Report():
                self.report = event
            case NoHosts():
                self.empty_plays.append(event.play)

    def add_all(self, events: Iterable[Event]) -> None:
        for event in events:
            self.add(event)

    def failures(self) -> list[Failure]:
        """One per failed host, in the order of the first failure.

        A failure inside a block that was rescued looks like any other in the events; Ansible's final counts decide.
        Without counts (the run was killed), every failure counts.
        """
        failures = []
        for host, results in self.results.items():
            if self.stats is not None:
                counts = self.stats.get(host, HostStats())
                if not counts.failed and not counts.unreachable:
                    continue
            last = results[-1]
            # A rescue gathers evidence and fails again with a plain `fail`: the class is that of the failure before.
            cause = next((result for result in reversed(results) if result.action != "fail"), last)
            code = classify(cause)
            failures.append(Failure(host, last.task, last.role, last.message, code, last.next_step))
        return failures


def classify(result: HostResult) -> ExitCode:
    """The class of one failed task."""
    if result.status == "unreachable":
        return ExitCode.SSH
    return OF_ERROR_CLASS.get(result.error_class, ExitCode.HOST)


def exit_code(record: Record, rc: int | None) -> ExitCode:
    """The action's exit code, from what happened and from ansible-playbook's own return code (None: none)."""
    failures = record.failures()
    if failures:
        return min((failure.code for failure in failures), key=BY_CAUSE.index)
    if rc == 0 or (rc is None and record.stats is not None):
        return ExitCode.OK
    return ExitCode.INTERNAL
