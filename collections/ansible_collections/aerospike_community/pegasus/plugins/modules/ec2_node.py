#!/usr/bin/python
"""The module ec2_node."""

from __future__ import annotations

DOCUMENTATION = r"""
module: ec2_node
short_description: Looks for single nodes of an environment by index, or takes them
description:
  - Names a node by its kind and index, as users do. An index that doesn't exist is an error that says which do.
requirements:
  - boto3
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
    description: V(found) changes nothing. V(terminated) takes the nodes; those that ended already are no error.
    type: str
    choices: [found, terminated]
    default: found
  expect:
    description: >-
      What O(state=found) accepts. V(running), V(live) (a stopped one too), V(any) (also one that ended). V(launched)
      is V(running) for a node that was launched a moment ago: that it isn't is EC2's failure and not the command's.
    type: str
    choices: [running, launched, live, any]
    default: live
  timeout: {description: Seconds to wait for the end., type: int, default: 600}
  environment: {description: Name of the environment., type: str, required: true}
  region: {description: EC2 region; empty is boto's own choice., type: str, default: ""}
  endpoint_url: {description: URL of the EC2 endpoint; empty is boto's own choice., type: str, default: ""}
  access_key: {description: Access key; empty is boto's own chain., type: str, default: ""}
  secret_key: {description: Secret key; empty is boto's own chain., type: str, default: ""}
attributes:
  check_mode: {description: Says what it would do., support: full}
  diff_mode: {description: Has none., support: none}
author:
  - Pegasus developers (@aerospike-community)
"""

EXAMPLES = r"""
- name: Take node 3
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
message: {description: What was done or seen., type: list, elements: str, returned: success}
error_class:
  description: One of credentials, quota, capacity, permission, usage, configuration, endpoint, other.
  type: str
  returned: failure
next_step: {description: What to do about the failure., type: str, returned: failure}
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.ec2 import nodes as ec2_nodes
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.ec2 import plan as ec2_plan
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.ec2.errors import USAGE, Ec2Problem
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.ec2.module import (
    CONNECTION_ARGUMENTS,
    connect,
    run,
)


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            **CONNECTION_ARGUMENTS,
            "kind": {"type": "str", "choices": list(ec2_plan.KINDS), "default": "server"},
            "indexes": {"type": "list", "elements": "int", "default": []},
            "state": {"type": "str", "choices": ["found", "terminated"], "default": "found"},
            "expect": {"type": "str", "choices": ["running", "launched", "live", "any"], "default": "live"},
            "timeout": {"type": "int", "default": 600},
        },
        supports_check_mode=True,
    )

    def work(asked: dict[str, Any]) -> dict[str, Any]:
        ec2 = connect(asked)
        chosen = list(ec2_nodes.choose(ec2.instances(), asked["kind"], asked["indexes"]).values())
        if asked["state"] == "terminated":
            taken = ec2_nodes.terminate(ec2, chosen, asked["timeout"], check=module.check_mode)
            verb = "would be terminated" if module.check_mode else "is terminated"
            lines = [f"{one.name} ({one.id}) {verb}" for one in taken]
            lines += [f"{ec2_nodes.ended_text(one)} already; nothing was done" for one in chosen if one not in taken]
            return {"changed": bool(taken), "nodes": [one.record() for one in chosen], "message": lines}
        if asked["expect"] == "launched":
            ec2_nodes.check_survival(chosen)
        ended = [one for one in chosen if not one.live]
        if ended and asked["expect"] != "any":
            said = "; ".join(ec2_nodes.ended_text(one) for one in ended)
            raise Ec2Problem(USAGE, f"{said}; expected a node that exists.", "status lists the nodes.")
        still = [one for one in chosen if one.state != "running" and asked["expect"] == "running"]
        if still:
            said = "; ".join(f"the instance of {one.name} is {one.state}" for one in still)
            raise Ec2Problem(USAGE, f"{said}; expected it to run.", "setup starts it and prepares its disks anew.")
        lines = [f"{ec2_nodes.ended_text(one)} already; nothing was done" for one in ended]
        lines += [
            f"{one.name} is skipped: its instance is {one.state} (setup starts it again)"
            for one in chosen
            if one.live and one.state != "running"
        ]
        return {"changed": False, "nodes": [one.record() for one in chosen], "message": lines}

    run(module, work)


if __name__ == "__main__":
    main()
