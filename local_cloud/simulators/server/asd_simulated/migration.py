"""Moves copies of partitions until each owner has one, and no other node.

For each partition, in this order: nodes with stray records send them to the master; the master sends a complete
copy to each owner that lacks one; the first owner becomes master; all other nodes drop theirs. Clients are
served throughout. It takes as long as in the real server (pace.py): until then, what a lost node alone had is lost.
"""

import asyncio
import json
import struct
import time
from collections.abc import Iterable

from . import fabric as messages
from .blocks import OutOfSpaceError
from .fabric import FabricError
from .node import Node
from .pace import LOOK_SECONDS, Pace, seconds_to_send
from .partitions import FULL, NONE, PART, Row
from .storage import Namespace, pack_record, partition_of, unpack_records

# A batch takes one thread at most a tenth of a second, unless one partition is larger.
BATCH_RECORDS = 500
BATCH_PARTITIONS = 512
ANSWER_SECONDS = 10.0
RETRY_SECONDS = 0.2
ANNOUNCE_TRIES = 10
# The answer of a node that is full or receives nothing now: it gets the batch again later.
NOT_NOW = b"not now"
AGAIN_SECONDS = 1.0
STRAY, COPY = "stray", "copy"

Task = tuple[str, str]  # what is sent, and to which node


class Migrator:
    """This node's part in the migrations."""

    def __init__(self, node: Node) -> None:
        self.node = node
        self.reason = ""
        # When a node that refused a batch gets it again (monotonic clock), by namespace and task.
        self.not_before: dict[tuple[str, Task], float] = {}
        self.pace = Pace(lambda: node.config.migrate_threads)
        node.fabric.handlers[messages.MIGRATE] = self.on_migrate
        node.fabric.handlers[messages.TABLE] = self.on_table

    async def run(self) -> None:
        while True:
            await self.node.migrations_due.wait()
            self.node.migrations_due.clear()
            while (pause := await self.run_round()) is not None:
                await asyncio.sleep(pause)

    async def run_round(self) -> float | None:
        """Send each node the next partitions that it lacks, and let finished partitions settle.

        :returns: seconds until the next round; None if there is nothing to do until the tables change
        """
        if not self.node.tables:
            return None
        if not self.node.clustering.stable:
            return RETRY_SECONDS
        pauses = []
        for namespace in self.node.namespaces.values():
            for task, partitions in self.work(namespace).items():
                held = self.pace.held or self.delayed(namespace, task)
                pauses.append(LOOK_SECONDS if held else await self.attempt(namespace, task, partitions))
        return min(pauses, default=None)

    def delayed(self, namespace: Namespace, task: Task) -> bool:
        """Whether migrate-fill-delay holds a copy back: the node that it goes to may have its records again soon."""
        config = self.node.config
        if task[0] == STRAY or not config.migrate_fill_delay or namespace.config.ignores_fill_delay:
            return False
        return time.monotonic() < self.node.rebalanced + config.migrate_fill_delay

    def work(self, namespace: Namespace) -> dict[Task, list[int]]:
        """What this node must send, and to which node: the partitions, smallest first."""
        me = self.node.node_id
        found: dict[Task, list[int]] = {}
        for partition, row in enumerate(self.node.tables[namespace.name].rows):
            if me in row.stray:
                found.setdefault((STRAY, row.master), []).append(partition)
            elif row.master == me and not row.stray and not row.settled:
                for target in row.lacking:
                    found.setdefault((COPY, target), []).append(partition)
        for partitions in found.values():
            partitions.sort(key=lambda partition: len(namespace.partitions[partition]))
        return found

    def due(self, namespace: Namespace, task: Task, partition: int) -> bool:
        """Whether a partition must still be sent: its row may have changed while we waited."""
        row, (what, peer) = self.node.tables[namespace.name].rows[partition], task
        if what == STRAY:
            return self.node.node_id in row.stray and row.master == peer
        return row.master == self.node.node_id and not row.stray and peer not in row.full

    async def attempt(self, namespace: Namespace, task: Task, partitions: list[int]) -> float:
        """Send the first of `partitions`.

        :returns: seconds until the next attempt
        """
        now = time.monotonic()
        later = self.not_before.get((namespace.name, task), now)
        if now < later:
            return later - now
        try:
            return await self.send(namespace, task, partitions)
        except FabricError as error:
            if str(error) != self.reason:
                self.node.log.info("migrate", f"will retry: {error}")
            self.reason = str(error)
            return RETRY_SECONDS

    async def send(self, namespace: Namespace, task: Task, partitions: list[int]) -> float:
        """Send a batch at the pace of the real server.

        :returns: seconds until the next batch
        :raises FabricError: the peer doesn't accept it
        """
        what, peer = task
        key = self.node.cluster_key
        batch, records = first_batch(namespace, partitions)
        size = records * namespace.used_bytes // max(1, namespace.objects + namespace.tombstones)
        seconds = seconds_to_send(records, size, namespace.config.migrate_sleep_us)
        if not await self.pace.pay(seconds, lambda: self.current(key)):
            return LOOK_SECONDS
        batch = [partition for partition in batch if self.due(namespace, task, partition)]
        head = json.dumps({"key": key, "namespace": namespace.name, "what": what, "partitions": batch}).encode()
        parts = [pack_record(*item) for partition in batch for item in namespace.partitions[partition].items()]
        answer = await self.node.fabric.request(
            peer, messages.MIGRATE, struct.pack(">I", len(head)) + head + b"".join(parts), ANSWER_SECONDS
        )
        if answer == NOT_NOW:
            self.not_before[namespace.name, task] = time.monotonic() + AGAIN_SECONDS
            return AGAIN_SECONDS
        namespace.stats["migrate_records_transmitted"] += len(parts)
        if self.current(key) and what == COPY:  # the master announces the strays that it received
            self.settle(namespace, batch, peer)
        return 0.0

    def settle(self, namespace: Namespace, partitions: Iterable[int], filled: str) -> None:
        """As master: record that `filled` has complete copies, hand over finished partitions, announce the rows."""
        changed = []
        rows = self.node.tables[namespace.name].rows
        for partition in partitions:
            row = rows[partition]
            if row.master == self.node.node_id:
                changed.append((partition, row.settle(row.full | {filled}, row.stray)))
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
            changed.append((partition, row.settle(row.full if stray else row.full | {row.master}, stray)))
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
        if self.node.config.migrate_max_num_incoming == 0:
            return NOT_NOW
        kept: dict[int, set[bytes]] = {partition: set() for partition in head["partitions"]}
        for digest, record in unpack_records(payload, 4 + size):
            try:
                namespace.merge(digest, record)
            except OutOfSpaceError:  # the sender tries again, for as long as this node is full
                self.node.log.repeated("WARNING", "drv_ssd", f"{{{namespace.name}}} out of space", "drv_ssd.c:1782")
                return NOT_NOW
            kept[partition_of(digest)].add(digest)
            namespace.stats["migrate_record_receives"] += 1
        if head["what"] == STRAY:
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
            elif row.settled:
                self.node.drop(namespace, partition)
            elif copies.states[partition] == NONE:
                if me in row.owners:
                    copies.states[partition], copies.families[partition] = PART, family
            elif copies.families[partition] == family:
                copies.states[partition] = PART  # it missed a write, or is still incomplete
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


def first_batch(namespace: Namespace, partitions: list[int]) -> tuple[list[int], int]:
    """The first of `partitions`, as many as fit in a batch, and how many records they have."""
    batch: list[int] = []
    records = 0
    for partition in partitions[:BATCH_PARTITIONS]:
        count = len(namespace.partitions[partition])
        if batch and records + count > BATCH_RECORDS:
            break
        batch.append(partition)
        records += count
    return batch, records
