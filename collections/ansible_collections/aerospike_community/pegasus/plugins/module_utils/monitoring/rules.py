# Copyright (c) Pegasus authors. SPDX-License-Identifier: Apache-2.0
"""Prometheus recording rules and alerts of an environment, as data. Pure functions.

A new rule or alert is an entry in one of the lists below, and a case in tests/contract/alert_rules.yml. The metrics are
those of the Perseus exporter (perseus/meter.py), the Aerospike exporter and node_exporter. The records that clients
claim are compared with the servers' counters in the same way as in perseus/proof.py.

The severities are those of aerospike-monitoring: info, warn, error, critical. Its Alerts View shows the alerts with the
labels job and cluster_name of the exporter's metrics, so the alerts of servers keep them.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ..ec2.expiry import METRIC
from ..perseus import proof

# Share of the claimed records that may stay unanswered. The module perseus_ready has the same default.
TOLERANCE = 0.25
# Share of the records that may fail on the servers.
FAILURES = 0.05
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


def sum_of(counters: Iterable[str], selector: str, window: str, by: str = "cluster, cluster_name") -> str:
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
    claimed = f'sum by (cluster, cluster_name) (rate(perseus_records_total{{workload!~"{queries}"}}[{window}]))'
    # Servers that were scraped within the last hour and report nothing now answer nothing. Without this, a dead cluster
    # would have no unanswered records. Servers that were never scraped prove neither.
    none = '0 * count by (cluster, cluster_name) (max_over_time(up{job="aerospike"}[1h]) == 1)'
    answered = f"{sum_of(proof.ANSWERED_COUNTERS, selector, window)} or on (cluster, cluster_name) {none}"
    failures = sum_of(proof.FAILED_COUNTERS, selector, window)
    failed = f"{failures} or on (cluster, cluster_name) 0 * pegasus:records_answered:rate"
    seen = "(pegasus:records_answered:rate + on (cluster, cluster_name) pegasus:records_failed:rate)"
    return [
        {"record": "pegasus:records_claimed:rate", "expr": claimed},
        {"record": "pegasus:records_answered:rate", "expr": answered},
        {"record": "pegasus:records_failed:rate", "expr": failed},
        {
            "record": "pegasus:records_failed:share",
            "expr": f"pegasus:records_failed:rate / on (cluster, cluster_name) ({seen} > 0)",
        },
        {
            # Perseus counts failed operations as done. The difference is what didn't reach a server.
            "record": "pegasus:records_unanswered:rate",
            "expr": f"clamp_min(pegasus:records_claimed:rate - on (cluster, cluster_name) {seen}, 0)",
        },
        {
            "record": "pegasus:records_unanswered:share",
            "expr": "pegasus:records_unanswered:rate / on (cluster, cluster_name) (pegasus:records_claimed:rate > 0)",
        },
    ]


def _client_alerts(window: str) -> list[dict[str, Any]]:
    client = "cluster, cluster_name, instance, index"
    total = f"sum by ({client}) (perseus_operations_per_second)"
    errors = f'sum by ({client}, error) (rate(perseus_error_lines_total{{error!="unknown"}}[{window}]))'
    differ = "perseus_threads_requested != perseus_threads_running and on (cluster, instance) (perseus_up == 1)"
    # The Community Edition refuses deletes (perseus/threads.py), so Perseus stops these threads all the time.
    refused = 'increase(perseus_error_lines_total{error="enterprise_only"}[2m]) > 0'
    deletes = f'perseus_threads_requested{{workload="delete"}} and on (cluster, instance) ({refused})'
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
            "PerseusIdle", f"{total} == 0", "10s", "warn",
            "{{ $labels.instance }}: Perseus is idle: it has no threads, or its threads complete no operations",
        ),
        _alert(
            "PerseusThreadsDiffer", f"({differ}) unless ({deletes})", f"{HEADER_SECONDS}s", "warn",
            "{{ $labels.instance }}: the threads of {{ $labels.workload }} differ from threads.yaml. Perseus may have "
            "stopped reading the file: run rerun-clients",
        ),
        _alert(
            "PerseusThreadsFile", "perseus_threads_file_ok == 0", "5s", "warn",
            "{{ $labels.instance }}: threads.yaml is missing, invalid, or not written by Pegasus: run copy-threads",
        ),
        _alert(
            "PerseusRestarts", "increase(perseus_restarts_total[5m]) > 2", "0s", "warn",
            "{{ $labels.instance }}: Perseus started {{ $value | humanize }} times in 5 minutes",
        ),
        _alert(
            "PerseusErrors", f"{errors} > 0", "10s", "info",
            "{{ $labels.instance }}: {{ $value | humanize }} error lines per second of kind {{ $labels.error }}",
        ),
        _alert(
            "PerseusCountsUnanswered", f"pegasus:records_unanswered:share > {TOLERANCE}", "10s", "critical",
            "{{ $labels.cluster }}: {{ $value | humanizePercentage }} of the records that Perseus prints reached no "
            "server",
        ),
        _alert(
            "PerseusLoadFails", f"pegasus:records_failed:share > {FAILURES}", "10s", "critical",
            "{{ $labels.cluster }}: {{ $value | humanizePercentage }} of the records fail on the servers, although "
            "Perseus prints them as done. The command status shows why",
        ),
    ]  # fmt: skip


def _server_alerts() -> list[dict[str, Any]]:
    whole = "cluster, cluster_name, job, ns"  # of the whole cluster
    namespace = f"{whole}, instance, service"
    return [
        _alert(
            "AerospikeNodeDown", 'aerospike_node_up == 0 or up{job="aerospike"} == 0', "5s", "critical",
            "{{ $labels.instance }}: the node doesn't answer",
        ),
        _alert(
            "AerospikeClusterTooSmall",
            "min by (cluster, cluster_name, job) (aerospike_node_stats_cluster_size)"
            ' < on (cluster) count by (cluster) (up{job="aerospike"})',
            "10s", "warn", "{{ $labels.cluster }}: a node reports a cluster size of only {{ $value }}",
        ),
        _alert(
            "AerospikeStopWrites", f"max by ({namespace}) (aerospike_namespace_stop_writes) == 1", "0s",
            "critical", "{{ $labels.instance }}: namespace {{ $labels.ns }} is full and refuses writes",
        ),
        _alert(
            "AerospikeClockSkew", f"max by ({namespace}) (aerospike_namespace_clock_skew_stop_writes) == 1", "0s",
            "critical", "{{ $labels.instance }}: namespace {{ $labels.ns }} refuses writes because the clocks differ",
        ),
        _alert(
            "AerospikeEviction", f"max by ({namespace}) (aerospike_namespace_hwm_breached) == 1", "0s",
            "warn", "{{ $labels.instance }}: namespace {{ $labels.ns }} is over a limit and evicts records",
        ),
        _alert(
            "AerospikeUnavailablePartitions", f"max by ({whole}) (aerospike_namespace_unavailable_partitions) > 0",
            "0s", "critical",
            "{{ $labels.cluster }}: {{ $value }} partitions of namespace {{ $labels.ns }} are unavailable",
        ),
        _alert(
            "AerospikeDeadPartitions", f"max by ({whole}) (aerospike_namespace_dead_partitions) > 0",
            "0s", "critical", "{{ $labels.cluster }}: {{ $value }} partitions of namespace {{ $labels.ns }} are dead",
        ),
    ]  # fmt: skip


def _host_alerts() -> list[dict[str, Any]]:
    free = 'node_filesystem_avail_bytes{mountpoint="/"} / node_filesystem_size_bytes{mountpoint="/"}'
    return [
        _alert(
            "ExpirySoon", f"{METRIC} - time() < {EXPIRY_WARNING_SECONDS}", "0s", "warn",
            "{{ $labels.instance }} expires in {{ $value | humanizeDuration }} and is then terminated. To keep it: "
            "./pegasus-driver extend 4h",
        ),
        _alert(
            "HostLost", 'up{job="hosts"} == 0', "10s", "critical",
            "{{ $labels.instance }} ({{ $labels.kind }}): the host doesn't answer",
        ),
        _alert(
            "HostDiskFull", f"{free} < 0.05", "1m", "warn",
            "{{ $labels.instance }}: only {{ $value | humanizePercentage }} of the root file system is free",
        ),
        _alert(
            "HostMemory", "node_memory_MemAvailable_bytes / node_memory_MemTotal_bytes < 0.05", "1m", "warn",
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
