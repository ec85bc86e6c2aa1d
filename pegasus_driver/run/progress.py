"""What a run is doing now, from its events: stages (plays), roles, hosts. Pure: times come from the caller."""

from dataclasses import dataclass, field

from .events import Event, HostResult, HostRetry, HostStarted, NoHosts, PlayStarted, Stats

# Tasks that only load other tasks: a host that runs one hasn't entered the role yet.
_INCLUDES = ("include_role", "include_tasks", "import_role", "import_tasks", "meta")

# A host that has begun no task for so many seconds has probably done its part of the play.
IDLE = 1.5


@dataclass
class HostProgress:
    """One host in a play."""

    role: str = ""
    task: str = ""
    since: float = 0.0  # when the current task began, or the last task ended if the host isn't busy
    busy: bool = False
    failed: bool = False
    retry: str = ""


@dataclass
class RoleProgress:
    """Which hosts have entered a role, and which have left it."""

    started: float
    active: float  # when something last happened in it
    entered: set[str] = field(default_factory=set)
    left: set[str] = field(default_factory=set)
    failed: set[str] = field(default_factory=set)
    changed: int = 0
    ended: float | None = None  # when the last host left

    @property
    def done(self) -> bool:
        return self.left | self.failed >= self.entered


@dataclass
class Stage:
    """A play."""

    name: str
    started: float
    ended: float | None = None
    hosts: dict[str, HostProgress] = field(default_factory=dict)
    roles: dict[str, RoleProgress] = field(default_factory=dict)
    changed: int = 0
    empty: bool = False
    interrupted: bool = False

    @property
    def failed(self) -> bool:
        return any(host.failed for host in self.hosts.values())

    def done(self, now: float) -> int:
        """Number of hosts that are done, or seem to be: no event reports that a host has done its part of a play."""
        idle = (host for host in self.hosts.values() if not host.failed and not host.busy)
        return sum(1 for host in idle if self.ended is not None or now - host.since > IDLE)

    def slowest(self, role: str | None = None) -> tuple[str, HostProgress] | None:
        """Return the host whose current task has been running longest, in any role or in one ("": outside roles)."""
        busy = [(name, host) for name, host in self.hosts.items() if host.busy and not host.failed]
        found = [item for item in busy if role is None or item[1].role == role]
        return min(found, key=lambda item: (item[1].since, item[0]), default=None)

    def idle_in(self, role: str, now: float) -> int:
        """Number of hosts that seem to be done with a role: only the end of the play ends a host's last role."""
        waiting = self.roles[role].entered - self.roles[role].left - self.roles[role].failed
        return sum(1 for name in waiting if not self.hosts[name].busy and now - self.hosts[name].since > IDLE)


class Progress:
    """Follows a run's events. `stages` are the plays that have begun, in order."""

    def __init__(self) -> None:
        self.stages: list[Stage] = []

    @property
    def current(self) -> Stage | None:
        return self.stages[-1] if self.stages and self.stages[-1].ended is None else None

    def handle(self, event: Event, now: float) -> None:
        match event:
            case PlayStarted():
                self._end(now)
                self.stages.append(Stage(event.name, now))
            case Stats():
                self._end(now)
            case NoHosts() if self.stages:
                self.stages[-1].empty = True
            case HostStarted() if self.stages:
                self._host_started(self.stages[-1], event, now)
            case HostResult() if self.stages:
                self._host_result(self.stages[-1], event, now)
            case HostRetry() if self.stages:
                host = self.stages[-1].hosts.setdefault(event.host, HostProgress(since=now))
                host.retry = f"try {event.attempt} of {event.retries}" if event.retries else f"try {event.attempt}"

    def interrupt(self, now: float) -> None:
        """End the current stage, because the run is over."""
        if stage := self.current:
            stage.ended, stage.interrupted = now, True

    def _end(self, now: float) -> None:
        stage = self.current
        if stage is None:
            return
        stage.ended = now
        for role in stage.roles.values():
            role.left = role.entered - role.failed
            role.ended = role.active if role.ended is None else role.ended
        for host in stage.hosts.values():
            host.busy = False

    @staticmethod
    def _host_started(stage: Stage, event: HostStarted, now: float) -> None:
        host = stage.hosts.setdefault(event.host, HostProgress())
        host.task, host.since, host.busy, host.retry = event.task, now, True, ""
        if event.action in _INCLUDES:
            return
        if host.role and host.role != event.role and host.role in stage.roles:
            before = stage.roles[host.role]
            before.left.add(event.host)
            if before.done:
                before.ended = now
        host.role = event.role
        if event.role:
            role = stage.roles.setdefault(event.role, RoleProgress(now, now))
            role.active = now
            role.entered.add(event.host)
            role.left.discard(event.host)  # a host may enter a role twice
            role.ended = None

    @staticmethod
    def _host_result(stage: Stage, event: HostResult, now: float) -> None:
        host = stage.hosts.setdefault(event.host, HostProgress(since=now))
        host.busy, host.since = False, now
        role = stage.roles.get(event.role)
        if role:
            role.active = now
        if event.status == "changed":
            stage.changed += 1
            if role:
                role.changed += 1
        if event.status in ("failed", "unreachable") and not event.ignored:
            host.failed = True
            if role:
                role.failed.add(event.host)
        elif host.failed:
            host.failed = False  # rescued
            for entered in stage.roles.values():
                entered.failed.discard(event.host)
