"""When a namespace stops writes, and when it evicts: evaluated every few seconds, as in the real server.

Facts: public source of Community Edition 6.4.0.34, 7.1.0.23, 8.0.0.15 and 8.1.2.0.
"""

from pathlib import Path

from . import clock
from .log import Log
from .storage import Namespace

STOP_WRITES_SECONDS = 10
INDEX_BYTES = 64  # of one record
MEMINFO = Path("/proc/meminfo")


def evaluate_stop_writes(namespace: Namespace, log: Log) -> None:
    """Set whether writes are refused. The reason is logged each time."""
    reasons = _stop_reasons(namespace)
    namespace.stop_writes = bool(reasons)
    if reasons:
        log.warning(
            "nsup",
            f"{{{namespace.name}}} breached stop-writes limit ({' & '.join(reasons)}), sys-memory pct:{memory_pct()}, "
            f"indexes-memory sz:{index_bytes(namespace)}, data avail-pct:{namespace.avail_pct} "
            f"used-pct:{namespace.used_pct}",
            "nsup.c:995",
        )


def _stop_reasons(namespace: Namespace) -> list[str]:
    config, found = namespace.config, []
    limit = config.values.get("stop-writes-sys-memory-pct", 90)
    if memory_pct() > limit and (limit or config.numbers < (7,)):
        found.append("sys-memory")
    if config.numbers < (7,):
        if memory_bytes(namespace) > memory_size(namespace) * config.values.get("stop-writes-pct", 90) // 100:
            found.append("memory")
        if namespace.devices and namespace.avail_pct < config.storage.get("min-avail-pct", 5):
            found.append("device-avail-pct")
        if namespace.devices and namespace.used_pct > config.storage.get("max-used-pct", 70):
            found.append("device-used-pct")
        return found
    budget = config.values.get("indexes-memory-budget", 0)
    if budget and index_bytes(namespace) > budget:
        found.append("indexes-memory")
    if namespace.avail_pct < config.storage.get("stop-writes-avail-pct", 5):
        found.append("data-avail-pct")
    if 0 < config.storage.get("stop-writes-used-pct", 70) <= namespace.used_pct:
        found.append("data-used-pct")
    return found


def evict(namespace: Namespace, log: Log) -> None:
    """If a limit of eviction is breached, remove the records that would expire first."""
    reasons = _eviction_reasons(namespace)
    namespace.hwm_breached = bool(reasons)
    if not reasons:
        return
    log.warning(
        "nsup",
        f"{{{namespace.name}}} breached eviction limit ({' & '.join(reasons)}), data used-pct:{namespace.used_pct}",
        "nsup.c:733",
    )
    expirable = sorted(
        (record.void_time, digest)
        for partition in namespace.partitions
        for digest, record in partition.items()
        if record.void_time
    )
    count = namespace.objects * namespace.config.values.get("evict-tenths-pct", 5) // 1000
    for _, digest in expirable[:count]:
        namespace.remove(digest)
    namespace.stats["evicted_objects"] += min(count, len(expirable))
    if expirable[:count]:
        namespace.evict_ttl = max(0, expirable[:count][-1][0] - clock.now_seconds())


def _eviction_reasons(namespace: Namespace) -> list[str]:
    config, found = namespace.config, []
    if config.numbers < (7,):
        limit = config.values.get("high-water-memory-pct", 0)
        if limit and memory_bytes(namespace) > memory_size(namespace) * limit // 100:
            found.append("memory")
        if namespace.devices and 0 < config.values.get("high-water-disk-pct", 0) < namespace.used_pct:
            found.append("disk")
        return found
    budget = config.values.get("indexes-memory-budget", 0)
    if budget and 0 < config.values.get("evict-indexes-memory-pct", 0) <= index_bytes(namespace) * 100 // budget:
        found.append("indexes-memory")
    if 0 < config.storage.get("evict-used-pct", 0) <= namespace.used_pct:
        found.append("data-used-pct")
    return found


def index_bytes(namespace: Namespace) -> int:
    """What the primary index takes; 0 in the sums of memory if it's on disk."""
    if namespace.config.index_types.get("index-type", "shmem") == "flash":
        return 0
    return INDEX_BYTES * (namespace.objects + namespace.tombstones)


def memory_bytes(namespace: Namespace) -> int:
    """Before 7.0: what counts against memory-size."""
    in_memory = namespace.config.engine == "memory" or namespace.config.storage.get("data-in-memory", False)
    return index_bytes(namespace) + (namespace.used_bytes if in_memory else 0)


def memory_size(namespace: Namespace) -> int:
    return namespace.config.values.get("memory-size", 0)


def memory_pct() -> int:
    """Percent of the host's memory that is in use."""
    total, available = host_memory()
    return 100 - 100 * available // total


def host_memory() -> tuple[int, int]:
    """(all, available) memory of the host, in KiB."""
    values = dict(line.split(":") for line in MEMINFO.read_text().splitlines())
    return int(values["MemTotal"].split()[0]), int(values["MemAvailable"].split()[0])
