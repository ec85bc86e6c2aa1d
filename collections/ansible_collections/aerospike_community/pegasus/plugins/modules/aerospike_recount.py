#!/usr/bin/python
# Copyright (c) Pegasus authors. SPDX-License-Identifier: Apache-2.0
"""Verify that the nodes that stay have every record, before stopped nodes are terminated."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: aerospike_recount
short_description: Verify that the nodes that stay have every record, before stopped nodes are terminated
description:
  - Runs on any host that reaches the nodes. Waits until the nodes that stay form one stable cluster in which no
    partition migration is left, shows the progress, and fails if nothing moves for two minutes.
  - Then compares the records with their count before. Without writes, deletes, expiry and eviction in between, any
    difference is a failure; otherwise, fewer records than these explain.
author: Pegasus authors
extends_documentation_fragment: [aerospike_community.pegasus.nodes]
options:
  approval: {description: "The result of M(aerospike_community.pegasus.aerospike_gate).", type: dict, required: true}
  stopped:
    description: The results of M(aerospike_community.pegasus.chaos_node) for the targets.
    type: list
    elements: dict
    default: []
  accept_data_loss: {description: "Don't wait, and report missing records as a warning.", type: bool, default: false}
attributes:
  check_mode: {description: Does nothing., support: full}
"""

EXAMPLES = r"""
- name: Compare the records
  aerospike_community.pegasus.aerospike_recount:
    cluster: [{index: 1, address: 10.0.0.1}, {index: 2, address: 10.0.0.2}, {index: 3, address: 10.0.0.3}]
    targets: [10.0.0.2]
    approval: "{{ approval }}"
"""

RETURN = r"""
note: {description: "The records before and after, a line each.", returned: success, type: list, elements: str}
error_class: {description: C(readiness)., returned: failure, type: str}
next_step: {description: How to get the records back., returned: failure, type: str}
"""

from ansible.module_utils.basic import AnsibleModule

from ..module_utils.aerospike.gate import GateError
from ..module_utils.aerospike.recount import Recount, recount
from ..module_utils.aerospike.waiting import Waiting
from ..module_utils.faults.arguments import NODES
from ..module_utils.faults.contract import ACCEPT, node_names
from ..module_utils.results import READINESS


def build_request(params: dict) -> Recount:
    """Return what is compared."""
    names = node_names(params["cluster"])
    targets = ", ".join(names.get(host, host) for host in params["targets"])
    # Nodes that were down before the gate are not waited for.
    members = params["approval"].get("members", [])
    return Recount(
        [host for host in members if host not in params["targets"]],
        # The count when a node was stopped, maybe long ago, and the count when its removal began.
        [*(result.get("before") or {} for result in params["stopped"]), params["approval"].get("before") or {}],
        f"the removal of {targets}",
        port=params["port"],
        names=names,
        at_once=params["accept_data_loss"],
    )


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            **NODES,
            "approval": {"type": "dict", "required": True},
            "stopped": {"type": "list", "elements": "dict", "default": []},
            "accept_data_loss": {"type": "bool", "default": False},
        },
        supports_check_mode=True,
    )
    params = module.params
    if module.check_mode:
        module.exit_json(changed=False, note=[])
    indexes = [node["index"] for node in params["cluster"] if node["address"] in params["targets"]]
    restart = " and ".join(f"./pegasus-driver restart-node {index}" for index in indexes)
    back = f"Nothing was terminated: {restart} brings what is on disk back. To terminate anyway: {ACCEPT}"
    if "give_up" in params["resume"]:
        module.fail_json(msg=params["resume"]["give_up"], next_step=back, error_class=READINESS)
    try:
        outcome = recount(build_request(params))
    except GateError as error:
        module.fail_json(msg=str(error), next_step=back, error_class=READINESS)
    if isinstance(outcome, Waiting):
        module.exit_json(**outcome.result())
        return
    if outcome.problems and not params["accept_data_loss"]:
        lost = "\n".join([*outcome.problems, *outcome.lines])
        module.fail_json(msg=lost, next_step=back, error_class=READINESS)
    for problem in outcome.problems:
        module.warn(f"{problem} (a loss of data was accepted)")
    module.exit_json(changed=False, note=outcome.lines)


if __name__ == "__main__":
    main()
