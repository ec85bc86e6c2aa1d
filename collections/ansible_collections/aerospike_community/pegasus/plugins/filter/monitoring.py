# Copyright (c) Pegasus authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""Filters of the role grafana_prometheus: targets and dashboards from data."""

from __future__ import annotations

from typing import Any

from ansible.errors import AnsibleFilterError
from ansible_collections.aerospike_community.pegasus.plugins.module_utils import durations
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.monitoring import (
    dashboards as grafana_dashboards,
)
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.monitoring import rules as prometheus_rules
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.monitoring import targets as monitoring

# A rate needs several samples; half a minute shows an outage soon enough.
SCRAPES_IN_A_RATE = 5
SHORTEST_RATE = 30  # seconds


def monitoring_targets(hosts: list[dict[str, Any]], cluster: str) -> list[dict[str, Any]]:
    """Return what Prometheus reads of the environment's hosts (records of host_results)."""
    return monitoring.targets_of(hosts, cluster)


def prometheus_file_sd(targets: list[dict[str, Any]], job: str) -> str:
    """Return one job's targets as a file for Prometheus."""
    return monitoring.file_sd(targets, job)


def prometheus_rules_of(scrape_interval: str, namespace: str = "") -> dict[str, Any]:
    """Return recording rules and alerts for what is read once in an interval (1s, 15s, 1m).

    :raises AnsibleFilterError: the interval isn't one
    """
    try:
        seconds = durations.parse_duration(scrape_interval)
    except ValueError as error:
        raise AnsibleFilterError(f"grafana_prometheus_scrape_interval: {error}") from error
    return prometheus_rules.rules(namespace, f"{max(SHORTEST_RATE, SCRAPES_IN_A_RATE * seconds)}s")


def grafana_dashboard_files(names: list[str], folder: str) -> list[dict[str, Any]]:
    """Return dashboards as files for the module host_service.

    :raises AnsibleFilterError: there is no such dashboard
    """
    try:
        return [
            {
                "path": f"{folder}/{name}.json",
                "content": grafana_dashboards.render(name),
                "services": ["grafana-server"],
            }
            for name in names
        ]
    except ValueError as error:
        raise AnsibleFilterError(f"grafana_prometheus_dashboards: {error}") from error


def grafana_dashboard_uid(name: str) -> str:
    """Return a dashboard's uid."""
    return grafana_dashboards.uid_of(name)


class FilterModule:
    """Ansible's entry point."""

    def filters(self) -> dict[str, Any]:
        """Name the filters."""
        return {
            "monitoring_targets": monitoring_targets,
            "prometheus_file_sd": prometheus_file_sd,
            "prometheus_rules": prometheus_rules_of,
            "grafana_dashboard_files": grafana_dashboard_files,
            "grafana_dashboard_uid": grafana_dashboard_uid,
        }
