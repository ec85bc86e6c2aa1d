# Copyright (c) Pegasus authors. SPDX-License-Identifier: Apache-2.0
"""Prometheus recording rules and alerts of an environment, as data. Pure functions.

A new rule or alert is an entry in one of the lists below, and a case in tests/contract/alert_rules.yml. The metrics are
those of the Perseus exporter (perseus/meter.py), the Aerospike exporter and node_exporter. The operations that clients
claim are compared with the servers' counters in the same way as in perseus/proof.py.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ..ec2.expiry import METRIC
from ..perseus import proof

# Share of the claimed records that may stay unanswered. The module perseus_ready has the same default.
TOLERANCE = 0.25
# The running threads are known from a header, which Perseus prints every 10 rows.
HEADER_SECONDS = 20
# How long before its expiry an instance gets a warning, in seconds. The environment report uses it too.
EXPIRY_WARNING_SECONDS = 3600


def rules(namespace: str = "", window: str = "30s") -> dict[str, Any]:
    """Return the content of a rules file.

    :param namespace: the namespace under load; "" for all namespaces
    :param window: the range of a rate; at least four scrapes
    """
    return {
        "groups": [
            {"name": "pegasus-load", "rules": _recording(namespace, window)},
            {"name": "pegasus-clients", "rules": _client_alerts(window)},
            {"name": "pegasus-servers", "rules": _server_alerts()},
            {"name": "pegasus-hosts", "rules": _host_alerts()},
        ]
    }


def sum_of(counters: Iterable[str], selector: str, window: str, by: str = "cluster") -> str:
    """Return the combined rate of several counters. A counter that a server doesn't have doesn't hide the others."""
    parts = [
        f'label_replace(rate(aerospike_namespace_{name}{{{selector}}}[{window}]), "counter", "{name}", "", "")'
        for name in counters
    ]
    return f"sum by ({by}) ({' or '.join(parts)})"


def _recording(namespace: str, window: str) -> list[dict[str, Any]]:
    """The load as the clients print it and as the servers count it, in records per second, by cluster."""
    selector = f'ns="{namespace}"' if namespace else ""
    queries = "|".join(proof.QUERIES)
    claimed = f'sum by (cluster) (rate(perseus_records_total{{workload!~"{queries}"}}[{window}]))'
    # Servers that were scraped within the last hour and report nothing now answer nothing. Without this, a dead cluster
    # would have no unanswered records. Servers that were never scraped prove neither.
    none = '0 * count by (cluster) (max_over_time(up{job="aerospike"}[1h]) == 1)'
    answered = f"{sum_of(proof.ANSWERED_COUNTERS, selector, window)} or on (cluster) {none}"
    return [
        {"record": "pegasus:records_claimed:rate", "expr": claimed},
        {"record": "pegasus:records_answered:rate", "expr": answered},
        {"record": "pegasus:records_failed:rate", "expr": sum_of(proof.FAILED_COUNTERS, selector, window)},
        {
            # Perseus counts failed operations as done. The difference is what no server answered.
            "record": "pegasus:records_unanswered:rate",
            "expr": "clamp_min(pegasus:records_claimed:rate - on (cluster) pegasus:records_answered:rate, 0)",
        },
        {
            "record": "pegasus:records_unanswered:share",
            "expr": "pegasus:records_unanswered:rate / on (cluster) (pegasus:records_claimed:rate > 0)",
        },
    ]


def _client_alerts(window: str) -> list[dict[str, Any]]:
    total = "sum by (cluster, instance, index) (perseus_operations_per_second)"
    errors = f'sum by (cluster, instance, index, kind) (rate(perseus_error_lines_total{{kind!="unknown"}}[{window}]))'
    return [
        _alert(
            "PerseusClientLost", 'up{job="perseus"} == 0', "10s", "critical",
            "{{ $labels.instance }}: the client doesn't answer. Its host or its exporter is down",
        ),
        _alert("PerseusDown", "perseus_up == 0", "5s", "critical", "{{ $labels.instance }}: Perseus isn't running"),
        _alert(
            "PerseusSilent", "perseus_seconds_since_last_row > 10 and perseus_up == 1", "5s", "critical",
            "{{ $labels.instance }}: Perseus is running but has printed no row for {{ $value | humanizeDuration }}",
        ),
        _alert(
            "PerseusIdle", f"{total} == 0", "10s", "warning",
            "{{ $labels.instance }}: Perseus is idle: it has no threads, or its threads complete no operations",
        ),
        _alert(
            "PerseusThreadsDiffer",
            "perseus_threads_requested != perseus_threads_running and on (cluster, instance) (perseus_up == 1)",
            f"{HEADER_SECONDS}s", "warning",
            "{{ $labels.instance }}: the threads of {{ $labels.workload }} differ from threads.yaml. Perseus may have "
            "stopped reading the file: run rerun-clients",
        ),
        _alert(
            "PerseusThreadsFile", "perseus_threads_file_ok == 0", "5s", "warning",
            "{{ $labels.instance }}: threads.yaml is missing, invalid, or not written by Pegasus: run copy-threads",
        ),
        _alert(
            "PerseusRestarts", "increase(perseus_restarts_total[5m]) > 2", "0s", "warning",
            "{{ $labels.instance }}: Perseus started {{ $value | humanize }} times in 5 minutes",
        ),
        _alert(
            "PerseusErrors", f"{errors} > 0", "10s", "info",
            "{{ $labels.instance }}: {{ $value | humanize }} error lines per second of kind {{ $labels.kind }}",
        ),
        _alert(
            "PerseusCountsUnanswered", f"pegasus:records_unanswered:share > {TOLERANCE}", "10s", "critical",
            "{{ $labels.cluster }}: no server answered {{ $value | humanizePercentage }} of the operations that "
            "Perseus prints",
        ),
    ]  # fmt: skip


def _server_alerts() -> list[dict[str, Any]]:
    return [
        _alert(
            "AerospikeNodeDown", 'aerospike_node_up == 0 or up{job="aerospike"} == 0', "5s", "critical",
            "{{ $labels.instance }}: the node doesn't answer",
        ),
        _alert(
            "AerospikeClusterTooSmall",
            "min by (cluster) (aerospike_node_stats_cluster_size)"
            ' < on (cluster) count by (cluster) (up{job="aerospike"})',
            "10s", "warning", "{{ $labels.cluster }}: a node reports a cluster size of only {{ $value }}",
        ),
        _alert(
            "AerospikeStopWrites", "max by (cluster, instance, ns) (aerospike_namespace_stop_writes) == 1", "0s",
            "critical", "{{ $labels.instance }}: namespace {{ $labels.ns }} is full and refuses writes",
        ),
        _alert(
            "AerospikeUnavailablePartitions", "max by (cluster, ns) (aerospike_namespace_unavailable_partitions) > 0",
            "0s", "critical",
            "{{ $labels.cluster }}: {{ $value }} partitions of namespace {{ $labels.ns }} are unavailable",
        ),
    ]  # fmt: skip


def _host_alerts() -> list[dict[str, Any]]:
    free = 'node_filesystem_avail_bytes{mountpoint="/"} / node_filesystem_size_bytes{mountpoint="/"}'
    return [
        _alert(
            "ExpirySoon", f"{METRIC} - time() < {EXPIRY_WARNING_SECONDS}", "0s", "warning",
            "{{ $labels.instance }} expires in {{ $value | humanizeDuration }} and is then terminated. To keep it: "
            "./pegasus-driver extend 4h",
        ),
        _alert(
            "HostLost", 'up{job="hosts"} == 0', "10s", "critical",
            "{{ $labels.instance }} ({{ $labels.kind }}): the host doesn't answer",
        ),
        _alert(
            "HostDiskFull", f"{free} < 0.05", "1m", "warning",
            "{{ $labels.instance }}: only {{ $value | humanizePercentage }} of the root file system is free",
        ),
        _alert(
            "HostMemory", "node_memory_MemAvailable_bytes / node_memory_MemTotal_bytes < 0.05", "1m", "warning",
            "{{ $labels.instance }}: only {{ $value | humanizePercentage }} of the memory is available",
        ),
    ]  # fmt: skip


def _alert(name: str, expression: str, duration: str, severity: str, summary: str) -> dict[str, Any]:
    return {
        "alert": name,
        "expr": expression,
        "for": duration,
        "labels": {"severity": severity},
        "annotations": {"summary": summary},
    }
