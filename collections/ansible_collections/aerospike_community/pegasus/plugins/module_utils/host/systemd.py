# Copyright (c) Pegasus authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""A host's services, as systemd and the journal know them."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone

Run = Callable[..., tuple]

PROPERTIES = (
    "Id", "LoadState", "ActiveState", "SubState", "UnitFileState", "Result", "ExecMainStatus", "NRestarts",
    "NeedDaemonReload", "ExecMainStartTimestamp", "StateChangeTimestamp",
)  # fmt: skip
# Each look at a unit is a process of its own, and many hosts may share a processor.
POLL_SECONDS = 0.2
# What a reader should see before everything else, worst first.
TELLING = (
    re.compile(r"\bCRITICAL\b"),
    re.compile(r"\bFAILED\b|\bFATAL\b|\bpanic\b", re.IGNORECASE),
    re.compile(r"\bERROR\b|\bException\b|\blevel=error\b|\bTraceback\b", re.IGNORECASE),
)


class ServiceError(Exception):
    """systemd refused something, or a service didn't come up. ``lines`` has log lines that explain it."""

    def __init__(self, message: str, lines: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.lines = list(lines)


@dataclass(frozen=True)
class UnitState:
    """One unit's state at one moment. Times are seconds since 1970, 0.0 where systemd has none."""

    name: str
    loaded: bool
    active: str  # active, reloading, activating, inactive, failed, deactivating
    sub: str
    enabled: str  # enabled, disabled, static, masked, ...
    result: str
    exit_status: int
    restarts: int
    needs_reload: bool
    started_at: float
    changed_at: float

    @property
    def running(self) -> bool:
        """Whether its process is there (a unit that waits for its next automatic restart isn't running)."""
        return self.active in ("active", "reloading")

    def describe(self) -> str:
        """The state in words for a message."""
        text = f"{self.active} ({self.sub})"
        if self.result not in ("", "success"):
            text += f", {self.result}, exit status {self.exit_status}"
        return text


@dataclass(frozen=True)
class Started:
    """A unit as it was right after its start, and when that was (seconds of the monotonic clock)."""

    state: UnitState
    moment: float = field(default_factory=lambda: time.monotonic())


class Systemd:
    """systemctl and journalctl of the host."""

    def __init__(self, run: Run) -> None:
        self._run = run

    def state(self, unit: str) -> UnitState:
        """Return a unit's state; an unknown unit has ``loaded`` False."""
        _, out, _ = self._run(["systemctl", "show", "--timestamp=us+utc", f"--property={','.join(PROPERTIES)}", unit])
        return parse_state(unit, out)

    def call(self, verb: str, *arguments: str) -> None:
        """Run one systemctl verb.

        :raises ServiceError: with systemctl's own words
        """
        # Where a unit has an init script too, systemctl would have that enabled as well, by programs that make systemd
        # reload twice more, for seconds. systemd never looks at it, because the unit comes first.
        rc, out, err = self._run(["systemctl", verb, *arguments], environ_update={"SYSTEMCTL_SKIP_SYSV": "1"})
        if rc != 0:
            raise ServiceError(f"systemctl {' '.join((verb, *arguments))}: {(err or out).strip()}")

    def wait_until_up(
        self, unit: str, settle_seconds: float, timeout: float = 90.0, *, since: Started | None = None
    ) -> UnitState:
        """Wait until a unit runs and has kept running for ``settle_seconds`` since its process started.

        A service of the simple type counts as started before it has read its configuration: only time tells.
        :param since: from which moment it is watched; by default, from now on
        :raises ServiceError: it failed, was restarted in the meantime, or isn't up in ``timeout`` seconds
        """
        deadline = time.monotonic() + timeout
        state = self.state(unit)
        since = since or Started(state)
        restarts = since.state.restarts
        steady_since = since.moment if since.state.running else time.monotonic()
        while True:
            gone = state.active in ("failed", "inactive") or state.sub == "auto-restart" or state.restarts > restarts
            if gone or time.monotonic() > deadline:
                raise ServiceError(f"expected it active, found {state.describe()}")
            if not state.running:
                steady_since = time.monotonic()
            elif time.monotonic() - steady_since >= settle_seconds:
                return state
            time.sleep(POLL_SECONDS)
            state = self.state(unit)

    def log_lines(self, unit: str, since: float = 0.0, count: int = 200) -> list[str]:
        """Return the last journal lines of a unit, messages only, oldest first.

        :param since: seconds since 1970; 0 = no limit
        """
        command = ["journalctl", f"--unit={unit}", f"--lines={count}", "--no-pager", "--output=cat", "--quiet"]
        if since:
            command.append(f"--since=@{since:.6f}")
        _, out, _ = self._run(command)
        return [line for line in out.splitlines() if line.strip()]


def telling_lines(lines: Sequence[str], count: int = 12) -> list[str]:
    """Pick what to show of a log: the worst lines first (CRITICAL, FAILED, errors), then the last ones, none twice."""
    chosen: list[str] = []
    for pattern in TELLING:
        chosen += [line for line in lines if pattern.search(line) and line not in chosen][-3:]
    chosen = chosen[: max(3, count // 2)]
    rest = [line for line in lines if line not in chosen]
    return chosen + rest[len(rest) - max(0, count - len(chosen)) :] if rest else chosen


def parse_state(unit: str, text: str) -> UnitState:
    """Read the output of ``systemctl show``."""
    fields = dict(line.partition("=")[::2] for line in text.splitlines() if "=" in line)
    return UnitState(
        name=unit,
        loaded=fields.get("LoadState") == "loaded",
        active=fields.get("ActiveState", "inactive"),
        sub=fields.get("SubState", ""),
        enabled=fields.get("UnitFileState", ""),
        result=fields.get("Result", ""),
        exit_status=int(fields.get("ExecMainStatus") or 0),
        restarts=int(fields.get("NRestarts") or 0),
        needs_reload=fields.get("NeedDaemonReload") == "yes",
        started_at=parse_time(fields.get("ExecMainStartTimestamp", "")),
        changed_at=parse_time(fields.get("StateChangeTimestamp", "")),
    )


def parse_time(text: str) -> float:
    """Read systemd's ``Tue 2026-11-24 03:33:39.123456 UTC`` as seconds since 1970; 0.0 where there is no time."""
    parts = text.split()
    if len(parts) != 4 or parts[3] != "UTC":
        return 0.0
    form = "%Y-%m-%d %H:%M:%S.%f" if "." in parts[2] else "%Y-%m-%d %H:%M:%S"
    return datetime.strptime(f"{parts[1]} {parts[2]}", form).replace(tzinfo=timezone.utc).timestamp()  # noqa: UP017
