"""Runs client requests: on this node if it is the partition's master, else on the master."""

import asyncio
import struct
import time
from collections.abc import Callable

from . import fabric as messages
from . import operations, wire
from .fabric import FabricError
from .histogram import Histogram
from .node import Node
from .operations import Refused
from .partitions import FULL, NONE, PART, Row
from .storage import Namespace, Record, pack_record, partition_of, unpack_records
from .wire import Request

REPLICATE_SECONDS = 1.0
PROXY_SECONDS = 1.0
RESOLVE_SECONDS = 1.0
WATCH_SECONDS = 0.1
HOPS_MAX = 6
HOP_SECONDS = 0.02
PROXY_HEAD = struct.Struct(">BB")  # hops, whether it's a row of a batch
REPLICA_HEAD = struct.Struct(">B20sH")  # whether to remove, digest, size of the namespace's name
CLIENT, BATCH, FROM_PROXY, FROM_PROXY_BATCH = "client", "batch_sub", "from_proxy", "from_proxy_batch_sub"


class Unconfirmed(FabricError):
    """A peer hasn't confirmed a write in time."""


class Transactions:
    """Every method that answers a request returns the body of the response message."""

    def __init__(self, node: Node, lost: Callable[[Namespace, int, str], None]) -> None:
        """:param lost: called with namespace, partition and node when a copy missed a write."""
        self.node = node
        self.lost = lost
        self.histograms = {
            (name, kind): Histogram()
            for name in node.namespaces
            for kind in ("read", "write", "batch-sub-read", "batch-sub-write")
        }
        self.in_progress = 0
        self.watching = False
        # Writes that were sent to a peer: the peer, and the deadline (monotonic clock).
        self.unconfirmed: dict[asyncio.Future[bytes], tuple[str, float]] = {}
        node.fabric.handlers[messages.REPLICATE] = self.on_replicate
        node.fabric.handlers[messages.PROXY] = self.on_proxy
        node.fabric.handlers[messages.RESOLVE] = self.on_resolve

    def run_now(self, request: Request, origin: str) -> bytes | None:
        """The response if no other node is needed, else None: then await `run`."""
        namespace = self.node.namespaces.get(request.namespace.decode("latin-1"))
        table = namespace and self.node.tables.get(namespace.name)
        if namespace is None or not table or len(request.digest) != 20:
            return self.fail_early(namespace, request)
        if request.other_fields and wire.FIELD_UDF_NAME in request.other_fields:
            namespace.stats[f"{origin}_udf_error"] += 1
            return wire.encode_result(wire.ERR_UNSUPPORTED)
        row = table.rows[request.partition]
        me = self.node.node_id
        if request.is_write:
            if row.master == me and not row.stray and row.holders == {me}:
                return self.write_here(namespace, request, origin, row)[0]
        elif (row.master == me and not row.stray) or (me in row.full and row.master != me):
            return self.read_here(namespace, request, origin)
        return None

    def fail_early(self, namespace: Namespace | None, request: Request) -> bytes:
        if namespace is None:
            return wire.encode_result(wire.ERR_NAMESPACE)
        if len(request.digest) != 20:
            return wire.encode_result(wire.ERR_PARAMETER)
        return wire.encode_result(wire.ERR_UNAVAILABLE)  # no cluster yet

    async def run(self, request: Request, origin: str, hops: int = 0) -> bytes:
        answer = self.run_now(request, origin)
        if answer is not None:
            return answer
        namespace = self.node.namespaces[request.namespace.decode("latin-1")]
        self.in_progress += 1
        try:
            row = self.node.tables[namespace.name].rows[request.partition]
            if hops and row.master != self.node.node_id:  # the sender is in another cluster than we: one of us is late
                await asyncio.sleep(HOP_SECONDS)
                row = self.node.tables[namespace.name].rows[request.partition]
            if row.master == self.node.node_id and row.stray:
                await self.resolve(namespace, request.digest, row)
                row = self.node.tables[namespace.name].rows[request.partition]
            if row.master != self.node.node_id:
                return await self.proxy(namespace, request, row.master, origin, hops)
            if not request.is_write:
                return self.read_here(namespace, request, origin)
            answer, change = self.write_here(namespace, request, origin, row)
            if change is not None and not await self.replicate(namespace, change):
                kind = "delete" if request.info2 & wire.INFO2_DELETE else "write"
                namespace.stats[f"{origin}_{kind}_success"] -= 1
                namespace.stats[f"{origin}_{kind}_timeout"] += 1
                return wire.encode_result(wire.ERR_TIMEOUT)
            return answer
        finally:
            self.in_progress -= 1

    def read_here(self, namespace: Namespace, request: Request, origin: str) -> bytes:
        start = time.perf_counter()
        try:
            answer = operations.read(namespace, request)
            outcome = "success"
        except Refused as refused:
            answer = wire.encode_result(refused.result)
            outcome = {wire.ERR_NOT_FOUND: "not_found", wire.ERR_FILTERED_OUT: "filtered_out"}.get(
                refused.result, "error"
            )
        namespace.stats[f"{origin}_read_{outcome}"] += 1
        self.histogram(namespace, origin, "read").add(time.perf_counter() - start)
        return answer

    def write_here(
        self, namespace: Namespace, request: Request, origin: str, row: Row
    ) -> tuple[bytes, operations.Change | None]:
        """Apply a write to this node's copy.

        :returns: the response, and the change for the other copies
        """
        start = time.perf_counter()
        kind = "delete" if request.info2 & wire.INFO2_DELETE else "write"
        change = None
        try:
            change = operations.write(namespace, request, self.node.release.enterprise, bool(row.stray))
            answer, outcome = change.response, "success"
        except Refused as refused:
            answer = wire.encode_result(refused.result)
            outcome = "error"
            if refused.result == wire.ERR_FILTERED_OUT:
                outcome = "filtered_out"
            elif refused.result == wire.ERR_NOT_FOUND and kind == "delete":
                outcome = "not_found"
            elif refused.result == wire.ERR_GENERATION:
                namespace.stats["fail_generation"] += 1
            elif refused.result == wire.ERR_RECORD_TOO_BIG:
                namespace.stats["fail_record_too_big"] += 1
        namespace.stats[f"{origin}_{kind}_{outcome}"] += 1
        self.histogram(namespace, origin, "write").add(time.perf_counter() - start)
        return answer, change

    def histogram(self, namespace: Namespace, origin: str, kind: str) -> Histogram:
        return self.histograms[namespace.name, f"batch-sub-{kind}" if "batch" in origin else kind]

    async def replicate(self, namespace: Namespace, change: operations.Change) -> bool:
        """Apply the change to every other copy.

        A peer without a connection isn't waited for: its process has exited, or it receives a complete copy again.

        :returns: False if a peer that is still in the cluster didn't confirm
        """
        row = self.node.tables[namespace.name].rows[partition_of(change.digest)]
        targets = row.holders - {self.node.node_id}
        name = namespace.name.encode()
        payload = REPLICA_HEAD.pack(change.record is None, change.digest, len(name)) + name
        if change.record is not None:
            payload += pack_record(change.digest, change.record)
        deadline = time.monotonic() + REPLICATE_SECONDS
        sent = [(target, self.node.fabric.send(target, messages.REPLICATE, payload)) for target in targets]
        for target, future in sent:
            self.unconfirmed[future] = target, deadline
        if not self.watching:
            self.watching = True
            asyncio.get_running_loop().call_later(WATCH_SECONDS, self.watch)
        confirmed = True
        for target, future in sent:
            try:
                await future
            except Unconfirmed:
                confirmed = False
            except FabricError:
                self.lost(namespace, partition_of(change.digest), target)
            finally:
                del self.unconfirmed[future]
        return confirmed

    def watch(self) -> None:
        """Stop waiting for peers that don't confirm: at once if they left the cluster, else at the deadline."""
        now = time.monotonic()
        for future, (target, deadline) in self.unconfirmed.items():
            if future.done():
                continue
            if target not in self.node.clustering.cluster.members:
                future.set_result(b"")
            elif now > deadline:
                future.set_exception(Unconfirmed(target))
        self.watching = bool(self.unconfirmed)
        if self.watching:
            asyncio.get_running_loop().call_later(WATCH_SECONDS, self.watch)

    async def proxy(self, namespace: Namespace, request: Request, master: str, origin: str, hops: int) -> bytes:
        """Forward the request to the master."""
        batch = origin in (BATCH, FROM_PROXY_BATCH)
        prefix = BATCH if batch else CLIENT
        if hops >= HOPS_MAX:
            return wire.encode_result(wire.ERR_UNAVAILABLE)
        payload = PROXY_HEAD.pack(hops + 1, batch) + wire.encode_request(request)
        try:
            async with asyncio.timeout(PROXY_SECONDS):
                answer = await self.node.fabric.send(master, messages.PROXY, payload)
        except FabricError:
            namespace.stats[f"{prefix}_proxy_error"] += 1
            return wire.encode_result(wire.ERR_UNAVAILABLE)
        except TimeoutError:
            namespace.stats[f"{prefix}_proxy_timeout"] += 1
            return wire.encode_result(wire.ERR_TIMEOUT)
        namespace.stats[f"{prefix}_proxy_complete"] += 1
        return answer

    async def on_proxy(self, _sender: str, payload: bytes) -> bytes:
        hops, batch = PROXY_HEAD.unpack_from(payload)
        return await self.run(
            wire.parse_request(payload[PROXY_HEAD.size :]), FROM_PROXY_BATCH if batch else FROM_PROXY, hops
        )

    async def resolve(self, namespace: Namespace, digest: bytes, row: Row) -> None:
        """Fetch the record from the nodes with stray records, and keep the newest."""
        payload = digest + namespace.name.encode()
        namespace.stats["dup_res_ask"] += len(row.stray)
        answers = await asyncio.gather(
            *(self.node.fabric.request(node, messages.RESOLVE, payload, RESOLVE_SECONDS) for node in row.stray),
            return_exceptions=True,
        )
        for answer in answers:
            if isinstance(answer, bytes):
                for found, record in unpack_records(answer):
                    namespace.merge(found, record)

    def on_resolve(self, _sender: str, payload: bytes) -> bytes:
        namespace = self.node.namespaces.get(payload[20:].decode("latin-1"))
        if namespace is None:
            return b""
        record = namespace.partitions[partition_of(payload[:20])].get(payload[:20])
        namespace.stats["dup_res_respond_read"] += record is not None
        return pack_record(payload[:20], record) if record is not None else b""

    def on_replicate(self, _sender: str, payload: bytes) -> bytes:
        remove, digest, size = REPLICA_HEAD.unpack_from(payload)
        at = REPLICA_HEAD.size + size
        namespace = self.node.namespaces.get(payload[REPLICA_HEAD.size : at].decode("latin-1"))
        if namespace is None:
            raise FabricError(f"{self.node.node_id} has no such namespace")
        copies, partition = self.node.copies[namespace.name], partition_of(digest)
        if copies.states[partition] == NONE:
            copies.states[partition] = PART
        if remove:
            namespace.remove(digest)
            return b""
        for found, record in unpack_records(payload, at):
            self.store_replica(namespace, found, record, copies.states[partition] == FULL)
        return b""

    def store_replica(self, namespace: Namespace, digest: bytes, record: Record, complete: bool) -> None:
        """A complete copy accepts the master's record; an incomplete copy may hold a newer record."""
        if complete:
            namespace.put(digest, record)
        else:
            namespace.merge(digest, record)
