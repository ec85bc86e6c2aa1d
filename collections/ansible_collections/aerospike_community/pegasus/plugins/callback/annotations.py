# Copyright (c) Pegasus authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""The callback annotations: each playbook that changes the environment is a span in Grafana."""

from __future__ import annotations

DOCUMENTATION = r"""
name: annotations
type: notification
short_description: Marks what was done to an environment in Grafana
description:
  - Each playbook that changed something becomes an annotation with its start and its end, whoever started it. Playbooks
    of several plays that changed something have one for each of these too.
  - What Grafana doesn't take is kept in C(annotations.ndjson) in the environment's folder, and posted at the end of
    the next playbook.
  - Nothing here can make a playbook fail.
requirements:
  - Enabled in ansible.cfg, with pegasus_state_dir and the variables of the role grafana_prometheus.
author:
  - Pegasus developers (@aerospike-community)
"""

import atexit
import os
import time
from pathlib import Path
from typing import Any

from ansible import context
from ansible.plugins.callback import CallbackBase
from ansible.template import Templar, trust_as_template
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.monitoring.annotations import (
    Span,
    keep_and_post,
    load_change,
    poster,
)

SPOOL = "annotations.ndjson"
GRAFANA_PORT = 3000
# What an action is called where it is a playbook with a tag.
NAMES_BY_TAGS = {("setup", ("threads",)): "copy-threads"}
MOST_NAMED = 4


class Stretch:
    """A playbook, or one of its plays: when it began and what changed in it."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.begin = time.time()
        self.end = self.begin
        self.hosts: dict[str, None] = {}
        self.details: dict[str, None] = {}
        self.failed = False

    @property
    def changed(self) -> bool:
        """Whether anything did."""
        return bool(self.hosts)

    def text(self) -> str:
        """One line: the name, what changed, where."""
        what = _some(list(self.details)) or _some([host for host in self.hosts if host != "localhost"])
        return self.name + (f": {what}" if what else "") + (" (failed)" if self.failed else "")


class CallbackModule(CallbackBase):
    """Ansible's entry point."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "notification"
    CALLBACK_NAME = "aerospike_community.pegasus.annotations"
    CALLBACK_NEEDS_ENABLED = True

    def __init__(self) -> None:
        super().__init__()
        self._whole: Stretch | None = None
        self._plays: list[Stretch] = []
        self._play: Any = None
        self._pid = os.getpid()

    def v2_playbook_on_start(self, playbook: Any) -> None:
        """Begin the span of the whole."""
        name = Path(playbook._file_name).stem
        tags = tuple(tag for tag in context.CLIARGS.get("tags", ()) if tag != "all")
        self._whole, self._plays = Stretch(NAMES_BY_TAGS.get((name, tags), name)), []
        # Ctrl-C ends Ansible without its statistics.
        atexit.register(self._at_exit)

    def v2_playbook_on_play_start(self, play: Any) -> None:
        """Begin the span of a play."""
        self._play = play
        self._end_play()
        self._plays.append(Stretch(f"{self._whole.name if self._whole else ''}, {play.get_name().strip()}"))

    def v2_runner_on_ok(self, result: Any) -> None:
        """Take what a task changed."""
        if result.is_changed():
            self._note(result)

    def v2_runner_on_failed(self, result: Any, ignore_errors: bool = False) -> None:
        """Take a failure."""
        if not ignore_errors:
            self._fail()

    def v2_runner_on_unreachable(self, result: Any) -> None:
        """Take a host that doesn't answer."""
        self._fail()

    def v2_playbook_on_stats(self, stats: Any) -> None:
        """End all spans."""
        self._finish()

    def _note(self, result: Any) -> None:
        host, found, module = result._host.get_name(), result._result, result._task.action.rpartition(".")[2]
        details = [str(item) for item in found.get("changes", [])] if module == "ec2_environment" else []
        if module == "perseus_threads":
            details = [f"{host} {load_change(found.get('before', {}), found.get('threads', {}))}"]
        for stretch in self._open():
            stretch.hosts[host] = None
            stretch.details.update(dict.fromkeys(details))

    def _fail(self) -> None:
        for stretch in self._open():
            stretch.failed = True

    def _open(self) -> list[Stretch]:
        """The playbook and its present play."""
        return [stretch for stretch in (self._whole, *self._plays[-1:]) if stretch]

    def _end_play(self) -> None:
        if self._plays:
            self._plays[-1].end = time.time()

    def _at_exit(self) -> None:
        if self._whole and os.getpid() == self._pid:
            self._fail()
            self._finish()

    def _finish(self) -> None:
        """Keep the spans and post them; a problem is told, and nothing more."""
        whole, self._whole = self._whole, None
        atexit.unregister(self._at_exit)
        if whole is None or self._play is None or context.CLIARGS.get("check"):
            return
        self._end_play()
        whole.end = time.time()
        plays = [play for play in self._plays if play.changed]
        try:
            problem = self._post(whole, plays if len(plays) > 1 else [])
        except Exception as error:  # whatever it is: the playbook did its work
            problem = f"{type(error).__name__}: {error}"
        if problem:
            self._display.vv(f"annotations: {problem}")

    def _post(self, whole: Stretch, plays: list[Stretch]) -> str:
        manager = self._play.get_variable_manager()
        inventory = manager._inventory
        variables = manager.get_vars(play=self._play, host=inventory.get_host("localhost"))

        def value(expression: str, of: dict[str, Any] = variables) -> str:
            templar = Templar(loader=self._play.get_loader(), variables=of)
            return str(templar.template(trust_as_template("{{ " + expression + " }}")))

        folder = Path(value("pegasus_state_dir"))
        if not folder.is_dir():
            return ""  # there is no environment, or no more
        environment = value("pegasus_cluster_name")
        spans = [
            Span(stretch.begin, stretch.end, stretch.text(), tags)
            for stretch, tags in (
                (whole, ("pegasus", environment, whole.name)),
                *((play, ("pegasus-phase", environment, whole.name)) for play in plays),
            )
            if stretch.changed
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


def _some(items: list[str]) -> str:
    """A few of many, as text."""
    more = [f"and {len(items) - MOST_NAMED} more"] if len(items) > MOST_NAMED else []
    return ", ".join([*items[:MOST_NAMED], *more])
