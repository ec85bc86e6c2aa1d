"""Forms the cluster. The live node with the highest id is the principal; it names the members and the cluster key.

In two steps: `prepare` freezes migrations everywhere and collects the state of all copies; `commit` sends these states
to all nodes, and each node derives the same partition tables from them.
"""

import asyncio
import json
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from . import fabric as messages
from .fabric import Fabric, FabricError
from .heartbeat import Heartbeat, Peer
from .log import Log

TICK_SECONDS = 0.15
# How long the set of live nodes must be stable before a cluster is formed: nodes often arrive in groups.
SETTLE_JOIN_SECONDS = 0.7
SETTLE_LEAVE_SECONDS = 0.2
# A node that starts waits this long for others before it forms a cluster of its own.
START_SECONDS = 1.2
PREPARE_SECONDS = 2.0
# Without a commit for this long, the old cluster continues.
FROZEN_SECONDS = 4.0
RETRY_SECONDS = 0.5


@dataclass
class Cluster:
    """The cluster this node is in. `key` is "" while there is none; members are sorted, highest id first."""

    key: str = ""
    members: dict[str, str] = field(default_factory=dict)  # node -> incarnation

    @property
    def principal(self) -> str:
        return next(iter(self.members), "")


@dataclass
class Clustering:
    """Forms clusters of the nodes that the heartbeats show as alive.

    :param report: returns this node's part of a prepare answer
    :param apply: called with a new cluster and the reports of its members
    """

    node_id: str
    incarnation: str
    heartbeat: Heartbeat
    fabric: Fabric
    size_max: int
    report: Callable[[], dict[str, Any]]
    apply: Callable[[Cluster, dict[str, dict[str, Any]]], None]
    log: Log
    cluster: Cluster = field(default_factory=Cluster)
    frozen_until: float = 0.0
    recluster_requested: bool = False
    changed_at: float = 0.0
    _started: float = 0.0
    _live: dict[str, str] = field(default_factory=dict)
    _settle: float = SETTLE_JOIN_SECONDS
    _inconsistent_since: float = 0.0
    _retry_at: float = 0.0
    _applied_at: float = 0.0
    _prepared: str = ""

    def start(self) -> None:
        self.changed_at = time.monotonic()
        self.fabric.handlers[messages.PREPARE] = self.on_prepare
        self.fabric.handlers[messages.COMMIT] = self.on_commit
        self.fabric.handlers[messages.RECLUSTER] = self.on_recluster
        self._started = time.monotonic()

    @property
    def frozen(self) -> bool:
        """Whether a new cluster is being formed: then nothing may migrate in the old cluster."""
        return time.monotonic() < self.frozen_until

    @property
    def stable(self) -> bool:
        return bool(self.cluster.key) and not self.frozen

    async def run(self) -> None:
        while True:
            try:
                await self.tick()
            except FabricError as error:
                self.log.warning("clustering", f"cluster not formed: {error}")
                self._retry_at = time.monotonic() + RETRY_SECONDS
            await asyncio.sleep(TICK_SECONDS)

    async def tick(self) -> None:
        now = time.monotonic()
        peers = self.heartbeat.alive()
        live = {node: peer.incarnation for node, peer in peers.items()} | {self.node_id: self.incarnation}
        if live != self._live:
            arrived = any(self._live.get(node) != incarnation for node, incarnation in live.items())
            self._settle = SETTLE_JOIN_SECONDS if arrived else SETTLE_LEAVE_SECONDS
            self._note_changes(live, peers)
            self._live = live
            self.changed_at = now
        for node, peer in peers.items():
            self.fabric.connect(node, peer.fabric)
        if max(live, key=node_order) != self.node_id or now < self._retry_at:
            self._inconsistent_since = 0.0
            return
        members = dict(sorted(live.items(), key=lambda item: node_order(item[0]), reverse=True)[: self.size_max])
        if (
            not self.recluster_requested
            and members == self.cluster.members
            and not self._inconsistent(peers, members, now)
        ):
            return
        if now - self.changed_at < self._settle or (not self.cluster.key and now - self._started < START_SECONDS):
            return
        self.recluster_requested = False
        await self.form(members)

    def _inconsistent(self, peers: dict[str, Peer], members: dict[str, str], now: float) -> bool:
        """Whether a member has shown another cluster key for a while: it missed a commit, or formed its own cluster."""
        inconsistent = any(peers[node].cluster_key != self.cluster.key for node in members if node != self.node_id)
        if not inconsistent:
            self._inconsistent_since = 0.0
        elif not self._inconsistent_since:
            self._inconsistent_since = now
        return inconsistent and now - max(self._inconsistent_since, self._applied_at) > 1.0

    def _note_changes(self, live: dict[str, str], peers: dict[str, Peer]) -> None:
        for node in live.keys() - self._live.keys() - {self.node_id}:
            self.log.info("hb", f"node arrived {node} at {peers[node].fabric[0]}")
        for node in self._live.keys() - live.keys():
            self.log.info("hb", f"node departed {node}")
            self.fabric.forget(node)

    async def form(self, members: dict[str, str]) -> None:
        """Form a cluster of `members`.

        :raises FabricError: a member doesn't take part
        """
        key = f"{secrets.randbits(48) | 1 << 47:X}"
        self.log.info("clustering", f"forming cluster {key} of {len(members)} nodes {' '.join(members)}")
        payload = json.dumps({"key": key, "members": members}).encode()
        self.freeze(key)
        reports = {self.node_id: self.report()}
        others = [node for node in members if node != self.node_id]
        answers = await asyncio.gather(
            *(self.fabric.request(node, messages.PREPARE, payload, PREPARE_SECONDS) for node in others),
            return_exceptions=True,
        )
        for node, answer in zip(others, answers, strict=True):
            if isinstance(answer, BaseException):
                self.unfreeze()
                raise answer
            reports[node] = json.loads(answer)
        commit = json.dumps({"key": key, "members": members, "reports": reports}).encode()
        sent = [self.fabric.send(node, messages.COMMIT, commit) for node in others]
        self.enter(Cluster(key, members), reports)
        for node, answer in zip(others, await asyncio.gather(*sent, return_exceptions=True), strict=True):
            if isinstance(answer, BaseException):  # its cluster key shows it later
                self.log.warning("clustering", f"node {node} didn't confirm cluster {key}: {answer}")

    def on_prepare(self, sender: str, payload: bytes) -> bytes:
        proposal = json.loads(payload)
        members = proposal["members"]
        if members.get(self.node_id) != self.incarnation:
            raise FabricError(f"{self.node_id} isn't among the members, or restarted")
        highest = max({*self.heartbeat.alive(), self.node_id, sender}, key=node_order)
        if sender != highest:
            raise FabricError(f"{self.node_id} sees {highest} as principal")
        self.freeze(proposal["key"])
        return json.dumps(self.report()).encode()

    def on_commit(self, _sender: str, payload: bytes) -> bytes:
        commit = json.loads(payload)
        if commit["key"] != self._prepared:
            raise FabricError(f"{self.node_id} didn't prepare {commit['key']}")
        self.enter(Cluster(commit["key"], commit["members"]), commit["reports"])
        return b""

    def on_recluster(self, _sender: str, _payload: bytes) -> bytes:
        self.recluster_requested = True
        return b""

    def enter(self, cluster: Cluster, reports: dict[str, dict[str, Any]]) -> None:
        self.cluster = cluster
        self.apply(cluster, reports)
        self._applied_at = time.monotonic()
        self._prepared = ""
        self.unfreeze()
        self.log.info("clustering", f"applied new cluster key {cluster.key}")
        self.log.info("clustering", f"CLUSTER-SIZE {len(cluster.members)} succession {' '.join(cluster.members)}")

    def freeze(self, key: str) -> None:
        self._prepared = key
        self.frozen_until = time.monotonic() + FROZEN_SECONDS

    def unfreeze(self) -> None:
        self.frozen_until = 0.0


def node_order(node: str) -> int:
    return int(node, 16)
