"""One server: ties configuration, data, cluster and ports together."""

import asyncio
import contextlib
import fcntl
import secrets
import socket
import struct
import time
from collections import Counter
from pathlib import Path
from typing import Any

from . import clock
from . import fabric as messages
from .clustering import Cluster, Clustering
from .config.model import NODES_MAX, Config, NamespaceConfig
from .devices import capacity, open_devices
from .fabric import Fabric
from .heartbeat import Heartbeat
from .info import Info
from .journal import FLUSH_SECONDS, Journal
from .log import Log
from .migration import Migrator
from .partitions import FULL, NONE, PART, Copies, Report, Table, build_rows
from .release import Release
from .service import ClientConnection, TextConnection
from .storage import PARTITIONS, Namespace
from .transactions import Transactions

NSUP_PIECE = 256
TOMBSTONE_SECONDS_MAX = 600
TICKER_SECONDS = 10
SERVICES_SECONDS = 10.0


class Node:
    """A running server. `start` opens its ports, `stop` closes them."""

    def __init__(self, config: Config, release: Release, log: Log) -> None:
        self.config = config
        self.release = release
        self.log = log
        self.stats: Counter[str] = Counter()
        self.started = time.monotonic()
        self.rebalanced = self.started
        self.clients: set[ClientConnection] = set()
        fabric_port = config.network["fabric"]["port"]
        self.node_id = own_node_id(
            config.service.get("node-id"), fabric_port, config.service.get("node-id-interface", "")
        )
        self.incarnation = secrets.token_hex(6)
        self.namespaces = {one.name: open_namespace(one, log) for one in config.namespaces}
        # What devices held may be old: it's sent to whoever is master.
        self.copies = {
            name: Copies(states=bytearray(PART if records else NONE for records in one.partitions))
            for name, one in self.namespaces.items()
        }
        self.tables: dict[str, Table] = {}
        self.partition_generation = -1
        self.rebalance_generation = 0
        self.peers_generation = 0
        self.peer_services: dict[str, list[str]] = {}
        self.quiesce_asked = bool(config.service.get("stay-quiesced", False))
        self.quiesced: set[str] = set()
        self.fabric = Fabric(self.node_id, log)
        self.fabric.handlers[messages.TRUNCATE] = self.on_truncate
        self.heartbeat = Heartbeat(
            self.node_id,
            self.incarnation,
            config.cluster_name,
            config.interval_ms / 1000,
            config.interval_ms * config.timeout_intervals / 1000,
            config.network["heartbeat"]["port"],
            fabric_port,
            list(config.seeds),
            self.describe,
            log,
        )
        self.clustering = Clustering(
            self.node_id,
            self.incarnation,
            self.heartbeat,
            self.fabric,
            NODES_MAX[release.edition],
            self.report,
            self.apply_cluster,
            log,
        )
        self.transactions = Transactions(self)
        self.migrator = Migrator(self)
        self.info = Info(self)
        self._services: list[str] = []
        self._services_at = float("-inf")
        self._tasks: list[asyncio.Task[Any]] = []
        self._servers: list[asyncio.Server] = []

    @property
    def cluster_key(self) -> str:
        return self.clustering.cluster.key

    async def start(self) -> None:
        """Opens the ports and begins to look for a cluster. Raises OSError when a port is taken."""
        loop = asyncio.get_running_loop()
        network = self.config.network
        await self.fabric.start(hosts(network["fabric"]), network["fabric"]["port"])
        self.clustering.start()
        await self.heartbeat.start(hosts(network["heartbeat"]))
        for section in ("service", "admin"):
            if "port" in network[section]:
                self._servers.append(
                    await loop.create_server(
                        lambda: ClientConnection(self),
                        hosts(network[section]),
                        network[section]["port"],
                        backlog=1024,
                        reuse_address=True,
                    )
                )
        if "port" in network["info"] and self.release.numbers < (8, 1):
            self._servers.append(
                await loop.create_server(
                    lambda: TextConnection(self), hosts(network["info"]), network["info"]["port"], reuse_address=True
                )
            )
        self._tasks = [
            loop.create_task(work)
            for work in (
                self.clustering.run(),
                self.migrator.run(),
                self.nsup(),
                self.flush(),
                self.ticker(),
            )
        ]
        self.log.info("as", f"service ready: soon there will be cake! (SIMULATED) node-id {self.node_id}")

    def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        for server in self._servers:
            server.close()
        self.heartbeat.stop()
        self.fabric.stop()
        for client in list(self.clients):
            client.close()
        for namespace in self.namespaces.values():
            namespace.flush()

    def describe(self) -> dict[str, Any]:
        """What our heartbeats say beside addresses."""
        return {"services": self.services(), "key": self.cluster_key, "build": self.release.version}

    def services(self) -> list[str]:
        """host:port of each address that clients may use. Interfaces are looked at now and then."""
        now = time.monotonic()
        if now - self._services_at > SERVICES_SECONDS:
            self._services, self._services_at = self.find_services(), now
        return self._services

    def find_services(self) -> list[str]:
        service = self.config.network["service"]
        port = service.get("access-port", service["port"])
        addresses = [resolve(one) for one in service.get("access-address", [])] or bound(service)
        return [f"{one}:{port}" for one in addresses or interface_addresses()]

    # --- The cluster -----------------------------------------------------------------------------------------------

    def report(self) -> dict[str, Any]:
        return {
            "quiesced": self.quiesce_asked,
            "namespaces": {
                name: {
                    "copies": self.copies[name].pack(bytes(bool(one) for one in namespace.partitions)),
                    "factor": namespace.config.replication_factor,
                    "truncated": {key.decode("latin-1"): at for key, at in namespace.truncated.items()},
                }
                for name, namespace in self.namespaces.items()
            },
        }

    def apply_cluster(self, cluster: Cluster, reports: dict[str, dict[str, Any]]) -> None:
        family = int(cluster.key, 16)
        self.quiesced = {node for node, report in reports.items() if report["quiesced"]}
        for name, namespace in self.namespaces.items():
            told = {
                node: report["namespaces"][name] for node, report in reports.items() if name in report["namespaces"]
            }
            for one in told.values():
                for set_name, at in one["truncated"].items():
                    namespace.truncate(set_name.encode("latin-1"), at)
            # The principal's factor counts; the real server refuses nodes whose factors differ.
            factor = min(told[min(told, key=list(cluster.members).index)]["factor"], len(told))
            rows = build_rows({node: Report.unpack(one["copies"]) for node, one in told.items()}, factor, self.quiesced)
            table = self.tables[name] = Table(self.node_id, rows, factor)
            copies = self.copies[name]
            for partition, row in enumerate(rows):
                if self.node_id in row.full:
                    copies.states[partition], copies.families[partition] = FULL, family
                elif self.node_id in row.owners and copies.states[partition] == NONE:
                    copies.states[partition], copies.families[partition] = PART, family
            sending, receiving = table.remaining()
            namespace.stats["migrate_tx_partitions_initial"] = sending
            namespace.stats["migrate_rx_partitions_initial"] = receiving
        self.rebalanced = time.monotonic()
        self.rebalance_generation += 1
        services = {node: peer.services for node, peer in self.heartbeat.peers.items() if node in cluster.members}
        if services != self.peer_services:
            self.peer_services = services
            self.peers_generation += 1
        self.partitions_changed()
        self.migrator.wake.set()

    def partitions_changed(self) -> None:
        self.partition_generation += 1
        self.info.forget_maps()

    def remaining(self, namespace: str) -> tuple[int, int]:
        """Copies still to (send, receive); (0, 0) before there is a cluster."""
        table = self.tables.get(namespace)
        return self.info.remaining(table) if table is not None else (0, 0)

    # --- Truncation ------------------------------------------------------------------------------------------------

    async def truncate(self, namespace: Namespace, set_name: str, before: int) -> None:
        """Truncates on every member. Raises FabricError when one of them can't be told."""
        payload = f"{namespace.name}\n{set_name}\n{before}".encode()
        self.on_truncate(self.node_id, payload)
        await asyncio.gather(
            *(
                self.fabric.request(member, messages.TRUNCATE, payload, 2.0)
                for member in self.clustering.cluster.members
                if member != self.node_id
            )
        )

    def on_truncate(self, _sender: str, payload: bytes) -> bytes:
        name, set_name, before = payload.decode().split("\n")
        if name in self.namespaces:
            removed = self.namespaces[name].truncate(set_name.encode(), int(before))
            self.log.info("truncate", f"{{{name}|{set_name}}} truncated {removed} records")
        return b""

    # --- Housekeeping ----------------------------------------------------------------------------------------------

    async def nsup(self) -> None:
        """Removes expired records and old tombstones."""
        due = {name: time.monotonic() + one.config.nsup_period for name, one in self.namespaces.items()}
        raid = time.monotonic() + TOMBSTONE_SECONDS_MAX / 10
        while True:
            await asyncio.sleep(1.0)
            for name, namespace in self.namespaces.items():
                if namespace.config.nsup_period and time.monotonic() >= due[name]:
                    for first in range(0, PARTITIONS, NSUP_PIECE):
                        namespace.expire(first, first + NSUP_PIECE)
                        await asyncio.sleep(0)
                    due[name] = time.monotonic() + namespace.config.nsup_period
                if time.monotonic() >= raid and self.remaining(name) == (0, 0):
                    age = min(namespace.config.values.get("tomb-raider-eligible-age", 86400), TOMBSTONE_SECONDS_MAX)
                    namespace.raid_tombstones(clock.now_ms() - age * 1000)
            if time.monotonic() >= raid:
                raid = time.monotonic() + TOMBSTONE_SECONDS_MAX / 10

    async def flush(self) -> None:
        while True:
            await asyncio.sleep(FLUSH_SECONDS)
            for namespace in self.namespaces.values():
                namespace.flush()

    async def ticker(self) -> None:
        while True:
            await asyncio.sleep(self.config.service.get("ticker-interval", TICKER_SECONDS) or 3600)
            cluster = self.clustering.cluster
            self.log.info(
                "info",
                f"NODE-ID {self.node_id.lower()} CLUSTER-SIZE {len(cluster.members)} "
                f"CLUSTER-NAME {self.config.cluster_name}",
                "ticker.c:180",
            )
            for name, one in self.namespaces.items():
                sending, receiving = self.remaining(name)
                self.log.info(
                    "info", f"{{{name}}} objects: all {one.objects} tombstones {one.tombstones}", "ticker.c:401"
                )
                self.log.info(
                    "info",
                    f"{{{name}}} migrations: "
                    + (f"remaining ({sending},{receiving},0)" if sending or receiving else "complete"),
                    "ticker.c:450",
                )


def open_namespace(config: NamespaceConfig, log: Log) -> Namespace:
    """A namespace with what its devices hold. Raises ConfigError."""
    devices = open_devices(config, log)
    journal = Journal(devices, bool(config.storage.get("cold-start-empty"))) if devices else None
    namespace = Namespace(config, capacity(config, devices), journal)
    if devices:
        log.info("drv_ssd", f"{{{config.name}}} loaded: objects {namespace.objects} (SIMULATED)")
    return namespace


def bound(section: dict[str, Any]) -> list[str]:
    """The addresses that a section binds, none when it binds every one."""
    return [resolve(one) for one in section.get("address", []) if one not in ("any", "0.0.0.0")]


def hosts(section: dict[str, Any]) -> list[str]:
    """What to listen on."""
    return bound(section) or ["0.0.0.0"]


def resolve(address: str) -> str:
    """An address of the configuration as an IP address: it may name an interface."""
    if address in ("local", "localhost"):
        return "127.0.0.1"
    if Path("/sys/class/net", address).exists():
        return interface_address(address) or address
    return address


def interface_address(name: str) -> str:
    """The interface's IPv4 address, "" when it has none."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe, contextlib.suppress(OSError):
        answer = fcntl.ioctl(probe.fileno(), 0x8915, struct.pack("256s", name.encode()[:15]))  # SIOCGIFADDR
        return socket.inet_ntoa(answer[20:24])
    return ""


def interface_addresses() -> list[str]:
    """The addresses of all interfaces but the loopback; the loopback's when there's no other."""
    found = [interface_address(path.name) for path in sorted(Path("/sys/class/net").iterdir())]
    return [one for one in found if one and not one.startswith("127.")] or ["127.0.0.1"]


def own_node_id(given: int | None, port: int, interface: str) -> str:
    """The configured id, or one from the fabric port and an interface's hardware address, as the real server's."""
    if given is not None:
        return f"{given:X}"
    # The machine's own interfaces first: those of containers come and go, and a node's id mustn't.
    found = sorted(path.name for path in Path("/sys/class/net").iterdir())
    names = [interface] if interface else sorted(found, key=lambda name: not name.startswith(("eth", "en", "bond")))
    for name in names:
        with contextlib.suppress(OSError):
            mac = bytes.fromhex(Path("/sys/class/net", name, "address").read_text().strip().replace(":", ""))
            if len(mac) == 6 and any(mac):
                return f"{port << 48 | int.from_bytes(mac, 'little'):X}"
    return f"{port << 48 | 1:X}"
