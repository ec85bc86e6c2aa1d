#!/usr/bin/python
"""The module ec2_reap."""

from __future__ import annotations

DOCUMENTATION = r"""
module: ec2_reap
short_description: Terminates instances that are past the end in their tag
description:
  - Takes instances whose tag C(pegasus:expires) is a time that has passed, and nothing else. What isn't a time is kept
    and named. Key pair and security group stay until the environment is destroyed.
requirements:
  - boto3
options:
  every_environment:
    description: Whether to look at every environment in the region instead of O(environment) alone.
    type: bool
    default: false
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
- name: Sweep
  aerospike_community.pegasus.ec2_reap:
    environment: Benchmark
"""

RETURN = r"""
terminated: {description: What was taken, or would be in check mode., type: list, elements: dict, returned: success}
changes: {description: The same as sentences., type: list, elements: str, returned: success}
unreadable: {description: What was kept because its end can't be read., type: list, elements: str, returned: success}
message: {description: All of it as lines., type: list, elements: str, returned: success}
error_class:
  description: One of credentials, quota, capacity, permission, configuration, endpoint, other.
  type: str
  returned: failure
next_step: {description: What to do about the failure., type: str, returned: failure}
"""

from datetime import UTC, datetime
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.aerospike_community.pegasus.plugins.module_utils import ec2_nodes
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.ec2_module import (
    CONNECTION_ARGUMENTS,
    connect,
    run,
)


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            **CONNECTION_ARGUMENTS,
            "every_environment": {"type": "bool", "default": False},
        },
        supports_check_mode=True,
    )

    def work(asked: dict[str, Any]) -> dict[str, Any]:
        ec2 = connect(asked)
        found = ec2_nodes.all_instances(ec2) if asked["every_environment"] else ec2.instances()
        sweep = ec2_nodes.find_expired(found, datetime.now(UTC))
        if not module.check_mode:
            ec2_nodes.terminate_each(ec2, sweep.expired)
        live = sum(one.live for one in found)
        kept = f"{live - len(sweep.expired)} of {live} instances are not past their end"
        return {
            "changed": bool(sweep.expired),
            "terminated": [one.record() for one in sweep.expired],
            "changes": sweep.changes,
            "unreadable": sweep.unreadable,
            "message": [*sweep.changes, *sweep.unreadable, kept],
        }

    run(module, work)


if __name__ == "__main__":
    main()
