#!/usr/bin/python
# Copyright (c) Pegasus authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""Stop, kill or restart a node of a cluster, and see that it took effect."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: chaos_node
short_description: Stop, kill or restart a node of a cluster, and see that it took effect
description:
  - Runs on the node. Stopping and killing have taken effect when its process is gone and the others are a smaller,
    stable cluster; restarting when the node runs and the cluster is whole again.
  - Refuses to stop or kill more nodes than the namespace has spare copies, unless O(force).
  - A node that is in the asked state already is left alone, and the message says so.
author: Pegasus authors
options:
  action:
    description: >-
      V(stop) ends the node's process as its service does. V(kill) ends it with SIGKILL, and it stays down. V(restart)
      brings a node back that is down; one that runs is started anew only with O(force).
    type: str
    choices: [stop, kill, restart]
    required: true
  index: {description: The node's index; for messages., type: int, required: true}
  service: {description: The node's systemd service., type: str, default: aerospike}
  cluster: {description: Addresses of all nodes of the whole cluster., type: list, elements: str, required: true}
  targets:
    description: Addresses of the nodes that are acted on at this time, this one included.
    type: list
    elements: str
    required: true
  port: {description: The nodes' service port., type: int, default: 3000}
  namespace: {description: The namespace whose copies count., type: str, required: true}
  replication_factor: {description: Copies of each record., type: int, required: true}
  force:
    description: Stop or kill also where data is lost; restart also a node that runs.
    type: bool
    default: false
  timeout: {description: Seconds until the effect is there., type: int, default: 120}
attributes:
  check_mode: {description: Checks whether it may act and says what it would do., support: full}
  diff_mode: {description: Has none., support: none}
"""

EXAMPLES = r"""
- name: Stop node 2
  aerospike_community.pegasus.chaos_node:
    action: stop
    index: 2
    cluster: [10.0.0.1, 10.0.0.2, 10.0.0.3]
    targets: [10.0.0.2]
    namespace: test
    replication_factor: 2
"""

RETURN = r"""
message: {description: What was done and seen., returned: success, type: str}
note: {description: RV(message), for the driver to show., returned: success, type: str}
cluster_size: {description: Nodes of the cluster now., returned: success, type: int}
cluster_key: {description: Its key; empty when no node is left or nothing was done., returned: success, type: str}
seconds: {description: How long it took until the effect was there., returned: success, type: float}
log: {description: The node's most telling log lines., returned: failure, type: list, elements: str}
"""

import os
import signal
import time
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.aerospike.cluster import (
    ClusterError,
    answering,
    partitions_to_move,
    wait_until_stable,
)
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.aerospike.info import InfoError, info_pairs
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.faults.data_loss import stop_problem
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.host.systemd import (
    ServiceError,
    Systemd,
    telling_lines,
)

SETTLE_SECONDS = 1.0


class ChaosError(Exception):
    """The action was refused, or didn't take effect."""


class Chaos:
    """One action on this node."""

    def __init__(self, module: AnsibleModule) -> None:
        self.module = module
        self.params = module.params
        self.systemd = Systemd(module.run_command)
        self.began = time.monotonic()

    def run(self) -> dict[str, object]:
        """Do it and verify it; return the module's result.

        :raises ChaosError: refused, or without effect
        """
        state = self.systemd.state(self.params["service"])
        if not state.loaded:
            raise ChaosError(f"expected a service {self.params['service']} on this host, found none")
        if self.params["action"] in ("stop", "kill"):
            return self.stop(state.running)
        if state.active == "failed" and not self.module.check_mode:
            # A unit that failed too often refuses to start until it is forgiven.
            self.systemd.call("reset-failed", self.params["service"])
        return self.restart(state.running)

    def stop(self, running: bool) -> dict[str, object]:
        """End the node's process, gently or not."""
        past = {"stop": "stopped", "kill": "killed"}[self.params["action"]]
        index, targets = self.params["index"], set(self.params["targets"])
        alive = answering(self.params["cluster"], self.params["port"])
        others = [host for host in alive if host not in targets]
        if not running:
            return self.outcome(False, f"node {index} is stopped already; nothing was done", len(alive))
        moving = partitions_to_move(alive, self.params["port"])
        problem = stop_problem(len(self.params["cluster"]), len(others), self.copies(alive), moving)
        if problem and not self.params["force"]:
            raise ChaosError(
                f"node {index} was not {past}: {problem}. To do it all the same: --force, or -e chaos_force=true"
            )
        if self.module.check_mode:
            return self.outcome(True, f"node {index} would be {past}", len(others))
        process = self.main_process()
        if self.params["action"] == "kill":
            self.kill(process)
        else:
            self.systemd.call("stop", self.params["service"])
        self.see_process_gone(process)
        key = wait_until_stable(others, self.params["port"], self.params["timeout"]) if others else ""
        rest = f"the other {len(others)} are a stable cluster" if others else "no node is left"
        return self.outcome(True, f"node {index} is {past} and {rest}", len(others), key)

    def kill(self, process: int) -> None:
        """End the process with SIGKILL. A service that would be started again by systemd isn't, this time."""
        folder = Path(f"/run/systemd/system/{self.params['service']}.service.d")
        stay_down = folder / "pegasus-killed.conf"
        folder.mkdir(parents=True, exist_ok=True)
        try:
            stay_down.write_text("[Service]\nRestart=no\n", encoding="utf-8")
            self.systemd.call("daemon-reload")
            os.kill(process, signal.SIGKILL)
            self.see_process_gone(process)
        finally:
            stay_down.unlink(missing_ok=True)
            self.systemd.call("daemon-reload")

    def restart(self, running: bool) -> dict[str, object]:
        """Bring the node back, or start it anew."""
        index, targets = self.params["index"], set(self.params["targets"])
        elsewhere = [host for host in self.params["cluster"] if host not in targets]
        alive = set(answering(elsewhere, self.params["port"]))
        expected = [host for host in self.params["cluster"] if host in alive or host in targets]
        verb = "restart" if running else "start"
        if running and not self.params["force"]:
            key = wait_until_stable(expected, self.params["port"], self.params["timeout"])
            return self.outcome(
                False,
                f"node {index} runs already, in a stable cluster of {len(expected)}: nothing was done "
                f"(--force, or -e chaos_force=true, starts it anew)",
                len(expected),
                key,
            )
        if self.module.check_mode:
            return self.outcome(True, f"node {index} would be {verb}ed", len(expected))
        self.systemd.call(verb, self.params["service"])
        self.systemd.wait_until_up(self.params["service"], SETTLE_SECONDS)
        key = wait_until_stable(expected, self.params["port"], self.params["timeout"])
        was = "was running and is started anew" if running else "is back"
        missing = len(self.params["cluster"]) - len(expected)
        whole = f"still stopped: {missing}" if missing else "the cluster is whole"
        moving = partitions_to_move(expected, self.params["port"])
        whole += f", {moving} partitions are still to be moved" if moving else ""
        return self.outcome(
            True, f"node {index} {was}: {len(expected)} nodes are a stable cluster, {whole}", len(expected), key
        )

    def copies(self, alive: list[str]) -> int:
        """How many copies of a record there are: as asked, or fewer where the cluster is too small for that."""
        asked = self.params["replication_factor"]
        for host in alive:
            try:
                statistics = info_pairs(host, f"namespace/{self.params['namespace']}", port=self.params["port"])
                return min(asked, int(statistics.get("effective_replication_factor", asked)))
            except (InfoError, ValueError):
                continue
        return asked

    def main_process(self) -> int:
        """The id of the node's process, 0 for none."""
        _, out, _ = self.module.run_command(
            ["systemctl", "show", "--property=MainPID", "--value", self.params["service"]]
        )
        return int(out.strip() or 0)

    def see_process_gone(self, process: int) -> None:
        """Verify that the process has ended.

        :raises ChaosError: it is there, or systemd has started another
        """
        deadline = time.monotonic() + self.params["timeout"]
        while True:
            state = self.systemd.state(self.params["service"])
            there = process > 0 and Path(f"/proc/{process}").exists()
            if state.active in ("inactive", "failed") and not there:
                return
            if time.monotonic() > deadline:
                raise ChaosError(
                    f"node {self.params['index']}: expected no process and the service inactive, found the service "
                    f"{state.describe()} and process {process} {'alive' if there else 'gone'}"
                )
            time.sleep(0.1)

    def outcome(self, changed: bool, message: str, size: int, key: str = "") -> dict[str, object]:
        """The module's result."""
        seconds = round(time.monotonic() - self.began, 1)
        return {
            "changed": changed,
            "message": message,
            "note": message,
            "cluster_size": size,
            "cluster_key": key,
            "seconds": seconds,
        }


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "action": {"type": "str", "choices": ["stop", "kill", "restart"], "required": True},
            "index": {"type": "int", "required": True},
            "service": {"type": "str", "default": "aerospike"},
            "cluster": {"type": "list", "elements": "str", "required": True},
            "targets": {"type": "list", "elements": "str", "required": True},
            "port": {"type": "int", "default": 3000},
            "namespace": {"type": "str", "required": True},
            "replication_factor": {"type": "int", "required": True},
            "force": {"type": "bool", "default": False},
            "timeout": {"type": "int", "default": 120},
        },
        supports_check_mode=True,
    )
    chaos = Chaos(module)
    try:
        result = chaos.run()
    except ChaosError as error:
        module.fail_json(msg=str(error), log=[])
    except (ClusterError, ServiceError) as error:
        lines = telling_lines(chaos.systemd.log_lines(module.params["service"], count=100))
        shown = "\n".join(f"  {line}" for line in lines) or "  (empty)"
        module.fail_json(
            msg=f"node {module.params['index']}: {module.params['action']} has not taken effect: {error}\n"
            f"In the log of {module.params['service']} on this host, most telling first:\n{shown}",
            log=lines,
        )
    module.exit_json(**result)


if __name__ == "__main__":
    main()
