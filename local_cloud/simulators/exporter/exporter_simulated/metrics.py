"""Converts the server's answers to Prometheus's text format. No network, no clock."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from .config import Config, Filter

# Statistics that only grow, by the pattern of their names. The real exporter has a list of gauges instead; Prometheus
# treats both types alike when it stores them.
_COUNTER = re.compile(
    r"_(success|error|timeout|not_found|filtered_out|forbidden|opened|closed|complete|requests|"
    r"evicted_objects|expired_objects|deleted_objects|writes|reads|aborts?)$"
)
_ARRAY = re.compile(r"^(storage-engine|index-type|sindex-type)\.(file|device|stripe|mount)\[(\d+)\]\.(.+)$")
_ENGINES = {"index-type": "index", "sindex-type": "sindex", "storage-engine": "storage_engine"}


@dataclass(frozen=True)
class Metric:
    """One sample."""

    name: str
    kind: str
    labels: tuple[tuple[str, str], ...]
    value: float


@dataclass(frozen=True)
class Node:
    """The labels that all samples of a node share."""

    cluster: str = ""
    service: str = ""
    build: str = ""
    node_id: str = ""

    def labels(self, **more: str) -> tuple[tuple[str, str], ...]:
        return tuple(sorted({"cluster_name": self.cluster, "service": self.service, **more}.items()))


def first_commands() -> list[str]:
    """The commands whose answers are needed to query the statistics."""
    return ["namespaces", "logs", "build"]


def second_commands(first: dict[str, str]) -> list[str]:
    """Identity and all statistics, in one request."""
    commands = ["cluster-name", "service-clear-std", "build", "node", "get-config:context=service", "statistics"]
    commands += ["sets", "latencies:"]
    commands += [f"namespace/{name}" for name in first.get("namespaces", "").split(";") if name]
    return commands + [f"log/{sink.partition(':')[0]}" for sink in first.get("logs", "").split(";") if sink]


def node_of(answers: dict[str, str]) -> Node:
    return Node(
        cluster=answers.get("cluster-name", ""),
        service=answers.get("service-clear-std", ""),
        build=answers.get("build", ""),
        node_id=answers.get("node", ""),
    )


def collect(answers: dict[str, str], config: Config) -> Iterator[Metric]:
    """All samples of one scrape, except aerospike_node_up and aerospike_node_ticks."""
    node = node_of(answers)
    yield from _node(answers, node, config.filters.get("node", Filter()))
    for command, answer in answers.items():
        if command.startswith("namespace/"):
            name = command.removeprefix("namespace/")
            yield from _namespace(name, parse(answer), node, config.filters.get("namespace", Filter()))
    yield from _sets(answers.get("sets", ""), node, config.filters.get("set", Filter()))
    latencies = config.filters.get("latencies", Filter())
    yield from _latencies(answers.get("latencies:", ""), node, config.latency_buckets, latencies)


def parse(text: str, separator: str = ";") -> dict[str, str]:
    """`a=1;b=2` -> {a: 1, b: 2}"""
    pairs = (part.partition("=") for part in text.split(separator))
    return {name: value for name, equals, value in pairs if equals}


def number(text: str) -> float | None:
    """A statistic as a number; true and false count as 1 and 0; None for text."""
    if text.lower() in ("true", "false"):
        return float(text.lower() == "true")
    try:
        return float(text)
    except ValueError:
        return None


def up(node: Node, reachable: bool) -> Metric:
    labels = node.labels(build=node.build, node_id=node.node_id)
    return Metric("aerospike_node_up", "gauge", labels, float(reachable))


def _sample(context: str, stat: str, labels: tuple[tuple[str, str], ...], value: float) -> Metric:
    name = f"aerospike_{context}_{re.sub('[^a-zA-Z0-9_]', '_', stat)}"
    return Metric(name, "counter" if _COUNTER.search(stat) else "gauge", labels, value)


def _node(answers: dict[str, str], node: Node, chosen: Filter) -> Iterator[Metric]:
    for command in ("get-config:context=service", "statistics"):
        for stat, text in parse(answers.get(command, "")).items():
            value = number(text)
            if value is not None and chosen.passes(stat):
                yield _sample("node_stats", stat, node.labels(), value)
    sinks = [answer for command, answer in answers.items() if command.startswith("log/")]
    for level in ("debug", "detail"):
        found = any(f":{level.upper()}" in sink for sink in sinks)
        if chosen.passes(f"pseudo_log_{level}"):
            yield _sample("node_stats", f"pseudo_log_{level}", node.labels(), float(found))


def _namespace(name: str, stats: dict[str, str], node: Node, chosen: Filter) -> Iterator[Metric]:
    for stat, text in stats.items():
        value = number(text)
        if value is None or not chosen.passes(stat):
            continue
        labels = {"ns": name}
        array = _ARRAY.match(stat)
        context = next(
            (prefix for prefix in ("index-type", "sindex-type") if stat.startswith(prefix)), "storage-engine"
        )
        if engine := stats.get(context):
            labels[_ENGINES[context]] = engine
        if array:
            parent, kind, index, rest = array.groups()
            labels |= {f"{kind}_index": index, kind: stats.get(f"{parent}.{kind}[{index}]", "")}
            stat = f"{parent}_{kind}_{rest}"
        yield _sample("namespace", stat, node.labels(**labels), value)


def _sets(answer: str, node: Node, chosen: Filter) -> Iterator[Metric]:
    for text in answer.split(";"):
        stats = parse(text, ":")
        labels = node.labels(ns=stats.get("ns", ""), set=stats.get("set", ""))
        for stat, text_value in stats.items():
            value = number(text_value)
            if value is not None and stat not in ("ns", "set") and chosen.passes(stat):
                yield _sample("sets", stat, labels, value)


def _latencies(answer: str, node: Node, buckets: int, chosen: Filter) -> Iterator[Metric]:
    """`{ns}-read:msec,<ops/s>,<percent above 1>,<above 2>,...` as counts of operations at most that slow.

    As in the real exporter, these are rates of the server's last interval, not sums over time.
    """
    for text in answer.split(";"):
        match = re.match(r"^(?:\{(?P<ns>[^}]*)\}-)?(?P<operation>[a-z-]+):(?P<unit>[mu])sec,(?P<values>.+)$", text)
        if not match or not chosen.passes(match["operation"]):
            continue
        values = [number(part) or 0.0 for part in match["values"].split(",")]
        total, above = values[0], values[1:]
        stat = f"{match['operation']}_{match['unit']}s"
        more = {"ns": match["ns"]} if match["ns"] else {}
        yield _sample("latencies", f"{stat}_count", node.labels(**more), total)
        yield _sample("latencies", f"{stat}_bucket", node.labels(le="+Inf", **more), total)
        for power, percent in enumerate(above[:buckets] if buckets else above):
            value = total - total * percent / 100
            yield _sample("latencies", f"{stat}_bucket", node.labels(le=str(1 << power), **more), value)


def render(samples: Iterable[Metric], constant: dict[str, str]) -> str:
    """Prometheus's text format 0.0.4, sorted, each sample once."""
    families: dict[str, dict[tuple[tuple[str, str], ...], Metric]] = {}
    for sample in samples:
        families.setdefault(sample.name, {})[sample.labels] = sample
    lines = ["# SIMULATED exporter: a stand-in made by Pegasus"]
    for name, family in sorted(families.items()):
        first = next(iter(family.values()))
        lines.append(f"# HELP {name} {name.removeprefix('aerospike_').replace('_', ' ')}")
        lines.append(f"# TYPE {name} {first.kind}")
        for labels, sample in sorted(family.items()):
            lines.append(f"{name}{_labels(labels, constant)} {_number(sample.value)}")
    return "\n".join(lines) + "\n"


def _labels(labels: tuple[tuple[str, str], ...], constant: dict[str, str]) -> str:
    # aerospike_node_ticks has no labels at all, not even the constant ones.
    if not labels:
        return ""
    parts = (f'{name}="{_escape(value)}"' for name, value in sorted({**constant, **dict(labels)}.items()))
    return "{" + ",".join(parts) + "}"


def _escape(value: str) -> str:
    return value.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")


def _number(value: float) -> str:
    return str(int(value)) if value.is_integer() and abs(value) < 1e15 else repr(value)
