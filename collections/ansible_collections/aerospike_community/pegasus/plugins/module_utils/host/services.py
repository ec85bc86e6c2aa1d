# Copyright (c) Pegasus authors. SPDX-License-Identifier: Apache-2.0
"""Operations on a host's services: enable, start, stop, reload, restart. systemd.py reads their state."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from .systemd import ServiceError, Started, Systemd, UnitState, important_lines

PAST = {"start": "started", "stop": "stopped", "reload": "reloaded", "restart": "restarted"}

Service = Mapping[str, Any]  # an element of host_service's option ``services``


class Services:
    """Brings services to their state."""

    def __init__(self, systemd: Systemd, changes: list[str], *, check: bool = False) -> None:
        """
        :param changes: gets a line for each change; must hold the changes so far
        :param check: change nothing, report only
        """
        self._systemd, self._changes, self._check = systemd, changes, check
        self.restarted: list[str] = []
        self.pending: list[str] = []
        # Started or reloaded services to watch: the service, the verb, when (seconds since 1970), its state then.
        self._watched: list[tuple[Service, str, float, Started]] = []

    def apply(self, services: Sequence[Service], due: Callable[[str, UnitState], str], *, unit_changed: bool) -> None:
        """Enable the services, reload systemd if a unit changed, then start, reload or restart each service.

        A reload of systemd takes a good part of a second, so there is one for all units. All services are started
        before the first one is watched.
        :param due: returns what a running service needs: restart, reload or none
        :raises ServiceError: a unit doesn't exist, or a service doesn't stay up
        """
        if not self._check:
            enabled = [self._enable(service, self._systemd.state(service["name"])) for service in services]
            if unit_changed or any(enabled):
                self._systemd.call("daemon-reload")
        for service in services:
            state = self._systemd.state(service["name"])
            if state.needs_reload and not self._check:
                self._systemd.call("daemon-reload")
                state = self._systemd.state(service["name"])
            if not state.loaded:
                if self._check and self._changes:
                    self._changes.append(f"would start {service['name']}")
                    continue
                raise ServiceError(f"found no unit {service['name']}; expected one from a package or from 'files'")
            if self._enable(service, state) and not self._check:
                self._systemd.call("daemon-reload")
            if service["state"] == "stopped" and state.active not in ("inactive", "failed"):
                self._act(service, "stop")
            elif service["state"] == "started":
                self._start(service, state, due)
        self._watch()

    def _enable(self, service: Service, state: UnitState) -> bool:
        """Enable or disable a unit; return whether that was necessary. systemd must be reloaded then."""
        if state.enabled not in ("enabled", "disabled", "masked"):
            return False
        if (state.enabled == "enabled") == service["enabled"]:
            return False
        verb = "enable" if service["enabled"] else "disable"
        self._changes.append(f"{verb}d {service['name']}")
        if not self._check:
            if state.enabled == "masked":
                self._systemd.call("unmask", service["name"])
            self._systemd.call(verb, "--quiet", "--no-reload", service["name"])
        return True

    def _start(self, service: Service, state: UnitState, due: Callable[[str, UnitState], str]) -> None:
        """Start a service, or restart or reload it if that is due."""
        name = service["name"]
        if not state.running:
            # A unit that failed too often refuses to start until its failures are reset.
            if not self._check:
                self._systemd.call("reset-failed", name)
            self._act(service, "restart" if state.active == "activating" else "start")
            return
        effect = due(name, state)
        if effect == "restart" and not service["restart"]:
            self.pending.append(name)
        elif effect != "none":
            self._act(service, effect)

    def _act(self, service: Service, verb: str) -> None:
        """Run start, stop, reload or restart."""
        name = service["name"]
        self._changes.append(f"{PAST[verb]} {name}")
        if verb in ("start", "restart"):
            self.restarted.append(name)
        if self._check:
            return
        since = time.time()
        try:
            self._systemd.call(verb, name)
        except ServiceError as error:
            raise self._failure(name, verb, since, error) from error
        if verb != "stop":
            self._watched.append((service, verb, since, Started(self._systemd.state(name))))

    def _watch(self) -> None:
        """Wait until the started services have settled."""
        for service, verb, since, started in self._watched:
            try:
                self._systemd.wait_until_up(service["name"], service["settle_seconds"], since=started)
            except ServiceError as error:
                raise self._failure(service["name"], verb, since, error) from error

    def _failure(self, name: str, verb: str, since: float, error: ServiceError) -> ServiceError:
        """Return the error with the service's own log lines.

        :param since: of which moment on, in seconds since 1970
        """
        lines = important_lines(self._systemd.log_lines(name, since=since))
        first = lines[0] if lines else "its log is empty"
        return ServiceError(
            f"{first}\nservice {name} could not be {PAST[verb]}: {error}. "
            f"'journalctl -u {name}' on this host shows its log",
            lines,
        )
