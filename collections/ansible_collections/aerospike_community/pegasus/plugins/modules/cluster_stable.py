#!/usr/bin/python
# Copyright (c) Pegasus authors. SPDX-License-Identifier: Apache-2.0
"""Wait on any host until all nodes of a cluster agree."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: cluster_stable
short_description: Wait on any host until all nodes of a cluster agree
description:
  - Queries every node over the info protocol until all report a stable cluster of the expected size with the same key.
author: Pegasus authors
options:
  hosts: {description: Addresses of the nodes that should form the cluster., type: list, elements: str, required: true}
  port: {description: Their service port., type: int, default: 3000}
  timeout: {description: Seconds., type: int, default: 120}
  partial: {description: "Skip nodes that don't answer at the beginning, with a warning.", type: bool, default: false}
attributes:
  check_mode: {description: Waits as usual. The module changes nothing., support: full}
  diff_mode: {description: Has none., support: none}
"""

EXAMPLES = r"""
- name: Wait for the cluster
  aerospike_community.pegasus.cluster_stable:
    hosts: [10.0.0.1, 10.0.0.2]
"""

RETURN = r"""
error_class: {description: C(readiness)., returned: failure, type: str}
cluster_key: {description: The key that all nodes report., returned: success, type: str}
cluster_size: {description: Number of nodes., returned: success, type: int}
members: {description: Their addresses., returned: success, type: list, elements: str}
absent: {description: Addresses of the skipped nodes., returned: success, type: list, elements: str}
answers: {description: "The last answer or error of each node, by address.", returned: failure, type: dict}
"""

from ansible.module_utils.basic import AnsibleModule

from ..module_utils.aerospike.cluster import ClusterError, answering, skipped, wait_until_stable
from ..module_utils.results import READINESS


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "hosts": {"type": "list", "elements": "str", "required": True},
            "port": {"type": "int", "default": 3000},
            "timeout": {"type": "int", "default": 120},
            "partial": {"type": "bool", "default": False},
        },
        supports_check_mode=True,
    )
    hosts = module.params["hosts"]
    if not hosts:
        problem = "found no server node; expected a cluster: set it up first (setup-cluster)"
        module.fail_json(msg=problem, error_class=READINESS)
    members = answering(hosts, module.params["port"]) if module.params["partial"] else hosts
    absent = [host for host in hosts if host not in members]
    if not members:
        problem = (
            f"found no server node that answers among {', '.join(hosts)}; expected at least one: start one "
            f"(restart-node) or all (setup-cluster)"
        )
        module.fail_json(msg=problem, answers={}, error_class=READINESS)
    try:
        key = wait_until_stable(members, module.params["port"], module.params["timeout"])
    except ClusterError as error:
        module.fail_json(msg=str(error), answers=error.answers, error_class=READINESS)
    for host in absent:
        module.warn(skipped(host))
    module.exit_json(changed=False, cluster_key=key, cluster_size=len(members), members=members, absent=absent)


if __name__ == "__main__":
    main()
