# Copyright (c) Pegasus authors. SPDX-License-Identifier: Apache-2.0
"""Settings that can't change while a cluster runs: stored in a tag of the server instances, compared by each setup.

The tag's value is text such as ``namespace=Test ttl=0 data=disk ...``, readable in EC2's console, with at most 256
characters.
"""

from __future__ import annotations

import hashlib
import shlex
from collections.abc import Iterator, Mapping
from typing import Any

from ..ec2.tags import TAG_FIXED, format_indexes
from ..host.disk_plan import PlanError, parse_partitions
from .schema import show

REBUILD = "./pegasus-driver destroy-cluster && ./pegasus-driver setup-cluster"


def rebuild_command(config: str = "") -> str:
    """Return the command that rebuilds a cluster; without the file of --config it would rebuild another environment."""
    return REBUILD.replace("-cluster", f"-cluster --config {shlex.quote(config)}") if config else REBUILD


MAX_LENGTH = 256  # characters of a tag's value
MAX_LIST = 20  # characters of a list of partitions; a longer list is stored as a digest

_DATA = "stored data depends on it"
_PARTITIONS = "the disks are already partitioned, and a new layout erases them"
# Word in the tag -> (key, why it can't change, the storages that it matters for; () for all).
FIXED: dict[str, tuple[str, str, tuple[str, ...]]] = {
    "edition": ("aerospike_server_edition", "all nodes of a cluster, and their data, belong to the same edition", ()),
    "namespace": ("pegasus_namespace", "the server can't rename a namespace; its data would be lost", ()),
    "copies": ("pegasus_replication_factor", "all nodes of a namespace need the same value at all times", ()),
    "ttl": ("aerospike_server_default_ttl", "records keep the expiry that they were written with", ()),
    "data": ("pegasus_data_storage", _DATA, ()),
    "primary": ("pegasus_primary_index_storage", _DATA, ()),
    "secondary": ("pegasus_secondary_index_storage", _DATA, ()),
    "sprigs": ("aerospike_server_partition_tree_sprigs", "the index depends on it", ()),
    "partitions": ("nvme_partition_count", _PARTITIONS, ("data", "primary", "secondary")),
    "free": ("nvme_partition_overprovisioning", _PARTITIONS, ("data", "primary", "secondary")),
    "on-data": ("nvme_partition_data_partitions", _PARTITIONS, ("data",)),
    "on-primary": ("nvme_partition_primary_index_partitions", _PARTITIONS, ("primary",)),
    "on-secondary": ("nvme_partition_secondary_index_partitions", _PARTITIONS, ("secondary",)),
}


def tag_value(values: Mapping[str, Any]) -> str:
    """Return the tag for a cluster that is launched with these settings; partitions matter only for storage on disk."""
    words = []
    for word, (key, _, storages) in FIXED.items():
        needed = not storages or any(values.get(FIXED[storage][0]) == "disk" for storage in storages)
        if needed and key in values:
            words.append(f"{word}={_normal(key, values[key])}")
    return " ".join(words)[:MAX_LENGTH]


def changed_values(tag: str, values: Mapping[str, Any], cluster: str, config: str = "") -> Iterator[tuple[str, str]]:
    """Compare a running cluster's tag with the configuration; yield (key, message).

    :param config: the file of --config, for the command in the message
    """
    stored = dict(word.split("=", 1) for word in tag.split(" ") if "=" in word)
    configured = dict(word.split("=", 1) for word in tag_value(values).split(" ") if "=" in word)
    for word in FIXED:
        if word not in configured or word not in stored:
            continue
        old, (key, reason, _) = stored[word], FIXED[word]
        if configured[word] != _normal(key, old):
            was = "other partitions" if old.startswith("digest:") else show(_plain(old))
            yield (
                key,
                f"found {show(values[key])}, expected {was}, the value of the running cluster {cluster}: it can't be "
                f"changed, because {reason}. Restore the old value, or rebuild the cluster: "
                f"{rebuild_command(config)}",
            )


def _normal(key: str, value: Any) -> str:
    if not key.endswith("_partitions"):
        return str(value).strip()
    try:
        text = format_indexes(parse_partitions(value))
    except PlanError:
        text = str(value)
    return text if len(text) <= MAX_LIST else f"digest:{hashlib.sha256(text.encode()).hexdigest()[:12]}"


def _plain(text: str) -> Any:
    return int(text) if text.isdecimal() else text


__all__ = ["FIXED", "REBUILD", "TAG_FIXED", "changed_values", "rebuild_command", "tag_value"]
