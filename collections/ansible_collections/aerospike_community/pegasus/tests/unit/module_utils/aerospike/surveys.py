"""What the nodes of a cluster answer, as tests put it together."""

from __future__ import annotations

from ansible_collections.aerospike_community.pegasus.plugins.module_utils.aerospike.health import Statistics
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.aerospike.survey import Node, Survey

A, B, C = "10.0.0.1", "10.0.0.2", "10.0.0.3"
NAMES = {A: "node 1", B: "node 2", C: "node 3"}


def node(objects: int = 0, masters: int = 0, tx: int = 0, rx: int = 0, key: str = "KEY", **values: object) -> Node:
    """A node with one namespace, test. ``values``: more statistics of the namespace."""
    statistics = {
        "objects": objects, "master_objects": masters, "effective_replication_factor": 2, "storage_engine": "memory",
        "migrate_tx_partitions_remaining": tx, "migrate_rx_partitions_remaining": rx, "truncate_lut": 0,
    } | values  # fmt: skip
    for name in ("storage_engine", "strong_consistency"):  # the configuration, which has hyphens
        statistics[name.replace("_", "-")] = statistics.pop(name, "false")
    texts = {name: str(value).lower() if isinstance(value, bool) else str(value) for name, value in statistics.items()}
    settled = bool(key) and not tx and not rx
    return Node(Statistics({"cluster_size": "3"}, {"test": texts}), key, settled)


def three(**values: object) -> Survey:
    """Three nodes that hold two copies of 900 records."""
    return Survey({host: node(600, 300, **values) for host in (A, B, C)})  # type: ignore[arg-type]


def migrating(left: int = 2726) -> Survey:
    """Node 2 came back empty: node 1 still has to send it partitions, and some records are only there."""
    return Survey({A: node(800, 500, tx=left), B: node(100, 0, rx=left), C: node(600, 300)})
