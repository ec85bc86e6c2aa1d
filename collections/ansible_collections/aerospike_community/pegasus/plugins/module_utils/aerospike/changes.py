# Copyright (c) Pegasus authors. SPDX-License-Identifier: Apache-2.0
"""Differences between two versions of aerospike.conf, and which of them a running server accepts. Pure.

Source of the tables: the parameters of the command set-config in the server's public source (6.4.0.34,
7.1.0.23, 7.2.0.17, 8.0.0.15, 8.1.0.3). Left out on purpose: cluster-name (nodes with a new name would leave the cluster
one by one), replication-factor and rack-id (they take effect only when all nodes have them and recluster).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from .conf import Path, parse
from .settings import release_of, size_bytes

# Context -> the parameters that can be set at run time in every release.
ALWAYS = {
    "service": """
        advertise-ipv6 batch-index-threads batch-max-buffers-per-queue batch-max-unused-buffers
        enable-benchmarks-fabric enable-health-check enable-hist-info info-max-ms info-threads
        microsecond-histograms migrate-fill-delay migrate-max-num-incoming migrate-threads min-cluster-size
        proto-fd-idle-ms proto-fd-max query-max-done query-threads-limit service-threads sindex-builder-threads
        sindex-gc-period ticker-interval transaction-max-ms transaction-retry-ms vault-token-file
    """,
    "network": """
        fabric.channel-bulk-recv-threads fabric.channel-ctrl-recv-threads fabric.channel-meta-recv-threads
        fabric.channel-rw-recv-threads fabric.recv-rearm-threshold heartbeat.connect-timeout-ms heartbeat.interval
        heartbeat.mtu heartbeat.protocol heartbeat.timeout
    """,
    "namespace": """
        allow-ttl-without-nsup background-query-max-rps cache-replica-writes compression compression-acceleration
        compression-level conflict-resolution-policy conflict-resolve-writes default-ttl defrag-lwm-pct
        defrag-queue-min defrag-sleep disable-write-dup-res disallow-expunge disallow-null-setname
        enable-benchmarks-batch-sub enable-benchmarks-ops-sub enable-benchmarks-read enable-benchmarks-storage
        enable-benchmarks-udf enable-benchmarks-udf-sub enable-benchmarks-write enable-hist-proxy evict-hist-buckets
        evict-tenths-pct flush-max-ms geo2dsphere-within-max-cells geo2dsphere-within-max-level
        geo2dsphere-within-min-level ignore-migrate-fill-delay inline-short-queries max-record-size max-write-cache
        migrate-order migrate-retransmit-ms migrate-sleep nsup-hist-period nsup-period nsup-threads
        prefer-uniform-balance read-consistency-level-override read-page-cache reject-non-xdr-writes
        reject-xdr-writes single-query-threads stop-writes-sys-memory-pct strong-consistency-allow-expunge
        tomb-raider-eligible-age tomb-raider-period tomb-raider-sleep transaction-pending-limit truncate-threads
        write-commit-level-override xdr-bin-tombstone-ttl xdr-tomb-raider-period xdr-tomb-raider-threads
    """,
    "set": """
        disable-eviction enable-index stop-writes-count stop-writes-size
    """,
}
# Parameters of some releases only: first release, first release without them (None: none yet), context, names.
CHANGES: tuple[tuple[tuple[int, int], tuple[int, int] | None, str, str], ...] = (
    ((7, 0), None, "service", "batch-max-requests tls-refresh-period"),
    ((7, 0), None, "set", "default-read-touch-ttl-pct default-ttl"),
    (
        (7, 0),
        None,
        "namespace",
        "default-read-touch-ttl-pct evict-indexes-memory-pct evict-used-pct flush-size index-type.evict-mounts-pct "
        "index-type.mounts-budget indexes-memory-budget migrate-skip-unreadable post-write-cache "
        "sindex-type.evict-mounts-pct sindex-type.mounts-budget stop-writes-avail-pct stop-writes-used-pct",
    ),
    (
        (6, 4),
        (7, 0),
        "namespace",
        "high-water-disk-pct high-water-memory-pct max-used-pct memory-size min-avail-pct post-write-queue "
        "index-type.mounts-high-water-pct index-type.mounts-size-limit sindex-type.mounts-high-water-pct "
        "sindex-type.mounts-size-limit stop-writes-pct",
    ),
    ((7, 2), None, "namespace", "active-rack"),
    ((8, 0), None, "namespace", "disable-mrt-writes mrt-duration"),
    ((8, 1), None, "namespace", "apply-ttl-reductions"),
)
# In set-config of 6.4, the limits of the primary index have no prefix, unlike those of the secondary index.
FLAT_BEFORE_7 = {"index-type.mounts-high-water-pct", "index-type.mounts-size-limit"}


@dataclass(frozen=True)
class Difference:
    """A parameter that differs. ``path``: its contexts, with labels, and its name. ``old``, ``new``: a value a line."""

    path: Path
    old: tuple[str, ...]
    new: tuple[str, ...]

    def __str__(self) -> str:
        def shown(values: tuple[str, ...]) -> str:
            return ", ".join(values) if values else "nothing"

        return f"{'.'.join(self.path)}: {shown(self.old)} -> {shown(self.new)}"


def differences(old: str, new: str) -> list[Difference]:
    """Return the differences between two configurations, in the order of the new configuration."""
    before, after = parse(old), parse(new)
    paths = [*after, *(path for path in before if path not in after)]
    present = [(path, before.get(path), after.get(path)) for path in paths]
    return [Difference(path, was or (), now or ()) for path, was, now in present if was != now]


def commands(difference: Difference, version: str) -> list[str]:
    """Return the info commands that apply a difference to a running server; none if it needs a restart."""
    path, new = difference.path, difference.new
    if path == ("network", "heartbeat", "mesh-seed-address-port"):
        return _seed_commands(difference.old, new)
    # A removed line means the server's default, which only a restart applies.
    if len(new) != 1 or len(path) < 2 or len(difference.old) > 1:
        return []
    value = _plain(new[0])
    known = _dynamic(release_of(version))
    context = path[0].split()[0]
    if context == "service" and len(path) == 2 and path[1] in known["service"]:
        return [f"set-config:context=service;{path[1]}={value}"]
    if context == "network" and len(path) == 3 and ".".join(path[1:]) in known["network"]:
        return [f"set-config:context=network;{'.'.join(path[1:])}={value}"]
    if context == "namespace":
        where = f"set-config:context=namespace;id={path[0].split()[1]}"
        if len(path) == 3 and path[1].startswith("set ") and path[2] in known["set"]:
            return [f"{where};set={path[1].split()[1]};{path[2]}={value}"]
        name = _namespace_name(path[1:])
        if name in known["namespace"]:
            return [f"{where};{name.partition('.')[2] if name in FLAT_BEFORE_7 else name}={value}"]
    return []


def _seed_commands(old: Sequence[str], new: Sequence[str]) -> list[str]:
    """Commands that add seeds to a node. A removed seed is harmless: a node only tries to connect to it."""
    return [f"tip:host={seed.split()[0]};port={seed.split()[1]}" for seed in new if seed not in old]


def _dynamic(release: tuple[int, int]) -> dict[str, frozenset[str]]:
    """The parameters that can be set at run time in a release, by context."""
    known = {context: frozenset(names.split()) for context, names in ALWAYS.items()}
    for since, until, context, names in CHANGES:
        if release >= since and (until is None or release < until):
            known[context] = known[context] | frozenset(names.split())
    return known


def _namespace_name(path: Path) -> str:
    """The name of a namespace's parameter in set-config, which has no level for the storage engine."""
    if len(path) == 2 and path[0] == "storage-engine":
        return path[1]
    if len(path) == 2 and path[0] == "geo2dsphere-within":
        return f"geo2dsphere-within-{path[1]}"
    return ".".join(path)


def _plain(value: str) -> str:
    """A value for set-config, which accepts no size units."""
    return str(size_bytes(value)) if re.fullmatch(r"\d+[KMGTPkmgtp]", value) else value
