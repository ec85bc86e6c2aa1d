#!/usr/bin/python
# Copyright (c) Pegasus authors. SPDX-License-Identifier: Apache-2.0
"""Give a client the current server nodes after a change of the cluster."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: perseus_nodes
short_description: Give a client the current server nodes after a change of the cluster
description:
  - Replaces the list of nodes in Perseus's configuration and nothing else, so that Perseus's next start finds the
    cluster.
  - Restarts Perseus only if it can't find the cluster otherwise, because none of the nodes in its configuration is a
    current node and it has no connection to a current node. Without a restart, Perseus counts operations that fail.
  - Leaves a stopped Perseus stopped. A client without Perseus is left alone.
author: Pegasus authors
options:
  path: {description: Perseus's configuration., type: path, default: /var/lib/perseus/configuration.yaml}
  hosts: {description: Addresses of all server nodes., type: list, elements: str, required: true}
  port: {description: Their service port., type: int, default: 3000}
  service: {description: Perseus's systemd service., type: str, default: perseus}
  grace: {description: Seconds in which Perseus may connect to a current node., type: float, default: 5}
attributes:
  check_mode: {description: Reports what it would change., support: full}
  diff_mode: {description: Shows the difference., support: full}
"""

EXAMPLES = r"""
- name: Give Perseus the current server nodes
  aerospike_community.pegasus.perseus_nodes:
    hosts: [10.0.0.4, 10.0.0.5]
  register: nodes
"""

RETURN = r"""
changes: {description: "What changed, a line each.", returned: success, type: list, elements: str}
before: {description: The nodes that the configuration had., returned: success, type: list, elements: str}
restarted: {description: Whether Perseus was restarted., returned: success, type: bool}
unproven:
  description: Whether Perseus runs without a connection that shows that it uses the cluster. Its load must be verified.
  returned: success
  type: bool
"""

import os
import time
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule

from ..module_utils.host.file_replacement import replace
from ..module_utils.host.systemd import ServiceError, Systemd, UnitState, important_lines
from ..module_utils.perseus.configuration import PerseusConfigError
from ..module_utils.perseus.live_load import running_process
from ..module_utils.perseus.nodes import connected_nodes, known_nodes, with_nodes

POLL_SECONDS = 0.2


class Nodes:
    """One call of the module."""

    def __init__(self, params: dict, systemd: Systemd, check: bool) -> None:
        self.params, self.systemd, self.check = params, systemd, check
        self.path, self.service = Path(params["path"]), params["service"]
        self.changes: list[str] = []

    def run(self) -> dict[str, object]:
        """Update the file and restart Perseus if necessary. Raises PerseusConfigError, ServiceError or OSError."""
        if not self.path.is_file():
            return self.result(before=[], restarted=False, unproven=False, old="", new="")
        old = self.path.read_text(encoding="utf-8")
        before, state = known_nodes(old), self.systemd.state(self.service)
        new = with_nodes(old, self.params["hosts"], self.params["port"])
        lost = not set(before) & set(self.params["hosts"])
        connected = state.running and self.is_connected(self.params["grace"] if lost else 0)
        if old != new:
            self.changes.append(f"server nodes of Perseus: {', '.join(before)} -> {', '.join(self.params['hosts'])}")
            self.write(new)
        # One that waits for its nodes or gave up would fail for as long as the old nodes don't exist.
        restart = lost and not connected and state.loaded and state.active != "inactive"
        if restart:
            self.restart(state)
        unproven = restart or (state.running and not connected)
        return self.result(before=before, restarted=restart, unproven=unproven, old=old, new=new)

    def is_connected(self, seconds: float) -> bool:
        """Return whether Perseus has a connection to a current node, or gets one within some seconds."""
        deadline = time.monotonic() + seconds
        while True:
            process = running_process(self.service)
            if process and connected_nodes(process, self.params["port"]) & set(self.params["hosts"]):
                return True
            if time.monotonic() >= deadline:
                return False
            time.sleep(POLL_SECONDS)

    def write(self, text: str) -> None:
        """Replace the file. It keeps its time, because a service that is older than its file counts as outdated."""
        if self.check:
            return
        times = self.path.stat()
        replace(self.path, text.encode())
        os.utime(self.path, ns=(times.st_atime_ns, times.st_mtime_ns))

    def restart(self, state: UnitState) -> None:
        """Restart Perseus, which waits for a stable cluster before it starts."""
        self.changes.append(f"restarted {self.service}: none of the nodes that it knew is a server node any more")
        if self.check:
            return
        if state.active == "failed":
            self.systemd.call("reset-failed", self.service)
        self.systemd.call("restart", self.service)

    def result(self, *, before: list[str], restarted: bool, unproven: bool, old: str, new: str) -> dict[str, object]:
        """Return the module's result."""
        header = {"before_header": str(self.path), "after_header": str(self.path)}
        return {
            "changed": bool(self.changes),
            "changes": self.changes,
            "before": before,
            "restarted": restarted,
            "unproven": unproven,
            "diff": [{**header, "before": old, "after": new}] if old != new else [],
        }


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "path": {"type": "path", "default": "/var/lib/perseus/configuration.yaml"},
            "hosts": {"type": "list", "elements": "str", "required": True},
            "port": {"type": "int", "default": 3000},
            "service": {"type": "str", "default": "perseus"},
            "grace": {"type": "float", "default": 5},
        },
        supports_check_mode=True,
    )
    systemd = Systemd(module.run_command)
    nodes = Nodes(module.params, systemd, module.check_mode)
    try:
        module.exit_json(**nodes.run())
    except (PerseusConfigError, OSError) as error:
        module.fail_json(
            msg=f"{nodes.path} can't be updated: {error}. Expected the file that setup-clients writes: run it again",
            changes=nodes.changes,
        )
    except ServiceError as error:
        lines = important_lines(systemd.log_lines(module.params["service"]), 6)
        log = "".join(f"\n  {line}" for line in lines)
        module.fail_json(
            msg=f"Perseus has the current server nodes, but didn't start: {error}. Run rerun-clients{log}",
            changes=nodes.changes,
        )


if __name__ == "__main__":
    main()
