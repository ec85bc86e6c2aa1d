"""The part of ape.toml that the simulator supports. Keys that it doesn't support are refused, not ignored."""

from __future__ import annotations

import base64
import os
import tomllib
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")

# Contexts that can be filtered, as named in the keys <context>_metrics_allowlist and _blocklist.
FILTERED = ("namespace", "set", "node", "latencies")


class ConfigError(RuntimeError):
    """The configuration can't be used."""


@dataclass(frozen=True)
class Filter:
    """Which metrics of a context are exported: patterns over the server's names; the blocklist wins."""

    allow: tuple[str, ...] = ()
    block: tuple[str, ...] = ()

    def passes(self, name: str) -> bool:
        if any(fnmatchcase(name, pattern) for pattern in self.block):
            return False
        return not self.allow or any(fnmatchcase(name, pattern) for pattern in self.allow)


@dataclass(frozen=True)
class Config:
    """The exporter's settings. Times in seconds."""

    bind_host: str = ""
    bind_port: int = 9145
    labels: dict[str, str] = field(default_factory=dict)
    user: str = ""
    password: str = ""
    log_file: str = ""
    db_host: str = "localhost"
    db_port: int = 3000
    db_timeout: float = 5.0
    latency_buckets: int = 0
    filters: dict[str, Filter] = field(default_factory=dict)


def load(path: Path) -> Config:
    """Read ape.toml.

    :raises ConfigError: names the key, what was found and what was expected
    """
    try:
        data = tomllib.loads(path.read_text())
    except OSError as error:
        raise ConfigError(f"{path} can't be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} isn't valid TOML: {error}") from error
    agent, aerospike = _table(data, "Agent"), _table(data, "Aerospike")
    _refuse(agent, aerospike)
    host, port = _bind(_get(agent, "Agent", "bind", ":9145", str) or ":9145")
    filters = {}
    for context in FILTERED:
        allow = _patterns(aerospike, f"{context}_metrics_allowlist")
        block = _patterns(aerospike, f"{context}_metrics_blocklist")
        filters[context] = Filter(allow, block)
    return Config(
        bind_host=host,
        bind_port=port,
        labels={str(name): str(value) for name, value in _table(agent, "labels").items()},
        user=_secret(_get(agent, "Agent", "basic_auth_username", "", str)),
        password=_secret(_get(agent, "Agent", "basic_auth_password", "", str)),
        log_file=_get(agent, "Agent", "log_file", "", str).strip(),
        db_host=_get(aerospike, "Aerospike", "db_host", "localhost", str),
        db_port=_get(aerospike, "Aerospike", "db_port", 3000, int),
        db_timeout=float(_get(aerospike, "Aerospike", "timeout", 5, int) or 5),
        latency_buckets=_get(aerospike, "Aerospike", "latency_buckets_count", 0, int),
        filters=filters,
    )


def _refuse(agent: dict[str, Any], aerospike: dict[str, Any]) -> None:
    if agent.get("enable_open_telemetry"):
        raise ConfigError("Agent.enable_open_telemetry: found true; the SIMULATED exporter serves Prometheus only")
    if agent.get("enable_prometheus", True) is False:
        raise ConfigError("Agent.enable_prometheus: found false, so nothing is left to serve")
    for section, table, keys in (
        ("Agent", agent, ("cert_file", "key_file", "root_ca")),
        ("Aerospike", aerospike, ("cert_file", "key_file", "root_ca", "user", "password")),
    ):
        for key in keys:
            if table.get(key):
                raise ConfigError(f"{section}.{key}: the SIMULATED exporter has no TLS and no login")


def _table(data: dict[str, Any], name: str) -> dict[str, Any]:
    value = data.get(name, {})
    if not isinstance(value, dict):
        raise ConfigError(f"{name}: found {value!r}, expected a table")
    return value


def _get(table: dict[str, Any], section: str, key: str, default: T, kind: type[T]) -> T:
    value = table.get(key, default)
    if not isinstance(value, kind) or isinstance(value, bool):
        raise ConfigError(f"{section}.{key}: found {value!r}, expected {kind.__name__}")
    return value


def _patterns(table: dict[str, Any], key: str) -> tuple[str, ...]:
    value = table.get(key, [])
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise ConfigError(f"Aerospike.{key}: found {value!r}, expected a list of patterns")
    return tuple(item for item in value if item)


def _bind(value: str) -> tuple[str, int]:
    host, _, port = value.rpartition(":")
    if not port.isdigit() or int(port) > 65535:
        raise ConfigError(f"Agent.bind: found {value!r}, expected [host]:port")
    return host.strip("[]"), int(port)


def _secret(value: str) -> str:
    """A credential: plain, or `file:`, `env:`, `b64:` or `env-b64:` and its location."""
    source, separator, rest = value.partition(":")
    if not separator:
        return value
    try:
        if source == "file":
            return Path(rest).read_text().strip()
        if source == "env":
            return os.environ[rest]
        if source == "b64":
            return base64.b64decode(rest).decode().strip()
        if source == "env-b64":
            return base64.b64decode(os.environ[rest]).decode().strip()
    except (OSError, KeyError, ValueError) as error:
        raise ConfigError(f"a credential can't be read from {source}: {type(error).__name__}") from error
    raise ConfigError("a credential has an unknown source, expected file:, env:, b64: or env-b64:")
