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
  - Refuses a fault that loses data, unless O(force).
  - Leaves a node alone that is already in the requested state, and reports that.
  - Undoes a fault that doesn't take effect in time.
author: Pegasus authors
options:
  action:
    description: >-
      V(stop) stops the node's service. V(kill) kills its process with SIGKILL, and the node stays down. Both took
      effect if the process exited and the other nodes are a stable, smaller cluster.
      V(restart) starts a node that is down, and restarts a running node only with O(force). It took effect if the node
      is in a stable cluster with all nodes that are up.
      V(drain) empties the targets before they are removed. It quiesces them and waits until no client uses them and no
      partition migrates. On the Community Edition, which can't quiesce, it needs O(force) and then changes nothing.
      For a stopped target it waits until the other nodes have every copy.
    type: str
    required: true
  index: {description: "The node's index, for messages.", type: int, required: true}
  service: {description: The node's systemd service., type: str, default: aerospike}
  cluster: {description: Addresses of all nodes of the cluster., type: list, elements: str, required: true}
  targets:
    description: Addresses of all nodes into which the fault is injected now, including this node.
    type: list
    elements: str
    required: true
  port: {description: The nodes' service port., type: int, default: 3000}
  namespace: {description: The namespace whose copies and traffic count., type: str, required: true}
  replication_factor: {description: Copies of each record., type: int, required: true}
  force:
    description: Inject the fault even if data is lost or clients get errors. Restart a node even if it is running.
    type: bool
    default: false
  timeout: {description: Seconds until the fault must have taken effect., type: int, default: 120}
  migration_timeout: {description: Seconds until the migrations of a drain must be done., type: int, default: 3600}
attributes:
  check_mode: {description: Checks whether the fault is allowed and reports what it would do., support: full}
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
note: {description: "What was done and verified, a line each.", returned: success, type: list, elements: str}
changes: {description: "The lines of C(note) if something changed.", returned: success, type: list, elements: str}
members: {description: Addresses of the nodes that serve now., returned: success, type: list, elements: str}
cluster_size: {description: Number of nodes that serve now., returned: success, type: int}
cluster_key: {description: "Their cluster key, empty if it was not measured.", returned: success, type: str}
seconds: {description: Seconds until the effect was verified., returned: success, type: float}
next_step: {description: How to undo a fault that did not take full effect., returned: failure, type: str}
log: {description: The node's most telling log lines., returned: failure, type: list, elements: str}
"""

import time

from ansible.module_utils.basic import AnsibleModule

from ..module_utils.aerospike.cluster import ClusterError
from ..module_utils.aerospike.info import InfoError
from ..module_utils.faults import contract
from ..module_utils.faults.registry import FAULTS
from ..module_utils.host.systemd import ServiceError

FAILURES = (contract.FaultError, ClusterError, InfoError, ServiceError)


def carry_out(fault: contract.Fault, force: bool, check: bool) -> contract.Effect:
    """Inject a fault and verify its effect, or return what is planned if ``check``. Raises one of FAILURES."""
    satisfied = fault.satisfied()
    if satisfied is not None:
        return satisfied
    refusal = fault.refusal()
    if refusal and not force:
        raise contract.RefusedError(f"{refusal}. To proceed anyway: --force, or -e chaos_force=true")
    if check:
        return fault.plan()
    try:
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
            "action": {"type": "str", "choices": list(FAULTS), "required": True},
            "index": {"type": "int", "required": True},
            "service": {"type": "str", "default": "aerospike"},
            "cluster": {"type": "list", "elements": "str", "required": True},
            "targets": {"type": "list", "elements": "str", "required": True},
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
    fault = FAULTS[module.params["action"]](module.params, module.run_command)
    try:
        effect = carry_out(fault, module.params["force"], module.check_mode)
    except FAILURES as error:
        message, lines = failure(fault, error)
        lasts = fault.undone_by and not isinstance(error, contract.RefusedError)
        advice = f"To undo it: ./pegasus-driver {fault.undone_by}-node {module.params['index']}" if lasts else ""
        module.fail_json(msg=message, log=lines, next_step=advice)
    module.exit_json(
        changed=effect.changed,
        note=fault.notes,
        changes=fault.notes if effect.changed else [],
        members=effect.members,
        cluster_size=len(effect.members),
        cluster_key=effect.cluster_key,
        seconds=round(time.monotonic() - began, 1),
    )


if __name__ == "__main__":
    main()
