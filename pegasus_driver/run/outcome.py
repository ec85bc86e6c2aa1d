"""Judges a run: which hosts failed, with which class, and the exit code that follows. Pure."""

from dataclasses import dataclass, field

from pegasus_driver.exit_codes import BY_CAUSE, OF_ERROR_CLASS, ExitCode

from .events import Event, HostResult, HostStats, NoHosts, Problem, Report, Stats


@dataclass(frozen=True)
class Failure:
    """Why a host failed: its last failed task, and the class of the cause."""

    host: str
    task: str
    role: str
    message: str
    code: ExitCode
    next_step: str = ""  # the module's advice


@dataclass(frozen=True)
class Change:
    """What a task changed on a host, or would change in a dry run."""

    host: str
    task: str
    role: str
    lines: tuple[str, ...]


@dataclass
class Record:
    """The facts of a run, collected from its events."""

    results: dict[str, list[HostResult]] = field(default_factory=dict)  # failed results by host, in order
    problems: list[str] = field(default_factory=list)
    stats: dict[str, HostStats] | None = None
    report: Report | None = None
    empty_plays: list[str] = field(default_factory=list)
    changes: list[Change] = field(default_factory=list)

    def add(self, event: Event) -> None:
        match event:
            case HostResult(status="failed" | "unreachable", ignored=False):
                self.results.setdefault(event.host, []).append(event)
            case HostResult(status="changed"):
                self.changes.append(Change(event.host, event.task, event.role, event.changes))
            case Problem() if event.text not in self.problems:
                self.problems.append(event.text)
            case Stats():
                self.stats = dict(event.hosts)
            case Report():
                self.report = event
            case NoHosts():
                self.empty_plays.append(event.play)

    def failures(self) -> list[Failure]:
        """Return a failure for each failed host, in the order of the first failures.

        In the events, a failure in a block that was rescued looks like any other. Ansible's final counts decide;
        without counts (the run was killed), every failure counts.
        """
        failures = []
        for host, results in self.results.items():
            counts = HostStats(failed=1) if self.stats is None else self.stats.get(host, HostStats())
            if not counts.failed and not counts.unreachable:
                continue
            last = results[-1]
            # A rescue collects evidence and fails again with `fail`: the class is that of the failure before.
            cause = next((result for result in reversed(results) if result.action != "fail"), last)
            unreachable = cause.status == "unreachable"
            code = ExitCode.SSH if unreachable else OF_ERROR_CLASS.get(cause.error_class, ExitCode.HOST)
            failures.append(Failure(host, last.task, last.role, last.message, code, last.next_step))
        return failures


def exit_code(record: Record, rc: int | None) -> ExitCode:
    """Return the action's exit code.

    :param rc: ansible-playbook's return code, None if there is none
    """
    if failures := record.failures():
        return min((failure.code for failure in failures), key=BY_CAUSE.index)
    if rc == 0 or (rc is None and record.stats is not None):
        return ExitCode.OK
    return ExitCode.INTERNAL
