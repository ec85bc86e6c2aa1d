"""The filter host_results: one record per host of the environment, from its variables."""

from __future__ import annotations

from typing import Any

DOCUMENTATION = r"""
name: host_results
short_description: One record per host of the environment
description:
  - Joins what the inventory says of each host (name, role, index, address, state) with the results that the roles
    registered there, for M(aerospike_community.pegasus.environment_report).
options:
  _input:
    description: The magic variable hostvars.
    type: dict
    required: true
  groups:
    description: The magic variable groups.
    type: dict
    required: true
author:
  - Pegasus developers (@aerospike-community)
"""

EXAMPLES = r"""
hosts: "{{ hostvars | aerospike_community.pegasus.host_results(groups) }}"
"""

RETURN = r"""
_value:
  description: >-
    Records with name, kind, index, address, public_address (where hosts are reached at it), state, instance_id,
    instance_type, expires, and the result of the host's kind under server, client or monitor.
  type: list
  elements: dict
"""

KIND_OF_GROUP = {"servers": "server", "clients": "client", "monitors": "monitor"}
RESULT_OF_KIND = {
    "server": "aerospike_server_result",
    "client": "perseus_client_result",
    "monitor": "grafana_prometheus_result",
}


def host_results(hostvars: Any, groups: dict[str, list[str]]) -> list[dict[str, Any]]:
    """Return a record for each host of the three groups; a result that a host doesn't have is None."""
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
                    # Only where it is of use: the local cloud's instances have one that leads nowhere.
                    "public_address": (variables.get("ec2_public_ip_address") or "") if public else "",
                    "state": variables["ec2_state"]["name"],
                    "instance_id": variables["ec2_instance_id"],
                    "instance_type": variables["ec2_instance_type"],
                    "expires": tags.get("pegasus:expires", ""),
                    "unreachable": unreachable,
                    # Ansible doesn't call a host failed that it didn't reach; it has as little of an answer.
                    kind: {**result, **({"failed": True} if unreachable else {})} if result is not None else None,
                }
            )
    return records


class FilterModule:
    """Ansible's entry point."""

    def filters(self) -> dict[str, Any]:
        """Name the filter."""
        return {"host_results": host_results}
