"""A node's state: configuration, records, peers, partition tables. Requests, migrations and info commands use it."""

import asyncio
import secrets
import time
from collections import Counter
from typing import Any

from . import fabric as messages
from .addresses import advertised, own_node_id
from .clustering import Cluster, Clustering
from .config.model import NODES_MAX, Config, NamespaceConfig
from .devices import capacity, open_devices
from .fabric import Fabric
from .heartbeat import Heartbeat
from .journal import Journal
from .log import Log
from .partitions import FULL, NONE, PART, Copies, Report, Table, build_rows
from .release import Release
from .storage import Namespace

SERVICES_SECONDS = 10.0
TRUNCATE_SECONDS = 2.0


class Node:
    """One member of a cluster, or a node that looks for one."""

    def __init__(self, config: Config, release: Release, log: Log) -> None:
        """:raises ConfigError: a namespace's device can't be used."""
        self.config = config
        self.release = release
        self.log = log
        self.stats: Counter[str] = Counter()
        self.started = time.monotonic()
        self.rebalanced = self.started
        self.clients: set[asyncio.Transport] = set()
        fabric_port = config.network["fabric"]["port"]
        self.node_id = own_node_id(
            config.service.get("node-id"), fabric_port, config.service.get("node-id-interface", "")
        )
        self.incarnation = secrets.token_hex(6)
        self.namespaces = {space.name: open_namespace(space, log) for space in config.namespaces}
        # Records from devices may be old: they are sent to the partition's master.
        self.copies = {
            name: Copies(states=bytearray(PART if records else NONE for records in namespace.partitions))
            for name, namespace in self.namespaces.items()
        }
        self.tables: dict[str, Table] = {}
        self.partition_generation = -1
        self.rebalance_generation = 0
        self.peers_generation = 0
        self.peer_services: dict[str, list[str]] = {}
        self.quiesce_requested = bool(config.service.get("stay-quiesced", False))
        self.quiesced: set[str] = set()
        # Set when the tables have changed, so that copies may have to move.
        self.migrations_due = asyncio.Event()
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
        self._services: list[str] = []
        self._services_at = float("-inf")

    @property
    def cluster_key(self) -> str:
        return self.clustering.cluster.key

    def describe(self) -> dict[str, Any]:
        """What our heartbeats carry beside addresses."""
        return {"services": self.services(), "key": self.cluster_key, "build": self.release.version}

    def services(self) -> list[str]:
        """host:port of each address that clients may use. The host's interfaces are read at most every 10 s."""
        now = time.monotonic()
        if now - self._services_at > SERVICES_SECONDS:
            self._services, self._services_at = advertised(self.config.network["service"]), now
        return self._services

    # --- The cluster -----------------------------------------------------------------------------------------------

    def report(self) -> dict[str, Any]:
        """This node's part of a prepare answer."""
        return {
            "quiesced": self.quiesce_requested,
            "namespaces": {
                name: {
                    "copies": self.copies[name].pack(bytes(bool(records) for records in namespace.partitions)),
                    "factor": namespace.config.replication_factor,
                    "truncated": {key.decode("latin-1"): at for key, at in namespace.truncated.items()},
                }
                for name, namespace in self.namespaces.items()
            },
        }

    def apply_cluster(self, cluster: Cluster, reports: dict[str, dict[str, Any]]) -> None:
        """Enter a new cluster: build the partition tables from all members' reports."""
        self.quiesced = {node for node, report in reports.items() if report["quiesced"]}
        for name, namespace in self.namespaces.items():
            own = {node: report["namespaces"][name] for node, report in reports.items() if name in report["namespaces"]}
            self.build_table(namespace, cluster, own)
        self.rebalanced = time.monotonic()
        self.rebalance_generation += 1
        services = {node: peer.services for node, peer in self.heartbeat.peers.items() if node in cluster.members}
        if services != self.peer_services:
            self.peer_services = services
            self.peers_generation += 1
        self.tables_changed()

    def build_table(self, namespace: Namespace, cluster: Cluster, reports: dict[str, dict[str, Any]]) -> None:
        """Build one namespace's table; `reports` are those of the nodes that have the namespace."""
        for report in reports.values():
            for set_name, at in report["truncated"].items():
                namespace.truncate(set_name.encode("latin-1"), at)
        # The principal's factor counts; the real server refuses nodes whose factors differ.
        factor = min(reports[min(reports, key=list(cluster.members).index)]["factor"], len(reports))
        copies_of = {node: Report.unpack(report["copies"]) for node, report in reports.items()}
        rows = build_rows(copies_of, factor, self.quiesced)
        table = self.tables[namespace.name] = Table(self.node_id, rows, factor)
        copies, family = self.copies[namespace.name], int(cluster.key, 16)
        for partition, row in enumerate(rows):
            if self.node_id in row.full:
                copies.states[partition], copies.families[partition] = FULL, family
            elif self.node_id in row.owners and copies.states[partition] == NONE:
                copies.states[partition], copies.families[partition] = PART, family
        sending, receiving = table.remaining
        namespace.stats["migrate_tx_partitions_initial"] = sending
        namespace.stats["migrate_rx_partitions_initial"] = receiving

    def tables_changed(self) -> None:
        self.partition_generation += 1
        self.migrations_due.set()

    def remaining(self, namespace: str) -> tuple[int, int]:
        """How many copies this node has yet to (send, receive); (0, 0) before there is a cluster."""
        table = self.tables.get(namespace)
        return table.remaining if table is not None else (0, 0)

    # --- Truncation ------------------------------------------------------------------------------------------------

    async def truncate(self, namespace: Namespace, set_name: str, before: int) -> None:
        """Truncate on every member.

        :param before: milliseconds since 2010; records last updated up to then are removed.
        :raises FabricError: a member can't be reached.
        """
        payload = f"{namespace.name}\n{set_name}\n{before}".encode()
        self.on_truncate(self.node_id, payload)
        await asyncio.gather(
            *(
                self.fabric.request(member, messages.TRUNCATE, payload, TRUNCATE_SECONDS)
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


def open_namespace(config: NamespaceConfig, log: Log) -> Namespace:
    """A namespace with the records of its devices.

    :raises ConfigError: a device can't be used.
    """
    devices = open_devices(config, log)
    journal = Journal(devices, bool(config.storage.get("cold-start-empty"))) if devices else None
    namespace = Namespace(config, capacity(config, devices), journal)
    if devices:
        log.info("drv_ssd", f"{{{config.name}}} loaded: objects {namespace.objects} (SIMULATED)")
    return namespace
