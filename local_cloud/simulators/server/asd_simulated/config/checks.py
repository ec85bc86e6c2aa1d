"""Rules across parameters: checked at the end of a section or once the log is open, as in the real server."""

import ipaddress
import resource
from pathlib import Path

from ..release import Release
from .model import Config, ConfigError, NamespaceConfig, Values


def check_heartbeat(values: Values) -> None:
    longest = values.get("interval", 150) * values.get("timeout", 10) // 3
    if values.get("connect-timeout-ms", 500) > longest:
        raise ConfigError("'connect-timeout-ms' must be <= 'interval' * 'timeout' / 3", where="cfg.c:2717")


def check_storage(namespace: NamespaceConfig) -> None:
    name, storage = namespace.name, namespace.storage

    def refuse(text: str) -> None:
        raise ConfigError(f"{{{name}}} {text}", where="cfg.c:3846")

    backing = bool(namespace.devices or namespace.files)
    if namespace.engine == "memory":
        if not backing and "data-size" not in storage:
            refuse("must configure 'data-size' if not using storage backing")
        if backing and "data-size" in storage:
            refuse("can't configure 'data-size' if using storage backing")
        if not backing and "flush-size" in storage:
            refuse("can't configure 'flush-size' if not using storage backing")
        if storage.get("commit-to-device") and not backing:
            refuse("'commit-to-device' guarantee is automatic if not using storage backing")
        if "encryption-key-file" in storage and not backing:
            refuse("'encryption-key-file' is only relevant if using storage backing")
    elif not backing:
        refuse("has no devices or files" if namespace.engine == "device" else "has no files")
    if namespace.files and "filesize" not in storage:
        refuse("must configure 'filesize' if using storage files")
    if storage.get("commit-to-device") and storage.get("disable-odsync"):
        refuse("can't configure both 'commit-to-device' and 'disable-odsync'")
    if "compression-acceleration" in storage and storage.get("compression") != "lz4":
        refuse("'compression-acceleration' is only relevant for 'compression lz4'")
    if "compression-level" in storage and storage.get("compression") != "zstd":
        refuse("'compression-level' is only relevant for 'compression zstd'")


def check_budget(namespace: NamespaceConfig, values: Values, which: str, release: Release) -> None:
    name = "mounts-budget" if release.numbers >= (7,) else "mounts-size-limit"
    if not values.get(name):
        raise ConfigError(f"{{{namespace.name}}} must configure {which}'{name}'", where="cfg.c:3166")


def check_namespace(namespace: NamespaceConfig, release: Release) -> None:
    name = namespace.name
    if release.numbers < (7,):
        # Data is in memory by default, and its size is a parameter of the namespace.
        namespace.engine = namespace.engine or "memory"
        if not namespace.values.get("memory-size"):
            raise ConfigError(f"{{{name}}} must configure non-zero 'memory-size'", where="cfg.c:3060")
        if namespace.engine == "memory":
            namespace.storage["data-size"] = namespace.values["memory-size"]
    if not namespace.engine:
        raise ConfigError(f"{{{name}}} must configure 'storage-engine'", where="cfg.c:3081")
    flash = namespace.index_types.get("index-type") == "flash"
    if flash and namespace.engine != "device" and release.numbers >= (7,):
        raise ConfigError(
            f"{{{name}}} 'index-type flash' can only be used with 'storage-engine device'", where="cfg.c:3084"
        )
    if namespace.default_ttl and not namespace.ttl_allowed:
        raise ConfigError(
            f"{{{name}}} must configure non-zero 'nsup-period' or 'allow-ttl-without-nsup' true if "
            "'default-ttl' is non-zero",
            where="cfg.c:3087",
        )


def check_config(config: Config, release: Release) -> None:
    """Check what the real server checks once its log is open; only the log shows these refusals."""
    if not config.cluster_name and release.numbers >= (7,):
        raise ConfigError("must configure 'cluster-name'", where="cfg.c:4386")
    if not config.namespaces:
        raise ConfigError("must configure at least one namespace", where="cfg.c:4390")
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    required = config.service.get("proto-fd-max", 15000)
    if limit != resource.RLIM_INFINITY and required > limit:
        raise ConfigError(
            f"{limit} system file descriptors not enough, config specified {required}", where="cfg.c:4405"
        )
    if "node-id" in config.service and "node-id-interface" in config.service:
        raise ConfigError("may not configure both 'node-id' and 'node-id-interface'", where="cfg.c:4441")
    for section in ("service", "heartbeat", "fabric"):
        values = config.network[section]
        if "port" not in values and "tls-port" not in values:
            raise ConfigError(f"no {section} ports configured", where="cfg.c:4542")
        if "port" not in values:
            raise ConfigError(f"SIMULATED: TLS isn't simulated, {section} needs a plain 'port'", where="cfg.c:4542")
        for address in values.get("address", []):
            check_address(address)
    if config.network["heartbeat"].get("mode") == "multicast":
        raise ConfigError("SIMULATED: heartbeat mode multicast isn't simulated, use 'mode mesh'", where="cfg.c:4583")
    if release.numbers >= (8, 1) and config.info_section:
        config.warnings.append("info service is obsolete - ignoring")
    check_directories(config)


def check_address(address: str) -> None:
    if address in ("any", "local", "localhost") or Path("/sys/class/net", address).exists():
        return
    try:
        ipaddress.ip_address(address)
    except ValueError:
        raise ConfigError(f"Invalid address: {address}", "socket", "socket.c:1873") from None


def check_directories(config: Config) -> None:
    work = Path(config.work_directory)
    lua = Path(config.mod_lua.get("user-path", "/opt/aerospike/usr/udf/lua"))
    for title, path in (("work", work), ("Lua user", lua), ("system metadata", work / "smd")):
        problem = "" if path.is_dir() else "Not a directory" if path.exists() else "No such file or directory"
        if problem:
            raise ConfigError(f"{title} directory '{path}' is not set up properly: {problem}", "as", "as.c:532")
