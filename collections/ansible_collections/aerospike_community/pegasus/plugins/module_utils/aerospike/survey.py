# Copyright (c) Pegasus authors. SPDX-License-Identifier: Apache-2.0
"""Ask all nodes of a cluster, at one moment, what they hold and whether they agree."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from .cluster import QUERY_TIMEOUT, query_all
from .health import Statistics, query_node
from .info import InfoError, cluster_stable, info
from .migrations import Migrations, count


@dataclass(frozen=True)
class Node:
    """What a node answered.

    ``key``: the key of its cluster if that is stable and consists of exactly the nodes that answered, otherwise empty.
    ``settled``: the node also has no partition migration, and no partition that isn't served.
    """

    statistics: Statistics
    key: str = ""
    settled: bool = False


@dataclass(frozen=True)
class Survey:
    """What all nodes answered. ``errors``: why the others didn't answer, by host."""

    nodes: Mapping[str, Node]
    errors: Mapping[str, str] = field(default_factory=dict)

    @property
    def key(self) -> str:
        """The key of the one stable cluster of all nodes that answered, or empty."""
        keys = {node.key for node in self.nodes.values()}
        return keys.pop() if len(keys) == 1 else ""

    @property
    def outside(self) -> int:
        """The number of nodes outside the largest group with the same key."""
        keys = [node.key for node in self.nodes.values() if node.key]
        return len(self.nodes) - max((keys.count(key) for key in keys), default=0)

    @property
    def statistics(self) -> dict[str, Statistics]:
        """The statistics by host."""
        return {host: node.statistics for host, node in self.nodes.items()}

    @property
    def migrations(self) -> Migrations:
        """The partition migrations that are left."""
        return count(self.statistics)

    @property
    def settled(self) -> bool:
        """Whether the nodes are one stable cluster in which no partition migration is left."""
        return bool(self.key) and self.migrations.left == 0 and all(node.settled for node in self.nodes.values())

    @property
    def namespaces(self) -> list[str]:
        """The names of all namespaces."""
        return list(dict.fromkeys(name for node in self.nodes.values() for name in node.statistics.namespaces))

    def values(self, namespace: str) -> dict[str, Mapping[str, str]]:
        """The statistics of a namespace, by the hosts that have it."""
        return {
            host: node.statistics.namespaces[namespace]
            for host, node in self.nodes.items()
            if namespace in node.statistics.namespaces
        }


def survey(hosts: Sequence[str], port: int) -> Survey:
    """Ask all nodes in parallel. Nodes that don't answer are in ``errors``."""
    up, errors = query_all(hosts, lambda host: info(host, "node", port=port, timeout=QUERY_TIMEOUT))
    nodes, failed = query_all(list(up), lambda host: _ask(host, port, len(up)))
    return Survey(nodes, errors | failed)


def _ask(host: str, port: int, size: int) -> Node:
    """Ask one node. Its figures lie between two looks at its cluster: if that has changed, the node isn't settled."""
    key = _key(host, port, size, migrated=False)
    statistics = query_node(host, port)
    return Node(statistics, key, bool(key) and _key(host, port, size, migrated=True) == key)


def _key(host: str, port: int, size: int, *, migrated: bool) -> str:
    """Return the cluster key, or an empty text if the node sees no such cluster."""
    try:
        return cluster_stable(host, size, port=port, timeout=QUERY_TIMEOUT, migrated=migrated)
    except InfoError:
        return ""
