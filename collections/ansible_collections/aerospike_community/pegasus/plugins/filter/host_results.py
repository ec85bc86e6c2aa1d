# Copyright (c) Pegasus authors. SPDX-License-Identifier: Apache-2.0
"""The filter host_results: a record for each host of the environment, from its variables."""

from __future__ import annotations

from typing import Any

from ..module_utils.evidence.environment_report import KIND_OF_GROUP

DOCUMENTATION = r"""
name: host_results
short_description: A record for each host of the environment
description:
  - Joins what the inventory reports for each host (name, kind, index, address, state) with the results that the Ansible
    roles registered for it, for M(aerospike_community.pegasus.environment_report).
author: Pegasus authors
options:
  _input:
    description: The magic variable hostvars.
    type: dict
    required: true
  groups:
    description: The magic variable groups.
    type: dict
    required: true
"""

EXAMPLES = r"""
hosts: "{{ hostvars | aerospike_community.pegasus.host_results(groups) }}"
"""

RETURN = r"""
_value:
  description: >-
    Records with name, kind, index, address, public_address (if hosts are reached at it), state, instance_id,
    instance_type, expires, and the result of the host's Ansible role as server, client or monitor.
  type: list
  elements: dict
"""

RESULT_OF_KIND = {
    "server": "aerospike_server_result",
    "client": "perseus_client_result",
    "monitor": "grafana_prometheus_result",
}


def host_results(hostvars: Any, groups: dict[str, list[str]]) -> list[dict[str, Any]]:
    """Return a record for each host of the three groups. A result that a host doesn't have is None."""
    records = []
    for group, kind in KIND_OF_GROUP.items():
        for name in groups.get(group, []):
            variables = hostvars[name]
            tags = variables["ec2_tags"]
            result = variables.get(RESULT_OF_KIND[kind])
            unreachable = bool(result and result.get("unreachable"))
            public = variables.get("pegasus_connect_address") == "public"
            records.append(
                {
                    "name": name,
                    "kind": kind,
                    "index": int(tags.get("pegasus:index", 0)),
                    "address": variables.get("ec2_private_ip_address", ""),
                    # Instances of the local cloud have a public address that nothing answers at.
                    "public_address": (variables.get("ec2_public_ip_address") or "") if public else "",
                    "state": variables["ec2_state"]["name"],
                    "instance_id": variables["ec2_instance_id"],
                    "instance_type": variables["ec2_instance_type"],
                    "expires": tags.get("pegasus:expires", ""),
                    "unreachable": unreachable,
                    # Ansible doesn't mark an unreachable host as failed.
                    kind: {**result, **({"failed": True} if unreachable else {})} if result is not None else None,
                }
            )
    return records


class FilterModule:
    """Ansible's entry point."""

    def filters(self) -> dict[str, Any]:
        """Name the filter."""
        return {"host_results": host_results}
