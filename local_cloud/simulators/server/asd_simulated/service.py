"""The ports that clients connect to: the service port, the admin port of 8.1 and the text info port of 8.0."""

import asyncio
from collections.abc import Awaitable

from . import scan, wire
from .batch import run_batch
from .info import Info
from .node import Node
from .transactions import CLIENT, Transactions
from .wire import ProtocolError


class ClientConnection(asyncio.Protocol):
    """One client connection: its requests are answered in order."""

    def __init__(self, node: Node, info: Info, transactions: Transactions) -> None:
        self.node = node
        self.info = info
        self.transactions = transactions
        self.buffer = bytearray()
        self.transport: asyncio.Transport | None = None
        self.busy = False
        self.frames: list[tuple[int, bytes]] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.node.stats["client_connections_opened"] += 1
        self.node.clients.add(transport)
        if len(self.node.clients) > self.node.config.service.get("proto-fd-max", 15000):
            transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self.node.stats["client_connections_closed"] += 1
        if self.transport is not None:
            self.node.clients.discard(self.transport)

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        try:
            self.frames.extend(wire.split_frames(self.buffer))
        except ProtocolError as error:
            self.node.stats["demarshal_error"] += 1
            self.node.log.warning("proto", f"closing a connection: {error}")
            self.close()
            return
        if not self.busy:
            self.run_frames()

    def run_frames(self) -> None:
        while self.frames and not self.busy:
            kind, body = self.frames.pop(0)
            try:
                self.run_frame(kind, body)
            except ProtocolError as error:
                self.node.stats["demarshal_error"] += 1
                self.node.log.warning("proto", f"bad request: {error}")
                self.reply(wire.FRAME_MESSAGE, wire.encode_result(wire.ERR_PARAMETER))

    def run_frame(self, kind: int, body: bytes) -> None:
        if kind == wire.FRAME_MESSAGE:
            self.run_message(body)
        elif kind == wire.FRAME_INFO:
            answer = self.info.run(body)
            if isinstance(answer, bytes):
                self.reply(kind, answer)
            else:
                self.later(kind, answer)
        elif kind == wire.FRAME_SECURITY:
            enterprise = self.node.release.enterprise
            result = wire.ERR_SECURITY_NOT_CONFIGURED if enterprise else wire.ERR_SECURITY_NOT_SUPPORTED
            self.reply(kind, bytes([0, result]) + bytes(14))
        else:
            raise ProtocolError(f"frame type {kind}")

    def run_message(self, body: bytes) -> None:
        request = wire.parse_request(body)
        if wire.FIELD_BATCH in request.other_fields:
            self.later(wire.FRAME_MESSAGE, run_batch(self.node, self.transactions, request))
        elif scan.is_scan(request):
            for part in scan.run_scan(self.node, request):
                self.reply(wire.FRAME_MESSAGE, part)
        else:
            answer = self.transactions.run_now(request, CLIENT)
            if answer is not None:
                self.reply(wire.FRAME_MESSAGE, answer)
            else:
                self.later(wire.FRAME_MESSAGE, self.transactions.run(request, CLIENT))

    def later(self, kind: int, work: Awaitable[bytes]) -> None:
        self.busy = True
        self.node.fabric.spawn(self._finish(kind, work))

    async def _finish(self, kind: int, work: Awaitable[bytes]) -> None:
        try:
            self.reply(kind, await work)
        except ProtocolError:
            self.reply(kind, wire.encode_result(wire.ERR_PARAMETER, info3=wire.INFO3_LAST))
        except Exception:
            self.close()
            raise
        finally:
            self.busy = False
        self.run_frames()

    def reply(self, kind: int, body: bytes) -> None:
        if self.transport is not None and not self.transport.is_closing():
            self.transport.write(wire.frame(kind, body))

    def close(self) -> None:
        if self.transport is not None:
            self.transport.close()


class TextConnection(asyncio.Protocol):
    """The info port of 8.0: commands as lines of text."""

    def __init__(self, info: Info) -> None:
        self.info = info
        self.buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        *lines, self.buffer = (self.buffer + data).split(b"\n")
        for line in lines:
            answer = self.info.run(line.strip() + b"\n")
            if isinstance(answer, bytes):
                self.transport.write(answer)
