"""A parsed aerospike.conf: its sections as data, and the error for what the server refuses."""

from dataclasses import dataclass, field
from typing import Any

NAMES_MAX = {"community": 2, "enterprise": 32}

NODES_MAX = {"community": 8, "enterprise": 256}


class ConfigError(Exception):
    """A refusal. `where` is the part of the server and the source line it logs, such as "config): (cfg.c:1651"."""

    def __init__(self, message: str, part: str = "config", where: str = "cfg.c:1651") -> None:
        super().__init__(message)
        self.part = part
        self.where = where


Values = dict[str, Any]


@dataclass
class NamespaceConfig:
    """One namespace section. `storage` holds the parameters of its storage-engine."""

    name: str
    values: Values = field(default_factory=dict)
    engine: str = ""
    storage: Values = field(default_factory=dict)
    index_types: dict[str, str] = field(default_factory=dict)
    mounts: dict[str, Values] = field(default_factory=dict)
    sets: dict[str, Values] = field(default_factory=dict)

    @property
    def replication_factor(self) -> int:
        return self.values.get("replication-factor", 2)

    @property
    def default_ttl(self) -> int:
        return self.values.get("default-ttl", 0)

    @property
    def nsup_period(self) -> int:
        return self.values.get("nsup-period", 0)

    @property
    def ttl_allowed(self) -> bool:
        return bool(self.nsup_period or self.values.get("allow-ttl-without-nsup", False))

    @property
    def max_record_size(self) -> int:
        return self.values.get("max-record-size", 1024 * 1024)

    @property
    def stop_writes_used_pct(self) -> int:
        return self.storage.get("stop-writes-used-pct", 70)

    @property
    def devices(self) -> list[str]:
        return self.storage.get("device", [])

    @property
    def files(self) -> list[str]:
        return self.storage.get("file", [])


@dataclass
class LogSink:
    """`path` is "" for the console. `levels` maps a part ("any", "config") to its level."""

    path: str
    levels: dict[str, str] = field(default_factory=dict)


@dataclass
class Config:
    """A parsed aerospike.conf. Each section maps parameter to value; parameters that may be repeated hold lists."""

    service: Values = field(default_factory=dict)
    network: dict[str, Values] = field(
        default_factory=lambda: {name: {} for name in ("service", "admin", "heartbeat", "fabric", "info")}
    )
    namespaces: list[NamespaceConfig] = field(default_factory=list)
    sinks: list[LogSink] = field(default_factory=list)
    mod_lua: Values = field(default_factory=dict)
    security: bool = False
    info_section: bool = False
    warnings: list[str] = field(default_factory=list)
    bad_practices: list[str] = field(default_factory=list)  # names of the checks that failed at startup

    @property
    def cluster_name(self) -> str:
        return self.service.get("cluster-name", "")

    @property
    def work_directory(self) -> str:
        return self.service.get("work-directory", "/opt/aerospike")

    @property
    def interval_ms(self) -> int:
        return self.network["heartbeat"].get("interval", 150)

    @property
    def timeout_intervals(self) -> int:
        return self.network["heartbeat"].get("timeout", 10)

    @property
    def seeds(self) -> list[tuple[str, int]]:
        return self.network["heartbeat"].get("mesh-seed-address-port", [])
