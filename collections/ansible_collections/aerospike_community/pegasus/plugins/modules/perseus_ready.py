#!/usr/bin/python
# Copyright (c) Pegasus authors. SPDX-License-Identifier: Apache-2.0
"""Wait until Perseus prints real counts."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: perseus_ready
short_description: Wait until Perseus prints real counts
description:
  - Reads the rows that Perseus prints, and the counters of the server nodes over the same seconds.
  - Perseus is ready when each workload with threads counts operations, each workload without threads counts none, and
    the servers counted what Perseus printed. A running process proves nothing, because Perseus counts failed operations
    too.
author: Pegasus authors
options:
  rows_file: {description: The file with Perseus's output., type: path, default: /var/log/perseus/perseus.log}
  errors_file: {description: The file with its stack traces., type: path, default: /var/log/perseus/errors.log}
  threads_file: {description: The live threads.yaml of this client., type: path, default: /var/lib/perseus/threads.yaml}
  service: {description: Perseus's systemd service., type: str, default: perseus}
  hosts: {description: Addresses of all server nodes., type: list, elements: str, required: true}
  port: {description: Their service port., type: int, default: 3000}
  namespace: {description: The namespace under load., type: str, required: true}
  rows: {description: How many rows are compared at a time. Perseus prints a row every second., type: int, default: 3}
  tolerance: {description: Share of the printed operations that servers may miss (0 to 1)., type: float, default: 0.25}
  timeout: {description: Seconds., type: int, default: 60}
  partial:
    description: Compare with the nodes that answer, and warn about the others. For a cluster with a stopped node.
    type: bool
    default: false
attributes:
  check_mode: {description: Checks in the same way; it changes nothing., support: full}
  diff_mode: {description: Has none., support: none}
"""

EXAMPLES = r"""
- name: Wait until Perseus's load reaches the servers
  aerospike_community.pegasus.perseus_ready:
    hosts: [10.0.0.1, 10.0.0.2]
    namespace: test
"""

RETURN = r"""
total_rate: {description: Operations per second; each record of a batch counts., returned: success, type: float}
printed_rate: {description: Perseus's total per second; a batch counts once., returned: success, type: float}
rates: {description: Operations per second by workload., returned: success, type: dict}
server_rate: {description: Operations per second of all clients on the servers., returned: success, type: float}
server_error_rate: {description: Errors and timeouts per second among them., returned: success, type: float}
threads: {description: Threads by workload., returned: success, type: dict}
rows: {description: How many rows were compared., returned: success, type: int}
row_number: {description: The number of the last row., returned: success, type: int}
notes: {description: Warnings although the load is real., returned: success, type: list, elements: str}
log: {description: The most relevant lines of the log., returned: failure, type: list, elements: str}
error_class: {description: C(readiness)., returned: failure, type: str}
"""

import time
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule

from ..module_utils.aerospike.cluster import answering, skipped
from ..module_utils.aerospike.info import InfoError, sum_counters
from ..module_utils.host.systemd import Systemd, important_lines
from ..module_utils.perseus import proof
from ..module_utils.perseus import threads as threads_file
from ..module_utils.perseus.rows import LogFollower, Row, TableReader
from ..module_utils.results import READINESS

# The last header is at most 10 rows back, but there may be error lines in between.
LOOK_BACK_BYTES = 512 * 1024
# Enough for the exception of a start that has just failed. Older exceptions don't explain it.
ERRORS_LOOK_BACK_BYTES = 16 * 1024
POLL_SECONDS = 0.05
SERVICE_POLL_SECONDS = 1.0
DEAD_STATES = ("failed", "inactive")
# One restart may fix the problem.
RESTARTS_MAX = 1


class NotReadyError(Exception):
    """Perseus isn't ready, and waiting doesn't help or the timeout is over."""


class Watch:
    """Watches a Perseus until its load is real."""

    def __init__(self, params: dict, systemd: Systemd) -> None:
        self.params, self.systemd = params, systemd
        self.follower = LogFollower(Path(params["rows_file"]), LOOK_BACK_BYTES)
        self.errors = LogFollower(Path(params["errors_file"]), ERRORS_LOOK_BACK_BYTES)
        self.table = TableReader()
        # Earlier output is read only for the names of the columns.
        self.table.feed_all(self.follower.lines())
        self.deadline = time.monotonic() + params["timeout"]
        self.reason = "expected a row with counts, found none"
        self.next_service_check = 0.0
        self.restarts: int | None = None
        self.rows_seen = 0

    def run(self) -> tuple[proof.Verdict, list[Row]]:
        """Return the verdict and the rows of the first window that proves the load. Raises NotReadyError."""
        before: proof.Sample | None = None
        rows: list[Row] = []
        while True:
            self.check_service()
            new = self.table.feed_all(self.follower.lines())
            for row in new:
                self.rows_seen += 1
                if rows and row.number != rows[-1].number + 1:
                    before, rows = None, []
                rows.append(row)
            if new and before is None:
                # The window starts after the newest row, whose counts don't belong to it.
                before, rows = self.sample(), rows[-1:]
            elif new and before is not None and len(rows) > self.params["rows"]:
                after = self.sample()
                if after is not None:
                    window = proof.Window(rows[1:], before, after, len(self.params["hosts"]))
                    verdict = proof.judge(window, self.threads(), self.params["tolerance"])
                    if not verdict.problem:
                        return verdict, list(window.rows)
                    self.reason = verdict.problem
                before, rows = after, rows[-1:]
            if time.monotonic() > self.deadline:
                raise NotReadyError(f"{self.reason} (waited {self.params['timeout']} s, saw {self.rows_seen} rows)")
            time.sleep(POLL_SECONDS)

    def sample(self) -> proof.Sample | None:
        """Return the servers' counters, or None if a server doesn't answer."""
        try:
            counters = sum_counters(
                self.params["hosts"], self.params["namespace"], proof.COUNTERS, port=self.params["port"]
            )
        except InfoError as error:
            self.reason = f"expected an answer from every server node, found: {error}"
            return None
        return proof.Sample(time.monotonic(), counters)

    def threads(self) -> dict[str, int]:
        """Return the threads of the live threads.yaml, or nothing if it can't be read."""
        try:
            return threads_file.parse(Path(self.params["threads_file"]).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}

    def check_service(self) -> None:
        """Check once per second that waiting makes sense. Raises NotReadyError if it doesn't."""
        now = time.monotonic()
        if now < self.next_service_check:
            return
        self.next_service_check = now + SERVICE_POLL_SECONDS
        state = self.systemd.state(self.params["service"])
        if not state.loaded:
            raise NotReadyError(f"expected a service {self.params['service']}, found no such unit on this host")
        if state.active in DEAD_STATES:
            raise NotReadyError(f"expected the service {self.params['service']} to run, found it {state.describe()}")
        self.restarts = state.restarts if self.restarts is None else self.restarts
        if state.restarts > self.restarts + RESTARTS_MAX:
            raise NotReadyError(
                f"expected the service {self.params['service']} to keep running, found that it exited "
                f"{state.restarts - self.restarts} times meanwhile"
            )

    def log_lines(self) -> list[str]:
        """Return lines that explain the problem: those of Perseus, or of the journal if Perseus printed none."""
        # Each line once and without the frames of stack traces, because a failing workload repeats them every second.
        lines = dict.fromkeys(line for line in [*self.errors.lines(), *self.table.others] if not line[:1].isspace())
        return important_lines(list(lines)) or important_lines(self.systemd.log_lines(self.params["service"], count=20))


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "rows_file": {"type": "path", "default": "/var/log/perseus/perseus.log"},
            "errors_file": {"type": "path", "default": "/var/log/perseus/errors.log"},
            "threads_file": {"type": "path", "default": "/var/lib/perseus/threads.yaml"},
            "service": {"type": "str", "default": "perseus"},
            "hosts": {"type": "list", "elements": "str", "required": True},
            "port": {"type": "int", "default": 3000},
            "namespace": {"type": "str", "required": True},
            "rows": {"type": "int", "default": 3},
            "tolerance": {"type": "float", "default": 0.25},
            "timeout": {"type": "int", "default": 60},
            "partial": {"type": "bool", "default": False},
        },
        supports_check_mode=True,
    )
    if not module.params["hosts"] or module.params["rows"] < 1:
        module.fail_json(
            msg=f"expected at least one address in hosts and at least 1 row, found {len(module.params['hosts'])} "
            f"addresses and {module.params['rows']} rows",
            error_class=READINESS,
        )
    params, hosts = module.params, module.params["hosts"]
    if params["partial"]:
        params["hosts"] = answering(hosts, params["port"]) or hosts
        for host in hosts:
            if host not in params["hosts"]:
                module.warn(skipped(host))
    watch = Watch(params, Systemd(module.run_command))
    try:
        verdict, rows = watch.run()
    except NotReadyError as error:
        lines = watch.log_lines()
        shown = "\n".join(f"  {line}" for line in lines) or "  (empty)"
        places = f"{params['rows_file']} and {params['errors_file']}"
        message = f"Perseus is not ready: {error}.\nIn {places}, most relevant first:\n{shown}"
        module.fail_json(msg=message, log=lines, error_class=READINESS)
    for note in verdict.warnings:
        module.warn(note)
    module.exit_json(
        changed=False,
        total_rate=verdict.total_rate,
        printed_rate=verdict.printed_rate,
        rates=verdict.rates,
        server_rate=verdict.server_rate,
        server_error_rate=verdict.server_error_rate,
        threads=watch.threads() or watch.table.threads,
        rows=len(rows),
        row_number=rows[-1].number,
        notes=verdict.warnings,
    )


if __name__ == "__main__":
    main()
