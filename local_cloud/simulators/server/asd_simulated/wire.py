"""The encoding of the client protocol: frames, message headers, fields and operations. All numbers are big-endian.

A frame is 8 bytes (version, type, 48-bit size) and a body. A body of type AS_MSG holds one or more messages: a 22-byte
header, fields (which record) and operations (one per bin).
"""

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field

FRAME_VERSION = 2
FRAME_INFO = 1
FRAME_SECURITY = 2
FRAME_MESSAGE = 3
FRAME_COMPRESSED = 4
FRAME_SIZE_MAX = 128 * 1024 * 1024
FRAME_HEADER = struct.Struct(">Q")
HEADER = struct.Struct(">BBBBBBIIIHH")
HEADER_SIZE = 22
OP = struct.Struct(">IBBBB")

INFO1_READ = 1
INFO1_GET_ALL = 2
INFO1_BATCH = 8
INFO1_NO_BINS = 32
INFO2_WRITE = 1
INFO2_DELETE = 2
INFO2_GENERATION = 4
INFO2_GENERATION_GT = 8
INFO2_DURABLE_DELETE = 16
INFO2_CREATE_ONLY = 32
INFO2_RESPOND_ALL_OPS = 128
INFO3_LAST = 1
INFO3_PARTITION_DONE = 4
INFO3_UPDATE_ONLY = 8
INFO3_CREATE_OR_REPLACE = 16
INFO3_REPLACE_ONLY = 32

FIELD_NAMESPACE = 0
FIELD_SET = 1
FIELD_KEY = 2
FIELD_DIGEST = 4
FIELD_TASK_ID = 7
FIELD_PARTITIONS = 11
FIELD_DIGESTS = 12
FIELD_MAX_RECORDS = 13
FIELD_INDEX_RANGE = 22
FIELD_UDF_NAME = 30
FIELD_UDF_OP = 33
FIELD_BATCH = 41
FIELD_FILTER = 43

OP_READ = 1
OP_WRITE = 2
OP_INCREMENT = 5
OP_EXPRESSION_READ = 7
OP_EXPRESSION_MODIFY = 8
OP_APPEND = 9
OP_PREPEND = 10
OP_TOUCH = 11
OP_DELETE_ALL = 14
# Lists, maps, bits and HyperLogLog, which aren't simulated.
OPS_UNSUPPORTED = frozenset({3, 4, 12, 13, 15, 16})

TYPE_NULL = 0
TYPE_INTEGER = 1
TYPE_FLOAT = 2
TYPE_STRING = 3
TYPE_BLOB = 4
TYPE_BOOL = 17

OK = 0
ERR_UNKNOWN = 1
ERR_NOT_FOUND = 2
ERR_GENERATION = 3
ERR_PARAMETER = 4
ERR_RECORD_EXISTS = 5
ERR_OUT_OF_SPACE = 8
ERR_TIMEOUT = 9
ERR_UNAVAILABLE = 11
ERR_INCOMPATIBLE_TYPE = 12
ERR_RECORD_TOO_BIG = 13
ERR_UNSUPPORTED = 16
ERR_KEY_MISMATCH = 19
ERR_NAMESPACE = 20
ERR_BIN_NAME = 21
ERR_FORBIDDEN = 22
ERR_ENTERPRISE_ONLY = 25
ERR_NOT_APPLICABLE = 26
ERR_FILTERED_OUT = 27
ERR_SECURITY_NOT_SUPPORTED = 51
ERR_SECURITY_NOT_CONFIGURED = 52
ERR_BATCH_MAX = 151
ERR_INDEX_NOT_FOUND = 201

BIN_NAME_MAX = 15


class ProtocolError(Exception):
    """A peer's bytes don't follow the protocol. The connection is closed."""


@dataclass(slots=True)
class Op:
    """One operation of a request: `code` on bin `name` with a value of type `kind`."""

    code: int
    kind: int
    name: bytes
    value: bytes


@dataclass(slots=True)
class Request:
    """One record's request, from a single-record message or a row of a batch."""

    info1: int = 0
    info2: int = 0
    info3: int = 0
    generation: int = 0
    ttl: int = 0
    timeout_ms: int = 0
    namespace: bytes = b""
    set_name: bytes = b""
    digest: bytes = b""
    key: bytes | None = None
    filter: bytes | None = None
    ops: list[Op] = field(default_factory=list)
    other_fields: dict[int, bytes] = field(default_factory=dict)

    @property
    def partition(self) -> int:
        """The partition id, 0 to 4095: the low 12 bits of the digest's first two bytes, little-endian."""
        return (self.digest[0] | self.digest[1] << 8) & 4095

    @property
    def is_write(self) -> bool:
        return bool(self.info2 & INFO2_WRITE)


def frame(kind: int, body: bytes) -> bytes:
    return FRAME_HEADER.pack(FRAME_VERSION << 56 | kind << 48 | len(body)) + body


def parse_fields(body: bytes, at: int, count: int) -> tuple[dict[int, bytes], int]:
    fields = {}
    for _ in range(count):
        size = int.from_bytes(body[at : at + 4], "big")
        if size < 1 or at + 4 + size > len(body):
            raise ProtocolError("field runs over the message")
        fields[body[at + 4]] = body[at + 5 : at + 4 + size]
        at += 4 + size
    return fields, at


def parse_ops(body: bytes, at: int, count: int) -> tuple[list[Op], int]:
    ops = []
    for _ in range(count):
        if at + 8 > len(body):
            raise ProtocolError("operation runs over the message")
        size, code, kind, _flags, name_size = OP.unpack_from(body, at)
        end = at + 4 + size
        if size < 4 + name_size or end > len(body):
            raise ProtocolError("operation runs over the message")
        ops.append(Op(code, kind, body[at + 8 : at + 8 + name_size], body[at + 8 + name_size : end]))
        at = end
    return ops, at


def apply_fields(request: Request, fields: dict[int, bytes]) -> None:
    for kind, value in fields.items():
        if kind == FIELD_NAMESPACE:
            request.namespace = value
        elif kind == FIELD_SET:
            request.set_name = value
        elif kind == FIELD_DIGEST:
            request.digest = value
        elif kind == FIELD_KEY:
            request.key = value
        elif kind == FIELD_FILTER:
            request.filter = value
        else:
            request.other_fields[kind] = value


def parse_request(body: bytes) -> Request:
    """A message's body as a request.

    :raises ProtocolError: the sizes in it don't add up
    """
    if len(body) < HEADER_SIZE:
        raise ProtocolError(f"a message of {len(body)} bytes is shorter than its header")
    (_size, info1, info2, info3, _info4, _result, generation, ttl, timeout_ms, n_fields, n_ops) = HEADER.unpack_from(
        body
    )
    request = Request(info1, info2, info3, generation, ttl, timeout_ms)
    fields, at = parse_fields(body, HEADER_SIZE, n_fields)
    apply_fields(request, fields)
    request.ops, _ = parse_ops(body, at, n_ops)
    return request


def encode_request(request: Request) -> bytes:
    """The request as a single-record message body; a batch row is forwarded to another node in this form."""
    fields = [(FIELD_NAMESPACE, request.namespace), (FIELD_SET, request.set_name), (FIELD_DIGEST, request.digest)]
    if request.key is not None:
        fields.append((FIELD_KEY, request.key))
    if request.filter is not None:
        fields.append((FIELD_FILTER, request.filter))
    fields.extend(request.other_fields.items())
    parts = [
        HEADER.pack(
            HEADER_SIZE,
            request.info1,
            request.info2,
            request.info3,
            0,
            0,
            request.generation,
            request.ttl,
            request.timeout_ms,
            len(fields),
            len(request.ops),
        )
    ]
    parts.extend(encode_field(kind, value) for kind, value in fields)
    parts.extend(encode_op(op.kind, op.name, op.value, op.code) for op in request.ops)
    return b"".join(parts)


def encode_field(kind: int, value: bytes) -> bytes:
    return struct.pack(">IB", len(value) + 1, kind) + value


def encode_op(kind: int, name: bytes, value: bytes, code: int = OP_READ) -> bytes:
    return OP.pack(4 + len(name) + len(value), code, kind, 0, len(name)) + name + value


def encode_result(
    result: int,
    generation: int = 0,
    void_time: int = 0,
    n_ops: int = 0,
    ops: bytes = b"",
    *,
    batch_index: int = 0,
    info3: int = 0,
    n_fields: int = 0,
    fields: bytes = b"",
) -> bytes:
    """One message of a response. `void_time` is in seconds since 2010 (0: never expires)."""
    return (
        HEADER.pack(HEADER_SIZE, 0, 0, info3, 0, result, generation, void_time, batch_index, n_fields, n_ops)
        + fields
        + ops
    )


def decompress(body: bytes) -> tuple[int, bytes]:
    """The (type, body) of the frame inside a compressed frame's body."""
    try:
        inner = zlib.decompress(body[8:])
    except zlib.error as error:
        raise ProtocolError(f"compressed frame: {error}") from error
    if len(inner) < 8:
        raise ProtocolError("compressed frame holds no frame")
    head = FRAME_HEADER.unpack_from(inner)[0]
    return head >> 48 & 0xFF, inner[8:]


def split_frames(buffer: bytearray) -> Iterator[tuple[int, bytes]]:
    """Remove the complete frames from the front of `buffer` and yield each as (type, body).

    :raises ProtocolError: a header is invalid
    """
    while len(buffer) >= 8:
        head = int.from_bytes(buffer[:8], "big")
        size = head & 0xFFFFFFFFFFFF
        if head >> 56 != FRAME_VERSION or size > FRAME_SIZE_MAX:
            raise ProtocolError(f"frame version {head >> 56}, size {size}")
        if len(buffer) < 8 + size:
            return
        kind, body = head >> 48 & 0xFF, bytes(buffer[8 : 8 + size])
        del buffer[: 8 + size]
        yield decompress(body) if kind == FRAME_COMPRESSED else (kind, body)
