"""What a namespace's devices or files hold: each change to a record, one after another, read again at the next start.

The real server writes blocks of records and defragments them. Here a device that is full is written anew with the
records that are left. As there, what a killed server hadn't flushed yet is lost, a second's worth at most.
"""

import os
import struct
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

from .devices import HEADER_SIZE, Device

FLUSH_SECONDS = 0.5
# Length of the payload, its checksum, the device's epoch: what an earlier epoch left doesn't count.
ENTRY = struct.Struct(">IIQ")
EPOCH = struct.Struct(">Q")
EPOCH_AT = 64  # in the header, behind what devices.py writes
PUT, REMOVE, DROP = b"P", b"R", b"D"
READ_BYTES = 4 * 1024 * 1024


@dataclass
class Log:
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
        """The payloads that are there, up to the first that isn't whole; the next one is written behind them."""
        buffer, begin = b"", 0  # the next entry begins there in the buffer
        while True:
            if len(buffer) - begin < ENTRY.size:
                buffer, begin = self._read(READ_BYTES), 0
            if len(buffer) - begin < ENTRY.size:
                return
            size, checksum, epoch = ENTRY.unpack_from(buffer, begin)
            if epoch != self.epoch or not 0 < size <= self.device.size - self.at - ENTRY.size:
                return
            whole = ENTRY.size + size
            if len(buffer) - begin < whole:
                buffer, begin = self._read(whole + READ_BYTES), 0
            payload = buffer[begin + ENTRY.size : begin + whole]
            if zlib.crc32(payload) != checksum:
                return
            begin += whole
            self.at += whole
            yield payload

    def _read(self, size: int) -> bytes:
        return os.pread(self.handle, min(size, self.device.size - self.at), self.at)

    def add(self, payload: bytes) -> bool:
        """Notes an entry for the next flush. False where the device is full."""
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

    def begin_anew(self, payloads: Iterable[bytes]) -> None:
        """Forgets all entries and writes these. A server that is killed in between loses what the device held."""
        self.epoch += 1
        self.at, self.pending, self.pending_bytes = HEADER_SIZE, [], 0
        os.pwrite(self.handle, EPOCH.pack(self.epoch), EPOCH_AT)
        for payload in payloads:
            self.add(payload)
        self.flush()


class Journal:
    """A namespace's devices. A record's digest says on which one it is."""

    def __init__(self, devices: list[Device], empty: bool) -> None:
        """`empty`: forget what is there (cold-start-empty)."""
        self.logs = [Log(device) for device in devices]
        # The packed records that the devices hold now, by the namespace.
        self.records: Callable[[int, int], Iterator[bytes]] = lambda number, count: iter(())
        for log in self.logs:
            if empty or not log.epoch:
                log.begin_anew(())

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
        """Writes what was noted; the kernel has it then, and a killed server doesn't lose it."""
        for log in self.logs:
            log.flush()

    def _add(self, number: int, payload: bytes) -> None:
        log = self.logs[number]
        if not log.add(payload):
            # The namespace holds the change already. Writes stop long before its records fill a device.
            log.begin_anew(PUT + packed for packed in self.records(number, len(self.logs)))


def device_of(digest: bytes, devices: int) -> int:
    """Which of so many devices holds a record."""
    return int.from_bytes(digest[-4:], "big") % devices
