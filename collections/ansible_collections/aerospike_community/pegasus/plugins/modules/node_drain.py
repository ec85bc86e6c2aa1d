#!/usr/bin/python
# Copyright (c) Pegasus authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""Empty nodes of a cluster before they are taken away."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: node_drain
short_description: Empty nodes of a cluster before they are taken away
description:
  - Asks the nodes over the info protocol, from any host that reaches them. Quiesces the targets, forms the cluster
    anew, waits until clients have left them and no partition is on its way. Then the other nodes have every copy.
  - What fails between these steps is undone (C(quiesce-undo)), so that the targets serve on.
  - Only the Enterprise Edition can quiesce. On the Community Edition it refuses, after the checks, unless O(force).
  - A target that is stopped already has nothing to give; the others have to be stable and done with their migrations.
author: Pegasus authors
options:
  targets: {description: Addresses of the nodes to empty., type: list, elements: str, required: true}
  cluster: {description: Addresses of all nodes of the whole cluster., type: list, elements: str, required: true}
  port: {description: The nodes' service port., type: int, default: 3000}
  namespace: {description: The namespace whose traffic and copies count., type: str, required: true}
  replication_factor: {description: Copies of each record., type: int, required: true}
  force:
    description: Also where there is no quiesce, other nodes are down, or none would be left.
    type: bool
    default: false
  timeout: {description: "Seconds until the cluster is stable, and until clients have left.", type: int, default: 120}
  migration_timeout: {description: Seconds until the migrations are done., type: int, default: 3600}
attributes:
  check_mode: {description: Checks whether it may and says what it would do., support: full}
  diff_mode: {description: Has none., support: none}
"""

EXAMPLES = r"""
- name: Empty a node
  aerospike_community.pegasus.node_drain:
    targets: [10.0.0.3]
    cluster: [10.0.0.1, 10.0.0.2, 10.0.0.3]
    namespace: test
    replication_factor: 2
"""

RETURN = r"""
message: {description: What was done and seen., returned: success, type: list, elements: str}
note: {description: RV(message), for the driver to show., returned: success, type: list, elements: str}
others: {description: Addresses of the nodes that stay and answer., returned: success, type: list, elements: str}
seconds: {description: How long it took., returned: success, type: float}
"""

import time
from collections.abc import Callable

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.aerospike.cluster import (
    ClusterError,
    answering,
    ask_all,
    wait_until_stable,
)
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.aerospike.info import (
    InfoError,
    info_pairs,
    info_value,
)
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.faults.data_loss import (
    client_operations,
    removal_problem,
)

POLL_SECONDS = 0.5
# So long no client may have used a target. Clients learn the new owners within a second or two.
QUIET_SECONDS = 3.0


class DrainError(Exception):
    """It was refused, or a wait was in vain."""


class Drain:
    """One draining of the targets."""

    def __init__(self, params: dict, say: Callable[[str], None]) -> None:
        self.params, self.say = params, say
        self.port, self.namespace = params["port"], params["namespace"]
        self.alive = answering(params["cluster"], self.port)
        self.running = [host for host in params["targets"] if host in self.alive]
        self.others = [host for host in self.alive if host not in params["targets"]]

    def check(self) -> bool:
        """Whether the targets can be quiesced (false where they are stopped, or by force where they can't).

        :raises DrainError: it may not be done
        """
        known = {*self.alive, *self.params["targets"]}
        down = [host for host in self.params["cluster"] if host not in known]
        copies = self.params["replication_factor"]
        stopped = len(self.params["targets"]) - len(self.running)
        problem = removal_problem(len(self.others), down, stopped, copies)
        if problem and not self.params["force"]:
            raise DrainError(f"nothing was removed: {problem}. To do it all the same: --force, or -e chaos_force=true")
        if not self.running:
            return False
        if "community" not in info_value(self.running[0], "edition", port=self.port).lower():
            return True
        if not self.params["force"]:
            raise DrainError(
                "nothing was removed: the Community Edition has no quiesce, so clients would meet errors, and the data "
                "would have fewer copies until the others have made them anew. To do it all the same (stop, wait for "
                "the migrations, terminate): --force, or -e chaos_force=true"
            )
        return False

    def tell_plan(self, able: bool) -> None:
        """Say what would be done, for check mode. able: what check() returned."""
        if able and self.others:
            self.say(f"it would be quiesced: {len(self.others)} nodes would own all partitions")

    def quiesce(self) -> None:
        """Hand the targets' work to the others.

        :raises DrainError: they kept it; raises InfoError, ClusterError
        """
        try:
            self.tell_targets("quiesce:")
            self.recluster()
            self.wait("the target to be quiesced", self.params["timeout"], self.not_quiesced)
            self.say(f"quiesced: {len(self.others)} nodes own all partitions")
            self.wait("no client to use the target", self.params["timeout"], self.in_use)
            self.say(f"no client has used it for {QUIET_SECONDS:.0f} s")
            self.wait_for_migrations([*self.others, *self.running])
        except (DrainError, InfoError, ClusterError):
            self.tell_targets("quiesce-undo:")
            self.recluster()
            raise

    def wait_for_migrations(self, nodes: list[str]) -> None:
        """Wait until no node has a partition to send or to get.

        :raises DrainError: they have, still
        """

        def remaining() -> str:
            answers, errors = ask_all(
                nodes,
                lambda host: info_pairs(host, "statistics", port=self.port).get("migrate_partitions_remaining", "?"),
            )
            left = {host: count for host, count in {**answers, **errors}.items() if count != "0"}
            return ", ".join(f"{host}: {count}" for host, count in left.items())

        self.wait("every migration to be done", self.params["migration_timeout"], remaining)
        self.say("no migration is left: the other nodes have every copy")

    def tell_targets(self, command: str) -> None:
        """Give each target a command that takes effect at the next recluster."""
        for host in self.running:
            info_value(host, command, port=self.port)

    def recluster(self) -> None:
        """Form the cluster anew. Only the principal does it; the others answer that they aren't."""
        ask_all([*self.others, *self.running], lambda host: info_value(host, "recluster:", port=self.port))
        time.sleep(POLL_SECONDS)
        wait_until_stable([*self.others, *self.running], self.port, self.params["timeout"])

    def not_quiesced(self) -> str:
        """Which targets aren't quiesced yet."""
        late = [
            host
            for host in self.running
            if info_pairs(host, f"namespace/{self.namespace}", port=self.port).get("effective_is_quiesced") != "true"
        ]
        return ", ".join(late)

    def in_use(self) -> str:
        """Which targets counted operations of clients in QUIET_SECONDS."""
        before = {host: self.operations(host) for host in self.running}
        time.sleep(QUIET_SECONDS)
        grown = {host: self.operations(host) - before[host] for host in self.running}
        return ", ".join(
            f"{host}: {count} operations in {QUIET_SECONDS:.0f} s" for host, count in grown.items() if count
        )

    def operations(self, host: str) -> int:
        """How many operations of clients a node has counted."""
        return client_operations(info_pairs(host, f"namespace/{self.namespace}", port=self.port))

    def wait(self, expected: str, timeout: float, late: Callable[[], str]) -> None:
        """Wait until ``late`` has nothing to say.

        :raises DrainError: it has, after ``timeout`` seconds
        """
        deadline = time.monotonic() + timeout
        while True:
            said = late()
            if not said:
                return
            if time.monotonic() > deadline:
                raise DrainError(f"expected {expected} within {timeout:.0f} s, found {said}")
            time.sleep(POLL_SECONDS)


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "targets": {"type": "list", "elements": "str", "required": True},
            "cluster": {"type": "list", "elements": "str", "required": True},
            "port": {"type": "int", "default": 3000},
            "namespace": {"type": "str", "required": True},
            "replication_factor": {"type": "int", "required": True},
            "force": {"type": "bool", "default": False},
            "timeout": {"type": "int", "default": 120},
            "migration_timeout": {"type": "int", "default": 3600},
        },
        supports_check_mode=True,
    )
    began = time.monotonic()
    lines: list[str] = []
    try:
        drain = Drain(module.params, lines.append)
        able = drain.check()
        if module.check_mode:
            drain.tell_plan(able)
        else:
            if drain.others:
                # Before anything is asked of it: a cluster that isn't stable can't hand anything over.
                wait_until_stable(drain.alive, drain.port, module.params["timeout"])
            if able and drain.others:
                drain.quiesce()
            elif not drain.running and drain.others:
                drain.wait_for_migrations(drain.others)
    except (DrainError, ClusterError, InfoError) as error:
        said = "".join(f"\n  before that: {line}" for line in lines)
        module.fail_json(msg=f"{error}{said}")
    seconds = round(time.monotonic() - began, 1)
    module.exit_json(changed=able, message=lines, note=lines, others=drain.others, seconds=seconds)


if __name__ == "__main__":
    main()
