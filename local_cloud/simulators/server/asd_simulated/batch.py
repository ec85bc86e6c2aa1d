"""Batch requests: one message with rows of any kind, one response with a result per row, by the row's index."""

import asyncio
from dataclasses import replace

from . import wire
from .node import Node
from .transactions import BATCH, Transactions
from .wire import ProtocolError, Request

REPEAT = 1
HAS_INFO = 2
HAS_GENERATION = 4
HAS_TTL = 8
HAS_INFO4 = 16
MAX_REQUESTS = 5000


def parse_batch(data: bytes, outer_filter: bytes | None) -> list[tuple[int, Request]]:
    """The (index, request) rows of a batch field.

    :raises ProtocolError: the field is cut off
    """
    count, at = int.from_bytes(data[:4], "big"), 5  # a byte of flags in between
    rows: list[tuple[int, Request]] = []
    last: Request | None = None
    try:
        for _ in range(count):
            index, digest, kind = int.from_bytes(data[at : at + 4], "big"), data[at + 4 : at + 24], data[at + 24]
            at += 25
            if kind == REPEAT:
                if last is None:
                    raise ProtocolError("a batch begins with a repeated row")
                rows.append((index, replace(last, digest=digest, key=None)))
                continue
            last, at = parse_row(data, at, kind)
            last.digest = digest
            last.filter = last.filter if last.filter is not None else outer_filter
            rows.append((index, last))
    except IndexError as error:
        raise ProtocolError("batch is cut off") from error
    return rows


def parse_row(data: bytes, at: int, kind: int) -> tuple[Request, int]:
    request = Request(info1=data[at])
    at += 1
    if kind & HAS_INFO:
        request.info2, request.info3 = data[at], data[at + 1]
        at += 2
    if kind & HAS_INFO4:
        at += 1
    if kind & HAS_GENERATION:
        request.generation = int.from_bytes(data[at : at + 2], "big")
        at += 2
    if kind & HAS_TTL:
        request.ttl = int.from_bytes(data[at : at + 4], "big")
        at += 4
    n_fields, n_ops = int.from_bytes(data[at : at + 2], "big"), int.from_bytes(data[at + 2 : at + 4], "big")
    fields, at = wire.parse_fields(data, at + 4, n_fields)
    wire.apply_fields(request, fields)
    request.ops, at = wire.parse_ops(data, at, n_ops)
    return request, at


async def run_batch(node: Node, transactions: Transactions, request: Request) -> bytes:
    """The response to a batch: one message per row and a closing message."""
    node.stats["batch_index_initiate"] += 1
    rows = parse_batch(request.other_fields[wire.FIELD_BATCH], request.filter)
    if len(rows) > node.config.service.get("batch-max-requests", MAX_REQUESTS) > 0:
        node.stats["batch_index_error"] += 1
        return wire.encode_result(wire.ERR_BATCH_MAX, info3=wire.INFO3_LAST)
    answers: list[bytes | None] = [transactions.run_now(row, BATCH) for _, row in rows]
    later = [position for position, answer in enumerate(answers) if answer is None]
    if later:
        results = await asyncio.gather(*(transactions.run(rows[position][1], BATCH) for position in later))
        for position, result in zip(later, results, strict=True):
            answers[position] = result
    parts = []
    for (index, _), answer in zip(rows, answers, strict=True):
        assert answer is not None
        parts.append(answer[:14] + index.to_bytes(4, "big") + answer[18:])
    node.stats["batch_index_complete"] += 1
    return b"".join(parts) + wire.encode_result(wire.OK, info3=wire.INFO3_LAST)
