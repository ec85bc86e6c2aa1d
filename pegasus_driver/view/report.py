"""The end of a run as lines of plain text: the environment, failures, how to go on. Pure."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pegasus_driver.exit_codes import ExitCode
from pegasus_driver.run.outcome import Change, Failure

SIMULATED = "SIMULATED: stand-ins for Aerospike, Perseus and Grafana; numbers say nothing about the real products"


def duration(seconds: float) -> str:
    """3.4 -> "3.4 s", 83 -> "1:23 min", 3723 -> "1:02:03 h"."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes}:{rest:02} min"
    return f"{minutes // 60}:{minutes % 60:02}:{rest:02} h"


def table(rows: Iterable[Sequence[Any]], indent: str = "  ") -> list[str]:
    """Rows of cells as aligned columns; columns without any content are left out, numbers are on the right."""
    cells = [["" if cell is None else str(cell) for cell in row] for row in rows]
    if not cells:
        return []
    used = [column for column in range(len(cells[0])) if any(row[column] for row in cells[1:] or cells)]
    widths = {column: max(len(row[column]) for row in cells) for column in used}
    numeric = {
        column
        for column in used
        if len(cells) > 1 and all(row[column].replace(",", "").replace(".", "").isdigit() for row in cells[1:])
    }
    return [
        (indent + "  ".join((str.rjust if c in numeric else str.ljust)(row[c], widths[c]) for c in used)).rstrip()
        for row in cells
    ]


def report_lines(report: Mapping[str, Any]) -> list[str]:
    """The environment: nodes, cluster, load, monitoring, expiry. Copes with every part missing."""
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
    if not cluster or cluster.get("size", "?") is None:  # None: nobody asked
        return []
    servers = sum(node.get("kind") == "server" for node in report.get("nodes") or [])
    parts = [f"{cluster.get('size', '?')} nodes", f"key {cluster.get('key') or '?'}"]
    if "stable" in cluster:
        # Those that have one key are a stable cluster, though some may be missing.
        whole = cluster["stable"] or not cluster.get("key") or cluster.get("size") == servers
        parts.append(("stable" if cluster["stable"] else "NOT STABLE") if whole else f"stable, {servers} expected")
    parts.append(
        f"namespace {cluster.get('namespace', '?')}, replication factor {cluster.get('replication_factor', '?')}"
    )
    if size := cluster.get("data_bytes"):
        parts.append(f"{size / 1024**3:,.1f} GiB for data on all nodes")
    return [("cluster", ", ".join(parts))]


def _load(report: Mapping[str, Any]) -> list[tuple[str, str]]:
    rows = []
    for client in report.get("clients") or []:
        rate, threads = client.get("rate", "no load"), client.get("threads")
        if rate is None:  # nobody asked
            continue
        text = f"{rate:,.0f} operations/s" if isinstance(rate, int | float) else str(rate)
        if isinstance(threads, Mapping):
            running = {name: count for name, count in threads.items() if count}
            threads = f"{sum(running.values())} threads" + (
                f" ({', '.join(f'{name} {count}' for name, count in running.items())})" if running else ""
            )
        elif isinstance(threads, int):
            threads = f"{threads} threads"
        rows.append((f"load {client.get('name', '')}".rstrip(), text + (f", {threads}" if threads else "")))
    return rows


def _monitoring(report: Mapping[str, Any]) -> list[tuple[str, str]]:
    monitoring = report.get("monitoring") or {}
    rows = []
    if monitoring.get("grafana_url"):
        boards = monitoring.get("dashboards")
        count = len(boards) if isinstance(boards, list | tuple) else boards
        text = monitoring["grafana_url"] + (f"  ({count} dashboards)" if count is not None else "")
        rows.append(("Grafana", text))
    if monitoring.get("prometheus_url"):
        up, targets = monitoring.get("targets_up"), monitoring.get("targets")
        targets = len(targets) if isinstance(targets, list | tuple) else targets
        text = monitoring["prometheus_url"] + (f"  ({up} of {targets} targets up)" if targets is not None else "")
        rows.append(("Prometheus", text))
    return rows


def how_to(report: Mapping[str, Any], options: str = "") -> list[str]:
    """What a user does next with a running environment. options: " --config FILE", where it was made of one."""
    if not report.get("nodes"):
        return []
    return [
        f"change the load:  edit threads.yaml, then ./pegasus-driver copy-threads{options}",
        f"look again:       ./pegasus-driver status{options}",
        f"take it down:     ./pegasus-driver destroy{options}",
    ]


def plan_lines(changes: Sequence[Change]) -> list[str]:
    """What a dry run found. Equal changes of several hosts are told once."""
    groups: dict[tuple[str, str, tuple[str, ...]], list[str]] = {}
    for change in changes:
        groups.setdefault((change.role, change.task, change.lines), []).append(change.host)
    lines = []
    for (role, task, details), hosts in groups.items():
        lines.append(f"WOULD CHANGE  {', '.join(hosts)}: {f'{role}: ' if role else ''}{task}")
        lines += [f"  {line}" for line in details]
    return lines


def failure_lines(failures: Sequence[Failure]) -> list[str]:
    """Each failed host with its step and the module's message, word for word. Equal messages are told once."""
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


NEXT_STEPS: dict[ExitCode, str] = {
    ExitCode.INTERNAL: "This is a defect of Pegasus, or Ansible can't run here. Try again with --verbose.",
    ExitCode.USAGE: "Correct what the message names, then run it again.",
    ExitCode.CONFIGURATION: "Correct what the message names (most is in group_vars/all/config.yml), then run it again.",
    ExitCode.EC2: "Correct what the message names, then run it again: it goes on where it stopped.",
    ExitCode.SSH: "Check that the instance runs and that its security group lets this machine in "
    "(./pegasus-driver status), then run it again.",
    ExitCode.HOST: "Correct what the message names, then run it again: it goes on where it stopped.",
    ExitCode.DATABASE: "Everything is installed. Look at the logs named above, then run it again.",
}


def next_steps(code: ExitCode, action: str, folder: str, options: str = "", *, declined: bool = False) -> list[str]:
    """How to go on after a failure or an interruption. options: as for how_to; declined: the user said no to it."""
    if code is ExitCode.OK:
        return []
    lines = [f"next: {NEXT_STEPS[code]}"] if code in NEXT_STEPS else []
    if code is ExitCode.INTERRUPTED:
        lines.append(f"go on:         ./pegasus-driver {action}{options}")
    if action != "destroy" and not declined and code not in (ExitCode.USAGE, ExitCode.CONFIGURATION):
        lines.append(f"take it down:  ./pegasus-driver destroy{options}")
    if folder:
        lines.append(f"full log:      {folder}")
    return lines
