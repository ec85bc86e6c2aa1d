# Copyright (c) Pegasus authors. SPDX-License-Identifier: Apache-2.0
"""aerospike.conf: the tree of contexts from settings, its text, and a text's parameters. Pure: no host, no files."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Union

from .settings import ConfError, Settings, configuration_problems, data_bytes, host_problems, mounts_budget, size_text

MAX_LINE = 1023  # characters; the server's parser fails on longer lines
ENGINES = ("storage-engine", "index-type", "sindex-type")  # contexts whose label is a value
DEFAULT_NSUP_SECONDS = 120

Path = tuple[str, ...]
Value = Union[str, int, bool, Sequence[Any], "Context"]


@dataclass
class Context:
    """A context of the configuration: ``name label { items }``. A list as item means a line for each element."""

    label: str = ""
    items: dict[str, Value] = field(default_factory=dict)


def build(settings: Settings) -> Context:
    """Return a server's configuration. Raises ConfError if settings contradict each other, the version or the host."""
    problems = configuration_problems(settings, len(settings.seeds)) + host_problems(settings)
    if problems:
        raise ConfError("; ".join(problems))
    service: dict[str, Value] = {"cluster-name": settings.cluster_name, "proto-fd-max": settings.proto_fd_max}
    if settings.features_file and settings.edition == "enterprise":
        service["feature-key-file"] = settings.features_file
    tree = Context(
        items={
            "service": Context(items=service),
            # systemd writes the console to the journal.
            "logging": Context(items={"console": Context(items={"context": "any info"})}),
            "network": _network(settings),
            "namespace": _namespace(settings),
        }
    )
    merge(tree, settings.extra)
    return tree


def _network(settings: Settings) -> Context:
    """The ports and the mesh. The node's own address among the seeds is harmless."""
    heartbeat: dict[str, Value] = {"mode": "mesh", "port": settings.heartbeat_port}
    if settings.seeds:
        heartbeat["mesh-seed-address-port"] = [f"{seed} {settings.heartbeat_port}" for seed in settings.seeds]
    heartbeat["interval"] = settings.heartbeat_interval_ms
    heartbeat["timeout"] = settings.heartbeat_timeout
    items: dict[str, Value] = {
        "service": Context(items={"address": "any", "port": settings.service_port}),
        "heartbeat": Context(items=heartbeat),
        "fabric": Context(items={"port": settings.fabric_port}),
    }
    if settings.dialect.info_port:
        items["info"] = Context(items={"port": settings.info_port})
    if settings.dialect.admin_port:
        items["admin"] = Context(items={"port": settings.admin_port})
    return Context(items=items)


def _namespace(settings: Settings) -> Context:
    """The namespace. The Community Edition refuses lines of the Enterprise Edition, so these appear only if needed."""
    s = settings
    items: dict[str, Value] = {
        "replication-factor": s.replication_factor,
        "default-ttl": s.default_ttl,
        "partition-tree-sprigs": s.partition_tree_sprigs,
    }
    nsup = s.nsup_period or (DEFAULT_NSUP_SECONDS if s.default_ttl else 0)
    if nsup:
        items["nsup-period"] = nsup
    if s.rack_id:
        items["rack-id"] = s.rack_id
    if not s.dialect.memory_has_size:
        items["memory-size"] = size_text(data_bytes(s))
    for name, storage, mounts in (
        ("index-type", s.primary_index_storage, s.primary_index_mounts),
        ("sindex-type", s.secondary_index_storage, s.secondary_index_mounts),
    ):
        if storage == "disk":
            paths = [str(mount["path"]) for mount in mounts]
            items[name] = Context("flash", {"mount": paths, s.dialect.mounts_limit: size_text(mounts_budget(mounts))})
    engine: dict[str, Value] = {}
    if s.data_storage == "disk":
        engine["device"] = list(s.data_devices)
    elif s.dialect.memory_has_size:
        engine["data-size"] = size_text(data_bytes(s))
    if s.compression != "none":
        engine["compression"] = s.compression
    kind = "device" if s.data_storage == "disk" else "memory"
    # Before 7.0, `storage-engine memory` had no context.
    items["storage-engine"] = Context(kind, engine) if engine else kind
    return Context(s.namespace, items)


def merge(context: Context, extra: Mapping[str, Any], path: str = "") -> None:
    """Merge extra settings into a context: a dictionary goes into the context of that name, ``null`` removes a line.

    Raises ConfError for a dictionary in place of a plain value, or a plain value in place of a context.
    """
    for name, value in extra.items():
        here = f"{path}{name}"
        if isinstance(context.items.get(name), Context) and value is not None and not isinstance(value, Mapping):
            raise ConfError(f"extra settings: {here} is a context, expected a dictionary, found '{value}'")
        if value is None:
            context.items.pop(name, None)
        elif isinstance(value, Mapping):
            known = context.items.get(name)
            if isinstance(known, str) and name in ENGINES:
                known = Context(known)
            elif known is not None and not isinstance(known, Context):
                raise ConfError(f"extra settings: {here} is a value ({known}), found a dictionary")
            if known is None and name in ENGINES:
                raise ConfError(
                    f"extra settings: {here} doesn't exist, expected a setting that enables it (pegasus_..._storage)"
                )
            inner = known or Context()
            context.items[name] = inner
            merge(inner, value, f"{here}.")
        else:
            context.items[name] = value


def render(context: Context, depth: int = 0) -> str:
    """Return the text of a context's items. Raises ConfError if the server could not read a name or a value."""
    indent = "    " * depth
    lines: list[str] = []
    for name, value in context.items.items():
        if re.search(r"[\n\r#{}]", name):
            raise ConfError(f"expected the name of a setting or a context, found {name!r}")
        if isinstance(value, Context):
            if depth == 0 and lines:
                lines.append("")
            lines += [f"{indent}{_words(name, value.label)} {{", *render(value, depth + 1).splitlines(), f"{indent}}}"]
        else:
            values = value if isinstance(value, (list, tuple)) else [value]
            lines += [f"{indent}{_words(name, _scalar(name, item))}" for item in values]
    for line in lines:
        if len(line) > MAX_LINE:
            raise ConfError(
                f"expected lines of at most {MAX_LINE} characters, found {len(line)}: '{line.strip()[:60]}...'"
            )
    return "".join(f"{line}\n" for line in lines)


def _scalar(name: str, value: Any) -> str:
    """Return the text of a plain value."""
    if isinstance(value, bool):
        return "true" if value else "false"
    text = str(value)
    if isinstance(value, (Mapping, list, tuple)) or re.search(r"[\n\r#{}]", text):
        raise ConfError(f"{name}: expected one plain value, found '{text}'")
    return text


def _words(*words: str) -> str:
    """Join words by blanks, without empty words."""
    return " ".join(word for word in words if word)


def parse(text: str) -> dict[Path, tuple[str, ...]]:
    """Parse a text: path of contexts and name -> the values of its lines, none for a context. Raises ConfError."""
    found: dict[Path, tuple[str, ...]] = {}
    stack: list[str] = []
    for number, raw in enumerate(text.splitlines(), 1):
        words = raw.split("#", 1)[0].split()
        if not words:
            continue
        if words[0] == "}":
            if not stack:
                raise ConfError(f"line {number}: expected an open context, found a closing brace")
            stack.pop()
        elif words[-1] == "{":
            # An engine is also a value: `storage-engine memory` needs no braces.
            if words[0] in ENGINES:
                found[(*stack, words[0])] = (words[1],)
                stack.append(words[0])
            else:
                stack.append(" ".join(words[:-1]))
                found.setdefault(tuple(stack), ())
        else:
            path = (*stack, words[0])
            found[path] = (*found.get(path, ()), " ".join(words[1:]))
    if stack:
        raise ConfError(f"expected a closing brace for the context '{stack[-1]}', found none")
    return found


def open_ports(text: str) -> list[str]:
    """Return the ports of a configuration as ``3000 (service)``, in its order. Raises ConfError."""
    return [
        f"{value} ({path[1]})"
        for path, values in parse(text).items()
        if len(path) == 3 and path[0] == "network" and path[2] in ("port", "tls-port")
        for value in values
    ]
