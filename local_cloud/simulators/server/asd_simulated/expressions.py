"""Filter and operation expressions: a small MessagePack reader and an evaluator for scalars and record metadata.

Lists, maps, geography and regular expressions aren't simulated: they raise Unsupported, and the client gets error 16.
"""

import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from math import ceil, floor, log
from typing import Any

from . import clock, wire
from .storage import Record

Value = Any
FLAG_CREATE_ONLY = 1
FLAG_UPDATE_ONLY = 2
FLAG_ALLOW_DELETE = 4
FLAG_POLICY_NO_FAIL = 8
FLAG_EVAL_NO_FAIL = 16
# The value of an expression that can't be computed, such as a missing bin.
UNKNOWN = object()
# Types in expressions -> types of stored bins.
STORED_TYPES = {1: wire.TYPE_BOOL, 2: wire.TYPE_INTEGER, 3: wire.TYPE_STRING, 6: wire.TYPE_BLOB, 7: wire.TYPE_FLOAT}


class Invalid(Exception):
    """Not an expression."""


class Unsupported(Exception):
    """An expression that isn't simulated."""


@dataclass
class Subject:
    """The record that an expression is evaluated on."""

    record: Record
    digest: bytes
    bins: dict[bytes, bytes]
    variables: dict[Any, Value] = field(default_factory=dict)


def unpack(data: bytes) -> Value:
    """The value in MessagePack `data`. Strings and blobs come as bytes with their type byte in front."""
    try:
        value, end = _unpack(data, 0)
    except (IndexError, struct.error) as error:
        raise Invalid("cut off") from error
    if end != len(data):
        raise Invalid("bytes after the end")
    return value


def _unpack(data: bytes, at: int) -> tuple[Value, int]:
    head = data[at]
    at += 1
    if head < 0x80:
        return head, at
    if head >= 0xE0:
        return head - 256, at
    if head < 0x90:
        return _map(data, at, head & 15)
    if head < 0xA0:
        return _list(data, at, head & 15)
    if head < 0xC0:
        return _bytes(data, at, head & 31)
    if head in FIXED:
        return FIXED[head], at
    if head in NUMBERS:
        code = NUMBERS[head]
        return code.unpack_from(data, at)[0], at + code.size
    if head in SIZED:
        size, reader = SIZED[head]
        return reader(data, at + size, int.from_bytes(data[at : at + size], "big"))
    raise Unsupported(f"MessagePack type {head:#x}")


def _bytes(data: bytes, at: int, size: int) -> tuple[bytes, int]:
    if at + size > len(data):
        raise Invalid("cut off")
    return data[at : at + size], at + size


def _list(data: bytes, at: int, size: int) -> tuple[list[Value], int]:
    values = []
    for _ in range(size):
        value, at = _unpack(data, at)
        values.append(value)
    return values, at


def _map(_data: bytes, _at: int, _size: int) -> tuple[Value, int]:
    raise Unsupported("maps in expressions")


FIXED: dict[int, Value] = {0xC0: None, 0xC2: False, 0xC3: True}
NUMBERS = {
    0xCA: struct.Struct(">f"),
    0xCB: struct.Struct(">d"),
    0xCC: struct.Struct(">B"),
    0xCD: struct.Struct(">H"),
    0xCE: struct.Struct(">I"),
    0xCF: struct.Struct(">Q"),
    0xD0: struct.Struct(">b"),
    0xD1: struct.Struct(">h"),
    0xD2: struct.Struct(">i"),
    0xD3: struct.Struct(">q"),
}
SIZED: dict[int, tuple[int, Callable[[bytes, int, int], tuple[Value, int]]]] = {
    0xC4: (1, _bytes),
    0xC5: (2, _bytes),
    0xC6: (4, _bytes),
    0xD9: (1, _bytes),
    0xDA: (2, _bytes),
    0xDB: (4, _bytes),
    0xDC: (2, _list),
    0xDD: (4, _list),
    0xDE: (2, _map),
    0xDF: (4, _map),
}


def particle(value: Value) -> tuple[int, bytes]:
    """The stored (type, bytes) of a value."""
    if value is None:
        return wire.TYPE_NULL, b""
    if isinstance(value, bool):
        return wire.TYPE_BOOL, bytes([value])
    if isinstance(value, int):
        return wire.TYPE_INTEGER, (value & 0xFFFFFFFFFFFFFFFF).to_bytes(8, "big")
    if isinstance(value, float):
        return wire.TYPE_FLOAT, struct.pack(">d", value)
    if isinstance(value, bytes) and value[:1] in (b"\x03", b"\x04"):
        return value[0], value[1:]
    raise Unsupported("a value of this type")


def from_particle(kind: int, data: bytes) -> Value:
    if kind == wire.TYPE_INTEGER:
        return int.from_bytes(data, "big", signed=True)
    if kind == wire.TYPE_FLOAT:
        return struct.unpack(">d", data)[0]
    if kind == wire.TYPE_BOOL:
        return data != b"\0"
    return bytes([kind]) + data


def evaluate(node: Value, subject: Subject) -> Value:
    """The value of an expression, or UNKNOWN.

    :raises Invalid: it isn't an expression
    :raises Unsupported: it isn't simulated
    """
    if not isinstance(node, list):
        return node
    if not node or not isinstance(node[0], int):
        raise Invalid("an expression without a code")
    code, arguments = node[0], node[1:]
    try:
        if code in LAZY:
            return LAZY[code](arguments, subject)
        if code not in EAGER:
            raise Unsupported(f"expression code {code}")
        values = [evaluate(argument, subject) for argument in arguments]
        if any(value is UNKNOWN for value in values):
            return UNKNOWN
        return EAGER[code](*values)
    except (TypeError, IndexError, ValueError, ZeroDivisionError, OverflowError):
        return UNKNOWN


def _and(arguments: list[Value], subject: Subject) -> Value:
    values = [evaluate(argument, subject) for argument in arguments]
    return False if False in values else UNKNOWN if UNKNOWN in values else True


def _or(arguments: list[Value], subject: Subject) -> Value:
    values = [evaluate(argument, subject) for argument in arguments]
    return True if True in values else UNKNOWN if UNKNOWN in values else False


def _bin(arguments: list[Value], subject: Subject) -> Value:
    kind, name = arguments
    if kind not in STORED_TYPES:
        raise Unsupported(f"bins of type {kind}")
    encoded = subject.bins.get(name)
    if encoded is None or encoded[5] != STORED_TYPES[kind]:
        return UNKNOWN
    return from_particle(encoded[5], encoded[8 + encoded[7] :])


def _bin_type(arguments: list[Value], subject: Subject) -> Value:
    encoded = subject.bins.get(arguments[0])
    return 0 if encoded is None else encoded[5]


def _key(_arguments: list[Value], subject: Subject) -> Value:
    key = subject.record.key
    return UNKNOWN if key is None else from_particle(key[0], key[1:])


def _condition(arguments: list[Value], subject: Subject) -> Value:
    for test, result in zip(arguments[0:-1:2], arguments[1::2], strict=False):
        met = evaluate(test, subject)
        if met is UNKNOWN:
            return UNKNOWN
        if met:
            return evaluate(result, subject)
    return evaluate(arguments[-1], subject)


def _let(arguments: list[Value], subject: Subject) -> Value:
    inner = Subject(subject.record, subject.digest, subject.bins, dict(subject.variables))
    for name, value in zip(arguments[0:-1:2], arguments[1:-1:2], strict=True):
        inner.variables[name] = evaluate(value, inner)
    return evaluate(arguments[-1], inner)


def _since_update(_arguments: list[Value], subject: Subject) -> Value:
    return clock.now_ms() - subject.record.last_update


def _ttl(_arguments: list[Value], subject: Subject) -> Value:
    return subject.record.void_time - clock.now_seconds() if subject.record.void_time else -1


def _raise_unsupported(_arguments: list[Value], _subject: Subject) -> Value:
    raise Unsupported("regular expressions and geography")


# Called with unevaluated arguments.
LAZY: dict[int, Callable[[list[Value], Subject], Value]] = {
    0: lambda _a, _s: UNKNOWN,
    7: _raise_unsupported,
    8: _raise_unsupported,
    16: _and,
    17: _or,
    64: lambda a, s: int.from_bytes(s.digest[16:20], "little") % a[0],
    65: lambda _a, s: s.record.size,
    66: lambda _a, s: (s.record.last_update + clock.EPOCH_SECONDS * 1000) * 1_000_000,
    67: _since_update,
    68: lambda _a, s: (s.record.void_time + clock.EPOCH_SECONDS) * 1_000_000_000 if s.record.void_time else -1,
    69: _ttl,
    70: lambda _a, s: b"\x03" + s.record.set_name,
    71: lambda _a, s: s.record.key is not None,
    72: lambda _a, s: not s.record.live,
    73: lambda _a, s: s.record.size,
    74: lambda _a, s: s.record.size,
    80: _key,
    81: _bin,
    82: _bin_type,
    123: _condition,
    124: lambda a, s: s.variables[a[0]],
    125: _let,
    126: lambda a, _s: a[0],
}


def _same(left: Value, right: Value) -> bool:
    if type(left) is not type(right):
        raise TypeError("different types")
    return left == right


def _add(*values: Value) -> Value:
    return _wrap(sum(values))


def _subtract(first: Value, *rest: Value) -> Value:
    return _wrap(first - sum(rest) if rest else -first)


def _multiply(*values: Value) -> Value:
    product = values[0]
    for value in values[1:]:
        product *= value
    return _wrap(product)


def _divide(first: Value, *rest: Value) -> Value:
    for value in rest or (first,):
        if not rest:
            first = 1 if isinstance(value, int) else 1.0
        first = int(first / value) if isinstance(first, int) else first / value
    return first


def _wrap(value: Value) -> Value:
    """Integers have 64 bits."""
    return (value + 2**63) % 2**64 - 2**63 if isinstance(value, int) else value


def _shift_right(value: int, bits: int) -> int:
    return _wrap((value & 0xFFFFFFFFFFFFFFFF) >> bits)


def _int_and(first: int, *rest: int) -> int:
    for value in rest:
        first &= value
    return first


def _int_or(first: int, *rest: int) -> int:
    for value in rest:
        first |= value
    return first


def _int_xor(first: int, *rest: int) -> int:
    for value in rest:
        first ^= value
    return first


# Called with the values of their arguments, none of them UNKNOWN.
EAGER: dict[int, Callable[..., Value]] = {
    1: _same,
    2: lambda a, b: not _same(a, b),
    3: lambda a, b: a > b,
    4: lambda a, b: a >= b,
    5: lambda a, b: a < b,
    6: lambda a, b: a <= b,
    18: lambda a: not a,
    19: lambda *values: sum(values) == 1,
    20: _add,
    21: _subtract,
    22: _multiply,
    23: _divide,
    24: lambda a, b: a**b,
    25: lambda a, b: log(a, b),
    26: lambda a, b: a - int(a / b) * b,
    27: abs,
    28: lambda a: float(floor(a)),
    29: lambda a: float(ceil(a)),
    30: int,
    31: float,
    32: _int_and,
    33: _int_or,
    34: _int_xor,
    35: lambda a: ~a,
    36: lambda a, b: _wrap(a << b),
    37: _shift_right,
    38: lambda a, b: a >> b,
    39: lambda a: (a & 0xFFFFFFFFFFFFFFFF).bit_count(),
    50: min,
    51: max,
}
