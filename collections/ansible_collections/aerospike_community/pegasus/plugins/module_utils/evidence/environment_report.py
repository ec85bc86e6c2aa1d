"""What an environment looks like as a whole, and whether it is ready: pure functions over what the hosts reported."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from ansible_collections.aerospike_community.pegasus.plugins.module_utils.ec2.plan import format_time, parse_time

# Clients and servers are asked one after the other, so their windows differ; a lost or a doubled load is far outside.
LOAD_TOLERANCE = 0.35
# What systemd calls a database that doesn't run, in a user's words.
STOPPED = {"inactive": "stopped", "failed": "killed or failed"}
# From when on an end is warned of; Prometheus's alert ExpirySoon has the same.
WARNING_TIME = timedelta(hours=1)
KIND_OF_GROUP = {"servers": "server", "clients": "client", "monitors": "monitor"}


@dataclass
class Problem:
    """One reason why the environment isn't ready."""

    host: str
    check: str
    expected: str
    found: str

    def __str__(self) -> str:
        return f"{self.host}: {self.check}: expected {self.expected}, found {self.found}"


@dataclass
class Report:
    """The environment in one record.

    `data` has the keys environment, backend, simulated, nodes, cluster, clients, monitoring, expires, expiry_warnings
    (sentences) and cost ({} when nobody asked); rates are operations per second. The cluster's size and a client's
    rate are None when nobody asked, as another part was set up. The cluster's `data_bytes` is the room for data on all
    nodes, 0 where it isn't known. `problems` is empty when the environment is ready.
    """

    data: dict[str, Any]
    problems: list[Problem] = field(default_factory=list)


def build_report(
    environment: str,
    backend: str,
    hosts: list[dict[str, Any]],
    namespace: str = "",
    replication_factor: int = 0,
    expected: dict[str, int] | None = None,
    agreed: dict[str, Any] | None = None,
    kinds: Collection[str] = tuple(KIND_OF_GROUP.values()),
    cost: dict[str, Any] | None = None,
    now: datetime | None = None,
) -> Report:
    """Join what EC2 and the roles said of each host.

    hosts: records of the filter `host_results`: name, kind, index, address, state, instance_id, instance_type, expires,
    and the results of the roles that ran there (server, client, monitor), each None when it didn't run or failed.
    expected: how many hosts each kind (server, client, monitor) should have; a kind that isn't named isn't counted.
    agreed: cluster_key and cluster_size that all nodes gave when asked at the same moment. It counts more than what
    each said in its own role: a node that was ready first has another key by the time the last one is.
    kinds: which of them have to be ready. The others are listed, as far as anything is known of them.
    cost: what the module ec2_cost says of the environment; empty when nobody asked.
    """
    servers = [host for host in hosts if host["kind"] == "server"]
    clients = [host for host in hosts if host["kind"] == "client"]
    monitors = [host for host in hosts if host["kind"] == "monitor"]
    problems: list[Problem] = []

    unjudged: list[Problem] = []

    def judged(kind: str) -> list[Problem]:
        return problems if kind in kinds else unjudged

    for kind, count in (expected or {}).items():
        found = sum(host["kind"] == kind for host in hosts)
        if found != count:
            judged(kind).append(Problem(environment, f"number of {kind} instances", str(count), str(found)))

    nobody = {"size": None, "key": "", "stable": None, "data_bytes": 0}
    asked = "server" in kinds or any(host.get("server") is not None for host in servers)
    cluster = _cluster(servers, agreed or {}, judged("server")) if asked else nobody
    cluster |= {"namespace": namespace, "replication_factor": replication_factor}
    client_records = _clients(clients, judged("client"), "client" in kinds)
    monitoring = _monitoring(monitors, judged("monitor"))
    said = [str((host.get("server") or {}).get("edition", "")) for host in servers]
    data: dict[str, Any] = {
        "environment": environment,
        "backend": backend,
        "simulated": any("SIMULATED" in text for text in said),
        "nodes": [_node(host) for host in sorted(hosts, key=_order)],
        "cluster": cluster,
        "clients": client_records,
        "monitoring": monitoring,
        "expires": _first_end(hosts),
        "expiry_warnings": expiry_warnings(hosts, now or datetime.now(UTC)),
        "cost": cost or {},
    }
    return Report(data, problems)


def _first_end(hosts: list[dict[str, Any]]) -> str:
    """When the first host ends: a tag's value, or never; unknown where the only tags that could tell are missing."""
    tags = {str(host.get("expires") or "") for host in hosts}
    ends = tags - {"", "never"}
    return min(ends) if ends else "unknown" if "" in tags else "never" if tags else ""


def expiry_warnings(hosts: list[dict[str, Any]], now: datetime) -> list[str]:
    """A sentence for each end that is less than WARNING_TIME away, or over, with the hosts that it is of."""
    ends: dict[datetime, list[str]] = {}
    for host in sorted(hosts, key=_order):
        end = parse_time(str(host.get("expires") or ""))
        if end is not None and end - now < WARNING_TIME:
            ends.setdefault(end, []).append(host["name"])
    said = []
    for end, names in sorted(ends.items()):
        which = ", ".join(names) + (" ends" if len(names) == 1 else " end")
        minutes = int((end - now).total_seconds() // 60)
        when = f"in {minutes} min, at {format_time(end)}" if end > now else f"at {format_time(end)}, which is over"
        step = "extend 4h moves that" if end > now else "reap takes what is left, extend 4h keeps it"
        said.append(f"{which} {when}: ./pegasus-driver {step}")
    return said


def _order(host: dict[str, Any]) -> tuple[int, int]:
    return list(KIND_OF_GROUP.values()).index(host["kind"]), host["index"]


def _node(host: dict[str, Any]) -> dict[str, Any]:
    record = {
        key: host.get(key, "")
        for key in ("name", "index", "kind", "address", "public_address", "state", "instance_id", "instance_type")
    }
    record["service"] = _service(host)
    return record


def _service(host: dict[str, Any]) -> str:
    """In two or three words what the host's own service does; '' when nobody asked it."""
    if host.get("state") != "running":
        return str(host.get("state", ""))
    if host.get("unreachable"):
        return "unreachable by ssh"
    result = host.get({"server": "server", "client": "client", "monitor": "monitor"}[host["kind"]])
    if result is None:
        return ""
    if result.get("failed"):
        return STOPPED.get(result.get("service_state", ""), "not ready")
    return {"server": "in the cluster", "client": "under load", "monitor": "scraping"}[host["kind"]]


def _cluster(servers: list[dict[str, Any]], agreed: dict[str, Any], problems: list[Problem]) -> dict[str, Any]:
    answers = {}
    for host in servers:
        result = host.get("server")
        if result is not None and result.get("failed") and result.get("service_state") in STOPPED:
            why = _failure(result)  # begins with the server's own words where it had some
            said = f": {why}" if "CRITICAL" in why or "FAILED" in why else ""
            state = STOPPED[result["service_state"]]
            found = f"{state} (./pegasus-driver restart-node {host['index']} starts it){said}"
            problems.append(Problem(host["name"], "database", "running", found))
            continue
        if result is None or result.get("failed"):
            problems.append(Problem(host["name"], "cluster-stable", f"size {len(servers)} and a key", _failure(result)))
            continue
        answers[host["name"]] = {**result, **agreed}
    keys = {result["cluster_key"] for result in answers.values()}
    sizes = {int(result["cluster_size"]) for result in answers.values()}
    if len(keys) > 1:
        said = ", ".join(f"{name} {result['cluster_key']}" for name, result in answers.items())
        problems.append(Problem("cluster", "cluster key", "the same on every node", said))
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
    """How much room for data a node has, in memory or on disk, as its namespace says; 0 where that isn't known."""
    # Before 7.0, the second for data on disk, the third for data in memory.
    names = ("data_total_bytes", "device_total_bytes", "memory-size")
    return next((int(counters[name]) for name in names if int(counters.get(name) or 0)), 0)


def _clients(clients: list[dict[str, Any]], problems: list[Problem], asked: bool) -> list[dict[str, Any]]:
    records, server_rates = [], []
    for host in clients:
        result = host.get("client")
        if result is None or result.get("failed"):
            problems.append(Problem(host["name"], "Perseus's rows", "non-zero counts", _failure(result)))
            # One that nobody asked may well be under load.
            unknown = result is None and not asked
            records.append({"name": host["name"], "rate": None if unknown else 0.0, "rates": {}, "threads": {}})
            continue
        rate = float(result["total_rate"])
        if rate <= 0:
            problems.append(Problem(host["name"], "Perseus's rows", "non-zero counts", "rows of 0"))
        server_rates.append(float(result["server_rate"]))
        records.append(
            {"name": host["name"], "rate": rate, "rates": result.get("rates", {}), "threads": result.get("threads", {})}
        )
    if clients and len(server_rates) == len(clients):
        claimed = sum(record["rate"] for record in records)
        # Each client had its own few seconds, in which the servers counted all of them. A busy machine's load goes up
        # and down tenfold within them: servers that counted more prove nothing, less is what Perseus only claims.
        counted = max(server_rates)
        if counted < claimed * (1 - LOAD_TOLERANCE):
            problems.append(
                Problem(
                    "clients",
                    "load",
                    f"at least about the {claimed:,.0f} operations a second that the clients print",
                    f"{counted:,.0f} a second in the servers' own counters",
                )
            )
    return records


def _monitoring(monitors: list[dict[str, Any]], problems: list[Problem]) -> dict[str, Any]:
    record: dict[str, Any] = {"grafana_url": "", "prometheus_url": "", "targets": 0, "targets_up": 0, "dashboards": []}
    for host in monitors:
        result = host.get("monitor")
        if result is None or result.get("failed"):
            problems.append(
                Problem(host["name"], "monitoring", "every target up, every dashboard there", _failure(result))
            )
            continue
        targets = result.get("targets", [])
        record = {
            "grafana_url": result.get("grafana_url", ""),
            "prometheus_url": result.get("prometheus_url", ""),
            "targets": len(targets),
            "targets_up": sum(target.get("health") == "up" for target in targets),
            "dashboards": result.get("dashboards", []),
        }
        problems.extend(
            Problem(
                host["name"],
                f"target {target.get('scrape_url') or target.get('url') or target.get('instance')}",
                "up",
                str(target.get("health")),
            )
            for target in targets
            if target.get("health") != "up"
        )
    return record


def _failure(result: dict[str, Any] | None) -> str:
    if result is None:
        return "no answer"
    # The first line may end before what it announces, as in "found 1 that are not:".
    lines = [line.strip() for line in str(result.get("msg") or "no answer").strip().splitlines()]
    return " ".join(lines[:2] if lines[0].endswith(":") else lines[:1])


def report_lines(data: dict[str, Any]) -> list[str]:
    """The report as plain lines, for a run without the driver."""
    cluster, monitoring = data["cluster"], data["monitoring"]
    lines = [f"{data['environment']} on {data['backend']}{' (SIMULATED server)' if data['simulated'] else ''}"]
    lines += [
        f"{node['kind']:8} {node['index']:>3}  {node['name']:24} {node['address']:16} {node['state']:9} "
        f"{node['service']}"
        for node in data["nodes"]
    ]
    if cluster["size"] is not None:
        room = f", {cluster['data_bytes'] / 1024**3:,.1f} GiB for data on all nodes" if cluster["data_bytes"] else ""
        lines.append(
            f"cluster: size {cluster['size']}, key {cluster['key'] or 'none'}, "
            f"namespace {cluster['namespace']}, {cluster['replication_factor']} copies{room}"
        )
    lines += [
        f"load of {client['name']}: {client['rate']:,.0f} operations a second"
        for client in data["clients"]
        if client["rate"] is not None
    ]
    lines += [
        f"Grafana: {monitoring['grafana_url'] or 'not there'}",
        f"Prometheus: {monitoring['prometheus_url'] or 'not there'} "
        f"({monitoring['targets_up']} of {monitoring['targets']} targets up)",
        f"expires: {data['expires'] or 'nothing is there'}",
        *(f"WARNING: {text}" for text in data["expiry_warnings"]),
        *([f"cost: {data['cost']['text']}"] if data["cost"] else []),
        "change the load: edit threads.yaml, then pegasus-driver copy-threads",
        "take it down: pegasus-driver destroy, or ansible-playbook playbooks/destroy.yml",
    ]
    return lines
