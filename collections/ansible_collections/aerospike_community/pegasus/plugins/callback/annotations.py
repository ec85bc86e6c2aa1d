# Copyright (c) Pegasus authors. SPDX-License-Identifier: Apache-2.0
"""The callback annotations: each playbook that changes the environment is an annotation in Grafana."""

from __future__ import annotations

DOCUMENTATION = r"""
name: annotations
type: notification
short_description: Marks actions on an environment in Grafana
description:
  - Each playbook that changed something becomes an annotation with its start and end. If several
    plays of a playbook changed something, each of them becomes an annotation too.
  - The text names the hosts that changed. A module can replace the name of its host with the lines in the key
    C(annotation) of its result. On localhost, the C(changes) of a result are used.
  - Annotations that Grafana doesn't accept are kept in C(annotations.ndjson) in the environment's folder, and posted at
    the end of the next playbook.
  - A problem in this callback never fails the playbook.
requirements:
  - Enabled in ansible.cfg, with pegasus_state_dir and the variables of the role grafana_prometheus.
author: Pegasus authors
"""

import atexit
import os
import time
from pathlib import Path
from typing import Any

from ansible import context
from ansible.plugins.callback import CallbackBase
from ansible.template import Templar, trust_as_template

from ..module_utils.monitoring.annotations import Span, keep_and_post, poster

SPOOL = "annotations.ndjson"
LOCALHOST = "localhost"
GRAFANA_PORT = 3000
# Names of actions that differ from the name of their playbook.
NAMES_BY_TAGS = {("setup", ("threads",)): "copy-threads"}
MOST_LISTED = 4


class Activity:
    """A running or finished playbook or play: when it ran, and what changed."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.begin = time.time()
        self.end = self.begin
        self.hosts: dict[str, None] = {}
        self.details: dict[str, None] = {}
        self.failed = False

    def text(self) -> str:
        """Return one line: the name, what changed or where, and whether it failed."""
        what = _shortened(list(self.details)) or _shortened([host for host in self.hosts if host != LOCALHOST])
        return self.name + (f": {what}" if what else "") + (" (failed)" if self.failed else "")


class CallbackModule(CallbackBase):
    """Ansible's entry point."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "notification"
    CALLBACK_NAME = "aerospike_community.pegasus.annotations"
    CALLBACK_NEEDS_ENABLED = True

    def __init__(self) -> None:
        super().__init__()
        self._playbook: Activity | None = None
        self._plays: list[Activity] = []
        self._play: Any = None
        self._pid = os.getpid()

    def v2_playbook_on_start(self, playbook: Any) -> None:
        name = Path(playbook._file_name).stem
        tags = tuple(tag for tag in context.CLIARGS.get("tags", ()) if tag != "all")
        self._playbook, self._plays = Activity(NAMES_BY_TAGS.get((name, tags), name)), []
        # On Ctrl-C, Ansible exits without v2_playbook_on_stats.
        atexit.register(self._at_exit)

    def v2_playbook_on_play_start(self, play: Any) -> None:
        self._play = play
        self._end_play()
        self._plays.append(Activity(f"{self._playbook.name if self._playbook else ''}, {play.get_name().strip()}"))

    def v2_runner_on_ok(self, result: Any) -> None:
        if result.is_changed():
            self._record(result)

    def v2_runner_on_failed(self, result: Any, ignore_errors: bool = False) -> None:
        if not ignore_errors:
            self._fail()

    def v2_runner_on_unreachable(self, result: Any) -> None:
        self._fail()

    def v2_playbook_on_stats(self, stats: Any) -> None:
        self._finish()

    def _record(self, result: Any) -> None:
        host, values = result._host.get_name(), result._result
        lines = values.get("annotation") or (values.get("changes") if host == LOCALHOST else None) or []
        for activity in self._running():
            activity.hosts[host] = None
            activity.details.update(dict.fromkeys(str(line) for line in lines))

    def _fail(self) -> None:
        for activity in self._running():
            activity.failed = True

    def _running(self) -> list[Activity]:
        """The playbook and its current play."""
        return [activity for activity in (self._playbook, *self._plays[-1:]) if activity]

    def _end_play(self) -> None:
        if self._plays:
            self._plays[-1].end = time.time()

    def _at_exit(self) -> None:
        if self._playbook and os.getpid() == self._pid:
            self._fail()
            self._finish()

    def _finish(self) -> None:
        """Keep and post the annotations. Only display a problem, because the playbook has already run."""
        playbook, self._playbook = self._playbook, None
        atexit.unregister(self._at_exit)
        if playbook is None or self._play is None or context.CLIARGS.get("check"):
            return
        self._end_play()
        playbook.end = time.time()
        plays = [play for play in self._plays if play.hosts]
        try:
            problem = self._post(playbook, plays if len(plays) > 1 else [])
        except Exception as error:
            problem = f"{type(error).__name__}: {error}"
        if problem:
            self._display.vv(f"annotations: {problem}")

    def _post(self, playbook: Activity, plays: list[Activity]) -> str:
        manager = self._play.get_variable_manager()
        inventory = manager._inventory
        variables = manager.get_vars(play=self._play, host=inventory.get_host(LOCALHOST))

        def value(expression: str, of: dict[str, Any] = variables) -> str:
            templar = Templar(loader=self._play.get_loader(), variables=of)
            return str(templar.template(trust_as_template("{{ " + expression + " }}")))

        folder = Path(value("pegasus_state_dir"))
        if not folder.is_dir():
            return ""  # the environment doesn't exist yet, or was destroyed
        environment = value("pegasus_cluster_name")
        spans = [
            Span(activity.begin, activity.end, activity.text(), tags)
            for activity, tags in (
                (playbook, ("pegasus", environment, playbook.name)),
                *((play, ("pegasus-phase", environment, playbook.name)) for play in plays),
            )
            if activity.hosts
        ]
        post = None
        group = inventory.groups.get("monitors")
        for host in group.get_hosts() if group else []:
            of = manager.get_vars(play=self._play, host=host)
            if value("ec2_state.name | default('running')", of) == "running":
                post = poster(
                    f"http://{value('ansible_host', of)}:{GRAFANA_PORT}",
                    value("grafana_prometheus_admin_user | default('admin')", of),
                    value("grafana_prometheus_admin_password | default('admin')", of),
                )
        return keep_and_post(folder / SPOOL, spans, post)


def _shortened(items: list[str]) -> str:
    """The first items, and how many more there are."""
    more = [f"and {len(items) - MOST_LISTED} more"] if len(items) > MOST_LISTED else []
    return ", ".join([*items[:MOST_LISTED], *more])
