#!/usr/bin/python
"""The module ec2_ingress."""

from __future__ import annotations

DOCUMENTATION = r"""
module: ec2_ingress
short_description: Says from where an environment can be reached
description:
  - Brings the rules of the environment's security group to what is asked. ssh, Grafana and Prometheus are open to the
    named networks, everything is open within the environment, and nothing else is.
requirements:
  - boto3
options:
  allowed_cidrs:
    description: Networks that may reach ssh, Grafana and Prometheus; empty is this machine's public address.
    type: list
    elements: str
    default: []
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
- name: Let this machine in from where it is now
  aerospike_community.pegasus.ec2_ingress:
    environment: Benchmark
"""

RETURN = r"""
changes: {description: What was changed, or would be., type: list, elements: str, returned: success}
cidrs: {description: The networks that may reach the environment., type: list, elements: str, returned: success}
message: {description: All of it as lines., type: list, elements: str, returned: success}
error_class:
  description: One of credentials, quota, capacity, permission, configuration, endpoint, other.
  type: str
  returned: failure
next_step: {description: What to do about the failure., type: str, returned: failure}
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.ec2 import launch as ec2_launch
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.ec2 import plan as ec2_plan
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.ec2.errors import CONFIGURATION, Ec2Problem
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
            "allowed_cidrs": {"type": "list", "elements": "str", "default": []},
        },
        supports_check_mode=True,
    )

    def work(asked: dict[str, Any]) -> dict[str, Any]:
        try:
            given = [ec2_plan.normal_cidr(one) for one in asked["allowed_cidrs"]]
        except ValueError as error:
            raise Ec2Problem(CONFIGURATION, f"ec2_provision_allowed_cidrs: {error}") from error
        changes, cidrs = ec2_launch.allow(connect(asked), given, check=module.check_mode)
        why = "ec2_provision_allowed_cidrs" if given else "this machine's public address"
        ports = ", ".join(map(str, ec2_plan.OPEN_PORTS))
        said = f"ports {ports} are open to {', '.join(cidrs)} ({why}) and to nobody else"
        return {
            "changed": bool(changes),
            "changes": changes,
            "cidrs": cidrs,
            "message": [*changes, said if changes else f"nothing to change: {said}"],
        }

    run(module, work)


if __name__ == "__main__":
    main()
