#!/usr/bin/python
# Copyright (c) Pegasus authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""Documentation of the action plugin validate_configuration, which runs on the control machine alone."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: validate_configuration
short_description: Find every mistake in the configuration
description:
  - Checks config.yml and the values of C(-e) against the specifications of all roles and the rules across them, and
    fails with all mistakes at once. It sees the variables as Ansible has merged them.
  - Needs no host and changes nothing.
author: Pegasus authors
options:
  root:
    description: The project's folder, with group_vars, inventories and playbooks.
    type: path
    required: true
  launching:
    description: Whether threads.yaml and the licence are checked too.
    type: bool
    default: false
  ask:
    description: >-
      Whether EC2 and the artifact source are asked. V(if_possible) says what could not be checked, V(required) fails
      when EC2 doesn't answer.
    type: str
    choices: [never, if_possible, required]
    default: never
attributes:
  check_mode:
    description: Is the same.
    support: full
"""

EXAMPLES = r"""
- name: Check the configuration
  aerospike_community.pegasus.validate_configuration:
    root: "{{ pegasus_root }}"
    launching: true
    ask: required
"""

RETURN = r"""
problems:
  description: The mistakes, each with file, line, key, message, nearest and text.
  returned: always
  type: list
  elements: dict
unchecked:
  description: Sentences that say which rules could not be checked, and why.
  returned: always
  type: list
  elements: str
fixed:
  description: The settings that a running cluster can't change, as text for a tag of the server instances.
  returned: success
  type: str
limit:
  description: How many nodes the cluster may ever have, by its licence or edition; 0 for any number.
  returned: always
  type: int
limit_reason:
  description: Why.
  returned: always
  type: str
"""
