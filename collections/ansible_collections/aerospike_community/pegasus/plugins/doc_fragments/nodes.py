# Copyright (c) Pegasus authors. SPDX-License-Identifier: Apache-2.0
"""Documentation that the modules for nodes of a running cluster share."""

from __future__ import annotations


class ModuleDocFragment:
    """Ansible's entry point."""

    DOCUMENTATION = r"""
options:
  cluster:
    description: All nodes of the cluster. Each is a record with C(index), an integer, and C(address).
    type: list
    elements: dict
    required: true
  targets: {description: Addresses of all nodes that go down., type: list, elements: str, required: true}
  port: {description: The nodes' service port., type: int, default: 3000}
  resume: {description: The state of a wait. The action plugin sets it., type: dict, default: {}}
attributes:
  diff_mode: {description: Has none., support: none}
"""
