"""The server: a node with its ports, its migrations and its periodic work."""

import asyncio
import time
from typing import Any

from . import clock
from .addresses import hosts
from .config.model import Config
from .info import Info
from .journal import FLUSH_SECONDS
from .log import Log
from .migration import Migrator
from .node import Node
from .release import Release
from .service import ClientConnection, TextConnection
from .storage import PARTITIONS
from .transactions import Transactions

NSUP_SECONDS = 1.0
NSUP_PIECE = 256  # partitions per step; other tasks run between two steps
TOMBSTONE_SECONDS_MAX = 600
TICKER_SECONDS = 10


class Server:
    """A running server. `start` opens its ports, `stop` closes them."""

    def __init__(self, config: Config, release: Release, log: Log) -> None:
        """:raises ConfigError: a namespace's device can't be used."""
        self.config = config
        self.log = log
        self.node = Node(config, release, log)
        self.migrator = Migrator(self.node)
        self.transactions = Transactions(self.node, self.migrator.lost)
        self.info = Info(self.node, self.transactions)
        self._tasks: list[asyncio.Task[Any]] = []
        self._servers: list[asyncio.Server] = []

    async def start(self) -> None:
        """Open the ports and start looking for a cluster.

        :raises OSError: a port is in use
        """
        loop = asyncio.get_running_loop()
        network, node = self.config.network, self.node
        await node.fabric.start(hosts(network["fabric"]), network["fabric"]["port"])
        node.clustering.start()
        await node.heartbeat.start(hosts(network["heartbeat"]))
        for section in ("service", "admin"):
            if "port" in network[section]:
                self._servers.append(
                    await loop.create_server(
                        lambda: ClientConnection(node, self.info, self.transactions),
                        hosts(network[section]),
                        network[section]["port"],
                        backlog=1024,
                        reuse_address=True,
                    )
                )
        if "port" in network["info"] and node.release.numbers < (8, 1):
            self._servers.append(
                await loop.create_server(
                    lambda: TextConnection(self.info),
                    hosts(network["info"]),
                    network["info"]["port"],
                    reuse_address=True,
                )
            )
        self._tasks = [
            loop.create_task(work)
            for work in (node.clustering.run(), self.migrator.run(), self.nsup(), self.flush(), self.ticker())
        ]
        self.log.info("as", f"service ready: soon there will be cake! (SIMULATED) node-id {node.node_id}")

    def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        for server in self._servers:
            server.close()
        self.node.heartbeat.stop()
        self.node.fabric.stop()
        for client in list(self.node.clients):
            client.close()
        for namespace in self.node.namespaces.values():
            namespace.flush()

    # --- Housekeeping ----------------------------------------------------------------------------------------------

    async def nsup(self) -> None:
        """Remove expired records and old tombstones."""
        namespaces = self.node.namespaces
        due = {name: time.monotonic() + namespace.config.nsup_period for name, namespace in namespaces.items()}
        raid = time.monotonic() + TOMBSTONE_SECONDS_MAX / 10
        while True:
            await asyncio.sleep(NSUP_SECONDS)
            for name, namespace in namespaces.items():
                if namespace.config.nsup_period and time.monotonic() >= due[name]:
                    for first in range(0, PARTITIONS, NSUP_PIECE):
                        namespace.expire(first, first + NSUP_PIECE)
                        await asyncio.sleep(0)
                    due[name] = time.monotonic() + namespace.config.nsup_period
                if time.monotonic() >= raid and self.node.remaining(name) == (0, 0):
                    age = min(namespace.config.values.get("tomb-raider-eligible-age", 86400), TOMBSTONE_SECONDS_MAX)
                    namespace.raid_tombstones(clock.now_ms() - age * 1000)
            if time.monotonic() >= raid:
                raid = time.monotonic() + TOMBSTONE_SECONDS_MAX / 10

    async def flush(self) -> None:
        while True:
            await asyncio.sleep(FLUSH_SECONDS)
            for namespace in self.node.namespaces.values():
                namespace.flush()

    async def ticker(self) -> None:
        """Log the cluster's size and each namespace's counts, as the real server does."""
        node = self.node
        while True:
            await asyncio.sleep(self.config.service.get("ticker-interval", TICKER_SECONDS) or 3600)
            self.log.info(
                "info",
                f"NODE-ID {node.node_id.lower()} CLUSTER-SIZE {len(node.clustering.cluster.members)} "
                f"CLUSTER-NAME {self.config.cluster_name}",
                "ticker.c:180",
            )
            for name, namespace in node.namespaces.items():
                sending, receiving = node.remaining(name)
                self.log.info(
                    "info",
                    f"{{{name}}} objects: all {namespace.objects} tombstones {namespace.tombstones}",
                    "ticker.c:401",
                )
                self.log.info(
                    "info",
                    f"{{{name}}} migrations: "
                    + (f"remaining ({sending},{receiving},0)" if sending or receiving else "complete"),
                    "ticker.c:450",
                )
