#!/usr/bin/python
# Copyright (c) Pegasus authors. SPDX-License-Identifier: Apache-2.0
"""Restart a node of a running cluster without a loss of data, and wait until it has joined again."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: aerospike_restart
short_description: Restart a node of a running cluster without a loss of data
description:
  - Waits until all nodes form a stable cluster without migrations. Then quiesces this node if its edition can, restarts
    its service, and waits again.
  - Restarts the nodes of a cluster one by one with any strategy. After a failed restart, skips the other nodes.
  - Refuses to restart a node that holds the only copy of records in memory, unless it can be quiesced.
author: Pegasus authors
options:
  cluster: {description: Addresses of all nodes., type: list, elements: str, required: true}
  host: {description: Address of this node on its own host., type: str, default: 127.0.0.1}
  namespace: {description: The namespace whose copies count., type: str, required: true}
  data_in_memory: {description: Whether the node loses its data in a restart., type: bool, required: true}
  reasons: {description: "Reasons for the restart, for messages.", type: list, elements: str, default: []}
  service: {description: The server's unit., type: str, default: aerospike}
  port: {description: Service port., type: int, default: 3000}
  timeout: {description: Seconds for each wait. Migrations of much data take long., type: int, default: 3600}
attributes:
  check_mode: {description: Reports what it would do., support: full}
  diff_mode: {description: Has none., support: none}
"""

EXAMPLES = r"""
- name: Restart the servers node by node
  aerospike_community.pegasus.aerospike_restart:
    cluster: [10.0.0.1, 10.0.0.2, 10.0.0.3]
    namespace: Test
    data_in_memory: true
"""

RETURN = r"""
changes: {description: What was done, a line each., returned: always, type: list, elements: str}
cluster_key: {description: The key of the cluster after the restart., returned: success, type: str}
seconds: {description: Duration., returned: success, type: float}
journal: {description: The server's most telling log lines., returned: failure, type: list, elements: str}
"""

import time

from ansible.module_utils.basic import AnsibleModule

from ..module_utils.aerospike.cluster import ClusterError, wait_until_stable
from ..module_utils.aerospike.info import InfoError, info, info_pairs, is_error
from ..module_utils.host.systemd import ServiceError, Systemd, important_lines

SETTLE_SECONDS = 1.0


class RestartError(Exception):
    """The restart was refused. The text says what was found, and the next step."""


class Restart:
    """The restart of a node."""

    def __init__(self, module: AnsibleModule) -> None:
        self.params, self.check = module.params, module.check_mode
        self.systemd = Systemd(module.run_command)
        self.cluster, self.port = self.params["cluster"], self.params["port"]
        self.changes: list[str] = []

    def run(self) -> dict[str, object]:
        """Restart the node and verify that it has joined its cluster again. Raises an error of the methods below."""
        why = "; ".join(self.params["reasons"])
        self.changes.append(f"restart of {self.params['service']}, node by node" + (f": {why}" if why else ""))
        if self.check:
            return {"changed": True, "changes": self.changes}
        began = time.monotonic()
        self.wait("before the restart of this node")
        quiesced = self.quiesce()
        if not quiesced:
            self.refuse_loss()
        self.systemd.call("restart", self.params["service"])
        self.systemd.wait_until_up(self.params["service"], SETTLE_SECONDS)
        key = self.wait("after the restart of this node")
        seconds = round(time.monotonic() - began, 1)
        return {"changed": True, "changes": self.changes, "cluster_key": key, "seconds": seconds}

    def wait(self, when: str) -> str:
        """Wait until all nodes form a stable cluster without migrations; ``when`` is for the message of a failure."""
        try:
            return wait_until_stable(self.cluster, self.port, self.params["timeout"], migrated=True)
        except ClusterError as error:
            raise ClusterError(f"{when}: {error}", error.answers) from error

    def quiesce(self) -> bool:
        """Hand this node's partitions over to the others. Return False on the Community Edition, which can't."""
        if len(self.cluster) < 2 or is_error(self.query(self.params["host"], "quiesce:")):
            return False
        self.recluster()
        # Until the recluster begins, the old cluster still counts as stable.
        deadline = time.monotonic() + self.params["timeout"]
        while self.statistics().get("effective_is_quiesced", "true") != "true":
            if time.monotonic() > deadline:
                raise RestartError("expected this node to be quiesced, found that it accepted quiesce without effect")
            time.sleep(0.2)
        try:
            self.wait("after this node was quiesced")
        except ClusterError:
            # The node keeps running, so it must serve again.
            self.query(self.params["host"], "quiesce-undo:")
            self.recluster()
            raise
        return True

    def statistics(self) -> dict[str, str]:
        """Return the statistics of the namespace on this node."""
        return info_pairs(self.params["host"], f"namespace/{self.params['namespace']}", port=self.port)

    def refuse_loss(self) -> None:
        """Refuse to lose the only copy of records. Raises RestartError if this node holds it in memory."""
        if not self.params["data_in_memory"]:
            return
        statistics = self.statistics()
        copies = int(statistics.get("effective_replication_factor", "1"))
        records = int(statistics.get("objects", "0"))
        if copies < 2 and records:
            raise RestartError(
                f"this node holds the only copy of {records} records in its memory: a restart would "
                "lose them. Expected two copies or an empty namespace: raise pegasus_replication_factor, truncate "
                "the namespace, or stop and start the node yourself"
            )

    def recluster(self) -> None:
        """Recluster: only the principal node does, the others answer that they aren't the principal."""
        for host in self.cluster:
            self.query(host, "recluster:")

    def query(self, host: str, command: str) -> str:
        """Return a node's answer to an info command."""
        return info(host, command, port=self.port).get(command, "")


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "cluster": {"type": "list", "elements": "str", "required": True},
            "host": {"type": "str", "default": "127.0.0.1"},
            "namespace": {"type": "str", "required": True},
            "data_in_memory": {"type": "bool", "required": True},
            "reasons": {"type": "list", "elements": "str", "default": []},
            "service": {"type": "str", "default": "aerospike"},
            "port": {"type": "int", "default": 3000},
            "timeout": {"type": "int", "default": 3600},
        },
        supports_check_mode=True,
    )
    restart = Restart(module)
    since = time.time()
    try:
        result = restart.run()
    except (RestartError, InfoError) as error:
        module.fail_json(msg=str(error), journal=[], changes=restart.changes)
    except (ClusterError, ServiceError) as error:
        lines = important_lines(restart.systemd.log_lines(module.params["service"], since=since))
        first = f"{lines[0]}\n" if lines and ("CRITICAL" in lines[0] or "FAILED" in lines[0]) else ""
        module.fail_json(msg=f"{first}{error}", journal=lines, changes=restart.changes)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
