# Copyright (c) Pegasus authors. SPDX-License-Identifier: Apache-2.0
"""Rules across the settings of servers and disks, checked before a launch. Messages use the names in config.yml."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from ..host.disk_plan import LayoutSpec, PlanError, parse_partitions, spec_problems
from .settings import ConfError, Settings, configuration_problems

SETTINGS = {
    "version": "aerospike_server_version",
    "edition": "aerospike_server_edition",
    "cluster_name": "pegasus_cluster_name",
    "namespace": "pegasus_namespace",
    "replication_factor": "pegasus_replication_factor",
    "default_ttl": "aerospike_server_default_ttl",
    "nsup_period": "aerospike_server_nsup_period",
    "compression": "aerospike_server_compression",
    "partition_tree_sprigs": "aerospike_server_partition_tree_sprigs",
    "primary_index_storage": "pegasus_primary_index_storage",
    "secondary_index_storage": "pegasus_secondary_index_storage",
    "data_storage": "pegasus_data_storage",
    "data_size": "aerospike_server_data_size",
    "memory_percent": "aerospike_server_memory_percent",
    "rack_id": "aerospike_server_rack_id",
    "proto_fd_max": "aerospike_server_proto_fd_max",
    "heartbeat_interval_ms": "aerospike_server_heartbeat_interval",
    "heartbeat_timeout": "aerospike_server_heartbeat_timeout",
}
# Names in the problems of disk plans and clusters -> names of config.yml.
PLAN_SETTINGS = {
    "partition count": "nvme_partition_count",
    "overprovisioning": "nvme_partition_overprovisioning",
    "data": "nvme_partition_data_partitions",
    "primary-index": "nvme_partition_primary_index_partitions",
    "secondary-index": "nvme_partition_secondary_index_partitions",
    "cluster_nodes": "pegasus_cluster_nodes",
}
PURPOSES = ("primary_index", "secondary_index", "data")
DOUBLED = re.compile(r"partition \d+ is for [a-z-]+ and for (?P<purpose>[a-z-]+):")


def problems(variables: Mapping[str, Any]) -> list[str]:
    """Return the problems with the role variables of servers and disks. Each text begins with the variable's name.

    A rule that needs a missing variable uses the role's default.
    """
    given = {field: variables[name] for field, name in SETTINGS.items() if name in variables}
    defaults = {"version": "8.0", "edition": "enterprise", "cluster_name": "unnamed", "namespace": "unnamed"}
    try:
        settings = Settings.read({**defaults, **given})
        found = configuration_problems(settings, int(variables.get("pegasus_cluster_nodes", 0)))
    except (ConfError, ValueError) as error:
        return [_named(text) for text in str(error).split("; ")]
    if settings.data_storage == "disk":
        found += _disk_problems(settings, variables)
    return [_named(text) for text in found]


def _disk_problems(settings: Settings, variables: Mapping[str, Any]) -> list[str]:
    """Check the partitions of each purpose that is on disk."""
    found: list[str] = []
    lists: dict[str, tuple[int, ...]] = {}
    for purpose in PURPOSES:
        name = f"nvme_partition_{purpose}_partitions"
        if getattr(settings, f"{purpose}_storage") != "disk" or (purpose == "data" and name not in variables):
            continue
        try:
            lists[purpose] = parse_partitions(variables.get(name, ""))
        except PlanError as error:
            found.append(f"{name}: {error}")
            continue
        if not lists[purpose]:
            found.append(
                f"{name}: expected at least one partition, because pegasus_{purpose}_storage is disk, found none"
            )
    try:
        spec = LayoutSpec(
            int(variables.get("nvme_partition_count", 5)),
            int(variables.get("nvme_partition_overprovisioning", 15)),
            **lists,
        )
    except (TypeError, ValueError) as error:
        return [*found, f"nvme_partition_count, nvme_partition_overprovisioning: expected whole numbers ({error})"]
    return found + spec_problems(spec)


def _named(text: str) -> str:
    """Replace the name of a field by the name in config.yml."""
    field, separator, rest = text.partition(":")
    if field.startswith("version "):
        return f"{SETTINGS['version']}: found {field.removeprefix('version ')},{rest}"
    doubled = DOUBLED.match(text)
    if doubled:
        return f"{PLAN_SETTINGS[doubled['purpose']]}: found {text}"
    name = SETTINGS.get(field) or PLAN_SETTINGS.get(field)
    return f"{name}{separator}{rest}" if name else text
