"""The report at the end of a run as lines of plain text: environment, plan, failures, next steps. Pure."""

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

from pegasus_driver.exit_codes import ExitCode
from pegasus_driver.run.outcome import Change, Failure
from pegasus_driver.run.state import Ending

from .text import duration, table

SIMULATED = "SIMULATED: stand-ins for Aerospike, Perseus and Grafana; numbers say nothing about the real products"


def headline(ending: Ending) -> str:
    """The last line of the report."""
    subject = f"{ending.action} of {ending.environment}"
    elapsed = duration(ending.elapsed)
    if ending.message:
        return f"{subject}: {ending.message}"
    if ending.code is ExitCode.OK and ending.plan is not None:
        found = f"{len(ending.plan)} change{'s' if len(ending.plan) != 1 else ''}" if ending.plan else "no change"
        return f"{subject}: dry run, {found} found in {elapsed}; nothing was changed"
    if ending.code is ExitCode.OK:
        return f"{subject}: done in {elapsed}, changed={ending.changed}"
    if ending.code is ExitCode.INTERRUPTED:
        return f"{subject}: interrupted after {elapsed}"
    return f"{subject}: failed after {elapsed} (exit code {ending.code.value})"


def ending_lines(ending: Ending) -> tuple[list[str], list[str]]:
    """The whole report.

    :returns: lines for stdout (the environment and how to use it), lines for stderr (failures and next steps)
    """
    out: list[str] = []
    if ending.plan:
        out += ["", *plan_lines(ending.plan)]
    if ending.report is not None:
        out += ["", *report_lines(ending.report)]
        if ending.not_ready and not ending.failures:
            out += ["", "NOT READY", *(f"  {problem}" for problem in ending.not_ready)]
        if ending.code is ExitCode.OK and ending.plan is None:
            out += ["", *(f"  {line}" for line in how_to(ending.report, ending.options))]
    error: list[str] = []
    if ending.failures:
        error += ["", *failure_lines(ending.failures)]
    if ending.problems and not ending.failures:
        error += ["", *(f"ERROR  {problem}" for problem in ending.problems)]
    if ending.existing:
        error += ["", *ending.existing]
    if ending.next_steps:
        error += ["", *ending.next_steps]
    (out if ending.code is ExitCode.OK else error).extend(["", headline(ending)])
    return out, error


def report_lines(report: Mapping[str, Any]) -> list[str]:
    """The environment: nodes, cluster, load, monitoring, expiry. Every part may be missing."""
    head = f"Environment {report.get('environment', '?')} on {report.get('backend', '?')}"
    lines = [head + (" (SIMULATED)" if report.get("simulated") else "")]
    if report.get("simulated"):
        lines.append(SIMULATED)
    nodes = [node for node in report.get("nodes") or [] if isinstance(node, Mapping)]
    lines.append("")
    if nodes:
        names = {"index": "#", "public_address": "public", "instance_type": "type", "instance_id": "instance"}
        keys = ["index", "name", "kind", "address", "public_address", "state", "service", *list(names)[2:]]
        lines += table([[names.get(key, key) for key in keys], *([node.get(key) for key in keys] for node in nodes)])
    else:
        lines.append("  no instances")
    facts = [*_cluster(report), *_load(report), *_monitoring(report)]
    if report.get("expires"):
        facts.append(("expires", str(report["expires"])))
    cost = report.get("cost") or {}
    if cost.get("text"):
        facts.append(("cost", str(cost["text"])))
        facts += [("", f"price unknown: {text}") for text in cost.get("unknown") or []]
    if facts:
        lines += ["", *table(facts)]
    warnings = report.get("expiry_warnings") or []
    return lines + (["", *(f"WARNING  {text}" for text in warnings)] if warnings else [])


def _cluster(report: Mapping[str, Any]) -> list[tuple[str, str]]:
    cluster = report.get("cluster") or {}
    if not cluster or cluster.get("size", "?") is None:  # None: it wasn't checked
        return []
    servers = sum(node.get("kind") == "server" for node in report.get("nodes") or [])
    size = cluster.get("size", "?")
    parts = [f"{size} node{'' if size == 1 else 's'}", f"key {cluster.get('key') or '?'}"]
    if "stable" in cluster:
        # Nodes that agree on a key form a stable cluster, even if nodes are missing.
        complete = cluster["stable"] or not cluster.get("key") or size == servers
        parts.append(("stable" if cluster["stable"] else "NOT STABLE") if complete else f"stable, {servers} expected")
    parts.append(
        f"namespace {cluster.get('namespace', '?')}, replication factor {cluster.get('replication_factor', '?')}"
    )
    if data := cluster.get("data_bytes"):
        parts.append(f"{data / 1024**3:,.1f} GiB for data on all nodes")
    return [("cluster", ", ".join(parts))]


def _load(report: Mapping[str, Any]) -> list[tuple[str, str]]:
    rows = []
    for client in report.get("clients") or []:
        rate, threads = client.get("rate", "no load"), client.get("threads")
        if rate is None:  # it wasn't checked
            continue
        text = f"{rate:,.0f} operations/s" if isinstance(rate, int | float) else str(rate)
        if isinstance(threads, Mapping):
            running = {name: count for name, count in threads.items() if count}
            each = ", ".join(f"{name} {count}" for name, count in running.items())
            threads = f"{sum(running.values())} threads" + (f" ({each})" if running else "")
        elif isinstance(threads, int):
            threads = f"{threads} threads"
        rows.append((f"load {client.get('name', '')}".rstrip(), text + (f", {threads}" if threads else "")))
    return rows


def _monitoring(report: Mapping[str, Any]) -> list[tuple[str, str]]:
    monitoring = report.get("monitoring") or {}
    boards, targets = (
        len(value) if isinstance(value, list | tuple) else value
        for value in (monitoring.get("dashboards"), monitoring.get("targets"))
    )
    rows = []
    if url := monitoring.get("grafana_url"):
        rows.append(("Grafana", url + (f"  ({boards} dashboards)" if boards is not None else "")))
    if url := monitoring.get("prometheus_url"):
        up = f"  ({monitoring.get('targets_up')} of {targets} targets up)" if targets is not None else ""
        rows.append(("Prometheus", url + up))
    return rows


def how_to(report: Mapping[str, Any], options: str = "") -> list[str]:
    """What a user does next with a running environment. options: " --config FILE", if it was built from one."""
    if not report.get("nodes"):
        return []
    return [
        f"change the load:  edit threads.yaml, then ./pegasus-driver copy-threads{options}",
        f"show status:      ./pegasus-driver status{options}",
        f"take it down:     ./pegasus-driver destroy{options}",
    ]


def plan_lines(changes: Sequence[Change]) -> list[str]:
    """What a dry run found. Equal changes of several hosts are shown once."""
    groups: dict[tuple[str, str, tuple[str, ...]], list[str]] = {}
    for change in changes:
        groups.setdefault((change.role, change.task, change.lines), []).append(change.host)
    lines = []
    for (role, task, details), hosts in groups.items():
        lines.append(f"WOULD CHANGE  {', '.join(hosts)}: {f'{role}: ' if role else ''}{task}")
        lines += [f"  {line}" for line in details]
    return lines


def failure_lines(failures: Sequence[Failure]) -> list[str]:
    """Each failed host with its step and the module's message, verbatim. Equal messages are shown once."""
    groups: dict[tuple[str, str, str, str], list[str]] = {}
    for failure in failures:
        key = (failure.role, failure.task, failure.message, failure.next_step)
        groups.setdefault(key, []).append(failure.host)
    lines = []
    for (role, task, message, advice), hosts in groups.items():
        lines.append(f"FAILED  {', '.join(hosts)}")
        lines.append(f"  step: {f'{role}: ' if role else ''}{task}")
        lines += textwrap.indent(message, "  ", lambda line: True).splitlines()
        if advice and advice not in message:
            lines.append(f"  next: {advice}")
    return lines
