# Copyright (c) Pegasus authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""Grafana's dashboards of an environment, made from a short description of each panel. Pure functions.

Metric names are those of Aerospike's Prometheus exporter (1.x, server 7.0 and newer), of Perseus's exporter
(module_utils/perseus_meter.py), of node_exporter (1.x) and of the rules (module_utils/prometheus_rules.py).
The label ``instance`` is the host's name, ``kind`` is server, client or monitor (module_utils/monitoring.py sets them).
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

DATASOURCE_UID = "pegasus-prometheus"
DATASOURCE = {"type": "prometheus", "uid": DATASOURCE_UID}
GRID_WIDTH = 24  # Grafana's own
SCHEMA_VERSION = 39  # Grafana 11 and 12 read it and newer ones migrate it
RATE = "[$__rate_interval]"
NAMESPACE = 'ns=~"$namespace"'
NODE = 'instance=~"$node"'
CLIENT = 'instance=~"$client"'
# Machines are read less often than servers and clients: their rates need more time. At least four of their scrapes.
HOST_INTERVAL = "10s"
# What a host has besides its own devices.
NETWORKS = 'device!~"lo|veth.*|docker.*|br-.*"'
DISKS = 'device!~"loop.*|ram.*|dm-.*|sr.*"'
PERCENTILES = (50.0, 95.0, 99.0, 99.9)


@dataclass(frozen=True)
class Panel:
    """One panel: a title, queries by legend, Grafana's unit."""

    title: str
    queries: dict[str, str]
    unit: str = "short"
    kind: str = "timeseries"  # timeseries, stat or row
    width: int = 12
    height: int = 8
    stack: bool = False
    decimals: int | None = None
    description: str = ""
    interval: str = ""  # the shortest step of its queries, where it isn't the data source's


def row(title: str) -> Panel:
    """A heading over the panels that follow."""
    return Panel(title, {}, kind="row", width=GRID_WIDTH, height=1)


def stat(title: str, query: str, unit: str = "short", description: str = "") -> Panel:
    """One number, large. Six stand in a row."""
    return Panel(title, {"": query}, unit, "stat", 4, 4, description=description)


def _sum(by: str, *metrics: str, selector: str = NAMESPACE) -> str:
    """The rate of several counters together, by a label."""
    return " + ".join(f"sum by ({by}) (rate({metric}{{{selector}}}{RATE}))" for metric in metrics)


def _by_node(statistic: str) -> str:
    """A statistic of the chosen namespaces, summed for each node."""
    return f"sum by (instance) (aerospike_namespace_{statistic}{{{NAMESPACE},{NODE}}})"


def _reads(by: str, selector: str = NAMESPACE) -> str:
    """Records read a second."""
    names = ("client_read_success", "client_read_not_found", "batch_sub_read_success", "batch_sub_read_not_found")
    return _sum(by, *(f"aerospike_namespace_{name}" for name in names), selector=selector)


def _writes(by: str, selector: str = NAMESPACE) -> str:
    """Records written or deleted a second."""
    names = ("client_write_success", "client_delete_success", "batch_sub_write_success")
    return _sum(by, *(f"aerospike_namespace_{name}" for name in names), selector=selector)


def _failures(by: str) -> str:
    """Operations a second that failed on a server."""
    kinds = ("client_read", "client_write", "client_delete", "batch_sub_read", "batch_sub_write")
    metrics = [f"aerospike_namespace_{kind}_{outcome}" for kind in kinds for outcome in ("error", "timeout")]
    return _sum(by, *metrics)


def _buckets(operation: str) -> str:
    """The exporter's latency buckets, summed. Operations a second of the last interval, so no rate is taken."""
    return f"aerospike_latencies_{operation}_ms_bucket{{{NAMESPACE},{NODE}}}"


def _percentiles(operation: str) -> dict[str, str]:
    """Percentiles of all nodes together, in milliseconds."""
    return {
        f"{percent:g} %": f"histogram_quantile({percent / 100:g}, sum by (le) ({_buckets(operation)}))"
        for percent in PERCENTILES
    }


def _slowest_by_node(operation: str) -> str:
    """The 99th percentile of each node, in milliseconds."""
    return f"histogram_quantile(0.99, sum by (le, instance) ({_buckets(operation)}))"


def _share_slower(operation: str, milliseconds: int) -> str:
    """The share of operations that took longer, by node, 0 to 1."""
    fast = _buckets(operation).replace("}", f',le="{milliseconds}"}}')
    whole = _buckets(operation).replace("}", ',le="+Inf"}')
    return f"1 - sum by (instance) ({fast}) / (sum by (instance) ({whole}) > 0)"


def _client_panels() -> list[Panel]:
    """What the clients are asked for, what they print, and what the servers say of that."""
    return [
        row("Load: wanted and achieved"),
        Panel(
            "Operations by client",
            {"{{instance}}": f"sum by (instance) (perseus_operations_per_second{{{CLIENT}}})"},
            "ops",
            stack=True,
            description="As Perseus prints them: failed ones count too, a batch is one.",
        ),
        Panel(
            "Operations by workload",
            {"{{workload}}": f"sum by (workload) (perseus_operations_per_second{{{CLIENT}}})"},
            "ops",
            stack=True,
        ),
        Panel(
            "Threads wanted and running",
            {
                "{{instance}} wanted": f"sum by (instance) (perseus_threads_wanted{{{CLIENT}}})",
                "{{instance}} running": f"sum by (instance) (perseus_threads_running{{{CLIENT}}})",
            },
            decimals=0,
            description="Wanted: threads.yaml. Running: Perseus's last header, at most 10 rows old.",
        ),
        Panel(
            "Threads missing by workload",
            {
                "{{instance}} {{workload}}": f"perseus_threads_wanted{{{CLIENT}}} - perseus_threads_running",
            },
            decimals=0,
            description="Wanted and not running; below 0: running and not wanted.",
        ),
        Panel(
            "Records claimed by the clients and answered by the servers",
            {
                "claimed": "pegasus:records_claimed:rate",
                "answered": "pegasus:records_answered:rate",
                "failed on a server": "pegasus:records_failed:rate",
                "answered by none": "pegasus:records_unanswered:rate",
            },
            "ops",
            description="Each record of a batch is one. Perseus counts failed operations as done.",
        ),
        Panel(
            "Error lines of Perseus by kind",
            {"{{instance}} {{kind}}": f"rate(perseus_error_lines_total{{{CLIENT}}}{RATE})"},
            "ops",
        ),
    ]


def _latency_panels() -> list[Panel]:
    return [
        row("Latency on the servers"),
        Panel("Reads", _percentiles("read"), "ms", description="Percentiles over the chosen nodes."),
        Panel("Writes", _percentiles("write"), "ms", description="Percentiles over the chosen nodes."),
    ]


def _host_panels() -> list[Panel]:
    """Every machine: CPU, memory, network, disks."""

    def rate_of(metric: str, devices: str) -> dict[str, str]:
        return {"{{instance}}": f"sum by (instance) (rate({metric}{{{devices}}}{RATE}))"}

    return [
        row("Hosts"),
        Panel(
            "CPU",
            {"{{instance}}": f'1 - avg by (instance) (rate(node_cpu_seconds_total{{mode="idle"}}{RATE}))'},
            "percentunit",
            interval=HOST_INTERVAL,
        ),
        Panel(
            "Memory in use",
            {"{{instance}}": "1 - node_memory_MemAvailable_bytes / node_memory_MemTotal_bytes"},
            "percentunit",
        ),
        Panel("Network received", rate_of("node_network_receive_bytes_total", NETWORKS), "Bps", interval=HOST_INTERVAL),
        Panel("Network sent", rate_of("node_network_transmit_bytes_total", NETWORKS), "Bps", interval=HOST_INTERVAL),
        Panel("Disks read", rate_of("node_disk_read_bytes_total", DISKS), "Bps", interval=HOST_INTERVAL),
        Panel("Disks written", rate_of("node_disk_written_bytes_total", DISKS), "Bps", interval=HOST_INTERVAL),
    ]


def environment() -> dict[str, Any]:
    """The whole environment on one page: the load by client and workload, the cluster, the hosts."""
    panels = [
        row("Environment"),
        stat("Cluster size", "min(aerospike_node_stats_cluster_size)", description="The smallest that a node reports."),
        stat("Objects", f"sum(aerospike_namespace_master_objects{{{NAMESPACE}}})", description="Without their copies."),
        stat("Operations of the clients", "sum(perseus_operations_per_second)", "ops", "As Perseus prints them."),
        stat("Records answered", "sum(pegasus:records_answered:rate)", "ops", "As the servers count them."),
        stat(
            "Answered by no server",
            "max(pegasus:records_unanswered:share)",
            "percentunit",
            "Of the clients' claim.",
        ),
        stat("Targets down", "count(up == 0) or vector(0)", description="What Prometheus can't read."),
        *_client_panels(),
        row("Load on the servers"),
        Panel("Reads by namespace", {"{{ns}}": _reads("ns")}, "ops", description="Each record of a batch is one."),
        Panel("Writes by namespace", {"{{ns}}": _writes("ns")}, "ops", description="Deletes included."),
        Panel("Reads by node", {"{{instance}}": _reads("instance", f"{NAMESPACE},{NODE}")}, "ops", stack=True),
        Panel("Writes by node", {"{{instance}}": _writes("instance", f"{NAMESPACE},{NODE}")}, "ops", stack=True),
        Panel("Errors and timeouts by node", {"{{instance}}": _failures("instance")}, "ops"),
        Panel("Client connections", {"{{instance}}": f"aerospike_node_stats_client_connections{{{NODE}}}"}),
        *_latency_panels(),
        row("Cluster"),
        Panel(
            "Cluster size as each node reports it",
            {"{{instance}}": "aerospike_node_stats_cluster_size"},
            width=8,
            decimals=0,
        ),
        Panel(
            "Objects by node",
            {"{{instance}} {{ns}}": f"sum by (instance, ns) (aerospike_namespace_objects{{{NAMESPACE},{NODE}}})"},
            width=8,
        ),
        Panel(
            "Migrations that remain",
            {"{{instance}}": _by_node("migrate_tx_partitions_remaining")},
            width=8,
            description="Partitions that a node still has to send.",
        ),
        *_host_panels(),
    ]
    return _dashboard("pegasus-environment", "Pegasus: environment", panels)


def cluster() -> dict[str, Any]:
    """The database itself: membership, capacity, latency, migrations."""
    both = f"{NAMESPACE},{NODE}"
    panels = [
        row("Membership"),
        stat("Cluster size", "min(aerospike_node_stats_cluster_size)"),
        stat("Nodes out of the cluster", "count(aerospike_node_stats_cluster_is_member == 0) or vector(0)"),
        stat("Unavailable partitions", "max(aerospike_namespace_unavailable_partitions)"),
        stat("Dead partitions", "max(aerospike_namespace_dead_partitions)"),
        stat("Namespaces that stop writes", "count(aerospike_namespace_stop_writes == 1) or vector(0)"),
        stat("Youngest node", "min(aerospike_node_stats_uptime)", "s", "Time since the last start of a node."),
        Panel(
            "Cluster size as each node reports it", {"{{instance}}": "aerospike_node_stats_cluster_size"}, decimals=0
        ),
        Panel("Time since start", {"{{instance}}": f"aerospike_node_stats_uptime{{{NODE}}}"}, "s"),
        *_latency_panels(),
        Panel("Reads, 99 % of each node", {"{{instance}}": _slowest_by_node("read")}, "ms"),
        Panel("Writes, 99 % of each node", {"{{instance}}": _slowest_by_node("write")}, "ms"),
        Panel("Reads slower than 1 ms", {"{{instance}}": _share_slower("read", 1)}, "percentunit"),
        Panel("Writes slower than 1 ms", {"{{instance}}": _share_slower("write", 1)}, "percentunit"),
        Panel("Reads slower than 8 ms", {"{{instance}}": _share_slower("read", 8)}, "percentunit"),
        Panel("Writes slower than 8 ms", {"{{instance}}": _share_slower("write", 8)}, "percentunit"),
        row("Capacity"),
        Panel(
            "Data in use",
            {"{{instance}} {{ns}}": f"max by (instance, ns) (aerospike_namespace_data_used_pct{{{both}}})"},
            "percent",
        ),
        Panel(
            "Data",
            {"{{instance}} {{ns}}": f"sum by (instance, ns) (aerospike_namespace_data_used_bytes{{{both}}})"},
            "bytes",
            stack=True,
        ),
        Panel(
            "Primary index",
            {"{{instance}} {{ns}}": f"sum by (instance, ns) (aerospike_namespace_index_used_bytes{{{both}}})"},
            "bytes",
        ),
        Panel(
            "Objects with their copies",
            {"{{instance}} {{ns}}": f"sum by (instance, ns) (aerospike_namespace_objects{{{both}}})"},
            stack=True,
        ),
        row("Migrations and expiry"),
        Panel(
            "Partitions to send and to receive",
            {
                "{{instance}} send": _by_node("migrate_tx_partitions_remaining"),
                "{{instance}} receive": _by_node("migrate_rx_partitions_remaining"),
            },
        ),
        Panel(
            "Records expired and evicted",
            {
                "{{instance}} expired": _sum("instance", "aerospike_namespace_expired_objects", selector=both),
                "{{instance}} evicted": _sum("instance", "aerospike_namespace_evicted_objects", selector=both),
            },
            "ops",
        ),
    ]
    return _dashboard("pegasus-cluster", "Pegasus: cluster", panels)


def chaos() -> dict[str, Any]:
    """What a fault does, and how long it takes to heal; actions and alerts are marked on every panel."""
    panels = [
        row("Now"),
        stat("Cluster size", "min(aerospike_node_stats_cluster_size) or vector(0)"),
        stat("Nodes that answer", "count(aerospike_node_up == 1) or vector(0)"),
        stat("Unavailable partitions", "max(aerospike_namespace_unavailable_partitions) or vector(0)"),
        stat("Partitions to migrate", f"sum({_by_node('migrate_tx_partitions_remaining')}) or vector(0)"),
        stat("Alerts", 'count(ALERTS{alertstate="firing"}) or vector(0)'),
        stat("Longest silence of a client", "max(perseus_seconds_since_last_row)", "s"),
        row("The fault"),
        Panel("Nodes that answer", {"{{instance}}": f"aerospike_node_up{{{NODE}}}"}, decimals=0),
        Panel(
            "Cluster size as each node reports it", {"{{instance}}": "aerospike_node_stats_cluster_size"}, decimals=0
        ),
        Panel("Hosts that answer", {"{{instance}}": 'up{job="hosts"}'}, decimals=0),
        Panel(
            "Alerts",
            {"{{alertname}}": 'sum by (alertname) (ALERTS{alertstate="firing"}) or vector(0)'},
            stack=True,
            decimals=0,
        ),
        *_client_panels(),
        row("What it costs"),
        Panel("Errors and timeouts on the servers", {"{{instance}}": _failures("instance")}, "ops"),
        Panel(
            "Silence of the clients",
            {"{{instance}}": f"perseus_seconds_since_last_row{{{CLIENT}}}"},
            "s",
            description="Time since Perseus's last row; it prints one each second.",
        ),
        *_latency_panels(),
        row("How it heals"),
        Panel(
            "Partitions to send and to receive",
            {
                "{{instance}} send": _by_node("migrate_tx_partitions_remaining"),
                "{{instance}} receive": _by_node("migrate_rx_partitions_remaining"),
            },
        ),
        Panel("Time since start of the nodes", {"{{instance}}": f"aerospike_node_stats_uptime{{{NODE}}}"}, "s"),
        Panel("Perseus started again", {"{{instance}}": f"perseus_restarts_total{{{CLIENT}}}"}, decimals=0),
        Panel("Client connections", {"{{instance}}": f"aerospike_node_stats_client_connections{{{NODE}}}"}),
    ]
    return _dashboard("pegasus-chaos", "Pegasus: chaos", panels)


DASHBOARDS: dict[str, Callable[[], dict[str, Any]]] = {
    "environment": environment,
    "cluster": cluster,
    "chaos": chaos,
}


def render(name: str) -> str:
    """Return a dashboard's JSON.

    :raises ValueError: there is no such dashboard
    """
    if name not in DASHBOARDS:
        raise ValueError(f"found no dashboard '{name}'; expected one of {', '.join(DASHBOARDS)}")
    return json.dumps(DASHBOARDS[name](), indent=1) + "\n"


def uid_of(name: str) -> str:
    """Return a dashboard's uid."""
    return str(DASHBOARDS[name]()["uid"])


def _dashboard(uid: str, title: str, panels: list[Panel]) -> dict[str, Any]:
    """Put panels on Grafana's grid, from left to right, and give them the variables that they use."""
    placed, x, y, height = [], 0, 0, 0
    for number, panel in enumerate(panels, start=1):
        if x + panel.width > GRID_WIDTH:
            x, y, height = 0, y + height, 0
        placed.append(_panel(panel, number, {"x": x, "y": y, "w": panel.width, "h": panel.height}))
        x, height = x + panel.width, max(height, panel.height)
    return {
        "uid": uid,
        "title": title,
        "tags": ["pegasus"],
        "timezone": "browser",
        "schemaVersion": SCHEMA_VERSION,
        "editable": True,
        "graphTooltip": 1,
        "refresh": "5s",
        "time": {"from": "now-15m", "to": "now"},
        "annotations": {"list": [_actions(), _alerts()]},
        "templating": {
            "list": [
                _variable("namespace", "Namespace", "label_values(aerospike_namespace_objects, ns)"),
                _variable("client", "Client", "label_values(perseus_up, instance)"),
                _variable("node", "Server node", "label_values(aerospike_node_stats_uptime, instance)"),
            ]
        },
        "panels": placed,
    }


def _actions() -> dict[str, Any]:
    """Pegasus's own actions, as the callback plugin annotations posts them."""
    grafana = {"type": "grafana", "uid": "-- Grafana --"}
    return {
        "name": "Pegasus's actions",
        "datasource": grafana,
        "enable": True,
        "iconColor": "purple",
        "target": {"type": "tags", "tags": ["pegasus"], "matchAny": False, "limit": 200},
    }


def _alerts() -> dict[str, Any]:
    """Prometheus's alerts while they fire."""
    return {
        "name": "Alerts",
        "datasource": DATASOURCE,
        "enable": True,
        "iconColor": "red",
        "expr": 'ALERTS{alertstate="firing"}',
        "step": "10s",
        "titleFormat": "{{alertname}}",
        "textFormat": "{{instance}} {{workload}}",
    }


def _variable(name: str, label: str, query: str) -> dict[str, Any]:
    """A choice at the top of a dashboard; at first all."""
    return {
        "name": name,
        "label": label,
        "type": "query",
        "datasource": DATASOURCE,
        "definition": query,
        "query": {"query": query, "refId": name},
        "refresh": 2,
        "sort": 1,
        "multi": True,
        "includeAll": True,
        "allValue": ".*",
        "current": {"selected": True, "text": ["All"], "value": ["$__all"]},
    }


def _panel(panel: Panel, number: int, place: dict[str, int]) -> dict[str, Any]:
    """One panel as Grafana writes it."""
    if panel.kind == "row":
        return {"id": number, "type": "row", "title": panel.title, "collapsed": False, "gridPos": place, "panels": []}
    defaults: dict[str, Any] = {"unit": panel.unit, "min": 0}
    if panel.decimals is not None:
        defaults["decimals"] = panel.decimals
    if panel.kind == "timeseries":
        defaults["custom"] = {
            "lineWidth": 1,
            "fillOpacity": 20 if panel.stack else 5,
            "showPoints": "never",
            "stacking": {"mode": "normal" if panel.stack else "none", "group": "A"},
        }
        options: dict[str, Any] = {
            "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True},
            "tooltip": {"mode": "multi", "sort": "desc"},
        }
    else:
        options = {"reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False}, "colorMode": "value"}
    return {
        "id": number,
        "type": panel.kind,
        "title": panel.title,
        "description": panel.description,
        "datasource": DATASOURCE,
        "gridPos": place,
        "fieldConfig": {"defaults": defaults, "overrides": []},
        "options": options,
        "targets": [
            {
                "refId": chr(ord("A") + index),
                "datasource": DATASOURCE,
                "expr": query,
                "legendFormat": legend or "__auto",
                **({"interval": panel.interval} if panel.interval else {}),
            }
            for index, (legend, query) in enumerate(panel.queries.items())
        ],
    }
