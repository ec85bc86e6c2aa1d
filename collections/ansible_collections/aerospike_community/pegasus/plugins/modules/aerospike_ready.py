#!/usr/bin/python
# Copyright (c) Pegasus authors. SPDX-License-Identifier: Apache-2.0
"""Wait until a server node is in a stable cluster of the requested size, and return its state."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: aerospike_ready
short_description: Wait until a server node is in a stable cluster of the requested size
description:
  - Runs on the node's host and queries it over the info protocol until C(cluster-stable) returns a key for the
    requested size and the namespace exists. Doesn't wait for migrations.
  - Fails at once if the service has failed, with its CRITICAL line first.
author: Pegasus authors
options:
  host: {description: Address of the node., type: str, default: 127.0.0.1}
  port: {description: Service port., type: int, default: 3000}
  size: {description: Expected number of nodes; 0 for any., type: int, required: true}
  namespace: {description: "A namespace that must exist, if any. Its statistics are returned.", type: str, default: ""}
  service: {description: The node's unit. Its state and log explain a failure., type: str, default: aerospike}
  config: {description: File whose ports a failure names., type: path, default: /etc/aerospike/aerospike.conf}
  timeout: {description: Seconds to wait., type: float, default: 120}
attributes:
  check_mode: {description: Queries once. A node that isn't ready is no failure., support: full}
  diff_mode: {description: Has none., support: none}
"""

EXAMPLES = r"""
- name: Wait for the cluster
  aerospike_community.pegasus.aerospike_ready:
    size: 3
    namespace: Test
  register: aerospike_server_result
"""

RETURN = r"""
error_class: {description: C(readiness)., returned: failure, type: str}
node_id: {description: The node's id., returned: success, type: str}
cluster_key: {description: "The cluster's key, the same on all nodes if it is stable.", returned: success, type: str}
cluster_size: {description: Number of nodes that this node sees., returned: success, type: int}
cluster_name: {description: The cluster's name., returned: success, type: str}
build: {description: The server's version., returned: success, type: str}
edition: {description: The server's edition as it reports it., returned: success, type: str}
uptime: {description: Seconds since the server started., returned: success, type: int}
namespace: {description: The integer statistics of the namespace on this node., returned: success, type: dict}
bad_practices:
  description: The server's best practices that its host violates, by the server's names.
  returned: success
  type: list
  elements: str
waited: {description: Seconds until it was ready., returned: success, type: float}
service_state: {description: The service's C(ActiveState) in systemd., returned: failure, type: str}
journal: {description: The most telling lines of the server's log., returned: failure, type: list, elements: str}
"""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ..module_utils.aerospike.conf import open_ports
from ..module_utils.aerospike.info import InfoError, info, info_value, is_error, namespace_counters, parse_pairs
from ..module_utils.aerospike.settings import ConfError
from ..module_utils.host.systemd import Systemd, important_lines
from ..module_utils.results import READINESS

POLL_SECONDS = 0.2
SERVICE_CHECK_SECONDS = 1.0
FACTS = ("node", "build", "edition", "cluster-name", "namespaces", "statistics", "best-practices")


class NotReadyError(Exception):
    """The node isn't ready yet. The text says what was found."""


@dataclass
class Node:
    """The node to query."""

    host: str
    port: int
    size: int
    namespace: str

    def query(self) -> dict[str, object]:
        """Return the state of a ready node, as in RETURN. Raises NotReadyError if the node isn't ready."""
        size = f"size={self.size};" if self.size else ""
        stable = f"cluster-stable:{size}ignore-migrations=true"
        try:
            answers = info(self.host, stable, *FACTS, port=self.port)
            statistics = parse_pairs(answers.get("statistics", ""))
            seen = statistics.get("cluster_size", "0")
            key = answers.get(stable, "ERROR::no answer")
            if is_error(key):
                raise NotReadyError(f"found {key}; this node sees a cluster of {seen}")
            names = [name for name in answers.get("namespaces", "").split(";") if name]
            if self.namespace and self.namespace not in names:
                raise NotReadyError(f"expected namespace {self.namespace}, found {', '.join(names) or 'none'}")
            # For a moment after the cluster formed, the node's statistics have its old size.
            if self.size and int(seen) != self.size:
                raise NotReadyError(f"found key {key}, but this node counts a cluster of {seen}")
            return {
                "node_id": answers["node"],
                "cluster_key": key,
                "cluster_size": int(seen),
                "cluster_name": answers.get("cluster-name", ""),
                "build": answers["build"],
                "edition": answers.get("edition") or info_value(self.host, "version", port=self.port),
                "uptime": int(statistics.get("uptime", 0)),
                "namespace": namespace_counters(self.host, self.namespace, port=self.port) if self.namespace else {},
                "bad_practices": bad_practices(answers.get("best-practices", "")),
            }
        except (InfoError, KeyError, ValueError) as error:
            raise NotReadyError(f"found {error}") from error


def bad_practices(answer: str) -> list[str]:
    """Parse ``failed_best_practices=swappiness,somaxconn``, or ``none``."""
    found = parse_pairs(answer).get("failed_best_practices", "none")
    return [] if found == "none" else found.split(",")


def wait(node: Node, systemd: Systemd, service: str, timeout: float) -> tuple[dict[str, object] | None, str]:
    """Wait ``timeout`` seconds. Return the state of the ready node, or None and the last finding."""
    deadline = time.monotonic() + timeout
    next_check = 0.0
    restarts: int | None = None
    while True:
        try:
            return node.query(), ""
        except NotReadyError as error:
            finding = str(error)
        now = time.monotonic()
        if now >= deadline:
            return None, finding
        if now >= next_check:
            next_check = now + SERVICE_CHECK_SECONDS
            state = systemd.state(service)
            restarts = state.restarts if restarts is None else restarts
            # It won't start on its own: it failed, was not started, or keeps restarting.
            if state.loaded and (state.active in ("failed", "inactive") or state.restarts > restarts):
                return None, f"{finding}; service {service} is {state.describe()}"
        time.sleep(POLL_SECONDS)


def ports_of(config: str) -> str:
    """Return the ports of a configuration, or those of every release if it can't be read."""
    try:
        ports = open_ports(Path(config).read_text(encoding="utf-8", errors="replace"))
    except (ConfError, OSError):
        ports = []
    return ", ".join(ports or ["3000 (service)", "3001 (fabric)", "3002 (heartbeat)"])


def failure(params: dict[str, Any], systemd: Systemd, finding: str) -> dict[str, object]:
    """Return the result of a node that isn't ready: the message, and what explains it."""
    service, size = params["service"], params["size"]
    state = systemd.state(service)
    lines = important_lines(systemd.log_lines(service, since=max(0.0, state.started_at - 1)))
    first = f"{lines[0]}\n" if lines and ("CRITICAL" in lines[0] or "FAILED" in lines[0]) else ""
    message = (
        f"{first}{params['host']}:{params['port']}: cluster-stable: expected a stable cluster of {size or 'any size'} "
        f"within {params['timeout']:g} seconds, {finding}. Check 'journalctl -u {service}' on this host, and whether "
        f"ports {ports_of(params['config'])} are open between the nodes"
    )
    found = {"check": "cluster-stable", "expected": size, "found": finding}
    return {"msg": message, "journal": lines, "service_state": state.active, "error_class": READINESS, **found}


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "host": {"type": "str", "default": "127.0.0.1"},
            "port": {"type": "int", "default": 3000},
            "size": {"type": "int", "required": True},
            "namespace": {"type": "str", "default": ""},
            "service": {"type": "str", "default": "aerospike"},
            "config": {"type": "path", "default": "/etc/aerospike/aerospike.conf"},
            "timeout": {"type": "float", "default": 120},
        },
        supports_check_mode=True,
    )
    params = module.params
    node = Node(params["host"], params["port"], params["size"], params["namespace"])
    systemd = Systemd(module.run_command)
    started = time.monotonic()
    report, finding = wait(node, systemd, params["service"], 0 if module.check_mode else params["timeout"])
    if report is not None:
        module.exit_json(changed=False, waited=round(time.monotonic() - started, 2), **report)
    if module.check_mode:
        module.exit_json(changed=False, skipped=True, msg=f"not ready yet: {finding}")
    module.fail_json(**failure(params, systemd, finding))


if __name__ == "__main__":
    main()
