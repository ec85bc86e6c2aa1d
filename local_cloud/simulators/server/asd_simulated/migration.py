"""Moves copies of partitions until each owner has one, and no other node.

For each partition, in this order: nodes with stray records send them to the master; the master sends a complete
copy to each owner that lacks one; the first owner becomes master; all other nodes drop theirs. Clients are
served throughout.
"""

import asyncio
import json
import struct
from collections.abc import Iterable, Iterator

from . import fabric as messages
from .fabric import FabricError
from .node import Node
from .partitions import FULL, NONE, PART, Row
from .storage import Namespace, pack_record, partition_of, unpack_records

BATCH_BYTES = 512 * 1024
BATCH_PARTITIONS = 512
ANSWER_SECONDS = 10.0
RETRY_SECONDS = 0.2
ANNOUNCE_TRIES = 10


class Migrator:
    """This node's part in the migrations."""

    def __init__(self, node: Node) -> None:
        self.node = node
        self.reason = ""
        node.fabric.handlers[messages.MIGRATE] = self.on_migrate
        node.fabric.handlers[messages.TABLE] = self.on_table

    async def run(self) -> None:
        while True:
            await self.node.migrations_due.wait()
            self.node.migrations_due.clear()
            try:
                while await self.run_round():
                    await asyncio.sleep(0)
            except FabricError as error:
                if str(error) != self.reason:
                    self.node.log.info("migrate", f"will retry: {error}")
                self.reason = str(error)
                await asyncio.sleep(RETRY_SECONDS)
                self.node.migrations_due.set()

    async def run_round(self) -> bool:
        """Move one batch of each kind.

        :returns: whether there was anything to do
        :raises FabricError: a peer doesn't accept its batch
        """
        if not self.node.clustering.stable:
            return False
        worked = False
        for namespace in self.node.namespaces.values():
            key = self.node.cluster_key
            for target, partitions in self.work(namespace).items():
                for batch, data in self.batches(namespace, partitions):
                    if not self.current(key):
                        return True
                    await self.send(namespace, target, batch, data)
                    worked = True
        return worked

    def work(self, namespace: Namespace) -> dict[tuple[str, str], list[int]]:
        """What this node must send: (what, node) -> partitions."""
        me = self.node.node_id
        found: dict[tuple[str, str], list[int]] = {}
        for partition, row in enumerate(self.node.tables[namespace.name].rows):
            if me in row.stray:
                found.setdefault(("stray", row.master), []).append(partition)
            elif row.master == me and not row.stray and not row.settled:
                targets = [owner for owner in row.owners if owner not in row.full]
                for target in targets:
                    found.setdefault(("copy", target), []).append(partition)
                if not targets:
                    found.setdefault(("settle", me), []).append(partition)
        return found

    def batches(self, namespace: Namespace, partitions: list[int]) -> Iterator[tuple[list[int], bytes]]:
        """The partitions in batches of limited size. A batch's records are read when the batch is generated."""
        at = 0
        while at < len(partitions):
            batch: list[int] = []
            parts: list[bytes] = []
            size = 0
            while at < len(partitions) and len(batch) < BATCH_PARTITIONS and size < BATCH_BYTES:
                batch.append(partitions[at])
                for digest, record in namespace.partitions[partitions[at]].items():
                    parts.append(pack_record(digest, record))
                    size += len(parts[-1])
                at += 1
            yield batch, b"".join(parts)

    async def send(self, namespace: Namespace, target: tuple[str, str], batch: list[int], data: bytes) -> None:
        what, peer = target
        key = self.node.cluster_key
        if what != "settle":
            head = json.dumps({"key": key, "namespace": namespace.name, "what": what, "partitions": batch}).encode()
            namespace.stats["migrate_tx_partitions_active"] = len(batch)
            try:
                await self.node.fabric.request(
                    peer, messages.MIGRATE, struct.pack(">I", len(head)) + head + data, ANSWER_SECONDS
                )
            finally:
                namespace.stats["migrate_tx_partitions_active"] = 0
            namespace.stats["migrate_records_transmitted"] += sum(1 for _ in unpack_records(data))
        if not self.current(key) or what == "stray":
            return  # the master announces the strays that it received
        self.settle(namespace, batch, peer if what == "copy" else "")

    def settle(self, namespace: Namespace, partitions: Iterable[int], filled: str) -> None:
        """As master: record that `filled` has complete copies, hand over finished partitions, announce the rows."""
        changed = []
        rows = self.node.tables[namespace.name].rows
        for partition in partitions:
            row = rows[partition]
            if row.master != self.node.node_id:
                continue
            full = row.full | ({filled} if filled else set())
            master = row.master
            if full >= set(row.owners) and not row.stray:
                full, master = set(row.owners), row.owners[0]
            changed.append((partition, Row(master, row.owners, full, row.stray)))
        self.change(namespace, changed)
        self.announce(namespace, [partition for partition, _ in changed])

    def receive_stray(self, namespace: Namespace, partitions: Iterable[int], sender: str) -> None:
        """As master: record that `sender` has sent its stray records."""
        changed = []
        rows = self.node.tables[namespace.name].rows
        for partition in partitions:
            row = rows[partition]
            if row.master != self.node.node_id:
                raise FabricError(f"{self.node.node_id} isn't master of partition {partition}")
            stray = row.stray - {sender}
            changed.append(
                (partition, Row(row.master, row.owners, row.full if stray else row.full | {row.master}, stray))
            )
        self.change(namespace, changed)
        self.announce(namespace, [partition for partition, _ in changed])

    def lost(self, namespace: Namespace, partition: int, node: str) -> None:
        """As master: record that `node` missed a write, so its copy is no longer complete."""
        row = self.node.tables[namespace.name].rows[partition]
        if row.master == self.node.node_id and node in row.full:
            self.change(namespace, [(partition, Row(row.master, row.owners, row.full - {node}, row.stray))])
            self.announce(namespace, [partition])

    def on_migrate(self, sender: str, payload: bytes) -> bytes:
        size = struct.unpack_from(">I", payload)[0]
        head = json.loads(payload[4 : 4 + size])
        namespace = self.node.namespaces.get(head["namespace"])
        if namespace is None:
            raise FabricError(f"{self.node.node_id} has no namespace {head['namespace']}")
        if not self.current(head["key"]):
            raise FabricError(f"{self.node.node_id} isn't in cluster {head['key']}")
        kept: dict[int, set[bytes]] = {partition: set() for partition in head["partitions"]}
        for digest, record in unpack_records(payload, 4 + size):
            namespace.merge(digest, record)
            kept[partition_of(digest)].add(digest)
            namespace.stats["migrate_record_receives"] += 1
        if head["what"] == "stray":
            self.receive_stray(namespace, kept, sender)
            return b""
        copies = self.node.copies[namespace.name]
        for partition, digests in kept.items():
            # The sender's copy is authoritative as of its sending, and its later writes arrive after it.
            for digest in namespace.partitions[partition].keys() - digests:
                namespace.remove(digest)
            copies.states[partition] = FULL
            copies.families[partition] = int(head["key"], 16)
        return b""

    def on_table(self, _sender: str, payload: bytes) -> bytes:
        message = json.loads(payload)
        namespace = self.node.namespaces.get(message["namespace"])
        if namespace is None or message["key"] != self.node.cluster_key:
            return b""
        rows = self.node.tables[namespace.name].rows
        self.change(
            namespace,
            [
                (partition, Row(master, rows[partition].owners, set(full), set(stray)))
                for partition, master, full, stray in message["rows"]
            ],
        )
        return b""

    def change(self, namespace: Namespace, changed: list[tuple[int, Row]]) -> None:
        """Apply new rows, and update the states of this node's copies."""
        table, copies = self.node.tables[namespace.name], self.node.copies[namespace.name]
        me, family = self.node.node_id, int(self.node.cluster_key, 16)
        for partition, row in changed:
            table.set_row(partition, row)
            if me in row.full:
                copies.states[partition], copies.families[partition] = FULL, family
            elif me in row.owners or me in row.stray or me == row.master:
                if copies.states[partition] == NONE:
                    copies.states[partition], copies.families[partition] = PART, family
            else:
                copies.states[partition], copies.families[partition] = NONE, 0
                namespace.drop_partition(partition)
        if changed:
            self.node.tables_changed()

    def announce(self, namespace: Namespace, partitions: list[int]) -> None:
        """Send the rows to all members now, so that later messages to a member find its table up to date."""
        if not partitions:
            return
        payload = self.rows_message(namespace, partitions)
        for member in self.node.clustering.cluster.members:
            if member != self.node.node_id:
                sent = self.node.fabric.send(member, messages.TABLE, payload)
                self.node.fabric.spawn(self.confirm(member, namespace, partitions, sent))

    def rows_message(self, namespace: Namespace, partitions: list[int]) -> bytes:
        rows = self.node.tables[namespace.name].rows
        return json.dumps(
            {
                "key": self.node.cluster_key,
                "namespace": namespace.name,
                "rows": [
                    [partition, rows[partition].master, sorted(rows[partition].full), sorted(rows[partition].stray)]
                    for partition in partitions
                ],
            }
        ).encode()

    async def confirm(
        self, member: str, namespace: Namespace, partitions: list[int], sent: asyncio.Future[bytes]
    ) -> None:
        """Send the current rows again until the member has confirmed them."""
        key = self.node.cluster_key
        for _ in range(ANNOUNCE_TRIES):
            try:
                await sent
                return
            except FabricError:
                await asyncio.sleep(RETRY_SECONDS)
            if not self.current(key):
                return
            sent = self.node.fabric.send(member, messages.TABLE, self.rows_message(namespace, partitions))

    def current(self, key: str) -> bool:
        """Whether this node is still in cluster `key` and no new cluster is being formed."""
        return key == self.node.cluster_key and self.node.clustering.stable
