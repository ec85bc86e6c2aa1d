"""The owners of each partition: one table per namespace, the same on every node of a cluster.

A partition's copy on a node is in one of three states: FULL (has every record of its family), PART (has some) or NONE.
A family is named by the key of the cluster that the copy was last complete in; copies of one family are equal.
"""

import base64
import hashlib
import struct
import zlib
from dataclasses import dataclass, field

from .storage import PARTITIONS

NONE, PART, FULL = 0, 1, 2


@dataclass
class Copies:
    """The state of this node's copies of one namespace."""

    states: bytearray = field(default_factory=lambda: bytearray(PARTITIONS))
    families: list[int] = field(default_factory=lambda: [0] * PARTITIONS)

    def pack(self, filled: bytes) -> str:
        """Encode for another node. `filled` has a 1 for each partition that holds records."""
        data = bytes(self.states) + filled + struct.pack(f">{PARTITIONS}Q", *self.families)
        return base64.b64encode(zlib.compress(data, 1)).decode()


@dataclass
class Report:
    """The state of a node's copies, as the node reported it."""

    states: bytes
    filled: bytes
    families: tuple[int, ...]

    @classmethod
    def unpack(cls, text: str) -> "Report":
        data = zlib.decompress(base64.b64decode(text))
        return cls(
            data[:PARTITIONS],
            data[PARTITIONS : 2 * PARTITIONS],
            struct.unpack_from(f">{PARTITIONS}Q", data, 2 * PARTITIONS),
        )


@dataclass
class Row:
    """One partition in a cluster.

    :param master: the node that accepts its writes now
    :param owners: the nodes that should hold it, in order; owners[0] should be its master
    :param full: nodes with a complete copy; they receive every write, and so does each owner
    :param stray: nodes with records that the master may lack; it queries them until it has received these records
    """

    master: str
    owners: tuple[str, ...]
    full: set[str]
    stray: set[str]

    @property
    def holders(self) -> set[str]:
        """Every node that must receive a write."""
        return self.full | set(self.owners)

    @property
    def settled(self) -> bool:
        return not self.stray and self.master == self.owners[0] and self.full == set(self.owners)


def scores(node: str) -> tuple[int, ...]:
    """A score per partition: the nodes with the highest scores own it. A node's scores never change."""
    return struct.unpack(f">{PARTITIONS}Q", hashlib.shake_128(node.encode()).digest(PARTITIONS * 8))


def build_rows(reports: dict[str, Report], factor: int, quiesced: set[str]) -> list[Row]:
    """The table of a new cluster.

    :param reports: by node, of all nodes with the namespace
    :param factor: the replication factor
    :param quiesced: nodes that own a partition only if there are too few others
    """
    by_node = {node: scores(node) for node in reports}
    rows = []
    for partition in range(PARTITIONS):
        order = sorted(reports, key=lambda node: (node in quiesced, -by_node[node][partition]))
        rows.append(build_row(partition, order, reports, factor))
    return rows


def build_row(partition: int, order: list[str], reports: dict[str, Report], factor: int) -> Row:
    owners = tuple(order[:factor])
    families: dict[int, list[str]] = {}
    incomplete: list[str] = []
    for node in order:
        report = reports[node]
        if report.states[partition] == FULL:
            families.setdefault(report.families[partition], []).append(node)
        elif report.states[partition] == PART:
            incomplete.append(node)
    if families:
        full = max(
            families.items(),
            key=lambda item: (any(reports[node].filled[partition] for node in item[1]), len(item[1]), item[0]),
        )[1]
        stray = set(incomplete).union(*families.values()).difference(full)
        return Row(full[0], owners, set(full), stray)
    if incomplete:
        first, *others = incomplete
        return Row(first, owners, {first} if not others else set(), set(others))
    return Row(owners[0], owners, set(owners), set())


@dataclass
class Table:
    """A namespace's rows in the current cluster, as `node` sees them."""

    node: str
    rows: list[Row]
    factor: int
    _bitmaps: list[str] | None = None
    _remaining: tuple[int, int] | None = None

    def set_row(self, partition: int, row: Row) -> None:
        self.rows[partition] = row
        self._bitmaps = self._remaining = None

    def clients_view(self, partition: int) -> list[str]:
        """The nodes that clients see, master first."""
        row = self.rows[partition]
        return [row.master, *(node for node in row.owners if node != row.master)][: self.factor]

    @property
    def bitmaps(self) -> list[str]:
        """Per position in the clients' view: the partitions in which this node has it, as a bitmap in base64."""
        if self._bitmaps is not None:
            return self._bitmaps
        maps = [bytearray(PARTITIONS // 8) for _ in range(self.factor)]
        for partition in range(PARTITIONS):
            view = self.clients_view(partition)
            if self.node in view:
                maps[view.index(self.node)][partition >> 3] |= 0x80 >> (partition & 7)
        self._bitmaps = [base64.b64encode(bitmap).decode() for bitmap in maps]
        return self._bitmaps

    @property
    def remaining(self) -> tuple[int, int]:
        """How many copies this node has yet to (send, receive)."""
        if self._remaining is not None:
            return self._remaining
        send = receive = 0
        me = self.node
        for row in self.rows:
            if row.master == me:
                if row.stray:
                    receive += len(row.stray)
                send += sum(owner not in row.full and owner != me for owner in row.owners)
                send += not row.stray and row.owners[0] != me and row.owners[0] in row.full
            else:
                receive += me in row.owners and me not in row.full
                send += me in row.stray
        self._remaining = send, receive
        return self._remaining
