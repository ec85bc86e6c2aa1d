# Copyright (c) Pegasus authors. SPDX-License-Identifier: Apache-2.0
"""The Grafana dashboards of an environment: which panels each has, and what they query. Pure functions.

A new panel is an entry in a list below. Metric names are those of the Aerospike Prometheus exporter (1.x, server 7.0
and newer), the Perseus exporter (perseus/meter.py), node_exporter (1.x) and the recording rules (rules.py). The label
``instance`` is the host's name, ``kind`` is server, client or monitor (targets.py sets both).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from .panels import Panel, dashboard, row, stat

RATE = "[$__rate_interval]"
NAMESPACE = 'ns=~"$namespace"'
NODE = 'instance=~"$node"'
CLIENT = 'instance=~"$client"'
# Hosts are scraped less often than servers and clients. A rate needs at least four scrapes.
HOST_INTERVAL = "10s"
# Without the devices that don't belong to the hardware.
NETWORKS = 'device!~"lo|veth.*|docker.*|br-.*"'
DISKS = 'device!~"loop.*|ram.*|dm-.*|sr.*"'
PERCENTILES = (50.0, 95.0, 99.0, 99.9)


# --- queries ---


def _sum(by: str, *metrics: str, selector: str = NAMESPACE) -> str:
    """The combined rate of several counters, by a label."""
    return " + ".join(f"sum by ({by}) (rate({metric}{{{selector}}}{RATE}))" for metric in metrics)


def _by_node(statistic: str) -> str:
    """A statistic of the selected namespaces, summed for each node."""
    return f"sum by (instance) (aerospike_namespace_{statistic}{{{NAMESPACE},{NODE}}})"


def _by_namespace(statistic: str, function: str = "sum") -> str:
    """A statistic of each selected node and namespace."""
    return f"{function} by (instance, ns) (aerospike_namespace_{statistic}{{{NAMESPACE},{NODE}}})"


def _reads(by: str, selector: str = NAMESPACE) -> str:
    """Records read per second."""
    names = ("client_read_success", "client_read_not_found", "batch_sub_read_success", "batch_sub_read_not_found")
    return _sum(by, *(f"aerospike_namespace_{name}" for name in names), selector=selector)


def _writes(by: str, selector: str = NAMESPACE) -> str:
    """Records written or deleted per second."""
    names = ("client_write_success", "client_delete_success", "batch_sub_write_success")
    return _sum(by, *(f"aerospike_namespace_{name}" for name in names), selector=selector)


def _failures(by: str) -> str:
    """Operations per second that failed on a server."""
    kinds = ("client_read", "client_write", "client_delete", "batch_sub_read", "batch_sub_write")
    metrics = [f"aerospike_namespace_{kind}_{outcome}" for kind in kinds for outcome in ("error", "timeout")]
    return _sum(by, *metrics)


def _buckets(operation: str) -> str:
    """The exporter's latency buckets. They hold operations per second of the last interval, so no rate is taken."""
    return f"aerospike_latencies_{operation}_ms_bucket{{{NAMESPACE},{NODE}}}"


def _percentiles(operation: str) -> dict[str, str]:
    """Latency percentiles over all nodes, in milliseconds."""
    return {
        f"p{percent:g}": f"histogram_quantile({percent / 100:g}, sum by (le) ({_buckets(operation)}))"
        for percent in PERCENTILES
    }


def _p99_by_node(operation: str) -> str:
    """The 99th latency percentile of each node, in milliseconds."""
    return f"histogram_quantile(0.99, sum by (le, instance) ({_buckets(operation)}))"


def _share_slower(operation: str, milliseconds: int) -> str:
    """The share of operations that took longer, by node, 0 to 1."""
    fast = _buckets(operation).replace("}", f',le="{milliseconds}"}}')
    total = _buckets(operation).replace("}", ',le="+Inf"}')
    return f"1 - sum by (instance) ({fast}) / (sum by (instance) ({total}) > 0)"


def _device_rate(metric: str, devices: str) -> dict[str, str]:
    """The rate of a host's device counter."""
    return {"{{instance}}": f"sum by (instance) (rate({metric}{{{devices}}}{RATE}))"}


# --- panels that several dashboards have ---

CLUSTER_SIZE = Panel(
    "Cluster size reported by each node", {"{{instance}}": "aerospike_node_stats_cluster_size"}, decimals=0
)
MIGRATIONS = Panel(
    "Partitions to send and receive",
    {
        "{{instance}} send": _by_node("migrate_tx_partitions_remaining"),
        "{{instance}} receive": _by_node("migrate_rx_partitions_remaining"),
    },
)
UPTIME = Panel("Node uptime", {"{{instance}}": f"aerospike_node_stats_uptime{{{NODE}}}"}, "s")
CONNECTIONS = Panel("Client connections", {"{{instance}}": f"aerospike_node_stats_client_connections{{{NODE}}}"})
LATENCY = [
    row("Server latency"),
    Panel("Read latency", _percentiles("read"), "ms", description="Percentiles over the selected nodes."),
    Panel("Write latency", _percentiles("write"), "ms", description="Percentiles over the selected nodes."),
]
# The load that is requested, the load that the clients print, and the load that the servers confirm.
LOAD = [
    row("Load: requested and achieved"),
    Panel(
        "Operations by client",
        {"{{instance}}": f"sum by (instance) (perseus_operations_per_second{{{CLIENT}}})"},
        "ops",
        stack=True,
        description="As Perseus prints them. Failed operations are included. A batch counts once.",
    ),
    Panel(
        "Operations by workload",
        {"{{workload}}": f"sum by (workload) (perseus_operations_per_second{{{CLIENT}}})"},
        "ops",
        stack=True,
    ),
    Panel(
        "Threads requested and running",
        {
            "{{instance}} requested": f"sum by (instance) (perseus_threads_requested{{{CLIENT}}})",
            "{{instance}} running": f"sum by (instance) (perseus_threads_running{{{CLIENT}}})",
        },
        decimals=0,
        description="Requested: threads.yaml. Running: the last header that Perseus printed, at most 10 rows old.",
    ),
    Panel(
        "Missing threads by workload",
        {"{{instance}} {{workload}}": f"perseus_threads_requested{{{CLIENT}}} - perseus_threads_running"},
        decimals=0,
        description="Requested minus running. Below 0, threads run that threads.yaml doesn't request.",
    ),
    Panel(
        "Records claimed by the clients and answered by the servers",
        {
            "claimed": "pegasus:records_claimed:rate",
            "answered": "pegasus:records_answered:rate",
            "failed on a server": "pegasus:records_failed:rate",
            "unanswered": "pegasus:records_unanswered:rate",
        },
        "ops",
        description="Each record of a batch counts. Perseus counts failed operations as done.",
    ),
    Panel(
        "Perseus error lines by kind",
        {"{{instance}} {{kind}}": f"rate(perseus_error_lines_total{{{CLIENT}}}{RATE})"},
        "ops",
    ),
]


# --- dashboards ---


def environment() -> list[Panel]:
    """The whole environment on one page: load, cluster and hosts."""
    return [
        row("Environment"),
        stat("Cluster size", "min(aerospike_node_stats_cluster_size)", "The smallest size that a node reports."),
        stat("Objects", f"sum(aerospike_namespace_master_objects{{{NAMESPACE}}})", "Without replicas."),
        stat("Client operations", "sum(perseus_operations_per_second)", "As Perseus prints them.", "ops"),
        stat("Records answered", "sum(pegasus:records_answered:rate)", "As the servers count them.", "ops"),
        stat(
            "Unanswered records",
            "max(pegasus:records_unanswered:share)",
            "Share of the records that the clients claim.",
            "percentunit",
        ),
        stat("Targets down", "count(up == 0) or vector(0)", "Targets that Prometheus can't scrape."),
        *LOAD,
        row("Server load"),
        Panel("Reads by namespace", {"{{ns}}": _reads("ns")}, "ops", description="Each record of a batch counts."),
        Panel("Writes by namespace", {"{{ns}}": _writes("ns")}, "ops", description="Deletes are included."),
        Panel("Reads by node", {"{{instance}}": _reads("instance", f"{NAMESPACE},{NODE}")}, "ops", stack=True),
        Panel("Writes by node", {"{{instance}}": _writes("instance", f"{NAMESPACE},{NODE}")}, "ops", stack=True),
        Panel("Errors and timeouts by node", {"{{instance}}": _failures("instance")}, "ops"),
        CONNECTIONS,
        *LATENCY,
        row("Cluster"),
        replace(CLUSTER_SIZE, width=8),
        Panel("Objects by node", {"{{instance}} {{ns}}": _by_namespace("objects")}, width=8),
        Panel(
            "Remaining migrations",
            {"{{instance}}": _by_node("migrate_tx_partitions_remaining")},
            width=8,
            description="Partitions that the node still has to send.",
        ),
        row("Hosts"),
        Panel(
            "CPU usage",
            {"{{instance}}": f'1 - avg by (instance) (rate(node_cpu_seconds_total{{mode="idle"}}{RATE}))'},
            "percentunit",
            interval=HOST_INTERVAL,
        ),
        Panel(
            "Memory usage",
            {"{{instance}}": "1 - node_memory_MemAvailable_bytes / node_memory_MemTotal_bytes"},
            "percentunit",
        ),
        *(
            Panel(title, _device_rate(metric, devices), "Bps", interval=HOST_INTERVAL)
            for title, metric, devices in (
                ("Network received", "node_network_receive_bytes_total", NETWORKS),
                ("Network sent", "node_network_transmit_bytes_total", NETWORKS),
                ("Disk reads", "node_disk_read_bytes_total", DISKS),
                ("Disk writes", "node_disk_written_bytes_total", DISKS),
            )
        ),
    ]


def cluster() -> list[Panel]:
    """The database: membership, latency, capacity, migrations."""
    both = f"{NAMESPACE},{NODE}"
    return [
        row("Membership"),
        stat("Cluster size", "min(aerospike_node_stats_cluster_size)"),
        stat("Nodes outside the cluster", "count(aerospike_node_stats_cluster_is_member == 0) or vector(0)"),
        stat("Unavailable partitions", "max(aerospike_namespace_unavailable_partitions)"),
        stat("Dead partitions", "max(aerospike_namespace_dead_partitions)"),
        stat("Namespaces with stopped writes", "count(aerospike_namespace_stop_writes == 1) or vector(0)"),
        stat("Shortest uptime", "min(aerospike_node_stats_uptime)", "Time since a node last started.", "s"),
        CLUSTER_SIZE,
        UPTIME,
        *LATENCY,
        Panel("Read latency by node (p99)", {"{{instance}}": _p99_by_node("read")}, "ms"),
        Panel("Write latency by node (p99)", {"{{instance}}": _p99_by_node("write")}, "ms"),
        Panel("Reads slower than 1 ms", {"{{instance}}": _share_slower("read", 1)}, "percentunit"),
        Panel("Writes slower than 1 ms", {"{{instance}}": _share_slower("write", 1)}, "percentunit"),
        Panel("Reads slower than 8 ms", {"{{instance}}": _share_slower("read", 8)}, "percentunit"),
        Panel("Writes slower than 8 ms", {"{{instance}}": _share_slower("write", 8)}, "percentunit"),
        row("Capacity"),
        Panel("Storage usage", {"{{instance}} {{ns}}": _by_namespace("data_used_pct", "max")}, "percent"),
        Panel("Data size", {"{{instance}} {{ns}}": _by_namespace("data_used_bytes")}, "bytes", stack=True),
        Panel("Primary index size", {"{{instance}} {{ns}}": _by_namespace("index_used_bytes")}, "bytes"),
        Panel("Objects with replicas", {"{{instance}} {{ns}}": _by_namespace("objects")}, stack=True),
        row("Migrations and expiry"),
        MIGRATIONS,
        Panel(
            "Expired and evicted records",
            {
                "{{instance}} expired": _sum("instance", "aerospike_namespace_expired_objects", selector=both),
                "{{instance}} evicted": _sum("instance", "aerospike_namespace_evicted_objects", selector=both),
            },
            "ops",
        ),
    ]


def chaos() -> list[Panel]:
    """A fault, its impact, and the recovery. Actions and alerts are marked on every panel."""
    return [
        row("Current state"),
        stat("Cluster size", "min(aerospike_node_stats_cluster_size) or vector(0)"),
        stat("Nodes up", "count(aerospike_node_up == 1) or vector(0)"),
        stat("Unavailable partitions", "max(aerospike_namespace_unavailable_partitions) or vector(0)"),
        stat("Partitions to migrate", f"sum({_by_node('migrate_tx_partitions_remaining')}) or vector(0)"),
        stat("Firing alerts", 'count(ALERTS{alertstate="firing"}) or vector(0)'),
        stat("Longest client silence", "max(perseus_seconds_since_last_row)", unit="s"),
        row("Fault"),
        Panel("Nodes up", {"{{instance}}": f"aerospike_node_up{{{NODE}}}"}, decimals=0),
        CLUSTER_SIZE,
        Panel("Hosts up", {"{{instance}}": 'up{job="hosts"}'}, decimals=0),
        Panel(
            "Firing alerts",
            {"{{alertname}}": 'sum by (alertname) (ALERTS{alertstate="firing"}) or vector(0)'},
            stack=True,
            decimals=0,
        ),
        *LOAD,
        row("Impact"),
        Panel("Errors and timeouts on the servers", {"{{instance}}": _failures("instance")}, "ops"),
        Panel(
            "Client silence",
            {"{{instance}}": f"perseus_seconds_since_last_row{{{CLIENT}}}"},
            "s",
            description="Time since the last row of Perseus, which prints a row every second.",
        ),
        *LATENCY,
        row("Recovery"),
        MIGRATIONS,
        UPTIME,
        Panel("Perseus restarts", {"{{instance}}": f"perseus_restarts_total{{{CLIENT}}}"}, decimals=0),
        CONNECTIONS,
    ]


DASHBOARDS: dict[str, Callable[[], list[Panel]]] = {"environment": environment, "cluster": cluster, "chaos": chaos}


def build(name: str) -> dict[str, Any]:
    """Return a dashboard. Raises ValueError if there is no such dashboard."""
    if name not in DASHBOARDS:
        raise ValueError(f"found no dashboard '{name}'; expected one of {', '.join(DASHBOARDS)}")
    return dashboard(uid_of(name), f"Pegasus: {name}", DASHBOARDS[name]())


def uid_of(name: str) -> str:
    """Return a dashboard's uid."""
    return f"pegasus-{name}"
