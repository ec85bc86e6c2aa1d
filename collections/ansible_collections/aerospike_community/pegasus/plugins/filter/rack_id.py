# Copyright (c) Pegasus authors. SPDX-License-Identifier: Apache-2.0
"""The filter rack_id: a rack for each zone."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

DOCUMENTATION = r"""
name: rack_id
short_description: Find the rack of a node's zone
description:
  - Numbers the zones of a cluster from 1 in the order of their names, so that copies of a record are in different
    zones. 0 (no rack) if all nodes are in one zone, or the edition doesn't support racks.
author: Pegasus authors
options:
  _input:
    description: The zones of all nodes.
    type: list
    elements: str
    required: true
  own:
    description: The zone of the node.
    type: str
    required: true
  edition:
    description: The server's edition.
    type: str
    required: true
"""

EXAMPLES = r"""
- name: Show a rack
  ansible.builtin.debug:
    msg: "{{ ['us-east-1a', 'us-east-1b'] | aerospike_community.pegasus.rack_id('us-east-1b', 'enterprise') }}"
"""

RETURN = r"""
_value:
  description: The rack, 0 for none.
  type: int
"""


def rack_id(zones: Iterable[str], own: str, edition: str) -> int:
    """The rack of a zone among the zones of a cluster, 0 for none."""
    known = sorted({zone for zone in zones if zone})
    if edition != "enterprise" or len(known) < 2 or own not in known:
        return 0
    return known.index(own) + 1


class FilterModule:
    """Ansible's entry point."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """The filters by name."""
        return {"rack_id": rack_id}
