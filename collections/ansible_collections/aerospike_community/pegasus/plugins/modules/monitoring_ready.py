#!/usr/bin/python
# Copyright (c) Pegasus authors. SPDX-License-Identifier: Apache-2.0
"""Wait until Prometheus scrapes every target and Grafana has every dashboard."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: monitoring_ready
short_description: Wait until Prometheus scrapes every target and Grafana has every dashboard
description:
  - Queries the state of Prometheus's targets until all expected targets are up.
  - Queries Grafana's health, data source and dashboards, with the login of the user who will view them.
author: Pegasus authors
options:
  prometheus_url: {description: Address of Prometheus., type: str, default: "http://127.0.0.1:9090"}
  targets:
    description: The targets that must be up.
    type: list
    elements: dict
    required: true
    suboptions:
      job: {description: Its job., type: str, required: true}
      address: {description: Its address with port., type: str, required: true}
      labels: {description: Its labels; they are not compared., type: dict, default: {}}
  grafana_url: {description: Address of Grafana., type: str, default: "http://127.0.0.1:3000"}
  grafana_user: {description: A user of Grafana., type: str, default: admin}
  grafana_password: {description: That user's password., type: str, required: true}
  datasource: {description: The uid of the data source., type: str, default: pegasus-prometheus}
  dashboards: {description: The uids of the dashboards., type: list, elements: str, default: []}
  address:
    description: Address at which users reach this host, for the URLs in the result. Empty for the URLs of the options.
    type: str
    default: ""
  timeout: {description: Seconds., type: int, default: 60}
attributes:
  check_mode: {description: Checks in the same way; it changes nothing., support: full}
  diff_mode: {description: Has none., support: none}
"""

EXAMPLES = r"""
- name: Wait for the monitoring
  aerospike_community.pegasus.monitoring_ready:
    targets:
      - {job: hosts, address: "10.0.0.1:9100"}
    grafana_password: "{{ grafana_prometheus_admin_password }}"
    dashboards: [pegasus-environment]
"""

RETURN = r"""
targets:
  description: Every target with job, instance, address, kind, url, health and last_error.
  returned: always
  type: list
  elements: dict
dashboards: {description: Each with uid and title and path., returned: always, type: list, elements: dict}
prometheus_url: {description: Prometheus for users., returned: success, type: str}
grafana_url: {description: Grafana for users., returned: success, type: str}
versions: {description: The versions of prometheus and grafana., returned: always, type: dict}
log: {description: Relevant log lines of the service that isn't ready., returned: failure, type: list, elements: str}
error_class: {description: C(readiness)., returned: failure, type: str}
"""

import json
import time
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from ansible.module_utils.basic import AnsibleModule

from ..module_utils.host.systemd import Systemd, important_lines
from ..module_utils.monitoring import targets, web
from ..module_utils.results import READINESS

POLL_SECONDS = 0.3


class NotYetError(Exception):
    """Something isn't ready. The log of ``service`` may explain it. ``final``: waiting doesn't help."""

    def __init__(self, message: str, service: str, final: bool = False) -> None:
        super().__init__(message)
        self.service = service
        self.final = final


class Monitoring:
    """The HTTP APIs of Prometheus and Grafana. ``found``: their targets, dashboards and versions, as in RETURN."""

    def __init__(self, params: dict) -> None:
        self.params = params
        self.login = web.login(params["grafana_user"], params["grafana_password"])
        self.found: dict[str, Any] = {"targets": [], "dashboards": [], "versions": {}}

    def check(self) -> None:
        """Check everything once. Raises NotYetError with the first problem."""
        self.check_prometheus()
        self.check_grafana()

    def check_prometheus(self) -> None:
        """Check Prometheus and its targets."""
        versions = self.found["versions"]
        if "prometheus" not in versions:
            answer = self.prometheus("/api/v1/status/buildinfo")
            versions["prometheus"] = str(answer.get("data", {}).get("version", ""))
        self.found["targets"] = targets.read_targets(self.prometheus("/api/v1/targets?state=active"))
        problem = targets.targets_problem(self.params["targets"], self.found["targets"])
        if problem:
            raise NotYetError(f"Prometheus's targets: {problem}", "")

    def check_grafana(self) -> None:
        """Check Grafana's health, data source and dashboards."""
        health = self.grafana("/api/health")
        if health.get("database") != "ok":
            raise NotYetError(f"Grafana's health: expected database ok, found {health}", "grafana-server")
        self.found["versions"]["grafana"] = str(health.get("version", ""))
        self.grafana(f"/api/datasources/uid/{self.params['datasource']}")
        dashboards = []
        for uid in self.params["dashboards"]:
            answer = self.grafana(f"/api/dashboards/uid/{uid}")
            title, path = answer.get("dashboard", {}).get("title", ""), answer.get("meta", {}).get("url", "")
            dashboards.append({"uid": uid, "title": str(title), "path": str(path or f"/d/{uid}")})
        self.found["dashboards"] = dashboards

    def prometheus(self, path: str) -> dict[str, Any]:
        """Query Prometheus."""
        return self.get("prometheus", self.params["prometheus_url"] + path, {})

    def grafana(self, path: str) -> dict[str, Any]:
        """Query Grafana as its user."""
        return self.get("grafana-server", self.params["grafana_url"] + path, self.login)

    def get(self, service: str, url: str, headers: dict[str, str]) -> dict[str, Any]:
        """Return the JSON object at a URL. Raises NotYetError if there is no such answer."""
        try:
            found = json.loads(web.query(url, headers))
        except web.RefusedError as error:
            raise NotYetError(
                f"{url}: Grafana refuses the user {self.params['grafana_user']} ({error}): its password isn't "
                f"grafana_prometheus_admin_password. Run 'pegasus-driver setup-grafana' to set it. The user keeps the "
                f"name from Grafana's first start",
                service,
                final=True,
            ) from error
        except (OSError, ValueError) as error:
            raise NotYetError(f"{url}: expected an answer, found {error}", service) from error
        if not isinstance(found, dict):
            raise NotYetError(f"{url}: expected a JSON object, found {type(found).__name__}", service)
        return found


def why_down(service: str, systemd: Systemd) -> str:
    """Return why a service will never answer; "" if it may still answer, and for no service."""
    if not service:
        return ""
    state = systemd.state(service)
    if not state.loaded:
        return f"; {service} isn't installed on this host: setup-grafana installs it"
    if state.active in ("inactive", "failed"):
        return f"; {service} is {state.describe()}: setup-grafana starts it"
    return ""


def reached_at(url: str, address: str) -> str:
    """Return the URL of the same service at another address of the host."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=f"{address}:{parts.port}")) if address else url


def main() -> None:
    target = {
        "job": {"type": "str", "required": True},
        "address": {"type": "str", "required": True},
        "labels": {"type": "dict", "default": {}},
    }
    module = AnsibleModule(
        argument_spec={
            "prometheus_url": {"type": "str", "default": "http://127.0.0.1:9090"},
            "targets": {"type": "list", "elements": "dict", "required": True, "options": target},
            "grafana_url": {"type": "str", "default": "http://127.0.0.1:3000"},
            "grafana_user": {"type": "str", "default": "admin"},
            "grafana_password": {"type": "str", "required": True, "no_log": True},
            "datasource": {"type": "str", "default": "pegasus-prometheus"},
            "dashboards": {"type": "list", "elements": "str", "default": []},
            "address": {"type": "str", "default": ""},
            "timeout": {"type": "int", "default": 60},
        },
        supports_check_mode=True,
    )
    monitoring, systemd = Monitoring(module.params), Systemd(module.run_command)
    deadline = time.monotonic() + module.params["timeout"]
    refused = 0
    while True:
        try:
            monitoring.check()
            break
        except NotYetError as error:
            # Grafana locks the user out after several wrong logins. One refusal may happen while it starts, two don't.
            refused = refused + 1 if error.final else 0
            why = why_down(error.service, systemd) if not error.final else ""
            if refused >= 2 or why or time.monotonic() > deadline:
                lines = important_lines(systemd.log_lines(error.service, count=100), 6) if error.service else []
                shown = "".join(f"\n  {line}" for line in lines)
                log = f"\nIn the log of {error.service}, most relevant first:{shown}" if lines else ""
                message = f"The monitoring is not ready: {error}{why}{log}"
                module.fail_json(msg=message, log=lines, error_class=READINESS, **monitoring.found)
        time.sleep(POLL_SECONDS)
    module.exit_json(
        changed=False,
        **monitoring.found,
        prometheus_url=reached_at(module.params["prometheus_url"], module.params["address"]),
        grafana_url=reached_at(module.params["grafana_url"], module.params["address"]),
    )


if __name__ == "__main__":
    main()
