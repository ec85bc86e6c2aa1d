# Copyright (c) Pegasus authors. SPDX-License-Identifier: Apache-2.0
"""Partition migrations: what they are, and how many are left.

A *partition migration* is the copy of one partition that one node still has to send to another. It is counted where it
is sent: ``migrate_tx_partitions_remaining``, summed over all namespaces and nodes. The receiver counts the same
migration in ``migrate_rx_partitions_remaining``, and ``migrate_partitions_remaining`` of a node is the sum of both, so
its sum over the nodes counts each migration twice. A partition can have several migrations: the number may exceed the
4,096 partitions.

Until a node's partition migrations have ended, it may hold the only copy of some records.

Source: the server's public source, 8.1.2.0, partition balance and the info command ``statistics``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from . import health

UNIT = "partition migrations"
# Records that migrations have sent. Records sent again don't count: a node without space makes its senders repeat the
# same records for ever.
_PROGRESS = ("migrate_records_transmitted", "migrate_records_skipped")


@dataclass(frozen=True)
class Migrations:
    """The partition migrations of a cluster.

    ``left``: those that haven't ended. ``by_node``: the same by sender, without nodes that have none. ``activity``: the
    records that were sent since the last change of the cluster; it changes while migrations move.
    """

    left: int = 0
    by_node: Mapping[str, int] = field(default_factory=dict)
    activity: int = 0

    def __str__(self) -> str:
        """Return ``1 partition migration`` or ``2,726 partition migrations``."""
        return f"{self.left:,} {UNIT if self.left != 1 else UNIT[:-1]}"


def query(hosts: Sequence[str], port: int) -> Migrations:
    """Return the partition migrations of the nodes. Those of nodes that don't answer aren't counted."""
    return count(health.query(hosts, port))


def count(nodes: Mapping[str, health.Statistics]) -> Migrations:
    """Count partition migrations in the statistics of nodes. Pure."""
    sending = {host: _sum(node.namespaces.values(), "migrate_tx_partitions_remaining") for host, node in nodes.items()}
    receiving = sum(_sum(node.namespaces.values(), "migrate_rx_partitions_remaining") for node in nodes.values())
    return Migrations(
        # More to receive than to send: a sender didn't answer.
        left=max(sum(sending.values()), receiving),
        by_node={host: left for host, left in sending.items() if left},
        activity=sum(_sum(node.namespaces.values(), name) for node in nodes.values() for name in _PROGRESS),
    )


def _sum(namespaces: Iterable[Mapping[str, str]], name: str) -> int:
    return sum(int(text) for values in namespaces if (text := values.get(name, "0")).isdecimal())
