#!/usr/bin/python
# Copyright (c) Pegasus authors. SPDX-License-Identifier: Apache-2.0
"""The module ec2_ingress."""

from __future__ import annotations

DOCUMENTATION = r"""
module: ec2_ingress
short_description: Set the networks that may reach an environment
description:
  - Sets the rules of the environment's security group. ssh, Grafana and Prometheus are open to these networks, all
    ports are open within the environment, and nothing else is open.
options:
  allowed_cidrs:
    description: Networks that may reach ssh, Grafana and Prometheus; empty for this machine's public address.
    type: list
    elements: str
    default: []
attributes:
  check_mode: {description: Reports what it would change., support: full}
extends_documentation_fragment:
  - aerospike_community.pegasus.ec2
  - aerospike_community.pegasus.ec2.module
author: Pegasus authors
"""

EXAMPLES = r"""
- name: Allow the current address of this machine
  aerospike_community.pegasus.ec2_ingress:
    environment: Benchmark
"""

RETURN = r"""
changes: {description: What changed or would change., type: list, elements: str, returned: success}
cidrs: {description: The networks that may reach the environment., type: list, elements: str, returned: success}
message: {description: The result as lines., type: list, elements: str, returned: success}
error_class:
  description: Class of the failure, such as credentials, quota, capacity, permission, configuration, usage or endpoint.
  type: str
  returned: failure
next_step: {description: What to do about the failure., type: str, returned: failure}
"""

from typing import Any

from ..module_utils.ec2.errors import CONFIGURATION, Ec2Problem
from ..module_utils.ec2.ingress import OPEN_PORTS, allow, normalize_cidr
from ..module_utils.ec2.module import connect, run_module

ARGUMENTS = {"allowed_cidrs": {"type": "list", "elements": "str", "default": []}}


def work(params: dict[str, Any], check: bool) -> dict[str, Any]:
    """Set the rules of the security group."""
    try:
        allowed = [normalize_cidr(cidr) for cidr in params["allowed_cidrs"]]
    except ValueError as error:
        raise Ec2Problem(CONFIGURATION, f"ec2_provision_allowed_cidrs: {error}") from error
    changes, cidrs = allow(connect(params), allowed, check=check)
    source = "ec2_provision_allowed_cidrs" if allowed else "this machine's public address"
    ports = ", ".join(map(str, OPEN_PORTS))
    result = f"ports {ports} are open to {', '.join(cidrs)} ({source}) only"
    return {
        "changed": bool(changes),
        "changes": changes,
        "cidrs": cidrs,
        "message": [*changes, result if changes else f"nothing to change: {result}"],
    }


def main() -> None:
    """Run the module."""
    run_module(ARGUMENTS, work)


if __name__ == "__main__":
    main()
