"""Scans: every record of a set in the partitions that the client requests from this node."""

from . import operations, wire
from .node import Node
from .operations import Refused
from .storage import PARTITIONS, Record, partition_of, split_bins
from .wire import Request

CHUNK_BYTES = 256 * 1024


def is_scan(request: Request) -> bool:
    return not request.digest and (
        wire.FIELD_PARTITIONS in request.other_fields
        or wire.FIELD_DIGESTS in request.other_fields
        or wire.FIELD_TASK_ID in request.other_fields
    )


def run_scan(node: Node, request: Request) -> list[bytes]:
    """The bodies of the response's frames. Queries by index, user functions and background scans aren't simulated."""
    fields = request.other_fields
    namespace = node.namespaces.get(request.namespace.decode("latin-1"))
    table = namespace and node.tables.get(namespace.name)
    if namespace is None:
        return [last(wire.ERR_NAMESPACE)]
    if wire.FIELD_INDEX_RANGE in fields:
        namespace.stats["si_query_long_basic_error"] += 1
        return [last(wire.ERR_INDEX_NOT_FOUND)]
    if wire.FIELD_UDF_NAME in fields or wire.FIELD_UDF_OP in fields or request.is_write:
        return [last(wire.ERR_UNSUPPORTED)]
    if not table:
        return [last(wire.ERR_UNAVAILABLE)]
    left = int.from_bytes(fields[wire.FIELD_MAX_RECORDS], "big") if wire.FIELD_MAX_RECORDS in fields else -1
    bodies: list[bytes] = []
    parts: list[bytes] = []
    size = 0
    for partition, after in requested_partitions(fields):
        row = table.rows[partition]
        if node.node_id not in row.full and (row.master != node.node_id or row.stray):
            parts.append(wire.encode_result(wire.ERR_UNAVAILABLE, partition, info3=wire.INFO3_PARTITION_DONE))
            continue
        records = namespace.partitions[partition]
        for digest in sorted(records):
            record = namespace.get(digest)
            if record is None or not matches(record, request) or (after is not None and digest <= after):
                continue
            if left == 0:
                break
            left -= 1
            parts.append(encode_record(request, digest, record))
            size += len(parts[-1])
            if size > CHUNK_BYTES:
                bodies.append(b"".join(parts))
                parts, size = [], 0
        parts.append(wire.encode_result(wire.OK, partition, info3=wire.INFO3_PARTITION_DONE))
    namespace.stats["pi_query_long_basic_complete"] += 1
    return [*bodies, b"".join(parts) + last(wire.OK)]


def last(result: int) -> bytes:
    return wire.encode_result(result, info3=wire.INFO3_LAST)


def requested_partitions(fields: dict[int, bytes]) -> list[tuple[int, bytes | None]]:
    """The requested partitions, each with the digest to continue after or None.

    The order of digests within a partition is specific to the simulator.
    """
    found: list[tuple[int, bytes | None]] = []
    complete = fields.get(wire.FIELD_PARTITIONS, b"")
    found += [(int.from_bytes(complete[at : at + 2], "little") % PARTITIONS, None) for at in range(0, len(complete), 2)]
    partial = fields.get(wire.FIELD_DIGESTS, b"")
    found += [(partition_of(partial[at : at + 20]), partial[at : at + 20]) for at in range(0, len(partial), 20)]
    return found


def matches(record: Record, request: Request) -> bool:
    if not record.live or (request.set_name and record.set_name != request.set_name):
        return False
    try:
        operations.check_filter(record, request)
    except Refused:
        return False
    return True


def encode_record(request: Request, digest: bytes, record: Record) -> bytes:
    fields = [
        wire.encode_field(wire.FIELD_NAMESPACE, request.namespace),
        wire.encode_field(wire.FIELD_SET, record.set_name),
        wire.encode_field(wire.FIELD_DIGEST, digest),
    ]
    if record.key is not None:
        fields.append(wire.encode_field(wire.FIELD_KEY, record.key))
    n_bins, bins = record.n_bins, record.bins
    if request.info1 & wire.INFO1_NO_BINS:
        n_bins, bins = 0, b""
    elif request.ops:
        stored = split_bins(record.bins)
        chosen = [stored[op.name] for op in request.ops if op.name in stored]
        n_bins, bins = len(chosen), b"".join(chosen)
    return wire.encode_result(
        wire.OK, record.generation, record.void_time, n_bins, bins, n_fields=len(fields), fields=b"".join(fields)
    )
