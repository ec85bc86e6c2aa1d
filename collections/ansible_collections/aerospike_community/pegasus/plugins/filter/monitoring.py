# Copyright (c) Pegasus authors. SPDX-License-Identifier: Apache-2.0
"""Filters of the role grafana_prometheus: targets, rules and dashboards as data."""

from __future__ import annotations

from typing import Any

from ansible.errors import AnsibleFilterError

from ..module_utils import durations
from ..module_utils.monitoring import dashboards, rules
from ..module_utils.monitoring import targets as prometheus

# A rate needs several samples; 30 seconds still shows an outage soon enough.
SCRAPES_IN_A_RATE = 5
SHORTEST_RATE = 30  # seconds


def monitoring_targets(hosts: list[dict[str, Any]], cluster: str) -> list[dict[str, Any]]:
    """Return the scrape targets of an environment's hosts (records of host_results)."""
    return prometheus.targets_of(hosts, cluster)


def prometheus_target_groups(targets: list[dict[str, Any]], job: str) -> list[dict[str, Any]]:
    """Return one job's targets in the format of Prometheus's file-based service discovery."""
    return prometheus.target_groups(targets, job)


def prometheus_rules_of(scrape_interval: str, namespace: str = "") -> dict[str, Any]:
    """Return recording rules and alerts.

    :param scrape_interval: a duration such as 1s, 15s, 1m
    :param namespace: the namespace under load; empty for all
    :raises AnsibleFilterError: the interval isn't a duration
    """
    try:
        seconds = durations.parse_duration(scrape_interval)
    except ValueError as error:
        raise AnsibleFilterError(f"grafana_prometheus_scrape_interval: {error}") from error
    return rules.rules(namespace, f"{max(SHORTEST_RATE, SCRAPES_IN_A_RATE * seconds)}s")


def grafana_dashboard(name: str) -> dict[str, Any]:
    """Return a dashboard in Grafana's import format.

    :raises AnsibleFilterError: there is no such dashboard
    """
    try:
        return dashboards.build(name)
    except ValueError as error:
        raise AnsibleFilterError(f"grafana_prometheus_dashboards: {error}") from error


def grafana_dashboard_uid(name: str) -> str:
    """Return a dashboard's uid."""
    return dashboards.uid_of(name)


class FilterModule:
    """Ansible's entry point."""

    def filters(self) -> dict[str, Any]:
        """Return the filters by name."""
        return {
            "monitoring_targets": monitoring_targets,
            "prometheus_target_groups": prometheus_target_groups,
            "prometheus_rules": prometheus_rules_of,
            "grafana_dashboard": grafana_dashboard,
            "grafana_dashboard_uid": grafana_dashboard_uid,
        }
