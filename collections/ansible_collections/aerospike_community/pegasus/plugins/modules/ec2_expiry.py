#!/usr/bin/python
# Copyright (c) Pegasus authors. SPDX-License-Identifier: Apache-2.0
"""The module ec2_expiry."""

from __future__ import annotations

DOCUMENTATION = r"""
module: ec2_expiry
short_description: Move the expiry of an environment's instances
description:
  - Sets the tag C(pegasus:expires) of every running instance. The timers inside the instances are set on the hosts,
    with the units from the filter P(aerospike_community.pegasus.expiry_files#filter).
options:
  duration:
    description: Lifetime from now on, such as C(20h 30m), C(90m), C(3600s) or plain seconds; 0 for unlimited.
    type: str
    required: true
  kinds:
    description: Only instances of these kinds; empty for all.
    type: list
    elements: str
    choices: [server, client, monitor]
    default: []
attributes:
  check_mode: {description: Reports what it would change., support: full}
extends_documentation_fragment:
  - aerospike_community.pegasus.ec2
  - aerospike_community.pegasus.ec2.module
author: Pegasus authors
"""

EXAMPLES = r"""
- name: Give the environment four more hours
  aerospike_community.pegasus.ec2_expiry:
    environment: Benchmark
    duration: 4h
"""

RETURN = r"""
expires: {description: The new value of the tag., type: str, returned: success}
instances: {description: Names of the instances with a new expiry., type: list, elements: str, returned: success}
message: {description: The result as lines., type: list, elements: str, returned: success}
error_class:
  description: Class of the failure, such as credentials, quota, capacity, permission, configuration, usage or endpoint.
  type: str
  returned: failure
next_step: {description: What to do about the failure., type: str, returned: failure}
"""

from datetime import UTC, datetime
from typing import Any

from ..module_utils.durations import parse_duration
from ..module_utils.ec2.errors import USAGE, Ec2Problem
from ..module_utils.ec2.extension import extend
from ..module_utils.ec2.module import connect, run_module
from ..module_utils.ec2.tags import KINDS

ARGUMENTS = {
    "duration": {"type": "str", "required": True},
    "kinds": {"type": "list", "elements": "str", "choices": list(KINDS), "default": []},
}


def work(params: dict[str, Any], check: bool) -> dict[str, Any]:
    """Extend the environment."""
    try:
        seconds = parse_duration(params["duration"])
    except ValueError as error:
        raise Ec2Problem(USAGE, str(error), "For example: extend 4h") from error
    extension = extend(connect(params), seconds, datetime.now(UTC), params["kinds"], check=check)
    verb = "would expire" if check else "expires"
    when = "never" if extension.expires == "never" else f"at {extension.expires}"
    lines = [f"{name} {verb} {when} (before: {old or 'unknown'})" for name, old in extension.moved.items()]
    return {
        "changed": any(old != extension.expires for old in extension.moved.values()),
        "expires": extension.expires,
        "instances": list(extension.moved),
        "message": lines + extension.skipped,
    }


def main() -> None:
    """Run the module."""
    run_module(ARGUMENTS, work)


if __name__ == "__main__":
    main()
