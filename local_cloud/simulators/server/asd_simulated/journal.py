"""The journal on a namespace's devices or files: each change to a record, in order, replayed at the next start.

The real server writes blocks of records and defragments them. Here a full device is rewritten with the records that
remain. As in the real server, a killed server loses what it hadn't flushed: at most a second's changes.
"""

import os
import struct
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

from .devices import HEADER_SIZE, Device

FLUSH_SECONDS = 0.5
# Length of the payload, its checksum, the device's epoch: entries of an earlier epoch are ignored.
ENTRY = struct.Struct(">IIQ")
EPOCH = struct.Struct(">Q")
EPOCH_AT = 64  # in the header, behind what devices.py writes
PUT, REMOVE, DROP = b"P", b"R", b"D"
READ_BYTES = 4 * 1024 * 1024


@dataclass
class DeviceLog:
    """One device's entries, from its header on."""

    device: Device
    at: int = HEADER_SIZE
    epoch: int = 0
    pending: list[bytes] = field(default_factory=list)
    pending_bytes: int = 0

    def __post_init__(self) -> None:
        self.handle = os.open(self.device.path, os.O_RDWR)
        self.epoch = EPOCH.unpack(os.pread(self.handle, EPOCH.size, EPOCH_AT))[0]

    def entries(self) -> Iterator[bytes]:
        """The payloads up to the first incomplete entry; new entries are written behind them."""
        buffer, begin = b"", 0  # begin: of the next entry in the buffer
        while True:
            if len(buffer) - begin < ENTRY.size:
                buffer, begin = self._read(READ_BYTES), 0
            if len(buffer) - begin < ENTRY.size:
                return
            size, checksum, epoch = ENTRY.unpack_from(buffer, begin)
            if epoch != self.epoch or not 0 < size <= self.device.size - self.at - ENTRY.size:
                return
            total = ENTRY.size + size
            if len(buffer) - begin < total:
                buffer, begin = self._read(total + READ_BYTES), 0
            payload = buffer[begin + ENTRY.size : begin + total]
            if zlib.crc32(payload) != checksum:
                return
            begin += total
            self.at += total
            yield payload

    def _read(self, size: int) -> bytes:
        return os.pread(self.handle, min(size, self.device.size - self.at), self.at)

    def add(self, payload: bytes) -> bool:
        """Add an entry to the next flush.

        :returns: False if the device is full
        """
        size = ENTRY.size + len(payload)
        if self.at + self.pending_bytes + size > self.device.size:
            return False
        self.pending.append(ENTRY.pack(len(payload), zlib.crc32(payload), self.epoch) + payload)
        self.pending_bytes += size
        return True

    def flush(self) -> None:
        if self.pending:
            os.pwrite(self.handle, b"".join(self.pending), self.at)
            self.at += self.pending_bytes
            self.pending, self.pending_bytes = [], 0

    def rewrite(self, payloads: Iterable[bytes]) -> None:
        """Replace all entries with `payloads`. A server that is killed meanwhile loses the device's content."""
        self.epoch += 1
        self.at, self.pending, self.pending_bytes = HEADER_SIZE, [], 0
        os.pwrite(self.handle, EPOCH.pack(self.epoch), EPOCH_AT)
        for payload in payloads:
            self.add(payload)
        self.flush()


class Journal:
    """The journal of a namespace. A record's digest determines its device."""

    def __init__(self, devices: list[Device], empty: bool) -> None:
        """:param empty: discard what the devices hold (cold-start-empty)."""
        self.logs = [DeviceLog(device) for device in devices]
        # Set by the namespace: the packed records of a device, by its number and the number of devices.
        self.records: Callable[[int, int], Iterator[bytes]] = lambda number, count: iter(())
        for log in self.logs:
            if empty or not log.epoch:
                log.rewrite(())

    def load(self) -> Iterator[tuple[int, bytes, bytes]]:
        """(device, kind, content) of each entry; the entries of one device come in order."""
        for number, log in enumerate(self.logs):
            for payload in log.entries():
                yield number, payload[:1], payload[1:]

    def put(self, digest: bytes, packed: bytes) -> None:
        self._add(device_of(digest, len(self.logs)), PUT + packed)

    def remove(self, digest: bytes) -> None:
        self._add(device_of(digest, len(self.logs)), REMOVE + digest)

    def drop(self, partition: int) -> None:
        for number in range(len(self.logs)):
            self._add(number, DROP + partition.to_bytes(2, "big"))

    def flush(self) -> None:
        """Write the pending entries. The kernel has them then, so a killed server doesn't lose them."""
        for log in self.logs:
            log.flush()

    def _add(self, number: int, payload: bytes) -> None:
        log = self.logs[number]
        if not log.add(payload):
            # The namespace holds the change already. Writes stop long before its records fill a device.
            log.rewrite(PUT + packed for packed in self.records(number, len(self.logs)))


def device_of(digest: bytes, devices: int) -> int:
    """The number of the device that holds a record."""
    return int.from_bytes(digest[-4:], "big") % devices
