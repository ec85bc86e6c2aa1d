"""The values of the info commands `statistics`, `namespace/x` and `sets`, under the real server's names.

A counter that the simulator doesn't maintain is a true 0: nothing of its kind happens here.
"""

import os
import resource
import time

from . import clock
from .info_names import known, of_namespace, of_node
from .info_storage import storage_statistics
from .limits import host_memory
from .node import Node
from .storage import PARTITIONS, Namespace

_ORIGINS = ("client", "from_proxy", "batch_sub", "from_proxy_batch_sub")
_KINDS = {
    "read": ("success", "error", "timeout", "not_found", "filtered_out"),
    "write": ("success", "error", "timeout", "filtered_out"),
    "delete": ("success", "error", "timeout", "not_found", "filtered_out"),
    "udf": ("complete", "error", "timeout", "filtered_out"),
    "lang": ("read_success", "write_success", "delete_success", "error"),
    "tsvc": ("error", "timeout"),
}
NAMESPACE_COUNTERS = (
    *(f"{origin}_{kind}_{outcome}" for origin in _ORIGINS for kind, outcomes in _KINDS.items() for outcome in outcomes),
    *(
        f"{origin}_proxy_{outcome}"
        for origin in ("client", "batch_sub")
        for outcome in ("complete", "error", "timeout")
    ),
    *(f"xdr_client_{kind}_{outcome}" for kind in ("write", "delete") for outcome in ("success", "error", "timeout")),
    *(
        f"{index}_query_{kind}_{outcome}"
        for index in ("pi", "si")
        for kind, outcome in (
            ("short_basic", "complete"),
            ("short_basic", "error"),
            ("short_basic", "timeout"),
            ("long_basic", "complete"),
            ("long_basic", "error"),
            ("long_basic", "abort"),
            ("aggr", "complete"),
            ("aggr", "error"),
            ("aggr", "abort"),
            ("udf_bg", "complete"),
            ("udf_bg", "error"),
            ("udf_bg", "abort"),
            ("ops_bg", "complete"),
            ("ops_bg", "error"),
            ("ops_bg", "abort"),
        )
    ),
    "expired_objects",
    "evicted_objects",
    "deleted_last_bin",
    "fail_generation",
    "fail_key_busy",
    "fail_xdr_forbidden",
    "fail_record_too_big",
    "fail_client_lost_conflict",
    "dup_res_ask",
    "dup_res_respond_read",
    "dup_res_respond_no_read",
    "migrate_records_transmitted",
    "migrate_record_receives",
    "migrate_record_retransmits",
    "migrate_records_skipped",
    "migrate_tx_partitions_initial",
    "migrate_rx_partitions_initial",
    "migrate_fresh_partitions",
    "read_touch_success",
    "re_repl_success",
    "retransmit_all_write_repl_write",
    "geo_region_query_reqs",
    "sindex_gc_cleaned",
)
NODE_COUNTERS = (
    "batch_index_initiate",
    "batch_index_complete",
    "batch_index_error",
    "batch_index_timeout",
    "batch_index_delay",
    "demarshal_error",
    "early_tsvc_client_error",
    "info_complete",
    "info_timeout",
    "reaped_fds",
    "client_connections_opened",
    "client_connections_closed",
)


SET_DEFAULTS: dict[str, object] = {
    "default-read-touch-ttl-pct": 0,
    "default-ttl": 0,
    "disable-eviction": False,
    "enable-index": False,
    "stop-writes-count": 0,
    "stop-writes-size": 0,
}


def statistics(node: Node, in_progress: int) -> dict[str, object]:
    """Of the node. `in_progress` is the number of requests that wait for other nodes."""
    cluster = node.clustering.cluster
    memory = memory_kbytes()
    total, available = host_memory()
    remaining = sum(sum(node.remaining(name)) for name in node.namespaces)
    now = time.monotonic()
    return {
        "failed_best_practices": bool(node.config.bad_practices),
        "cluster_size": len(cluster.members),
        "cluster_key": cluster.key or "0",
        "cluster_generation": node.rebalance_generation,
        "cluster_principal": cluster.principal,
        "cluster_min_compatibility_id": 15,
        "cluster_max_compatibility_id": 15,
        "cluster_integrity": bool(cluster.key),
        "cluster_is_member": bool(cluster.key),
        "cluster_duplicate_nodes": "null",
        "cluster_clock_skew_stop_writes_sec": 0,
        "cluster_clock_skew_ms": 0,
        "cluster_clock_skew_outliers": "null",
        "uptime": int(now - node.started),
        "system_total_cpu_pct": system_cpu_pct(),
        "system_user_cpu_pct": 0,
        "system_kernel_cpu_pct": 0,
        "system_free_mem_kbytes": available,
        "system_free_mem_pct": 100 * available // total,
        "system_thp_mem_kbytes": 0,
        "process_cpu_pct": process_cpu_pct(node),
        "threads_joinable": 1,
        "threads_detached": 0,
        "threads_pool_total": 0,
        "threads_pool_active": 0,
        "heap_allocated_kbytes": memory,
        "heap_active_kbytes": memory,
        "heap_mapped_kbytes": memory,
        "heap_efficiency_pct": 100,
        "heap_site_count": 0,
        "objects": sum(namespace.objects for namespace in node.namespaces.values()),
        "tombstones": sum(namespace.tombstones for namespace in node.namespaces.values()),
        "info_queue": 0,
        "rw_in_progress": in_progress,
        "proxy_in_progress": 0,
        "tree_gc_queue": 0,
        "long_queries_active": 0,
        "client_connections": len(node.clients),
        **{f"heartbeat_connections{kind}": len(node.heartbeat.alive()) for kind in ("", "_opened")},
        "heartbeat_connections_closed": 0,
        **{f"fabric_connections{kind}": len(node.fabric.incoming) for kind in ("", "_opened")},
        "fabric_connections_closed": 0,
        "heartbeat_received_self": 0,
        "heartbeat_received_foreign": node.heartbeat.received,
        **{name: node.stats[name] for name in NODE_COUNTERS},
        "paxos_principal": cluster.principal,
        "time_since_rebalance": int(now - node.rebalanced),
        "migrate_allowed": node.clustering.stable,
        "migrate_partitions_remaining": remaining,
        **of_node(node.release.numbers),
        **since_8_1(node),
    }


def since_8_1(node: Node) -> dict[str, object]:
    """What 8.1 added to a node's statistics."""
    if node.release.numbers < (8, 1):
        return {}
    admin = dict.fromkeys(("admin_connections", "admin_connections_opened", "admin_connections_closed"), 0)
    return {**admin, "deprecated_requests": node.deprecations.count}


def namespace_statistics(node: Node, namespace: Namespace) -> dict[str, object]:
    """Of one namespace, without its configuration."""
    table = node.tables.get(namespace.name)
    sending, receiving = node.remaining(namespace.name)
    active = migrations_active(node, namespace)
    shares = replica_shares(node, namespace)
    values: dict[str, object] = {
        "ns_cluster_size": len(node.clustering.cluster.members),
        "effective_replication_factor": table.factor if table is not None else 0,
        "objects": namespace.objects,
        "tombstones": namespace.tombstones,
        "xdr_tombstones": 0,
        **{
            f"{share}_{kind}": count
            for share, counts in shares.items()
            for kind, count in zip(("objects", "tombstones"), counts, strict=True)
        },
        "unreplicated_records": 0,
        "dead_partitions": 0,
        "unavailable_partitions": 0 if table is not None else PARTITIONS,
        "clock_skew_stop_writes": False,
        "stop_writes": namespace.stop_writes,
        "hwm_breached": namespace.hwm_breached,
        "current_time": clock.now_seconds(),
        "non_expirable_objects": 0,
        "evict_ttl": namespace.evict_ttl,
        "nsup_cycle_duration": 0,
        "nsup_cycle_deleted_pct": "0.00",
        "truncate_lut": max(namespace.truncated.values(), default=0),
        "truncating": False,
        **storage_statistics(namespace),
        "pending_quiesce": node.quiesce_requested and node.node_id not in node.quiesced,
        "effective_is_quiesced": node.node_id in node.quiesced,
        "nodes_quiesced": len(node.quiesced),
        "effective_prefer_uniform_balance": False,
        "effective_active_rack": 0,
        "migrate_tx_partitions_imbalance": 0,
        "migrate_tx_instances": 0,
        "migrate_rx_instances": 0,
        "migrate_tx_partitions_active": active[0],
        "migrate_rx_partitions_active": active[1],
        "migrate_tx_partitions_remaining": sending,
        "migrate_tx_partitions_lead_remaining": sending,
        "migrate_rx_partitions_remaining": receiving,
        "migrate_signals_active": 0,
        "migrate_signals_remaining": 0,
        "appeals_tx_active": 0,
        "appeals_rx_active": 0,
        "appeals_tx_remaining": 0,
        "appeals_records_exonerated": 0,
        **{name: namespace.stats[name] for name in NAMESPACE_COUNTERS},
    }
    release = node.release.numbers
    return known(values, release) | of_namespace(release)


def migrations_active(node: Node, namespace: Namespace) -> tuple[int, int]:
    """How many partitions this node (sends, receives) now."""
    sending, receiving = node.remaining(namespace.name)
    return min(sending, node.config.migrate_threads), min(receiving, node.config.migrate_max_num_incoming)


def replica_shares(node: Node, namespace: Namespace) -> dict[str, tuple[int, int]]:
    """The (objects, tombstones) that this node has as master, as another replica, and without being one."""
    found = {"master": [0, 0], "prole": [0, 0], "non_replica": [0, 0]}
    table = node.tables.get(namespace.name)
    for partition, row in enumerate(table.rows if table else ()):
        records = namespace.partitions[partition]
        if records:
            own = "master" if row.master == node.node_id else "prole" if node.node_id in row.owners else "non_replica"
            dead = namespace.tombstones_in[partition]
            found[own][0] += len(records) - dead
            found[own][1] += dead
    return {share: (objects, tombstones) for share, (objects, tombstones) in found.items()}


def set_statistics(namespace: Namespace) -> list[dict[str, object]]:
    return [
        {
            "ns": namespace.name,
            "set": name.decode("latin-1"),
            "objects": count,
            "tombstones": 0,
            "data_used_bytes": namespace.set_bytes[name],
            "truncate_lut": namespace.truncated.get(name, 0),
            "sindexes": 0,
            "index_populating": "false",
            "truncating": "false",
            **SET_DEFAULTS,
            **namespace.config.sets.get(name.decode("latin-1"), {}),
        }
        for name, count in sorted(namespace.set_objects.items())
        if name
    ]


def memory_kbytes() -> int:
    """The peak memory of this process."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def process_cpu_pct(node: Node) -> int:
    """Percent of one core, since the server's start."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return int(100 * (used.ru_utime + used.ru_stime) / max(time.monotonic() - node.started, 0.001))


def system_cpu_pct() -> int:
    return min(100, int(100 * os.getloadavg()[0] / (os.cpu_count() or 1)))
