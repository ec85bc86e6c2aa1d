"""Records in memory, by namespace and partition. A namespace with devices also writes its records to a journal.

A record's bins are kept as the bytes of the response operations, in order: a full read is a copy, and a record costs a
few hundred bytes and no dictionary.
"""

import struct
from collections import Counter
from collections.abc import Iterator

from . import clock, wire
from .config.model import NamespaceConfig
from .journal import DROP, PUT, Journal, device_of

PARTITIONS = 4096
# Sent between nodes for each record: digest, generation, void time, last update, flags, set, key, number of bins.
PACKED = struct.Struct(">20sHIQBBIHI")
FLAG_TOMBSTONE = 1
FLAG_KEY = 2
# Bytes that a record needs on a device besides its data: header and alignment.
RECORD_OVERHEAD = 40


class Record:
    """One copy of a record. `n_bins` is -1 for a tombstone: a delete that must win against older copies."""

    __slots__ = ("bins", "generation", "key", "last_update", "n_bins", "set_name", "void_time")

    def __init__(
        self,
        set_name: bytes,
        key: bytes | None,
        n_bins: int,
        bins: bytes,
        generation: int,
        void_time: int,
        last_update: int,
    ) -> None:
        self.set_name = set_name
        self.key = key
        self.n_bins = n_bins
        self.bins = bins
        self.generation = generation
        self.void_time = void_time  # seconds since 2010, 0: never
        self.last_update = last_update  # milliseconds since 2010

    @property
    def live(self) -> bool:
        return self.n_bins >= 0

    @property
    def size(self) -> int:
        """Bytes on a device."""
        return RECORD_OVERHEAD + len(self.bins) + len(self.set_name) + len(self.key or b"")

    def expired(self, now: int) -> bool:
        return 0 < self.void_time <= now

    def newer_than(self, other: "Record") -> bool:
        return (self.last_update, self.generation) > (other.last_update, other.generation)


def split_bins(bins: bytes) -> dict[bytes, bytes]:
    """Name -> encoded operation, in order."""
    found = {}
    at, end = 0, len(bins)
    while at < end:
        size = 4 + int.from_bytes(bins[at : at + 4], "big")
        found[bins[at + 8 : at + 8 + bins[at + 7]]] = bins[at : at + size]
        at += size
    return found


def pack_record(digest: bytes, record: Record) -> bytes:
    flags = (0 if record.live else FLAG_TOMBSTONE) | (FLAG_KEY if record.key is not None else 0)
    key = record.key or b""
    return (
        PACKED.pack(
            digest,
            record.generation,
            record.void_time,
            record.last_update,
            flags,
            len(record.set_name),
            len(key),
            max(record.n_bins, 0),
            len(record.bins),
        )
        + record.set_name
        + key
        + record.bins
    )


def unpack_records(data: bytes, at: int = 0) -> Iterator[tuple[bytes, Record]]:
    end = len(data)
    while at < end:
        digest, generation, void_time, update, flags, set_size, key_size, n_bins, size = PACKED.unpack_from(data, at)
        at += PACKED.size
        set_name = data[at : at + set_size]
        at += set_size
        key = data[at : at + key_size] if flags & FLAG_KEY else None
        at += key_size
        bins = data[at : at + size]
        at += size
        yield (
            digest,
            Record(set_name, key, -1 if flags & FLAG_TOMBSTONE else n_bins, bins, generation, void_time, update),
        )


def partition_of(digest: bytes) -> int:
    return (digest[0] | digest[1] << 8) & (PARTITIONS - 1)


class Namespace:
    """A namespace's records and counters on this node."""

    def __init__(self, config: NamespaceConfig, capacity: int, journal: Journal | None = None) -> None:
        """`capacity` is in bytes: data-size, or the sum of the devices, which `journal` writes to."""
        self.config = config
        self.name = config.name
        self.capacity = capacity
        self.partitions: list[dict[bytes, Record]] = [{} for _ in range(PARTITIONS)]
        self.used_bytes = 0
        self.objects = 0
        self.tombstones = 0
        self.set_objects: Counter[bytes] = Counter()
        self.stats: Counter[str] = Counter()
        # Truncation times by set (b"": all of the namespace), milliseconds since 2010.
        self.truncated: dict[bytes, int] = {}
        self._set_names: dict[bytes, bytes] = {}
        self._journal: Journal | None = None
        if journal:
            self.load(journal)

    def load(self, journal: Journal) -> None:
        """Load the records from the devices, and write later changes to the devices."""
        count = len(journal.logs)
        for number, kind, content in journal.load():
            if kind == PUT:
                for digest, record in unpack_records(content):
                    self.put(digest, record)
            elif kind == DROP:  # this device's part of the partition: each device has its own entry
                partition = self.partitions[int.from_bytes(content, "big")]
                for digest in [digest for digest in partition if device_of(digest, count) == number]:
                    self.remove(digest)
            else:
                self.remove(content)
        journal.records = self.on_device
        self._journal = journal

    def on_device(self, number: int, count: int) -> Iterator[bytes]:
        """The packed records that device `number` of `count` holds."""
        for partition in self.partitions:
            for digest, record in partition.items():
                if device_of(digest, count) == number:
                    yield pack_record(digest, record)

    def flush(self) -> None:
        if self._journal:
            self._journal.flush()

    def get(self, digest: bytes) -> Record | None:
        """Return the record or tombstone; None if it is absent or expired."""
        record = self.partitions[partition_of(digest)].get(digest)
        if record is not None and record.void_time and record.expired(clock.now_seconds()):
            self.remove(digest)
            self.stats["expired_objects"] += 1
            return None
        return record

    def put(self, digest: bytes, record: Record) -> None:
        """Store `record`, unconditionally."""
        record.set_name = self._set_names.setdefault(record.set_name, record.set_name)
        partition = self.partitions[partition_of(digest)]
        old = partition.get(digest)
        if old is not None:
            self._count(old, -1)
        partition[digest] = record
        self._count(record, 1)
        if self._journal:
            self._journal.put(digest, pack_record(digest, record))

    def merge(self, digest: bytes, record: Record) -> bool:
        """Store `record` if it is newer than the stored record and not truncated.

        :returns: whether it was stored
        """
        old = self.partitions[partition_of(digest)].get(digest)
        if old is not None and not record.newer_than(old):
            return False
        if record.last_update <= self.truncate_time(record.set_name):
            return False
        self.put(digest, record)
        return True

    def remove(self, digest: bytes) -> None:
        old = self.partitions[partition_of(digest)].pop(digest, None)
        if old is not None:
            self._count(old, -1)
            if self._journal:
                self._journal.remove(digest)

    def drop_partition(self, partition: int) -> None:
        dropped, self.partitions[partition] = self.partitions[partition], {}
        for record in dropped.values():
            self._count(record, -1)
        if self._journal and dropped:
            self._journal.drop(partition)

    def truncate_time(self, set_name: bytes) -> int:
        return max(self.truncated.get(b"", 0), self.truncated.get(set_name, 0)) if self.truncated else 0

    def truncate(self, set_name: bytes, before: int) -> int:
        """Remove the records whose last update was at or before `before`.

        :param set_name: b"" for all sets
        :param before: milliseconds since 2010
        :returns: how many were removed
        """
        if before <= self.truncated.get(set_name, 0):
            return 0
        self.truncated[set_name] = before
        removed = 0
        for partition in self.partitions:
            truncated = [
                digest
                for digest, record in partition.items()
                if record.last_update <= before and (not set_name or record.set_name == set_name)
            ]
            for digest in truncated:
                self.remove(digest)
            removed += len(truncated)
        return removed

    def expire(self, first: int, last: int) -> int:
        """Remove the expired records of partitions first..last-1, and return how many."""
        now = clock.now_seconds()
        removed = 0
        for partition in self.partitions[first:last]:
            expired = [digest for digest, record in partition.items() if record.void_time and record.expired(now)]
            for digest in expired:
                self.remove(digest)
            removed += len(expired)
        self.stats["expired_objects"] += removed
        return removed

    def raid_tombstones(self, older_than: int) -> None:
        """Remove tombstones last updated before `older_than` (milliseconds since 2010)."""
        if not self.tombstones:
            return
        for partition in self.partitions:
            for digest in [d for d, r in partition.items() if not r.live and r.last_update < older_than]:
                self.remove(digest)

    @property
    def used_pct(self) -> int:
        return self.used_bytes * 100 // self.capacity if self.capacity else 0

    @property
    def stop_writes(self) -> bool:
        """Whether the namespace is full. A limit of 0 means no limit."""
        return 0 < self.config.stop_writes_used_pct <= self.used_pct

    def _count(self, record: Record, sign: int) -> None:
        self.used_bytes += sign * record.size
        if record.live:
            self.objects += sign
            self.set_objects[record.set_name] += sign
        else:
            self.tombstones += sign


def full_read(record: Record) -> bytes:
    """A response with every bin."""
    return wire.encode_result(wire.OK, record.generation, record.void_time, record.n_bins, record.bins)
