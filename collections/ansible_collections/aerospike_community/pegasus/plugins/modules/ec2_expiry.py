#!/usr/bin/python
"""The module ec2_expiry."""

from __future__ import annotations

DOCUMENTATION = r"""
module: ec2_expiry
short_description: Moves the end of an environment's instances
description:
  - Sets the tag C(pegasus:expires) of every running instance. The timers inside the instances are set on the
    hosts, with the units that the filter C(expiry_files) gives.
requirements:
  - boto3
options:
  duration:
    description: Life from now on, as C(20h 30m), C(90m), C(3600s) or plain seconds; 0 is without end.
    type: str
    required: true
  kinds:
    description: Only the instances of these kinds; empty is all.
    type: list
    elements: str
    choices: [server, client, monitor]
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
- name: Give the environment four more hours
  aerospike_community.pegasus.ec2_expiry:
    environment: Benchmark
    duration: 4h
"""

RETURN = r"""
expires: {description: The new end, as it stands in the tag., type: str, returned: success}
instances: {description: Names of the instances whose end was moved., type: list, elements: str, returned: success}
message: {description: What was done or seen., type: list, elements: str, returned: success}
error_class:
  description: One of credentials, quota, capacity, permission, usage, configuration, endpoint, other.
  type: str
  returned: failure
next_step: {description: What to do about the failure., type: str, returned: failure}
"""

from datetime import UTC, datetime
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.durations import parse_duration
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
            "duration": {"type": "str", "required": True},
            "kinds": {"type": "list", "elements": "str", "choices": list(ec2_plan.KINDS), "default": []},
        },
        supports_check_mode=True,
    )

    def work(asked: dict[str, Any]) -> dict[str, Any]:
        try:
            seconds = parse_duration(asked["duration"])
        except ValueError as error:
            raise Ec2Problem(USAGE, str(error), "For example: extend 4h") from error
        extension = ec2_nodes.extend(
            connect(asked), seconds, datetime.now(UTC), asked["kinds"], check=module.check_mode
        )
        verb = "would end" if module.check_mode else "ends"
        when = "never" if extension.end == "never" else f"at {extension.end}"
        lines = [f"{name} {verb} {when} (was {old or 'unknown'})" for name, old in extension.moved.items()]
        return {
            "changed": any(old != extension.end for old in extension.moved.values()),
            "expires": extension.end,
            "instances": list(extension.moved),
            "message": lines + extension.skipped,
        }

    run(module, work)


if __name__ == "__main__":
    main()
