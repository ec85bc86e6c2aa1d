"""The info commands get-config and set-config, and the configuration in a namespace's statistics."""

from typing import Any

from .config.dynamic import dynamic
from .config.line import Line
from .config.model import ConfigError, NamespaceConfig
from .config.options import OPTIONS, find
from .config.values import convert
from .deprecated import ENABLE_INDEX, NAMESPACE_AS_ID
from .info_text import ERR_NAMESPACE, ERR_PARAMETER, InfoError, join, parameters
from .node import Node

# Older releases know a namespace only as `id`.
NAMESPACE_SINCE = (7, 2)


def get_config(node: Node, text: str) -> str:
    """Answer `context=service`, `context=network` or `context=namespace;namespace=x` (or `id=x`).

    Without a context: everything but the namespaces.
    """
    given = parameters(text)
    name = _namespace_name(node, given)
    config = node.config
    context = given.get("context", "")
    found: dict[str, object] = {}
    if context in ("", "service"):
        found |= {
            "cluster-name": config.cluster_name,
            "proto-fd-max": 15000,
            "advertise-ipv6": False,
            "migrate-max-num-incoming": config.migrate_max_num_incoming,
            "migrate-threads": config.migrate_threads,
        } | config.service
    if context in ("", "network"):
        for section, values in config.network.items():
            found |= {f"{section}.{option}": _shown(value) for option, value in values.items()}
        found |= {
            "heartbeat.mode": "mesh",
            "heartbeat.interval": config.interval_ms,
            "heartbeat.timeout": config.timeout_intervals,
        }
    if context == "namespace":
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
        "migrate-order": 5,
        "migrate-retransmit-ms": 5000,
        "migrate-sleep": config.migrate_sleep_us,
    }
    found |= config.values
    found |= {
        "storage-engine": config.engine,
        "index-type": config.index_types.get("index-type", in_memory),
        "sindex-type": config.index_types.get("sindex-type", in_memory),
    }
    found |= {f"storage-engine.{option}": value for option, value in storage_defaults(config).items()}
    for option, value in config.storage.items():
        if isinstance(value, list):
            found |= {f"storage-engine.{option}[{position}]": item for position, item in enumerate(value)}
        else:
            found[f"storage-engine.{option}"] = value
    for option, values in config.mounts.items():
        found |= {f"{option}.{key}": _shown(value) for key, value in values.items()}
    return found


def storage_defaults(config: NamespaceConfig) -> dict[str, object]:
    """The limits of a storage engine where aerospike.conf sets none."""
    if config.numbers < (7,):
        return {} if config.engine == "memory" else {"defrag-lwm-pct": 50, "max-used-pct": 70, "min-avail-pct": 5}
    found: dict[str, object] = {"defrag-lwm-pct": 50, "evict-used-pct": 0}
    if config.engine == "device":
        found["post-write-cache"] = 256 * 2**20
    return found | {"stop-writes-avail-pct": 5, "stop-writes-used-pct": 70}


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
    name = _namespace_name(node, given)
    if context not in ("service", "network", "namespace"):
        raise InfoError(ERR_PARAMETER, "invalid context")
    if context == "namespace" and name not in node.namespaces:
        raise InfoError(ERR_NAMESPACE, "namespace not found on node")
    if "enable-index" in given:
        node.deprecations.note((8, 1, 2), ENABLE_INDEX)
    accepted = dynamic(node.release.numbers)["set" if "set" in given else context]
    set_name = given.pop("set", "")
    for option, value in given.items():
        if option not in accepted:
            raise InfoError(ERR_PARAMETER, "invalid set-config parameter")
        section, key, values = _place(node, context, name, set_name, option)
        values[key] = _converted(node, section, key, value)
    return "ok"


def _namespace_name(node: Node, given: dict[str, str]) -> str:
    """Take the namespace from the parameters: `namespace`, or `id`, which releases before 7.2 know only."""
    by_id = given.pop("id", "")
    name = given.pop("namespace", "") if node.release.numbers >= NAMESPACE_SINCE else ""
    if by_id and not name:
        node.deprecations.note((8, 1), NAMESPACE_AS_ID)
    return name or by_id


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
