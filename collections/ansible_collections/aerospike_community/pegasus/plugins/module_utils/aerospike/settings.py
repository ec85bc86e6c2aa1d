# Copyright (c) Pegasus authors. SPDX-License-Identifier: Apache-2.0
"""The settings of a server and the rules across them, before launch and on its host. Pure: no host, no files.

:data:`DIALECTS` holds the differences between versions. Sources: the published JSON schemas of the configuration (6.4
to 8.1) and the behaviour of the server.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

MIB = 1024 * 1024
GIB = 1024 * MIB
MAX_NAME = 31  # characters of a namespace's name
MAX_CLUSTER_NAME = 63
MAX_DATA = 256 * 1024 * GIB  # bytes of data in memory
MAX_TTL = 315360000  # seconds; ten years
MAX_PERIOD = 2**32 - 1  # seconds
PROTO_FDS = (1024, 2 * MIB)
MAX_RACK = 1000000
HEARTBEAT_INTERVALS = (50, 600000)  # milliseconds
MIN_HEARTBEAT_TIMEOUT = 3  # intervals
CONNECT_TIMEOUT_MS = 500  # of the heartbeat, unless an extra setting says otherwise; at most interval x timeout / 3
MAX_DEVICES = 128  # devices of one namespace
MAX_COMMUNITY_NODES = 8
SPRIGS = (256, 268435456)
COMPRESSIONS = ("none", "lz4", "snappy", "zstd")
EDITIONS = ("enterprise", "community")
STORAGES = ("memory", "disk")
# A file system needs some space for itself. The server may use this share.
MOUNT_PERCENT = 95
# The smallest limit of an index on flash that the server accepts, according to its error message, by kind of index.
MIN_MOUNTS = {"primary_index": 4 * GIB, "secondary_index": GIB}


class ConfError(Exception):
    """Settings that no server accepts, or that Pegasus forbids. The text names each."""


@dataclass(frozen=True)
class Dialect:
    """The names and limits of a range of versions."""

    memory_has_size: bool  # `data-size` in `storage-engine memory`; before, `memory-size` in the namespace
    mounts_limit: str  # the mandatory limit of an index on flash
    info_port: bool  # the text port 3003
    admin_port: bool  # the port 3008
    min_data: int  # bytes; smallest data-size that is accepted


DIALECTS: tuple[tuple[tuple[int, int], Dialect], ...] = (
    ((8, 1), Dialect(True, "mounts-budget", False, True, 512 * MIB)),
    ((7, 0), Dialect(True, "mounts-budget", True, False, 256 * MIB)),
    ((6, 4), Dialect(False, "mounts-size-limit", True, False, 256 * MIB)),
)


@dataclass(frozen=True)
class Settings:
    """Everything that determines a server's configuration."""

    version: str
    edition: str
    cluster_name: str
    namespace: str
    replication_factor: int = 2
    default_ttl: int = 0  # seconds
    nsup_period: int = 0  # seconds; 0: a default if default_ttl needs it, otherwise none
    compression: str = "none"
    partition_tree_sprigs: int = 256
    primary_index_storage: str = "memory"
    secondary_index_storage: str = "memory"
    data_storage: str = "memory"
    data_size: str = ""  # of data in memory; empty: memory_percent of the host's memory
    memory_percent: int = 60
    rack_id: int = 0  # 0 = none
    features_file: str = ""  # path on the host
    proto_fd_max: int = 15000
    service_port: int = 3000
    fabric_port: int = 3001
    heartbeat_port: int = 3002
    info_port: int = 3003
    admin_port: int = 3008
    heartbeat_interval_ms: int = 150
    heartbeat_timeout: int = 10  # intervals
    seeds: tuple[str, ...] = ()
    # Known on the host only.
    memory_bytes: int = 0
    data_devices: tuple[str, ...] = ()
    primary_index_mounts: tuple[Mapping[str, Any], ...] = ()  # each with path and size_bytes
    secondary_index_mounts: tuple[Mapping[str, Any], ...] = ()
    extra: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def read(cls, values: Mapping[str, Any]) -> Settings:
        """Build settings from values of YAML, whose numbers may be text. Raises ConfError with all problems."""
        known = {entry.name: entry for entry in fields(cls)}
        problems = [f"unknown setting '{name}'" for name in values if name not in known]
        values_by_name: dict[str, Any] = {}
        for name, value in values.items():
            if name not in known:
                continue
            kind = str(known[name].type)
            if kind == "int":
                try:
                    values_by_name[name] = int(value)
                except (TypeError, ValueError):
                    problems.append(f"{name}: expected a whole number, found '{value}'")
            elif kind.startswith("tuple"):
                values_by_name[name] = tuple(value or ())
            elif kind == "str":
                values_by_name[name] = str(value)
            else:
                values_by_name[name] = value or {}
        if not problems:
            try:
                return cls(**values_by_name)
            except TypeError as error:
                problems.append(str(error).replace("Settings.__init__() ", ""))
        raise ConfError("; ".join(problems))

    @property
    def dialect(self) -> Dialect:
        """The dialect of this version."""
        return dialect_of(self.version)


def dialect_of(version: str) -> Dialect:
    """Return the dialect of a version. Raises ConfError if the version is older than the oldest dialect."""
    release = release_of(version)
    for since, dialect in DIALECTS:
        if release >= since:
            return dialect
    raise ConfError(f"version {version}: expected {'.'.join(map(str, DIALECTS[-1][0]))} or newer")


def release_of(version: str) -> tuple[int, int]:
    """Return (8, 1) of ``8.1.0.3`` or ``8.1.*``; ``latest`` is newer than any other."""
    if version == "latest":
        return (999, 0)
    match = re.match(r"(\d+)\.(\d+)", version)
    if not match:
        raise ConfError(f"version: expected 8.0.0.4, 8.0.*, latest or similar, found '{version}'")
    return (int(match.group(1)), int(match.group(2)))


def configuration_problems(settings: Settings, nodes: int = 0) -> list[str]:
    """Return the problems that are known before a host exists. ``nodes``: size of the cluster, 0 if unknown."""
    found: list[str] = []

    def require(condition: bool, text: str) -> None:
        if not condition:
            found.append(text)

    s = settings
    try:
        dialect = s.dialect
        size = size_bytes(s.data_size) if s.data_size else dialect.min_data
        require(
            size >= dialect.min_data,
            f"data_size: version {s.version} needs at least {dialect.min_data // MIB}M, found {s.data_size}",
        )
        require(size <= MAX_DATA, f"data_size: expected at most {size_text(MAX_DATA)}, found {s.data_size}")
        require(
            dialect.memory_has_size or s.compression == "none" or s.data_storage == "disk",
            f"compression: version {s.version} compresses data on disk only, found '{s.compression}'",
        )
    except ConfError as error:
        found.append(str(error))
    require(s.edition in EDITIONS, f"edition: expected {' or '.join(EDITIONS)}, found '{s.edition}'")
    for name in ("primary_index_storage", "secondary_index_storage", "data_storage"):
        value = getattr(s, name)
        require(value in STORAGES, f"{name}: expected {' or '.join(STORAGES)}, found '{value}'")
        if name != "data_storage" and value == "disk":
            require(
                s.data_storage != "memory",
                f"{name}: data in memory needs both indexes in memory, found 'disk'; set data_storage to disk",
            )
            require(s.edition != "community", f"{name}: an index on disk needs the Enterprise Edition")
    require(
        bool(re.fullmatch(rf"[^\s;:,\"'{{}}#]{{1,{MAX_NAME}}}", s.namespace)),
        f"namespace: expected 1 to {MAX_NAME} characters, no blanks and none of ;:,\"'{{}}#, found {s.namespace!r}",
    )
    require(
        bool(re.fullmatch(rf"[^\s;:\"'{{}}#]{{1,{MAX_CLUSTER_NAME}}}", s.cluster_name)),
        f"cluster_name: expected 1 to {MAX_CLUSTER_NAME} characters without blanks, found '{s.cluster_name}'",
    )
    require(1 <= s.replication_factor <= 8, f"replication_factor: expected 1 to 8, found {s.replication_factor}")
    for name, least, most, unit in (
        ("default_ttl", 0, MAX_TTL, " seconds"),
        ("nsup_period", 0, MAX_PERIOD, " seconds"),
        ("rack_id", 0, MAX_RACK, ""),
        ("proto_fd_max", *PROTO_FDS, ""),
        ("heartbeat_interval_ms", *HEARTBEAT_INTERVALS, " milliseconds"),
        ("heartbeat_timeout", MIN_HEARTBEAT_TIMEOUT, MAX_PERIOD, " intervals"),
    ):
        value = getattr(s, name)
        require(least <= value <= most, f"{name}: expected {least} to {most}{unit}, found {value}")
    require(
        s.heartbeat_interval_ms * s.heartbeat_timeout // 3 >= CONNECT_TIMEOUT_MS,
        f"heartbeat_timeout: expected interval x timeout of at least {3 * CONNECT_TIMEOUT_MS} milliseconds, found "
        f"{s.heartbeat_interval_ms} x {s.heartbeat_timeout}",
    )
    require(1 <= s.memory_percent <= 95, f"memory_percent: expected 1 to 95, found {s.memory_percent}")
    require(s.compression in COMPRESSIONS, f"compression: expected {', '.join(COMPRESSIONS)}, found '{s.compression}'")
    require(
        SPRIGS[0] <= s.partition_tree_sprigs <= SPRIGS[1]
        and s.partition_tree_sprigs & (s.partition_tree_sprigs - 1) == 0,
        f"partition_tree_sprigs: expected a power of two, {SPRIGS[0]} to {SPRIGS[1]}, found {s.partition_tree_sprigs}",
    )
    if s.edition == "community":
        require(s.compression == "none", f"compression: '{s.compression}' needs the Enterprise Edition")
        require(s.rack_id == 0, f"rack_id: {s.rack_id} needs the Enterprise Edition")
        require(
            nodes <= MAX_COMMUNITY_NODES,
            f"cluster_nodes: the Community Edition allows at most {MAX_COMMUNITY_NODES}, found {nodes}",
        )
    return found


def host_problems(settings: Settings) -> list[str]:
    """Return the contradictions between settings and their host."""
    s = settings
    found: list[str] = []
    if s.data_storage == "disk":
        if not s.data_devices:
            found.append(
                "data_storage is disk, but this host has no data partitions: expected some from nvme_partition "
                "(nvme_partition_data_partitions) or in aerospike_server_data_devices; or set data_storage to memory"
            )
        if len(s.data_devices) > MAX_DEVICES:
            found.append(f"expected at most {MAX_DEVICES} data partitions, found {len(s.data_devices)}")
    elif not s.data_size and not s.memory_bytes:
        found.append("data_storage is memory, but the size of the host's memory is unknown: set data_size")
    for name, smallest in MIN_MOUNTS.items():
        if getattr(s, f"{name}_storage") != "disk":
            continue
        mounts = getattr(s, f"{name}_mounts")
        if not mounts:
            found.append(
                f"{name}_storage is disk, but this host has no file system for it: expected some from "
                f"nvme_partition (nvme_partition_{name}_partitions)"
            )
        elif mounts_budget(mounts) < smallest:
            found.append(
                f"{name}_storage is disk: the server needs file systems of at least {size_text(smallest)} for it, "
                f"found {size_text(mounts_budget(mounts))} on this host (nvme_partition_{name}_partitions)"
            )
    return found


def data_bytes(settings: Settings) -> int:
    """Return the size of data in memory: the configured size, or a share of the host's memory in steps of 256 MiB."""
    if settings.data_size:
        return size_bytes(settings.data_size)
    share = settings.memory_bytes * settings.memory_percent // 100
    return max(share // (256 * MIB) * (256 * MIB), settings.dialect.min_data)


def mounts_budget(mounts: Sequence[Mapping[str, Any]]) -> int:
    """Return how much of its file systems an index may use, in bytes (whole MiB)."""
    return sum(int(mount["size_bytes"]) for mount in mounts) * MOUNT_PERCENT // 100 // MIB * MIB


def size_bytes(text: str) -> int:
    """Parse a size as the server does: ``4G``, ``512M``, or plain bytes. Raises ConfError for ``4Gi`` and the like."""
    match = re.fullmatch(r"(\d+)([KMGTP]?)", str(text).strip().upper())
    if not match:
        raise ConfError(f"size: expected 4G, 512M or similar, found '{text}'")
    return int(match.group(1)) * 1024 ** " KMGTP".index(match.group(2) or " ")


def size_text(count: int) -> str:
    """Return a size for the server, in the largest exact unit."""
    for unit, size in (("G", GIB), ("M", MIB), ("K", 1024)):
        if count and count % size == 0:
            return f"{count // size}{unit}"
    return str(count)
