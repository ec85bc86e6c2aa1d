"""Reads, writes and deletes of one record, with their policies. No network here.

The order of the checks and the result codes are the real server's.
"""

import struct
from collections.abc import Callable
from dataclasses import dataclass

from . import clock, expressions, wire
from .storage import Namespace, Record, full_read, split_bins
from .wire import Op, Request

TTL_DEFAULT = 0
TTL_NEVER = 0xFFFFFFFF
TTL_KEEP = 0xFFFFFFFE
TTL_MAX = 10 * 365 * 86400
INTEGER = struct.Struct(">q")
FLOAT = struct.Struct(">d")


class Refused(Exception):
    """The request fails with this result code."""

    def __init__(self, result: int) -> None:
        super().__init__(f"result {result}")
        self.result = result


@dataclass(slots=True)
class Change:
    """The effect of a write. `record` is None if the record is removed without a tombstone."""

    response: bytes
    digest: bytes
    record: Record | None


def read(namespace: Namespace, request: Request) -> bytes:
    """The response to a read.

    :raises Refused: the request fails
    """
    record = namespace.get(request.digest)
    if record is None or not record.live:
        raise Refused(wire.ERR_NOT_FOUND)
    check_key(record, request)
    check_filter(record, request)
    if request.info1 & wire.INFO1_NO_BINS:
        return wire.encode_result(wire.OK, record.generation, record.void_time)
    if request.info1 & wire.INFO1_GET_ALL or not request.ops:
        return full_read(record)
    bins = split_bins(record.bins)
    respond_all = bool(request.info2 & wire.INFO2_RESPOND_ALL_OPS)
    found: list[bytes] = []
    for op in request.ops:
        run_read(op, bins, record, request, found, respond_all)
    return wire.encode_result(wire.OK, record.generation, record.void_time, len(found), b"".join(found))


def write(namespace: Namespace, request: Request, enterprise: bool, keep_tombstone: bool) -> Change:
    """Apply a write or delete to `namespace`.

    :param enterprise: durable deletes are allowed
    :param keep_tombstone: other nodes may still send older copies, so a delete must leave a tombstone that wins
    :raises Refused: the request fails, and nothing has changed
    """
    durable = bool(request.info2 & wire.INFO2_DURABLE_DELETE)
    if durable and not enterprise:
        raise Refused(wire.ERR_ENTERPRISE_ONLY)
    old = namespace.get(request.digest)
    existing = old if old is not None and old.live else None
    if request.info2 & wire.INFO2_DELETE:
        return delete(namespace, request, old, existing, durable or keep_tombstone)
    if namespace.stop_writes:
        raise Refused(wire.ERR_OUT_OF_SPACE)
    check_exists(existing, request)
    check_generation(existing, request)
    if 0 < request.ttl < TTL_KEEP:
        if request.ttl > TTL_MAX:
            raise Refused(wire.ERR_PARAMETER)
        if not namespace.config.ttl_allowed:
            raise Refused(wire.ERR_FORBIDDEN)
    if existing is not None:
        check_key(existing, request)
        check_filter(existing, request)
    replace = bool(request.info3 & (wire.INFO3_CREATE_OR_REPLACE | wire.INFO3_REPLACE_ONLY))
    if existing is None and not any(
        op.code not in (wire.OP_READ, wire.OP_TOUCH, wire.OP_DELETE_ALL) for op in request.ops
    ):
        raise Refused(wire.ERR_NOT_FOUND)  # a touch, a delete-all or only reads create nothing

    bins = split_bins(existing.bins) if existing is not None and not replace else {}
    update = max(clock.now_ms(), old.last_update + 1 if old is not None else 0)
    record = Record(
        request.set_name,
        request.key if request.key is not None else existing.key if existing else None,
        0,
        b"",
        next_generation(old),
        void_time(namespace, request, existing),
        update,
    )
    found: list[bytes] = []
    respond_all = bool(request.info2 & wire.INFO2_RESPOND_ALL_OPS)
    for op in request.ops:
        run_op(op, bins, record, request, found, respond_all)
    record.n_bins = len(bins)
    record.bins = b"".join(bins.values())
    if len(record.bins) > namespace.config.max_record_size:
        raise Refused(wire.ERR_RECORD_TOO_BIG)
    response = wire.encode_result(wire.OK, record.generation, record.void_time, len(found), b"".join(found))
    if not bins:  # a record without bins doesn't exist
        namespace.stats["deleted_last_bin"] += existing is not None
        return store_removal(namespace, request, record, response, durable or keep_tombstone)
    namespace.put(request.digest, record)
    return Change(response, request.digest, record)


def delete(
    namespace: Namespace, request: Request, old: Record | None, existing: Record | None, tombstone: bool
) -> Change:
    if existing is None:
        raise Refused(wire.ERR_NOT_FOUND)
    check_generation(existing, request)
    check_key(existing, request)
    check_filter(existing, request)
    update = max(clock.now_ms(), existing.last_update + 1)
    marker = Record(request.set_name, existing.key, -1, b"", next_generation(old), 0, update)
    return store_removal(namespace, request, marker, wire.encode_result(wire.OK, marker.generation), tombstone)


def store_removal(namespace: Namespace, request: Request, record: Record, response: bytes, tombstone: bool) -> Change:
    if tombstone:
        record.n_bins = -1
        namespace.put(request.digest, record)
        return Change(response, request.digest, record)
    namespace.remove(request.digest)
    return Change(response, request.digest, None)


def check_exists(existing: Record | None, request: Request) -> None:
    if existing is not None and request.info2 & wire.INFO2_CREATE_ONLY:
        raise Refused(wire.ERR_RECORD_EXISTS)
    if existing is None and request.info3 & (wire.INFO3_UPDATE_ONLY | wire.INFO3_REPLACE_ONLY):
        raise Refused(wire.ERR_NOT_FOUND)


def check_generation(existing: Record | None, request: Request) -> None:
    generation = existing.generation if existing is not None else 0
    if request.info2 & wire.INFO2_GENERATION and request.generation & 0xFFFF != generation:
        raise Refused(wire.ERR_GENERATION)
    if request.info2 & wire.INFO2_GENERATION_GT and request.generation & 0xFFFF <= generation:
        raise Refused(wire.ERR_GENERATION)


def check_key(record: Record, request: Request) -> None:
    if request.key is not None and record.key is not None and request.key != record.key:
        raise Refused(wire.ERR_KEY_MISMATCH)


def check_filter(record: Record, request: Request) -> None:
    if request.filter is not None:
        value = evaluate(request.filter, record, request, split_bins(record.bins))
        if value is not True:
            raise Refused(wire.ERR_FILTERED_OUT)


def evaluate(data: bytes, record: Record, request: Request, bins: dict[bytes, bytes]) -> expressions.Value:
    try:
        return expressions.evaluate(expressions.unpack(data), expressions.Subject(record, request.digest, bins))
    except expressions.Unsupported as error:
        raise Refused(wire.ERR_UNSUPPORTED) from error
    except expressions.Invalid as error:
        raise Refused(wire.ERR_PARAMETER) from error


def next_generation(old: Record | None) -> int:
    return 1 if old is None or old.generation >= 65535 else old.generation + 1


def void_time(namespace: Namespace, request: Request, existing: Record | None) -> int:
    """When the record expires, seconds since 2010, 0 for never."""
    ttl = request.ttl
    if ttl == TTL_KEEP:
        return existing.void_time if existing is not None else 0
    if ttl == TTL_DEFAULT:
        of_set = namespace.config.sets.get(request.set_name.decode("latin-1"), {}).get("default-ttl", 0)
        ttl = of_set or namespace.config.default_ttl
    if ttl in (0, TTL_NEVER):
        return 0
    return clock.now_seconds() + ttl


def run_op(
    op: Op, bins: dict[bytes, bytes], record: Record, request: Request, found: list[bytes], respond_all: bool
) -> None:
    """Run one operation on `bins`, and append its result to `found`."""
    if op.code in (wire.OP_READ, wire.OP_EXPRESSION_READ):
        run_read(op, bins, record, request, found, respond_all)
        return
    if len(op.name) > wire.BIN_NAME_MAX:
        raise Refused(wire.ERR_BIN_NAME)
    change = WRITES.get(op.code)
    if change is not None:
        if not op.name:
            raise Refused(wire.ERR_PARAMETER)
        change(op, bins)
    elif op.code == wire.OP_DELETE_ALL:
        bins.clear()
    elif op.code == wire.OP_EXPRESSION_MODIFY:
        write_expression(op, bins, record, request)
    elif op.code != wire.OP_TOUCH:
        raise Refused(wire.ERR_UNSUPPORTED if op.code in wire.OPS_UNSUPPORTED else wire.ERR_PARAMETER)
    if respond_all:
        found.append(wire.encode_op(wire.TYPE_NULL, op.name, b""))


def run_read(
    op: Op, bins: dict[bytes, bytes], record: Record, request: Request, found: list[bytes], respond_all: bool
) -> None:
    if op.code == wire.OP_READ:
        if not op.name:
            found.extend(bins.values())
        elif op.name in bins:
            found.append(bins[op.name])
        elif respond_all:
            found.append(wire.encode_op(wire.TYPE_NULL, op.name, b""))
    elif op.code == wire.OP_EXPRESSION_READ:
        flags, value = run_expression(op, bins, record, request)
        if value is expressions.UNKNOWN:
            if not flags & expressions.FLAG_EVAL_NO_FAIL:
                raise Refused(wire.ERR_NOT_APPLICABLE)
            value = None
        kind, data = particle(value)
        found.append(wire.encode_op(kind, op.name, data))
    else:
        raise Refused(wire.ERR_UNSUPPORTED if op.code in wire.OPS_UNSUPPORTED else wire.ERR_PARAMETER)


def run_expression(op: Op, bins: dict[bytes, bytes], record: Record, request: Request) -> tuple[int, expressions.Value]:
    """The (flags, value) of an expression operation: its value is a list of the expression and its flags."""
    try:
        parts = expressions.unpack(op.value)
    except expressions.Invalid as error:
        raise Refused(wire.ERR_PARAMETER) from error
    if not isinstance(parts, list) or len(parts) != 2 or not isinstance(parts[1], int):
        raise Refused(wire.ERR_PARAMETER)
    try:
        value = expressions.evaluate(parts[0], expressions.Subject(record, request.digest, bins))
    except expressions.Unsupported as error:
        raise Refused(wire.ERR_UNSUPPORTED) from error
    except expressions.Invalid as error:
        raise Refused(wire.ERR_PARAMETER) from error
    return parts[1], value


def particle(value: expressions.Value) -> tuple[int, bytes]:
    try:
        return expressions.particle(value)
    except expressions.Unsupported as error:
        raise Refused(wire.ERR_UNSUPPORTED) from error


def write_expression(op: Op, bins: dict[bytes, bytes], record: Record, request: Request) -> None:
    flags, value = run_expression(op, bins, record, request)
    if value is expressions.UNKNOWN:
        if flags & expressions.FLAG_EVAL_NO_FAIL:
            return
        raise Refused(wire.ERR_NOT_APPLICABLE)
    refused = (
        flags & expressions.FLAG_CREATE_ONLY and op.name in bins,
        flags & expressions.FLAG_UPDATE_ONLY and op.name not in bins,
    )
    if any(refused):
        if flags & expressions.FLAG_POLICY_NO_FAIL:
            return
        raise Refused(6 if refused[0] else 17)  # bin exists, bin not found
    if value is None and not flags & expressions.FLAG_ALLOW_DELETE:
        if flags & expressions.FLAG_POLICY_NO_FAIL:
            return
        raise Refused(wire.ERR_NOT_APPLICABLE)
    kind, data = particle(value)
    write_bin(Op(wire.OP_WRITE, kind, op.name, data), bins)


def write_bin(op: Op, bins: dict[bytes, bytes]) -> None:
    if op.kind == wire.TYPE_NULL:
        bins.pop(op.name, None)
    else:
        bins[op.name] = wire.encode_op(op.kind, op.name, op.value)


def bin_value(encoded: bytes) -> tuple[int, bytes]:
    """The (type, value) of a stored bin."""
    return encoded[5], encoded[8 + encoded[7] :]


def increment(op: Op, bins: dict[bytes, bytes]) -> None:
    if op.name not in bins:
        if op.kind not in (wire.TYPE_INTEGER, wire.TYPE_FLOAT):
            raise Refused(wire.ERR_PARAMETER)
        write_bin(op, bins)
        return
    kind, value = bin_value(bins[op.name])
    if kind != op.kind or kind not in (wire.TYPE_INTEGER, wire.TYPE_FLOAT):
        raise Refused(wire.ERR_INCOMPATIBLE_TYPE)
    if kind == wire.TYPE_INTEGER:
        total = int.from_bytes(value, "big", signed=True) + int.from_bytes(op.value, "big", signed=True)
        value = (total & 0xFFFFFFFFFFFFFFFF).to_bytes(8, "big")
    else:
        value = FLOAT.pack(FLOAT.unpack(value)[0] + FLOAT.unpack(op.value)[0])
    bins[op.name] = wire.encode_op(kind, op.name, value)


def join(op: Op, bins: dict[bytes, bytes]) -> None:
    """Append or prepend, for strings and blobs."""
    if op.kind not in (wire.TYPE_STRING, wire.TYPE_BLOB):
        raise Refused(wire.ERR_PARAMETER)
    kind, value = bin_value(bins[op.name]) if op.name in bins else (op.kind, b"")
    if kind != op.kind:
        raise Refused(wire.ERR_INCOMPATIBLE_TYPE)
    bins[op.name] = wire.encode_op(kind, op.name, value + op.value if op.code == wire.OP_APPEND else op.value + value)


WRITES: dict[int, Callable[[Op, dict[bytes, bytes]], None]] = {
    wire.OP_WRITE: write_bin,
    wire.OP_INCREMENT: increment,
    wire.OP_APPEND: join,
    wire.OP_PREPEND: join,
}
