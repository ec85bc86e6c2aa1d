# Copyright (c) Pegasus authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""The environment report as plain text. Pure functions."""

from __future__ import annotations

from typing import Any


def report_lines(data: dict[str, Any]) -> list[str]:
    """Return the report's lines for a run without the driver, which has a view of its own.

    :param data: the record of :class:`environment_report.Report`
    """
    cluster, monitoring = data["cluster"], data["monitoring"]
    lines = [f"{data['environment']} on {data['backend']}{' (SIMULATED server)' if data['simulated'] else ''}"]
    lines += [
        f"{node['kind']:8} {node['index']:>3}  {node['name']:24} {node['address']:16} {node['state']:9} "
        f"{node['service']}"
        for node in data["nodes"]
    ]
    if cluster["size"] is not None:
        capacity = (
            f", {cluster['data_bytes'] / 1024**3:,.1f} GiB for data on all nodes" if cluster["data_bytes"] else ""
        )
        lines.append(
            f"cluster: size {cluster['size']}, key {cluster['key'] or 'none'}, "
            f"namespace {cluster['namespace']}, {cluster['replication_factor']} copies{capacity}"
        )
    lines += [
        f"load of {client['name']}: {client['rate']:,.0f} operations per second"
        for client in data["clients"]
        if client["rate"] is not None
    ]
    lines += [
        f"Grafana: {monitoring['grafana_url'] or 'not available'}",
        f"Prometheus: {monitoring['prometheus_url'] or 'not available'} "
        f"({monitoring['targets_up']} of {monitoring['targets']} targets up)",
        f"expires: {data['expires'] or 'no instances'}",
        *(f"WARNING: {text}" for text in data["expiry_warnings"]),
        *([f"cost: {data['cost']['text']}"] if data["cost"] else []),
        "to change the load: edit threads.yaml, then run pegasus-driver copy-threads",
        "to destroy the environment: pegasus-driver destroy, or ansible-playbook playbooks/destroy.yml",
    ]
    return lines
