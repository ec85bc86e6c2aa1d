#!/usr/bin/python
# Copyright (c) Pegasus authors. SPDX-License-Identifier: Apache-2.0
"""The module ec2_node."""

from __future__ import annotations

DOCUMENTATION = r"""
module: ec2_node
short_description: Find single nodes of an environment by index, or terminate them
description:
  - Nodes are named by kind and index. An unknown index is an error that lists the indexes that exist.
options:
  kind:
    description: The nodes' kind.
    type: str
    choices: [server, client, monitor]
    default: server
  indexes:
    description: The nodes' indexes.
    type: list
    elements: int
    default: []
  state:
    description: V(found) changes nothing. V(terminated) terminates the nodes; a terminated node is no error.
    type: str
    choices: [found, terminated]
    default: found
  expect:
    description: >-
      What O(state=found) accepts. V(running), V(live) (also stopped nodes), V(any) (also terminated nodes). V(launched)
      is V(running) for a node that was just launched: if it doesn't run, that is a failure of EC2, not of the command.
    type: str
    choices: [running, launched, live, any]
    default: live
  timeout: {description: Seconds to wait for the termination., type: int, default: 600}
attributes:
  check_mode: {description: Reports what it would change., support: full}
extends_documentation_fragment:
  - aerospike_community.pegasus.ec2
  - aerospike_community.pegasus.ec2.module
author: Pegasus authors
"""

EXAMPLES = r"""
- name: Terminate node 3
  aerospike_community.pegasus.ec2_node:
    environment: Benchmark
    indexes: [3]
    state: terminated
"""

RETURN = r"""
nodes:
  description: The nodes with id, name, kind, index, private_ip, state and more.
  type: list
  elements: dict
  returned: success
message: {description: The result as lines., type: list, elements: str, returned: success}
error_class:
  description: Class of the failure, such as credentials, quota, capacity, permission, configuration, usage or endpoint.
  type: str
  returned: failure
next_step: {description: What to do about the failure., type: str, returned: failure}
"""

from typing import Any

from ..module_utils.ec2 import nodes
from ..module_utils.ec2.errors import USAGE, Ec2Problem
from ..module_utils.ec2.module import connect, run_module
from ..module_utils.ec2.tags import KINDS

ARGUMENTS = {
    "kind": {"type": "str", "choices": list(KINDS), "default": "server"},
    "indexes": {"type": "list", "elements": "int", "default": []},
    "state": {"type": "str", "choices": ["found", "terminated"], "default": "found"},
    "expect": {"type": "str", "choices": ["running", "launched", "live", "any"], "default": "live"},
    "timeout": {"type": "int", "default": 600},
}


def work(params: dict[str, Any], check: bool) -> dict[str, Any]:
    """Find or terminate the nodes."""
    ec2 = connect(params)
    chosen = list(nodes.choose(ec2.instances(), params["kind"], params["indexes"]).values())
    if params["state"] == "terminated":
        terminated = nodes.terminate(ec2, chosen, params["timeout"], check=check)
        verb = "would be terminated" if check else "is terminated"
        lines = [f"{instance.name} ({instance.id}) {verb}" for instance in terminated]
        lines += [
            f"{instance.label} ({instance.id}) is already terminated: nothing to do"
            for instance in chosen
            if instance not in terminated
        ]
        return {"changed": bool(terminated), "nodes": [instance.record() for instance in chosen], "message": lines}
    if params["expect"] == "launched":
        nodes.check_survival(chosen)
    terminated = [instance for instance in chosen if not instance.live]
    if terminated and params["expect"] != "any":
        found = "; ".join(nodes.terminated_text(instance) for instance in terminated)
        raise Ec2Problem(USAGE, f"{found}; expected a node that exists.", "status lists the nodes.")
    stopped = [instance for instance in chosen if instance.live and instance.state != "running"]
    if stopped and params["expect"] == "running":
        found = "; ".join(f"the instance of {instance.name} is {instance.state}" for instance in stopped)
        raise Ec2Problem(USAGE, f"{found}; expected it to be running.", "setup starts it and prepares its disks again.")
    lines = [f"{instance.label} ({instance.id}) is already terminated: nothing to do" for instance in terminated]
    lines += [f"{instance.name} is skipped: its instance is {instance.state} (setup starts it)" for instance in stopped]
    return {"changed": False, "nodes": [instance.record() for instance in chosen], "message": lines}


def main() -> None:
    """Run the module."""
    run_module(ARGUMENTS, work)


if __name__ == "__main__":
    main()
