#!/usr/bin/python
# Copyright (c) Pegasus authors. SPDX-License-Identifier: Apache-2.0
"""Documentation of the action plugin validate_configuration, which runs only on the control machine."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: validate_configuration
short_description: Find every mistake in the configuration
description:
  - Checks config.yml and the values of C(-e) against the specifications of all roles and the rules across them. Fails
    with all mistakes at once. It reads the variables as Ansible has merged them.
  - Needs no host and changes nothing.
author: Pegasus authors
options:
  root:
    description: The project's folder, with group_vars, inventories and playbooks.
    type: path
    required: true
  launching:
    description: Whether to check threads.yaml and the licence too.
    type: bool
    default: false
  remote:
    description: >-
      Whether to check the configuration against EC2 and the artifact source. V(if_possible) warns about rules that
      couldn't be checked. V(required) fails if EC2 doesn't answer.
    type: str
    choices: [never, if_possible, required]
    default: never
attributes:
  check_mode:
    description: Makes no difference.
    support: full
"""

EXAMPLES = r"""
- name: Check the configuration
  aerospike_community.pegasus.validate_configuration:
    root: "{{ pegasus_root }}"
    launching: true
    remote: required
"""

RETURN = r"""
problems:
  description: The mistakes, each with file, line, key, message, nearest and text.
  returned: always
  type: list
  elements: dict
unchecked:
  description: The rules that couldn't be checked, each with the reason.
  returned: always
  type: list
  elements: str
fixed:
  description: The settings that a running cluster can't change, as text for a tag of the server instances.
  returned: success
  type: str
limit:
  description: How many nodes the cluster may have, by its licence or edition. 0 is any number.
  returned: always
  type: int
limit_reason:
  description: The reason for the limit.
  returned: always
  type: str
"""
