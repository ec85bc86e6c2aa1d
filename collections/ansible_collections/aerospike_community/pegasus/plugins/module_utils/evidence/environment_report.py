# Copyright (c) Pegasus authors. SPDX-License-Identifier: Apache-2.0
"""The environment as one record and as text, and why it isn't ready. Pure functions over what the hosts reported."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from ..ec2.tags import format_time, parse_time
from ..monitoring.rules import EXPIRY_WARNING_SECONDS

# Clients and servers are measured one after the other, so their windows differ. A lost load differs by far more.
LOAD_TOLERANCE = 0.35
# systemd's states of a database that isn't running, in a user's words.
STOPPED = {"inactive": "stopped", "failed": "killed or failed"}
KIND_OF_GROUP = {"servers": "server", "clients": "client", "monitors": "monitor"}
KINDS = tuple(KIND_OF_GROUP.values())
# Status of a host whose Ansible role succeeded.
READY = {"server": "in the cluster", "client": "under load", "monitor": "scraping"}


@dataclass
class Problem:
    """A reason why the environment isn't ready."""

    host: str
    check: str
    expected: str
    found: str

    def __str__(self) -> str:
        return f"{self.host}: {self.check}: expected {self.expected}, found {self.found}"


@dataclass
class Report:
    """The environment in one record, and its problems. Without problems, the environment is ready.

    ``data`` has the keys environment, backend, simulated, nodes, cluster, clients, monitoring, expires, expiry_warnings
    (sentences) and cost ({} if it wasn't queried). Rates are operations per second. A client's rate and the cluster's
    size are None if the run didn't check them, because it set up another part. ``data_bytes`` of the cluster is the
    capacity for data on all nodes, 0 if unknown.
    """

    data: dict[str, Any]
    problems: list[Problem] = field(default_factory=list)


def build_report(
    environment: str,
    backend: str,
    hosts: list[dict[str, Any]],
    namespace: str = "",
    replication_factor: int = 0,
    expected: dict[str, Any] | None = None,
    agreed: dict[str, Any] | None = None,
    kinds: Collection[str] = KINDS,
    cost: dict[str, Any] | None = None,
    now: datetime | None = None,
) -> Report:
    """Join what EC2 and the Ansible roles reported for each host.

    The module ``environment_report`` documents the parameters.

    :param hosts: records of the filter ``host_results``: name, kind, index, address, state, instance_id, instance_type,
        expires, and the result of the Ansible role of their kind (server, client, monitor), None if it didn't run
    :param agreed: its cluster_key and cluster_size take precedence over the nodes' results: the key of a node that was
        ready early has changed by the time the last node is ready
    """
    servers, clients, monitors = ([host for host in hosts if host["kind"] == kind] for kind in KINDS)
    problems: list[Problem] = []
    ignored: list[Problem] = []

    def problems_of(kind: str) -> list[Problem]:
        return problems if kind in kinds else ignored

    for kind, count in (expected or {}).items():
        found = sum(host["kind"] == kind for host in hosts)
        if found != int(count):
            problems_of(kind).append(Problem(environment, f"number of {kind} instances", str(count), str(found)))

    cluster: dict[str, Any] = {"size": None, "key": "", "stable": None, "data_bytes": 0}
    if "server" in kinds or any(host.get("server") is not None for host in servers):
        same = {name: value for name, value in (agreed or {}).items() if name in ("cluster_key", "cluster_size")}
        cluster = _cluster(servers, same, problems_of("server"))
    cluster |= {"namespace": namespace, "replication_factor": replication_factor}
    editions = [str((host.get("server") or {}).get("edition", "")) for host in servers]
    data: dict[str, Any] = {
        "environment": environment,
        "backend": backend,
        "simulated": any("SIMULATED" in edition for edition in editions),
        "nodes": [_node(host) for host in sorted(hosts, key=_order)],
        "cluster": cluster,
        "clients": _clients(clients, problems_of("client"), "client" in kinds),
        "monitoring": _monitoring(monitors, problems_of("monitor")),
        "expires": _first_expiry(hosts),
        "expiry_warnings": expiry_warnings(hosts, now or datetime.now(UTC)),
        "cost": cost or {},
    }
    return Report(data, problems)


def _first_expiry(hosts: list[dict[str, Any]]) -> str:
    """The earliest expiry in the hosts' tags, "never", "unknown" if a tag is missing, or "" without hosts."""
    tags = {str(host.get("expires") or "") for host in hosts}
    times = tags - {"", "never"}
    return min(times) if times else "unknown" if "" in tags else "never" if tags else ""


def expiry_warnings(hosts: list[dict[str, Any]], now: datetime) -> list[str]:
    """Return a sentence for each expiry that is near or over, with the hosts that share it."""
    names_by_expiry: dict[datetime, list[str]] = {}
    for host in sorted(hosts, key=_order):
        expiry = parse_time(str(host.get("expires") or ""))
        if expiry is not None and expiry - now < timedelta(seconds=EXPIRY_WARNING_SECONDS):
            names_by_expiry.setdefault(expiry, []).append(host["name"])
    warnings = []
    for expiry, names in sorted(names_by_expiry.items()):
        listed, time = ", ".join(names), format_time(expiry)
        if expiry > now:
            verb = "expires" if len(names) == 1 else "expire"
            minutes = int((expiry - now).total_seconds() // 60)
            warnings.append(f"{listed} {verb} in {minutes} min, at {time}. To postpone it: ./pegasus-driver extend 4h")
        else:
            warnings.append(
                f"{listed} expired at {time}. ./pegasus-driver reap terminates expired instances, extend 4h keeps them"
            )
    return warnings


def _order(host: dict[str, Any]) -> tuple[int, int]:
    return KINDS.index(host["kind"]), host["index"]


def _node(host: dict[str, Any]) -> dict[str, Any]:
    keys = ("name", "index", "kind", "address", "public_address", "state", "instance_id", "instance_type")
    return {**{key: host.get(key, "") for key in keys}, "service": _service(host)}


def _service(host: dict[str, Any]) -> str:
    """The status of the host's own service in a few words; "" if the run didn't check it."""
    if host.get("state") != "running":
        return str(host.get("state", ""))
    if host.get("unreachable"):
        return "unreachable by ssh"
    result = host.get(host["kind"])
    if result is None:
        return ""
    if result.get("failed"):
        return STOPPED.get(result.get("service_state", ""), "not ready")
    return READY[host["kind"]]


def _cluster(servers: list[dict[str, Any]], agreed: dict[str, Any], problems: list[Problem]) -> dict[str, Any]:
    answers = {}
    for host in servers:
        result = host.get("server")
        if result is not None and result.get("failed") and result.get("service_state") in STOPPED:
            reason = _failure(result)
            # The server's own words, if its log has any.
            detail = f": {reason}" if "CRITICAL" in reason or "FAILED" in reason else ""
            state = STOPPED[result["service_state"]]
            found = f"{state} (./pegasus-driver restart-node {host['index']} starts it){detail}"
            problems.append(Problem(host["name"], "database", "running", found))
            continue
        if result is None or result.get("failed"):
            problems.append(Problem(host["name"], "cluster-stable", f"size {len(servers)} and a key", _failure(result)))
            continue
        answers[host["name"]] = {**result, **agreed}
    keys = {result["cluster_key"] for result in answers.values()}
    sizes = {int(result["cluster_size"]) for result in answers.values()}
    if len(keys) > 1:
        found = ", ".join(f"{name} {result['cluster_key']}" for name, result in answers.items())
        problems.append(Problem("cluster", "cluster key", "the same on every node", found))
    problems.extend(
        Problem(name, "cluster size", str(len(servers)), str(result["cluster_size"]))
        for name, result in answers.items()
        if int(result["cluster_size"]) != len(servers)
    )
    return {
        "size": min(sizes, default=0),
        "key": keys.pop() if len(keys) == 1 else "",
        "stable": bool(answers) and len(answers) == len(servers) and not problems,
        "data_bytes": sum(_data_bytes(result.get("namespace") or {}) for result in answers.values()),
    }


def _data_bytes(counters: dict[str, Any]) -> int:
    """A node's capacity for data, in memory or on disk, from its namespace statistics; 0 if unknown."""
    # Servers before 7.0 have the second name for data on disk and the third for data in memory.
    names = ("data_total_bytes", "device_total_bytes", "memory-size")
    return next((int(counters[name]) for name in names if int(counters.get(name) or 0)), 0)


def _clients(clients: list[dict[str, Any]], problems: list[Problem], checked: bool) -> list[dict[str, Any]]:
    records, server_rates = [], []
    for host in clients:
        result = host.get("client")
        if result is None or result.get("failed"):
            problems.append(Problem(host["name"], "Perseus rows", "non-zero counts", _failure(result)))
            # A client that the run didn't check may well be under load.
            unknown = result is None and not checked
            records.append({"name": host["name"], "rate": None if unknown else 0.0, "rates": {}, "threads": {}})
            continue
        rate = float(result["total_rate"])
        if rate <= 0:
            problems.append(Problem(host["name"], "Perseus rows", "non-zero counts", "rows of 0"))
        server_rates.append(float(result["server_rate"]))
        records.append(
            {"name": host["name"], "rate": rate, "rates": result.get("rates", {}), "threads": result.get("threads", {})}
        )
    if clients and len(server_rates) == len(clients):
        claimed = sum(record["rate"] for record in records)
        # Each client was measured for a few seconds of its own, in which the servers counted the load of all clients.
        # The load of a busy machine varies tenfold in that time. So a higher count on the servers proves nothing.
        # A lower count is load that Perseus only claims.
        counted = max(server_rates)
        if counted < claimed * (1 - LOAD_TOLERANCE):
            expected = f"about {claimed:,.0f} operations per second or more on the servers, as the clients print"
            problems.append(Problem("clients", "load", expected, f"{counted:,.0f} in the servers' counters"))
    return records


def _monitoring(monitors: list[dict[str, Any]], problems: list[Problem]) -> dict[str, Any]:
    record: dict[str, Any] = {"grafana_url": "", "prometheus_url": "", "targets": 0, "targets_up": 0, "dashboards": []}
    for host in monitors:
        result = host.get("monitor")
        if result is None or result.get("failed"):
            problems.append(Problem(host["name"], "monitoring", "all targets up, all dashboards", _failure(result)))
            continue
        targets = result.get("targets", [])
        record = {
            "grafana_url": result.get("grafana_url", ""),
            "prometheus_url": result.get("prometheus_url", ""),
            "targets": len(targets),
            "targets_up": sum(target.get("health") == "up" for target in targets),
            "dashboards": result.get("dashboards", []),
        }
        for target in targets:
            if target.get("health") != "up":
                check = f"target {target.get('url') or target.get('instance')}"
                problems.append(Problem(host["name"], check, "up", str(target.get("health"))))
    return record


def _failure(result: dict[str, Any] | None) -> str:
    """Why a host's result is missing or a failure, in one line."""
    if result is None:
        return "no answer"
    # A first line such as "found 1 that are not:" is continued on the second line.
    lines = [line.strip() for line in str(result.get("msg") or "no answer").strip().splitlines()]
    return " ".join(lines[:2] if lines[0].endswith(":") else lines[:1])


def report_lines(data: dict[str, Any]) -> list[str]:
    """Return a report's ``data`` as text, for a run without the driver, which has a view of its own."""
    cluster, monitoring = data["cluster"], data["monitoring"]
    lines = [f"{data['environment']} on {data['backend']}{' (SIMULATED server)' if data['simulated'] else ''}"]
    lines += [
        f"{node['kind']:8} {node['index']:>3}  {node['name']:24} {node['address']:16} {node['state']:9} "
        f"{node['service']}"
        for node in data["nodes"]
    ]
    if cluster["size"] is not None:
        size = cluster["data_bytes"] / 1024**3
        capacity = f", {size:,.1f} GiB for data on all nodes" if size else ""
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
