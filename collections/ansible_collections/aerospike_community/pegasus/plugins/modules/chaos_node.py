#!/usr/bin/python
# Copyright (c) Pegasus authors. SPDX-License-Identifier: Apache-2.0
"""Inject a fault into a node of a cluster and verify its effect."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: chaos_node
short_description: Inject a fault into a node of a cluster and verify its effect
description:
  - Runs on the node, for V(drain) on any host that reaches the cluster.
  - Takes a running node down only with the approval of M(aerospike_community.pegasus.aerospike_gate).
  - Leaves a node alone that is already in the requested state, and reports that.
  - Undoes a fault that doesn't take effect, or in which nothing moves for two minutes.
author: Pegasus authors
extends_documentation_fragment: [aerospike_community.pegasus.nodes]
options:
  action:
    description: >-
      V(stop) stops the node's service. V(kill) kills its process with SIGKILL, and the node stays down. Both took
      effect if the process exited and the other nodes are a stable, smaller cluster.
      V(restart) starts a node that is down, and restarts a running node only with O(force). It took effect if the node
      is in a stable cluster with all nodes that are up.
      V(drain) empties the targets before they are removed. It quiesces them and waits until no client uses them and no
      partition migration is left. With O(no_quiesce), which the Community Edition needs, it changes nothing.
    type: str
    required: true
  index: {description: The node's index., type: int, required: true}
  service: {description: The node's systemd service., type: str, default: aerospike}
  gate: {description: "The result of M(aerospike_community.pegasus.aerospike_gate).", type: dict, default: {}}
  force: {description: Restart a node even if it is running., type: bool, default: false}
  no_quiesce: {description: Drain without quiesce., type: bool, default: false}
  timeout: {description: "Seconds until the process has exited, or the cluster is stable.", type: int, default: 120}
attributes:
  check_mode: {description: Checks whether the fault is allowed and reports what it would do., support: full}
"""

EXAMPLES = r"""
- name: Ask every node whether node 2 may stop
  aerospike_community.pegasus.aerospike_gate: &fault
    action: stop
    cluster: [{index: 1, address: 10.0.0.1}, {index: 2, address: 10.0.0.2}, {index: 3, address: 10.0.0.3}]
    targets: [10.0.0.2]
  run_once: true
  register: approval

- name: Stop node 2
  aerospike_community.pegasus.chaos_node:
    <<: *fault
    index: 2
    gate: "{{ approval }}"
"""

RETURN = r"""
note: {description: "What was done and verified, a line each.", returned: success, type: list, elements: str}
changes: {description: "The lines of C(note) if something changed.", returned: success, type: list, elements: str}
members: {description: Addresses of the nodes that serve now., returned: success, type: list, elements: str}
cluster_size: {description: Number of nodes that serve now., returned: success, type: int}
cluster_key: {description: "Their cluster key, empty if it was not measured.", returned: success, type: str}
before:
  description: The count of the records before the node went down, empty if unknown.
  returned: success
  type: dict
seconds: {description: Seconds until the effect was verified., returned: success, type: float}
next_step: {description: How to undo a fault that did not take full effect., returned: failure, type: str}
log: {description: The node's most telling log lines., returned: failure, type: list, elements: str}
"""

import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ..module_utils.aerospike.cluster import ClusterError
from ..module_utils.aerospike.info import InfoError
from ..module_utils.aerospike.waiting import Waiting
from ..module_utils.faults import contract
from ..module_utils.faults.arguments import NODES
from ..module_utils.faults.registry import FAULTS
from ..module_utils.host.systemd import ServiceError

FAILURES = (contract.FaultError, ClusterError, InfoError, ServiceError)


def carry_out(
    fault: contract.Fault, check: bool = False, resume: Mapping[str, Any] | None = None
) -> contract.Effect | Waiting:
    """Inject a fault and verify its effect, or return what is planned if ``check``. Raises one of FAILURES.

    :param resume: what the last call returned as Waiting.resume: continue to verify
    """
    if resume:
        fault.restore(resume)
    else:
        satisfied = fault.satisfied()
        if satisfied is not None:
            return satisfied
        refusal = fault.refusal()
        if refusal:
            raise contract.RefusedError(refusal)
        if check:
            return fault.plan()
    try:
        if resume and "give_up" in resume:
            raise contract.FaultError(resume["give_up"])
        if not resume:
            fault.inject()
        return fault.verify()
    except FAILURES as error:
        try:
            fault.undo()
        except FAILURES as undo_error:
            raise contract.FaultError(f"{error}\nUndoing it failed too: {undo_error}") from error
        raise


def failure(fault: contract.Fault, error: Exception) -> tuple[str, list[str]]:
    """Return the message of a failure and the log lines that explain it."""
    before = "".join(f"\n  before that: {line}" for line in fault.notes)
    if isinstance(error, contract.FaultError):
        return f"{error}{before}", []
    lines = fault.log_lines()
    service = fault.params["service"]
    log = "\n  ".join([f"\nIn the log of {service} on this host, most telling first:", *lines]) if lines else ""
    return f"{fault.subject}: {fault.name} has not taken effect: {error}{before}{log}", lines


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            **NODES,
            "action": {"type": "str", "choices": list(FAULTS), "required": True},
            "index": {"type": "int", "required": True},
            "service": {"type": "str", "default": "aerospike"},
            "gate": {"type": "dict", "default": {}},
            "force": {"type": "bool", "default": False},
            "no_quiesce": {"type": "bool", "default": False},
            "timeout": {"type": "int", "default": 120},
        },
        supports_check_mode=True,
    )
    resume = module.params["resume"]
    began = float(resume.get("began") or time.time())
    fault = FAULTS[module.params["action"]](module.params, module.run_command)
    try:
        effect = carry_out(fault, module.check_mode, resume)
    except FAILURES as error:
        message, lines = failure(fault, error)
        lasts = fault.undone_by and not isinstance(error, contract.RefusedError)
        advice = f"To undo it: ./pegasus-driver {fault.undone_by}-node {module.params['index']}" if lasts else ""
        module.fail_json(msg=message, log=lines, next_step=advice)
    if isinstance(effect, Waiting):
        module.exit_json(**replace(effect, resume={**fault.state(), "began": began}).result())
        return
    module.exit_json(
        changed=effect.changed,
        note=fault.notes,
        changes=fault.notes if effect.changed else [],
        members=effect.members,
        cluster_size=len(effect.members),
        cluster_key=effect.cluster_key,
        before=effect.before,
        seconds=round(time.time() - began, 1),
    )


if __name__ == "__main__":
    main()
