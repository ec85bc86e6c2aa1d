# Copyright (c) Pegasus authors. SPDX-License-Identifier: Apache-2.0
"""The environment as one record and as text, and why it isn't ready. Pure functions over what the hosts reported."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from ..aerospike import health
from ..ec2.tags import format_time, parse_time
from ..monitoring.rules import EXPIRY_WARNING_SECONDS
from ..results import sudo_timed_out
from .report_text import GIB, answers_text, database_rows, load_text

# Clients and servers are measured one after the other, so their windows differ. A lost load differs by far more.
LOAD_TOLERANCE = 0.35
# systemd's states of a database that isn't running, in a user's words.
STOPPED = {"inactive": "stopped", "failed": "killed or failed"}
KIND_OF_GROUP = {"servers": "server", "clients": "client", "monitors": "monitor"}
KINDS = tuple(KIND_OF_GROUP.values())
# Status of a host on which a task of this run failed, before its service was checked.
SETUP_FAILED = "setup failed"
# Status of a host whose Ansible role succeeded.
READY = {"server": "in the cluster", "client": "under load", "monitor": "scraping"}


@dataclass
class Problem:
    """A reason why the environment isn't ready. Without ``expected``, ``found`` is a complete sentence."""

    host: str
    check: str
    expected: str
    found: str
    advice: str = ""

    def __str__(self) -> str:
        text = f"expected {self.expected}, found {self.found}" if self.expected else self.found
        return f"{self.host}: {self.check}: {text}" + (f". Next: {self.advice}" if self.advice else "")


@dataclass
class Report:
    """The environment in one record, and its problems. Without problems, the environment is ready.

    ``data`` has the keys environment, backend, simulated, nodes, cluster, clients, servers, monitoring, expires,
    expiry_warnings (sentences) and cost ({} if it wasn't queried).

    ``nodes``: ``service`` is the status of the host's own service in a few words. A server also has ``database``:
    version and the figures of aerospike/usage.py, {} if unknown.
    ``cluster``: ``size`` is None if the run didn't check it, because it set up another part. ``data_bytes`` is the
    capacity for data on all nodes, 0 if unknown; ``objects`` counts each record once, None if unknown.
    ``clients``: operations_per_second (a batch counts once), records_per_second (each record of a batch counts), both
    None if the run didn't check them; threads, refused (workloads), workloads, ready.
    ``servers``: answered_records_per_second and failed_records_per_second for all clients, and kinds; {} if unknown.
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
    failed: Collection[str] = (),
    now: datetime | None = None,
) -> Report:
    """Join what EC2 and the Ansible roles reported for each host.

    The module ``environment_report`` documents the parameters.

    :param hosts: records of the filter ``host_results``: name, kind, index, address, state, instance_id, instance_type,
        expires, and the result of the Ansible role of their kind (server, client, monitor), None if it didn't run
    :param agreed: its cluster_key, cluster_size, problems and usage take precedence over the results of nodes: the key
        of a node that was ready early has changed by the time the last node is ready, and the load may have filled it
    :param failed: names of hosts whose failure this run has reported already
    """
    hosts = [{**host, "failed": host["name"] in failed} for host in hosts]
    servers, clients, monitors = ([host for host in hosts if host["kind"] == kind] for kind in KINDS)
    problems: list[Problem] = []
    ignored: list[Problem] = []

    def problems_of(kind: str) -> list[Problem]:
        return problems if kind in kinds else ignored

    for kind, count in (expected or {}).items():
        found = sum(host["kind"] == kind for host in hosts)
        if found != int(count):
            problems_of(kind).append(Problem(environment, f"number of {kind} instances", str(count), str(found)))

    cluster: dict[str, Any] = {"size": None, "key": "", "stable": None, "data_bytes": 0, "objects": None}
    refusing = {host["name"]: _health(host, agreed or {}) for host in servers}
    if "server" in kinds or any(host.get("server") is not None for host in servers):
        same = {name: value for name, value in (agreed or {}).items() if name in ("cluster_key", "cluster_size")}
        cluster = _cluster(servers, same, refusing, problems_of("server"))
        objects = [_usage(host, agreed or {}).get("master_objects") for host in servers]
        cluster["objects"] = sum(objects) if objects and None not in objects else None
    cluster |= {"namespace": namespace, "replication_factor": replication_factor}
    editions = [str((host.get("server") or {}).get("edition", "")) for host in servers]
    data: dict[str, Any] = {
        "environment": environment,
        "backend": backend,
        "simulated": any("SIMULATED" in edition for edition in editions),
        "nodes": [_node(host, refusing.get(host["name"], []), agreed or {}) for host in sorted(hosts, key=_order)],
        "cluster": cluster,
        "clients": _clients(clients, problems_of("client"), "client" in kinds),
        "servers": _servers(clients),
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


def _node(host: dict[str, Any], refusing: list[health.Problem], agreed: dict[str, Any]) -> dict[str, Any]:
    keys = ("name", "index", "kind", "address", "public_address", "state", "instance_id", "instance_type")
    node = {**{key: host.get(key, "") for key in keys}, "service": _service(host, refusing)}
    if host["kind"] == "server":
        result = host.get("server") or {}
        node["database"] = {"version": result["build"], **_usage(host, agreed)} if "build" in result else {}
    return node


def _usage(host: dict[str, Any], agreed: dict[str, Any]) -> dict[str, Any]:
    """What a server holds, as all nodes reported it last."""
    return agreed.get("usage", {}).get(host.get("address")) or (host.get("server") or {}).get("usage") or {}


def _service(host: dict[str, Any], refusing: list[health.Problem]) -> str:
    """The status of the host's own service in a few words; "" if the run didn't check it."""
    if host.get("state") != "running":
        return str(host.get("state", ""))
    result = host.get(host["kind"])
    if host.get("unreachable"):
        return "no answer from sudo" if sudo_timed_out(str((result or {}).get("msg", ""))) else "unreachable by ssh"
    if result is None:
        return SETUP_FAILED if host["failed"] else ""
    if refusing:
        return health.short(refusing)
    if result.get("failed") and not _stable(result):
        return STOPPED.get(result.get("service_state", ""), "not ready")
    return READY[host["kind"]]


def _health(host: dict[str, Any], agreed: dict[str, Any]) -> list[health.Problem]:
    """Why a server refuses operations, as all nodes reported it last."""
    result = host.get("server")
    if result is None or host.get("unreachable"):
        return []
    if "problems" in agreed:
        records = [record for record in agreed["problems"] if record["node"] == host.get("address")]
    else:
        records = result.get("problems", [])
    return [health.Problem(**record) for record in records]


def _stable(result: dict[str, Any] | None) -> bool:
    """Whether a server is in a stable cluster, even if its result is a failure because it refuses operations."""
    return result is not None and (not result.get("failed") or bool(result.get("problems")))


def _cluster(
    servers: list[dict[str, Any]],
    agreed: dict[str, Any],
    refusing: dict[str, list[health.Problem]],
    problems: list[Problem],
) -> dict[str, Any]:
    answers, unstable = {}, []
    for host in servers:
        result = host.get("server")
        if _stable(result):
            answers[host["name"]] = {**(result or {}), **agreed}
        elif host["failed"]:
            continue
        elif result is not None and result.get("service_state") in STOPPED:
            reason = _failure(result)
            # The server's own words, if its log has any.
            detail = f": {reason}" if "CRITICAL" in reason or "FAILED" in reason else ""
            state = STOPPED[result["service_state"]]
            found = f"{state} (./pegasus-driver restart-node {host['index']} starts it){detail}"
            unstable.append(Problem(host["name"], "database", "running", found))
        else:
            unstable.append(Problem(host["name"], "cluster-stable", f"size {len(servers)} and a key", _failure(result)))
    keys = {result["cluster_key"] for result in answers.values()}
    sizes = {int(result["cluster_size"]) for result in answers.values()}
    if len(keys) > 1:
        found = ", ".join(f"{name} {result['cluster_key']}" for name, result in answers.items())
        unstable.append(Problem("cluster", "cluster key", "the same on every node", found))
    unstable.extend(
        Problem(name, "cluster size", str(len(servers)), str(result["cluster_size"]))
        for name, result in answers.items()
        if int(result["cluster_size"]) != len(servers)
    )
    stable = bool(answers) and len(answers) == len(servers) and not unstable and not problems
    problems += unstable
    advised: set[str] = set()  # the same advice once, however many nodes
    for name, found_by_node in refusing.items():
        for problem in found_by_node:
            check = (f"namespace {problem.namespace}: " if problem.namespace else "") + problem.check
            advice = "" if problem.advice in advised else problem.advice
            problems.append(Problem(name, check, problem.expected, problem.found, advice))
            advised.add(problem.advice)
    return {
        # A node that failed before the check may well run: an upgrade that was refused changes nothing.
        "size": min(sizes, default=None if any(host["failed"] for host in servers) else 0),
        "key": keys.pop() if len(keys) == 1 else "",
        "stable": stable,
        "data_bytes": sum(_data_bytes(result.get("namespace") or {}) for result in answers.values()),
    }


def _data_bytes(counters: dict[str, Any]) -> int:
    """A node's capacity for data, in memory or on disk, from its namespace statistics; 0 if unknown."""
    # Servers before 7.0 have the second name for data on disk and the third for data in memory.
    names = ("data_total_bytes", "device_total_bytes", "memory-size")
    return next((int(counters[name]) for name in names if int(counters.get(name) or 0)), 0)


def _clients(clients: list[dict[str, Any]], problems: list[Problem], checked: bool) -> list[dict[str, Any]]:
    records, counted = [], []
    for host in clients:
        result = host.get("client")
        # A client that the run didn't check may well be under load.
        unknown = result is None and (not checked or host["failed"])
        record = {
            "name": host["name"],
            "ready": None if unknown else result is not None and not result.get("failed"),
            "operations_per_second": None if unknown else 0.0,
            "records_per_second": None if unknown else 0.0,
            **{key: (result or {}).get(key, {}) for key in ("workloads", "threads")},
            "refused": (result or {}).get("refused", []),
        }
        rates = ("operations_per_second", "records_per_second")
        record |= {key: float(result[key]) for key in rates if result and key in result}
        records.append(record)
        if host["failed"]:
            continue
        if not record["ready"]:
            problems.append(Problem(host["name"], "load", "", _load_failure(result)))
        elif record["operations_per_second"] <= 0:
            problems.append(Problem(host["name"], "load", "rows with counts", "rows of 0"))
        if result and "servers" in result:
            servers = result["servers"]
            counted.append(servers["answered_records_per_second"] + servers["failed_records_per_second"])
    if clients and len(counted) == len(clients):
        claimed = sum(record["records_per_second"] for record in records)
        # Each client was measured for a few seconds of its own, in which the servers counted the load of all clients.
        # The load of a busy machine varies tenfold in that time. So a higher count on the servers proves nothing.
        # A lower count is load that Perseus only claims.
        if max(counted) < claimed * (1 - LOAD_TOLERANCE):
            expected = f"about {claimed:,.0f} records/s or more on the servers, as the clients print"
            problems.append(Problem("clients", "load", expected, f"{max(counted):,.0f} records/s in their counters"))
    return records


def _load_failure(result: dict[str, Any] | None) -> str:
    """Why a client isn't ready, as a sentence."""
    text = _failure(result)
    return text if text.startswith("Perseus is not ready") else f"expected rows with counts, found {text}"


def _servers(clients: list[dict[str, Any]]) -> dict[str, Any]:
    """What the servers counted for all clients, in the window of the client that saw the most."""
    windows = [result["servers"] for host in clients if (result := host.get("client")) and "servers" in result]
    return max(windows, key=lambda window: window["answered_records_per_second"], default={})


def _monitoring(monitors: list[dict[str, Any]], problems: list[Problem]) -> dict[str, Any]:
    record: dict[str, Any] = {"grafana_url": "", "prometheus_url": "", "targets": 0, "targets_up": 0, "dashboards": []}
    for host in monitors:
        result = host.get("monitor")
        if host["failed"]:
            continue
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
    if sudo_timed_out(str(result.get("msg"))):
        return "no answer from sudo, although ssh works: is the host overloaded, or its disk full?"
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
    header, *databases = database_rows(data["nodes"]) or [[]]
    lines += [
        f"database {name}: "
        + ", ".join(f"{title} {cell}" for title, cell in zip(header[1:], cells, strict=True) if cell)
        for name, *cells in databases
    ]
    if cluster["size"] is not None:
        size = cluster["data_bytes"] / GIB
        capacity = f", {size:,.1f} GiB of space on all nodes" if size else ""
        lines.append(
            f"cluster: size {cluster['size']}, key {cluster['key'] or 'none'}, "
            f"namespace {cluster['namespace']}, {cluster['replication_factor']} copies{capacity}"
        )
    lines += [f"load of {client['name']}: {text}" for client in data["clients"] if (text := load_text(client))]
    lines += [f"load of all clients on the servers: {text}"] if (text := answers_text(data["servers"])) else []
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
