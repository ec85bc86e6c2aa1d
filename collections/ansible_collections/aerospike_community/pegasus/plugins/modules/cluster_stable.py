#!/usr/bin/python
# Copyright (c) Pegasus authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""Wait, from any host, until a cluster is whole."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: cluster_stable
short_description: Wait, from any host, until a cluster is whole
description:
  - Asks every node over the info protocol until all report a stable cluster of the expected size with the same key.
author: Pegasus authors
options:
  hosts: {description: Addresses of the nodes that should form the cluster., type: list, elements: str, required: true}
  port: {description: Their service port., type: int, default: 3000}
  timeout: {description: Seconds., type: int, default: 120}
attributes:
  check_mode: {description: Looks in the same way; it changes nothing., support: full}
  diff_mode: {description: Has none., support: none}
"""

EXAMPLES = r"""
- name: Wait for the cluster
  aerospike_community.pegasus.cluster_stable:
    hosts: [10.0.0.1, 10.0.0.2]
"""

RETURN = r"""
cluster_key: {description: The key that all nodes report., returned: success, type: str}
cluster_size: {description: Number of nodes., returned: success, type: int}
answers: {description: What each node said last., returned: failure, type: dict}
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.cluster_watch import (
    ClusterError,
    wait_until_stable,
)


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "hosts": {"type": "list", "elements": "str", "required": True},
            "port": {"type": "int", "default": 3000},
            "timeout": {"type": "int", "default": 120},
        },
        supports_check_mode=True,
    )
    hosts = module.params["hosts"]
    if not hosts:
        module.fail_json(msg="hosts is empty; expected the address of every server node")
    try:
        key = wait_until_stable(hosts, module.params["port"], module.params["timeout"])
    except ClusterError as error:
        module.fail_json(msg=str(error), answers=error.answers)
    module.exit_json(changed=False, cluster_key=key, cluster_size=len(hosts))


if __name__ == "__main__":
    main()
