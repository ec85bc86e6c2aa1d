"""Judges a run: which hosts failed, of what class, and which exit code that makes. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from pegasus_driver.exit_codes import BY_CAUSE, ExitCode

from .events import Event, HostResult, HostStats, NoHosts, Problem, Report, Stats, Warning

# Modules that prove readiness: when one of them fails, all is installed but doesn't work together (yet).
READINESS_MODULES = ("aerospike_ready", "perseus_ready", "monitoring_ready", "environment_report", "cluster_stable")
# error_class of ec2_environment (and of any module that returns one).
ERROR_CLASSES = {
    "credentials": ExitCode.EC2,
    "quota": ExitCode.EC2,
    "capacity": ExitCode.EC2,
    "permission": ExitCode.EC2,
    "endpoint": ExitCode.EC2,
    "other": ExitCode.EC2,
    "configuration": ExitCode.CONFIGURATION,
    "usage": ExitCode.USAGE,
    "ssh": ExitCode.SSH,
}


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
            advice = str(last.result.get("next_step") or "")
            failures.append(Failure(host, last.task, last.role, last.message, code, advice))
        return failures


def classify(result: HostResult) -> ExitCode:
    """The class of one failed task."""
    if result.status == "unreachable":
        return ExitCode.SSH
    named = ERROR_CLASSES.get(str(result.result.get("error_class", "")))
    if named is not None:
        return named
    if result.action == "ec2_environment":
        return ExitCode.EC2
    if result.action in READINESS_MODULES:
        return ExitCode.DATABASE
    if result.action == "wait_for_connection":
        return ExitCode.SSH
    if result.action == "validate_argument_spec":
        return ExitCode.CONFIGURATION
    if result.action == "assert":
        return ExitCode.USAGE  # checks of what a command names; states are checked by modules of their own
    if result.action == "perseus_threads" and result.result.get("problems"):
        return ExitCode.CONFIGURATION
    command = result.result.get("cmd")
    if isinstance(command, list) and command and str(command[0]).endswith("pegasus-driver"):
        code = result.result.get("rc")
        if code in [known.value for known in ExitCode]:
            return ExitCode(code)
    return ExitCode.HOST


def exit_code(record: Record, rc: int | None) -> ExitCode:
    """The action's exit code, from what happened and from ansible-playbook's own return code (None: none)."""
    failures = record.failures()
    if failures:
        return min((failure.code for failure in failures), key=BY_CAUSE.index)
    if rc == 0 or (rc is None and record.stats is not None):
        return ExitCode.OK
    return ExitCode.INTERNAL
