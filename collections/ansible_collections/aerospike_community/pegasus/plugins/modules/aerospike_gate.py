#!/usr/bin/python
# Copyright (c) Pegasus authors. SPDX-License-Identifier: Apache-2.0
"""Ask all nodes of a cluster whether some of them may be taken down without a loss of data."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: aerospike_gate
short_description: Ask all nodes of a cluster whether some may be taken down without a loss of data
description:
  - Every fault of M(aerospike_community.pegasus.chaos_node) that takes a running node down needs the result of this
    module. It must run once for all targets, before the first of them is touched, because a stop starts migrations.
  - Runs on any host that reaches the nodes. Asks all nodes about all namespaces. Waits until they form one stable
    cluster in which no partition migration is left, shows the progress, and fails if nothing moves for two minutes.
  - Refuses at once if fewer copies of records would be left than one, or if partitions aren't served.
author: Pegasus authors
extends_documentation_fragment: [aerospike_community.pegasus.nodes]
options:
  action: {description: "The fault, as the module chaos_node knows it.", type: str, required: true}
  force: {description: Whether a restart restarts a running node., type: bool, default: false}
  no_quiesce: {description: Whether a drain may proceed without quiesce., type: bool, default: false}
  accept_data_loss:
    description: Let everything pass at once. What would be refused or waited for becomes a warning with its figures.
    type: bool
    default: false
attributes:
  check_mode: {description: Doesn't wait. Reports what it would wait for., support: full}
"""

EXAMPLES = r"""
- name: Ask every node whether node 2 may stop
  aerospike_community.pegasus.aerospike_gate:
    action: stop
    cluster: [{index: 1, address: 10.0.0.1}, {index: 2, address: 10.0.0.2}, {index: 3, address: 10.0.0.3}]
    targets: [10.0.0.2]
  run_once: true
  register: approval
"""

RETURN = r"""
approved: {description: Addresses of the targets that may go down., returned: success, type: list, elements: str}
accepted: {description: Whether a loss of data was accepted., returned: success, type: bool}
members: {description: Addresses of the nodes that answered., returned: success, type: list, elements: str}
cluster_key: {description: Their cluster key., returned: success, type: str}
before:
  description: The count of the records, for M(aerospike_community.pegasus.aerospike_recount).
  returned: success
  type: dict
note: {description: "What is at stake, a line each.", returned: success, type: list, elements: str}
error_class: {description: C(readiness)., returned: failure, type: str}
next_step: {description: How to proceed anyway., returned: failure, type: str}
"""

from ansible.module_utils.basic import AnsibleModule

from ..module_utils.aerospike.cluster import answering
from ..module_utils.aerospike.gate import Approval, GateError, Request, explain, pass_gate
from ..module_utils.aerospike.waiting import Waiting
from ..module_utils.faults.arguments import NODES
from ..module_utils.faults.contract import ACCEPT, node_names
from ..module_utils.faults.registry import FAULTS
from ..module_utils.results import READINESS

PROCEED = f"To proceed although data may be lost: {ACCEPT}"


def build_request(params: dict) -> Request:
    """Return what is asked of the gate."""
    fault = FAULTS[params["action"]]
    names = node_names(params["cluster"])
    targets = ", ".join(names.get(host, host) for host in params["targets"])
    return Request(
        [node["address"] for node in params["cluster"]],
        params["targets"],
        f"the {fault.noun} of {targets}",
        afterwards=fault.afterwards,
        port=params["port"],
        names=names,
        hands_over=fault.hands_over(params),
        accept_data_loss=params["accept_data_loss"],
    )


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            **NODES,
            "action": {"type": "str", "choices": list(FAULTS), "required": True},
            "force": {"type": "bool", "default": False},
            "no_quiesce": {"type": "bool", "default": False},
            "accept_data_loss": {"type": "bool", "default": False},
        },
        supports_check_mode=True,
    )
    params = module.params
    request = build_request(params)
    if "give_up" in params["resume"]:
        problem = explain(request)
        module.fail_json(msg=problem or params["resume"]["give_up"], next_step=PROCEED, error_class=READINESS)
    fault = FAULTS[params["action"]]
    if not fault.gated(params["force"]):
        module.exit_json(changed=False, note=[], **_result(Approval([], [], "", {})))
    problem = fault.precondition(answering(request.targets, request.port), params)
    if problem:
        module.fail_json(msg=problem, error_class=READINESS)
    try:
        outcome = pass_gate(request, seconds=0.0) if module.check_mode else pass_gate(request)
    except GateError as error:
        module.fail_json(msg=str(error), next_step=PROCEED, error_class=READINESS)
    if isinstance(outcome, Waiting):
        if not module.check_mode:
            module.exit_json(**outcome.result())
        note = [f"{request.action} would wait: {explain(request)}"]
        outcome = Approval(list(request.targets), [], "", {}, note)
    for warning in outcome.warnings:
        module.warn(warning)
    module.exit_json(changed=False, note=outcome.notes, **_result(outcome))


def _result(approval: Approval) -> dict:
    """Return what the result has of an approval."""
    return {name: getattr(approval, name) for name in ("approved", "accepted", "members", "cluster_key", "before")}


if __name__ == "__main__":
    main()
