"""The info commands get-config and set-config, and the configuration in a namespace's statistics."""

from typing import Any

from .config.dynamic import dynamic
from .config.line import Line
from .config.model import ConfigError
from .config.options import OPTIONS, find
from .config.values import convert
from .info_text import ERR_NAMESPACE, ERR_PARAMETER, InfoError, join, parameters
from .node import Node


def get_config(node: Node, text: str) -> str:
    """Answer `context=service`, `context=network` or `context=namespace;namespace=x` (or `id=x`).

    Without a context: everything but the namespaces.
    """
    given = parameters(text)
    config = node.config
    context = given.get("context", "")
    found: dict[str, object] = {}
    if context in ("", "service"):
        found |= {
            "cluster-name": config.cluster_name,
            "proto-fd-max": 15000,
            "advertise-ipv6": False,
            "migrate-threads": 1,
        } | config.service
    if context in ("", "network"):
        for section, values in config.network.items():
            found |= {f"{section}.{name}": _shown(value) for name, value in values.items()}
        found |= {
            "heartbeat.mode": "mesh",
            "heartbeat.interval": config.interval_ms,
            "heartbeat.timeout": config.timeout_intervals,
        }
    if context == "namespace":
        name = given.get("namespace", given.get("id", ""))
        if name not in node.namespaces:
            raise InfoError(ERR_NAMESPACE, "namespace not found on node")
        found |= namespace_config(node, name)
    elif context not in ("", "service", "network"):
        raise InfoError(ERR_PARAMETER, "invalid context")
    return join(found)


def namespace_config(node: Node, name: str) -> dict[str, object]:
    """A namespace's parameters under the names that get-config gives them."""
    config = node.namespaces[name].config
    in_memory = "shmem" if node.release.enterprise else "mem"
    found: dict[str, object] = {
        "replication-factor": config.replication_factor,
        "default-ttl": config.default_ttl,
        "nsup-period": config.nsup_period,
        "partition-tree-sprigs": 256,
    }
    found |= config.values
    found |= {
        "storage-engine": config.engine,
        "index-type": config.index_types.get("index-type", in_memory),
        "sindex-type": config.index_types.get("sindex-type", in_memory),
        "storage-engine.stop-writes-used-pct": config.stop_writes_used_pct,
    }
    for option, value in config.storage.items():
        if isinstance(value, list):
            found |= {f"storage-engine.{option}[{position}]": item for position, item in enumerate(value)}
        else:
            found[f"storage-engine.{option}"] = value
    for option, values in config.mounts.items():
        found |= {f"{option}.{key}": _shown(value) for key, value in values.items()}
    return found


def _shown(value: object) -> object:
    if isinstance(value, list):
        return ",".join(":".join(map(str, item)) if isinstance(item, tuple) else str(item) for item in value)
    return value


def set_config(node: Node, text: str) -> str:
    """Accept what the real server accepts at run time.

    The new value shows in get-config; it has an effect where the simulator reads the parameter.
    """
    given = parameters(text)
    context = given.pop("context", "")
    if not context:
        raise InfoError(ERR_PARAMETER, "missing 'context'")
    name = given.pop("namespace", given.pop("id", ""))
    if context not in ("service", "network", "namespace"):
        raise InfoError(ERR_PARAMETER, "invalid context")
    if context == "namespace" and name not in node.namespaces:
        raise InfoError(ERR_NAMESPACE, "namespace not found on node")
    accepted = dynamic(node.release.numbers)["set" if "set" in given else context]
    set_name = given.pop("set", "")
    for option, value in given.items():
        if option not in accepted:
            raise InfoError(ERR_PARAMETER, "invalid set-config parameter")
        section, key, values = _place(node, context, name, set_name, option)
        values[key] = _converted(node, section, key, value)
    return "ok"


def _converted(node: Node, section: str, key: str, value: str) -> object:
    """The value in the type and within the limits of aerospike.conf."""
    option = find(section, key, node.release.numbers)
    if option is None:
        return value  # known to set-config only
    try:
        if option.enterprise and not node.release.enterprise:
            raise ConfigError(f"'{key}' is enterprise-only")
        return convert(option, Line(0, key, (value, "", "")), node.release)
    except ConfigError as error:
        raise InfoError(ERR_PARAMETER, "invalid set-config parameter") from error


def _place(node: Node, context: str, name: str, set_name: str, option: str) -> tuple[str, str, dict[str, Any]]:
    """A parameter of set-config: its context and name in aerospike.conf, and the section that holds its value."""
    if context == "service":
        return "service", option, node.config.service
    if context == "network":
        section, _, rest = option.partition(".")
        return section, rest, node.config.network[section]
    namespace = node.namespaces[name].config
    if set_name:
        return "set", option, namespace.sets.setdefault(set_name, {})
    kind, separator, rest = option.partition(".")
    if separator:
        return f"{kind}-flash", rest, namespace.mounts.setdefault(kind, {})
    if option in OPTIONS[f"storage-{namespace.engine}"]:
        return f"storage-{namespace.engine}", option, namespace.storage
    return "namespace", option, namespace.values
