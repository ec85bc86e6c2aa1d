# Copyright (c) Pegasus authors. SPDX-License-Identifier: Apache-2.0
"""Facts of a host's services from systemd and the journal. services.py has the operations."""

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
# Each query is a process, and many hosts may share a processor.
POLL_SECONDS = 0.2
# The lines that a reader should see first, worst first.
IMPORTANT = (
    re.compile(r"\bCRITICAL\b"),
    re.compile(r"\bFAILED\b|\bFATAL\b|\bpanic\b", re.IGNORECASE),
    re.compile(r"\bERROR\b|\bException\b|\blevel=error\b|\bTraceback\b", re.IGNORECASE),
)


class ServiceError(Exception):
    """A systemctl command failed, or a service didn't stay up. ``lines`` has log lines that explain it."""

    def __init__(self, message: str, lines: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.lines = list(lines)


@dataclass(frozen=True)
class UnitState:
    """A unit's state. Times are seconds since 1970, 0.0 if systemd has none."""

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
        """Whether its process runs (a unit that waits for its next automatic restart isn't running)."""
        return self.active in ("active", "reloading")

    def describe(self) -> str:
        """Return the state as text, for a message."""
        text = f"{self.active} ({self.sub})"
        if self.result not in ("", "success"):
            text += f", {self.result}, exit status {self.exit_status}"
        return text


@dataclass(frozen=True)
class Started:
    """A unit's state right after its start, and that moment in seconds of the monotonic clock."""

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

        :raises ServiceError: with systemctl's output
        """
        # If a unit has an init script too, systemctl would also enable that, with programs that reload systemd twice
        # more and take seconds. systemd ignores the script, because the unit has precedence.
        rc, out, err = self._run(["systemctl", verb, *arguments], environ_update={"SYSTEMCTL_SKIP_SYSV": "1"})
        if rc != 0:
            raise ServiceError(f"systemctl {' '.join((verb, *arguments))}: {(err or out).strip()}")

    def wait_until_up(
        self, unit: str, settle_seconds: float, timeout: float = 90.0, *, since: Started | None = None
    ) -> UnitState:
        """Wait until a unit has been running for ``settle_seconds`` without interruption.

        A service of type simple counts as started before it has read its configuration, so one check isn't enough.
        :param since: the start to watch; by default, watch from now on
        :raises ServiceError: the unit failed or was restarted, or isn't up after ``timeout`` seconds
        """
        deadline = time.monotonic() + timeout
        state = self.state(unit)
        since = since or Started(state)
        restarts = since.state.restarts
        steady_since = since.moment if since.state.running else time.monotonic()
        while True:
            down = state.active in ("failed", "inactive") or state.sub == "auto-restart" or state.restarts > restarts
            if down or time.monotonic() > deadline:
                raise ServiceError(f"expected it active, found {state.describe()}")
            if not state.running:
                steady_since = time.monotonic()
            elif time.monotonic() - steady_since >= settle_seconds:
                return state
            time.sleep(POLL_SECONDS)
            state = self.state(unit)

    def log_lines(self, unit: str, since: float = 0.0, count: int = 200) -> list[str]:
        """Return the last journal messages of a unit, oldest first.

        :param since: seconds since 1970; 0 = no limit
        """
        command = ["journalctl", f"--unit={unit}", f"--lines={count}", "--no-pager", "--output=cat", "--quiet"]
        if since:
            command.append(f"--since=@{since:.6f}")
        _, out, _ = self._run(command)
        return [line for line in out.splitlines() if line.strip()]


def important_lines(lines: Sequence[str], count: int = 12) -> list[str]:
    """Select lines of a log to show: the worst first (CRITICAL, FAILED, errors), then the last ones, each once."""
    chosen: list[str] = []
    for pattern in IMPORTANT:
        chosen += [line for line in lines if pattern.search(line) and line not in chosen][-3:]
    chosen = chosen[: max(3, count // 2)]
    rest = [line for line in lines if line not in chosen]
    return chosen + rest[len(rest) - max(0, count - len(chosen)) :] if rest else chosen


def parse_state(unit: str, text: str) -> UnitState:
    """Parse the output of ``systemctl show``."""
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
    """Parse systemd's ``Tue 2026-11-24 03:33:39.123456 UTC`` into seconds since 1970; 0.0 if there is no time."""
    parts = text.split()
    if len(parts) != 4 or parts[3] != "UTC":
        return 0.0
    form = "%Y-%m-%d %H:%M:%S.%f" if "." in parts[2] else "%Y-%m-%d %H:%M:%S"
    return datetime.strptime(f"{parts[1]} {parts[2]}", form).replace(tzinfo=timezone.utc).timestamp()  # noqa: UP017
