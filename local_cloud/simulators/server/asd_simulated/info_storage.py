"""What the info command `namespace/x` says about space, under the names of the server's release."""

from . import limits
from .storage import Namespace


def storage_statistics(namespace: Namespace) -> dict[str, object]:
    cache: dict[str, object] = {"cache_read_pct": 0} if namespace.config.engine == "device" else {}
    return _statistics(namespace) | cache | _devices(namespace)


def _statistics(namespace: Namespace) -> dict[str, object]:
    used, total = namespace.used_bytes, namespace.capacity
    index = limits.INDEX_BYTES * (namespace.objects + namespace.tombstones)
    if namespace.config.numbers < (7,):
        return _before_7(namespace, index)
    return {
        "index_used_bytes": index,
        "set_index_used_bytes": 0,
        "sindex_used_bytes": 0,
        "data_total_bytes": total,
        "data_used_bytes": used,
        "data_used_pct": namespace.used_pct,
        "data_avail_pct": namespace.avail_pct,
        "data_compression_ratio": "1.000",
    }


def _before_7(namespace: Namespace, index: int) -> dict[str, object]:
    memory, size = limits.memory_bytes(namespace), limits.memory_size(namespace)
    found: dict[str, object] = {
        "memory_used_bytes": memory,
        "memory_used_data_bytes": memory - limits.index_bytes(namespace),
        "memory_used_index_bytes": limits.index_bytes(namespace),
        "memory_used_set_index_bytes": 0,
        "memory_used_sindex_bytes": 0,
        "memory_free_pct": max(0, (size - memory) * 100 // size) if size else 0,
    }
    if namespace.config.index_types.get("index-type") == "flash":
        found["index_flash_used_bytes"] = index
    if namespace.devices:
        used, total = namespace.used_bytes, namespace.capacity
        found |= {
            "device_total_bytes": total,
            "device_used_bytes": used,
            "device_free_pct": max(0, (total - used) * 100 // total),
            "device_available_pct": namespace.avail_pct,
        }
    return found


def _devices(namespace: Namespace) -> dict[str, object]:
    """The blocks of each device, file or stripe."""
    config = namespace.config
    kind = "device" if config.devices else "file" if config.files else "stripe"
    found: dict[str, object] = {}
    for position, device in enumerate(namespace.devices):
        values: dict[str, object] = {"used_bytes": device.used, "free_wblocks": device.free}
        if kind != "stripe":
            values |= {"read_errors": 0, "write_q": 0}
        values |= {"writes": device.writes, "defrag_q": 0, "defrag_reads": device.moved, "defrag_writes": 0}
        if kind != "stripe":
            values |= {"partial_writes": 0, "defrag_partial_writes": 0, "age": -1}
        found |= {f"storage-engine.{kind}[{position}].{name}": value for name, value in values.items()}
    return found
