"""Mesh heartbeats: which peers are alive. Each node sends its heartbeats to its seeds and to every peer it hears of."""

import asyncio
import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from .log import Log

DIAL_SECONDS = 0.5
CONNECT_SECONDS = 0.5
LINE_MAX = 256 * 1024
# How long a silent peer is still dialed.
KNOWN_SECONDS = 600.0

Address = tuple[str, int]


@dataclass
class Peer:
    """A node's last heartbeat. `seen` is in seconds of the monotonic clock."""

    node: str
    incarnation: str
    heartbeat: Address
    fabric: Address
    services: list[str]
    cluster_key: str
    seen: float = 0.0
    build: str = ""


@dataclass(eq=False)
class Channel:
    """Our connection to a peer. `host` is our own address on it, `opened` in seconds of the monotonic clock."""

    node: str
    writer: asyncio.StreamWriter
    host: str
    opened: float


class Listener(asyncio.Protocol):
    """A connection from a peer: we send our node id, then the peer sends its heartbeats."""

    def __init__(self, heartbeat: "Heartbeat") -> None:
        self.heartbeat = heartbeat
        self.buffer = b""
        self.line = b""
        self.node = ""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.heartbeat.listeners.add(self)
        transport.write(json.dumps({"node": self.heartbeat.node_id}).encode() + b"\n")

    def connection_lost(self, exc: Exception | None) -> None:
        self.heartbeat.listeners.discard(self)

    def data_received(self, data: bytes) -> None:
        *lines, self.buffer = (self.buffer + data).split(b"\n")
        if len(self.buffer) > LINE_MAX:
            self.close()
        for line in lines:
            self.heartbeat.hear_line(line, self)

    def close(self) -> None:
        self.transport.close()


@dataclass
class Heartbeat:
    """Sends and receives heartbeats. `describe` returns what ours carry beside addresses and peers."""

    node_id: str
    incarnation: str
    cluster_name: str
    interval: float  # seconds
    timeout: float  # seconds without a heartbeat after which a peer has departed
    port: int
    fabric_port: int
    seeds: list[Address]
    describe: Callable[[], dict[str, Any]]
    log: Log
    peers: dict[str, Peer] = field(default_factory=dict)
    received: int = 0
    _own: set[Address] = field(default_factory=set)
    _dialing: dict[Address, str] = field(default_factory=dict)
    listeners: set["Listener"] = field(default_factory=set)
    _channels: list[Channel] = field(default_factory=list)
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)
    _server: asyncio.Server | None = None
    _warned: set[str] = field(default_factory=set)

    async def start(self, hosts: list[str]) -> None:
        self._server = await asyncio.get_running_loop().create_server(
            lambda: Listener(self), hosts, self.port, reuse_address=True
        )
        self._run(self._dial_all())
        self._run(self._beat_all())

    def stop(self) -> None:
        if self._server is not None:
            self._server.close()
        for task in self._tasks:
            task.cancel()
        for listener in list(self.listeners):
            listener.close()

    def alive(self) -> dict[str, Peer]:
        """The peers heard within the timeout."""
        oldest = time.monotonic() - self.timeout
        return {node: peer for node, peer in self.peers.items() if peer.seen >= oldest}

    def known(self) -> list[Peer]:
        """The peers heard of within KNOWN_SECONDS: a peer that was cut off is dialed until it returns."""
        oldest = time.monotonic() - KNOWN_SECONDS
        self.peers = {node: peer for node, peer in self.peers.items() if peer.seen >= oldest}
        return list(self.peers.values())

    def add_seed(self, seed: Address) -> None:
        if seed not in self.seeds:
            self.seeds.append(seed)

    def _run(self, work: Any) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _dial_all(self) -> None:
        while True:
            reached = set(self._dialing.values())
            addresses = [seed for seed in self.seeds if seed not in self._own]
            addresses += [peer.heartbeat for peer in self.known() if peer.node not in reached]
            for address in addresses:
                if address not in self._dialing:
                    self._dialing[address] = ""
                    self._run(self._dial(address))
            await asyncio.sleep(DIAL_SECONDS)

    async def _dial(self, address: Address) -> None:
        """Keep a connection to `address` until it breaks; heartbeats are sent on it."""
        writer = None
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                reader, writer = await asyncio.open_connection(*address, limit=LINE_MAX)
                node = json.loads(await reader.readline())["node"]
            if node == self.node_id:
                self._own.add(address)
                return
            if node in self._dialing.values():  # another address of a connected peer
                await asyncio.sleep(DIAL_SECONDS * 4)
                return
            self._dialing[address] = node
            channel = Channel(node, writer, writer.get_extra_info("sockname")[0], time.monotonic())
            self._channels.append(channel)
            try:
                await reader.read()  # the peer sends nothing more: returns when the connection closes
            finally:
                self._channels.remove(channel)
        except (OSError, TimeoutError, ValueError, KeyError):
            pass
        finally:
            self._dialing.pop(address, None)
            if writer is not None:
                writer.transport.abort()

    async def _beat_all(self) -> None:
        while True:
            alive = self.alive()
            beat = {
                "node": self.node_id,
                "incarnation": self.incarnation,
                "cluster": self.cluster_name,
                "peers": [list(peer.heartbeat) for peer in alive.values()],
                **self.describe(),
            }
            lines: dict[str, bytes] = {}
            for channel in self._channels:
                # On an old connection TCP may wait long after the network recovers: a silent peer gets a new one.
                if channel.node not in alive and time.monotonic() > channel.opened + self.timeout:
                    channel.writer.transport.abort()
                    continue
                host = channel.host
                if host not in lines:
                    own = {"heartbeat": [host, self.port], "fabric": [host, self.fabric_port]}
                    lines[host] = json.dumps(beat | own).encode() + b"\n"
                channel.writer.write(lines[host])
            await asyncio.sleep(self.interval)

    def hear_line(self, line: bytes, listener: "Listener") -> None:
        """Handle one heartbeat. Most equal the previous one, and only show that the peer is alive."""
        if line == listener.line and listener.node in self.peers:
            self.received += 1
            self.peers[listener.node].seen = time.monotonic()
            return
        try:
            beat = json.loads(line)
            self._hear(beat)
            listener.line, listener.node = line, beat["node"]
        except (ValueError, KeyError, TypeError):
            listener.close()

    def _hear(self, beat: dict[str, Any]) -> None:
        node = beat["node"]
        if node == self.node_id:
            if beat["incarnation"] != self.incarnation and node not in self._warned:
                self._warned.add(node)
                self.log.warning("hb", f"another node has our node id {node}: set 'node-id' in one of them")
            return
        if beat["cluster"] != self.cluster_name:
            if node not in self._warned:
                self._warned.add(node)
                self.log.warning(
                    "hb", f"ignoring node {node} of cluster '{beat['cluster']}', ours is '{self.cluster_name}'"
                )
            return
        self.received += 1
        self.peers[node] = Peer(
            node,
            beat["incarnation"],
            tuple(beat["heartbeat"]),
            tuple(beat["fabric"]),
            beat["services"],
            beat["key"],
            time.monotonic(),
            beat["build"],
        )
        known = {peer.heartbeat for peer in self.peers.values()} | self._dialing.keys() | self._own
        for address in {(host, port) for host, port in beat["peers"]} - known:
            # Once: a peer that is alive there joins our list by its own heartbeats.
            self._dialing[address] = ""
            self._run(self._dial(address))
