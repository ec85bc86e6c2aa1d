"""The values of the info commands `statistics`, `namespace/x` and `sets`, under the real server's names.

A counter that the simulator doesn't maintain is a true 0: nothing of its kind happens here.
"""

import os
import resource
import time

from . import clock
from .node import Node
from .storage import Namespace

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
    "migrate_tx_partitions_active",
    "migrate_rx_partitions_active",
    "migrate_tx_partitions_initial",
    "migrate_rx_partitions_initial",
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


def statistics(node: Node, in_progress: int) -> dict[str, object]:
    """Of the node. `in_progress` is the number of requests that wait for other nodes."""
    cluster = node.clustering.cluster
    memory = memory_kbytes()
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
        "system_free_mem_kbytes": free_kbytes(),
        "system_free_mem_pct": free_pct(),
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
        "heartbeat_connections": len(node.heartbeat.alive()),
        "fabric_connections": len(node.fabric.incoming),
        "heartbeat_received_self": 0,
        "heartbeat_received_foreign": node.heartbeat.received,
        **{name: node.stats[name] for name in NODE_COUNTERS},
        "paxos_principal": cluster.principal,
        "time_since_rebalance": int(now - node.rebalanced),
        "migrate_allowed": node.clustering.stable,
        "migrate_partitions_remaining": remaining,
    }


def namespace_statistics(node: Node, namespace: Namespace) -> dict[str, object]:
    """Of one namespace, without its configuration."""
    table = node.tables.get(namespace.name)
    sending, receiving = node.remaining(namespace.name)
    master = prole = other = 0
    if table is not None:
        for row, records in zip(table.rows, namespace.partitions, strict=True):
            if records:
                if row.master == node.node_id:
                    master += len(records)
                elif node.node_id in row.owners:
                    prole += len(records)
                else:
                    other += len(records)
    free = max(0, 100 - namespace.used_pct)
    return {
        "ns_cluster_size": len(node.clustering.cluster.members),
        "effective_replication_factor": table.factor if table is not None else 0,
        "objects": namespace.objects,
        "tombstones": namespace.tombstones,
        "xdr_tombstones": 0,
        "master_objects": master,
        "master_tombstones": 0,
        "prole_objects": prole,
        "prole_tombstones": 0,
        "non_replica_objects": other,
        "non_replica_tombstones": 0,
        "unreplicated_records": 0,
        "dead_partitions": 0,
        "unavailable_partitions": 0,
        "clock_skew_stop_writes": False,
        "stop_writes": namespace.stop_writes,
        "hwm_breached": False,
        "current_time": clock.now_seconds(),
        "non_expirable_objects": 0,
        "evict_ttl": 0,
        "nsup_cycle_duration": 0,
        "nsup_cycle_deleted_pct": "0.00",
        "truncate_lut": max(namespace.truncated.values(), default=0),
        "truncating": False,
        "index_used_bytes": 64 * (namespace.objects + namespace.tombstones),
        "set_index_used_bytes": 0,
        "sindex_used_bytes": 0,
        "data_total_bytes": namespace.capacity,
        "data_used_bytes": namespace.used_bytes,
        "data_used_pct": namespace.used_pct,
        "data_avail_pct": free,
        "data_compression_ratio": "1.000",
        "pending_quiesce": node.quiesce_requested and node.node_id not in node.quiesced,
        "effective_is_quiesced": node.node_id in node.quiesced,
        "nodes_quiesced": len(node.quiesced),
        "effective_prefer_uniform_balance": False,
        "effective_active_rack": 0,
        "migrate_tx_partitions_imbalance": 0,
        "migrate_tx_instances": 0,
        "migrate_rx_instances": 0,
        "migrate_tx_partitions_remaining": sending,
        "migrate_tx_partitions_lead_remaining": sending,
        "migrate_rx_partitions_remaining": receiving,
        "migrate_signals_active": 0,
        "migrate_signals_remaining": 0,
        "migrate_fresh_partitions": 0,
        "appeals_tx_active": 0,
        "appeals_rx_active": 0,
        "appeals_tx_remaining": 0,
        "appeals_records_exonerated": 0,
        **{name: namespace.stats[name] for name in NAMESPACE_COUNTERS},
    }


def set_statistics(namespace: Namespace) -> list[dict[str, object]]:
    return [
        {
            "ns": namespace.name,
            "set": name.decode("latin-1"),
            "objects": count,
            "tombstones": 0,
            "data_used_bytes": 0,
            "truncate_lut": namespace.truncated.get(name, 0),
            "sindexes": 0,
            "index_populating": "false",
            "truncating": "false",
            "default-read-touch-ttl-pct": 0,
            "default-ttl": 0,
            "disable-eviction": "false",
            "enable-index": "false",
            "stop-writes-count": 0,
            "stop-writes-size": 0,
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


def free_kbytes() -> int:
    return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 1024


def free_pct() -> int:
    return 100 * os.sysconf("SC_AVPHYS_PAGES") // max(os.sysconf("SC_PHYS_PAGES"), 1)
