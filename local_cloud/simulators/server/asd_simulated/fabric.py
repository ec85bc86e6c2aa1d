"""Messages between the nodes' fabric ports: one outgoing connection to each peer, requests answered on it.

Messages from one node to another arrive in order, and are handled in order unless a handler waits. The consistency of
partitions depends on that.
"""

import asyncio
import json
import struct
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any

from .log import Log

HEADER = struct.Struct(">IBI")  # size of the payload, kind, request id
SIZE_MAX = 256 * 1024 * 1024
HELLO = 0
ANSWER = 1
FAILURE = 2
REPLICATE = 10
PROXY = 11
RESOLVE = 12
MIGRATE = 13
PREPARE = 14
COMMIT = 15
TABLE = 16
TRUNCATE = 17
RECLUSTER = 18
CONNECT_SECONDS = 0.5
RETRY_SECONDS = 0.2

Handler = Callable[[str, bytes], bytes | Awaitable[bytes]]


class FabricError(Exception):
    """The peer can't be reached, didn't answer in time or refused."""


def new_future() -> asyncio.Future[bytes]:
    """A future whose failure may go unnoticed: not every sender waits for the answer."""
    future: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
    future.add_done_callback(lambda done: done.cancelled() or done.exception())
    return future


class Reader(asyncio.Protocol):
    """Splits a stream into messages."""

    def __init__(self) -> None:
        self.buffer = bytearray()
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        while len(self.buffer) >= HEADER.size:
            size, kind, number = HEADER.unpack_from(self.buffer)
            if size > SIZE_MAX:
                self.close()
                return
            if len(self.buffer) < HEADER.size + size:
                return
            payload = bytes(self.buffer[HEADER.size : HEADER.size + size])
            del self.buffer[: HEADER.size + size]
            self.message(kind, number, payload)

    def message(self, kind: int, number: int, payload: bytes) -> None:
        raise NotImplementedError

    def send(self, kind: int, number: int, payload: bytes) -> None:
        if self.transport is not None and not self.transport.is_closing():
            self.transport.write(HEADER.pack(len(payload), kind, number) + payload)

    def close(self) -> None:
        if self.transport is not None:
            self.transport.close()


class Incoming(Reader):
    """A connection from a peer."""

    def __init__(self, fabric: "Fabric") -> None:
        super().__init__()
        self.fabric = fabric
        self.peer = ""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self.fabric.incoming.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self.fabric.incoming.discard(self)

    def message(self, kind: int, number: int, payload: bytes) -> None:
        if kind == HELLO:
            self.peer = json.loads(payload)["node"]
            return
        handler = self.fabric.handlers.get(kind)
        if handler is None or not self.peer:
            self.send(FAILURE, number, f"no handler for message {kind}".encode())
            return
        try:
            answer = handler(self.peer, payload)
        except FabricError as error:
            self.send(FAILURE, number, str(error).encode())
            return
        if isinstance(answer, bytes):
            self.send(ANSWER, number, answer)
        else:
            self.fabric.spawn(self.answer_later(number, answer))

    async def answer_later(self, number: int, answer: Awaitable[bytes]) -> None:
        try:
            self.send(ANSWER, number, await answer)
        except FabricError as error:
            self.send(FAILURE, number, str(error).encode())


class Outgoing(Reader):
    """A connection to a peer."""

    def __init__(self, link: "Link") -> None:
        super().__init__()
        self.link = link

    def message(self, kind: int, number: int, payload: bytes) -> None:
        waiting = self.link.waiting.pop(number, None)
        if waiting is None or waiting.done():
            return
        if kind == ANSWER:
            waiting.set_result(payload)
        else:
            waiting.set_exception(FabricError(payload.decode(errors="replace")))

    def connection_lost(self, exc: Exception | None) -> None:
        self.link.lost(self)


@dataclass
class Link:
    """The link to one peer. Reconnects automatically until it is closed."""

    fabric: "Fabric"
    peer: str
    address: tuple[str, int]
    protocol: Outgoing | None = None
    waiting: dict[int, asyncio.Future[bytes]] = field(default_factory=dict)
    number: int = 0
    task: asyncio.Task[None] | None = None
    broken: asyncio.Event = field(default_factory=asyncio.Event)

    async def keep(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                async with asyncio.timeout(CONNECT_SECONDS):
                    _, protocol = await loop.create_connection(lambda: Outgoing(self), *self.address)
            except (OSError, TimeoutError):
                await asyncio.sleep(RETRY_SECONDS)
                continue
            protocol.send(HELLO, 0, json.dumps({"node": self.fabric.node_id}).encode())
            self.protocol = protocol
            self.broken.clear()
            await self.broken.wait()
            await asyncio.sleep(RETRY_SECONDS)

    def lost(self, protocol: Outgoing) -> None:
        if self.protocol is protocol:
            self.protocol = None
            self.broken.set()
        self.fail("connection lost")

    def fail(self, reason: str) -> None:
        waiting, self.waiting = self.waiting, {}
        for future in waiting.values():
            if not future.done():
                future.set_exception(FabricError(f"{self.peer}: {reason}"))

    def request(self, kind: int, payload: bytes) -> asyncio.Future[bytes]:
        """Send now, in order. The future fails with FabricError if the connection is lost."""
        future = new_future()
        if self.protocol is None:
            future.set_exception(FabricError(f"{self.peer}: not connected"))
            return future
        self.number = self.number + 1 & 0xFFFFFFFF
        self.waiting[self.number] = future
        self.protocol.send(kind, self.number, payload)
        return future

    def close(self) -> None:
        if self.task is not None:
            self.task.cancel()
        if self.protocol is not None:
            self.protocol.close()
        self.fail("link closed")


class Fabric:
    """This node's messages to and from its peers."""

    def __init__(self, node_id: str, log: Log) -> None:
        self.node_id = node_id
        self.log = log
        self.handlers: dict[int, Handler] = {}
        self.links: dict[str, Link] = {}
        self.incoming: set[Incoming] = set()
        self.tasks: set[asyncio.Task[None]] = set()
        self.server: asyncio.Server | None = None
        self.stopped = False

    async def start(self, hosts: list[str], port: int) -> None:
        loop = asyncio.get_running_loop()
        self.server = await loop.create_server(lambda: Incoming(self), hosts, port, reuse_address=True)

    def stop(self) -> None:
        self.stopped = True
        if self.server is not None:
            self.server.close()
        for link in self.links.values():
            link.close()
        for incoming in list(self.incoming):
            incoming.close()

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Run `work` in the background, to completion."""
        if self.stopped:
            work.close()
            return
        task = asyncio.get_running_loop().create_task(work)
        self.tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self.tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            self.log.warning("fabric", f"task failed: {task.exception()!r}")

    def connect(self, peer: str, address: tuple[str, int]) -> None:
        """Keep a connection to `peer` at `address`."""
        link = self.links.get(peer)
        if link is not None:
            if link.address == address:
                return
            link.close()
        link = self.links[peer] = Link(self, peer, address)
        link.task = asyncio.get_running_loop().create_task(link.keep())

    def forget(self, peer: str) -> None:
        link = self.links.pop(peer, None)
        if link is not None:
            link.close()

    def send(self, peer: str, kind: int, payload: bytes) -> asyncio.Future[bytes]:
        """Send a request now. The future's result is the answer; it fails with FabricError."""
        link = self.links.get(peer)
        if link is None:
            future = new_future()
            future.set_exception(FabricError(f"{peer}: unknown peer"))
            return future
        return link.request(kind, payload)

    async def request(self, peer: str, kind: int, payload: bytes, seconds: float) -> bytes:
        """The peer's answer.

        :raises FabricError: there is none within `seconds`
        """
        try:
            async with asyncio.timeout(seconds):
                return await self.send(peer, kind, payload)
        except TimeoutError:
            raise FabricError(f"{peer}: no answer in {seconds} s") from None
