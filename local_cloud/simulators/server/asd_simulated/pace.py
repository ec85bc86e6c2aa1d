"""How fast a node sends its partitions to other nodes. Migrations take as long as their data, as in the real server.

The parameters are the real ones. `migrate-threads` (service, default 1) multiplies the rate; 0 stops all sending until
it is raised again. `migrate-sleep` (namespace, microseconds, default 1) is waited for each record. A test with few
records holds a migration with `set-config:context=service;migrate-threads=0` on the nodes that send, or slows it with
`set-config:context=namespace;namespace=Test;migrate-sleep=100000`; both are valid in aerospike.conf too.
"""

import asyncio
import time
from collections.abc import Callable

# One thread sends at most this. Source: a sleep of a microsecond takes the kernel at least 50, and the record is read,
# sent, written and confirmed besides.
RECORDS_PER_SECOND = 5000
BYTES_PER_SECOND = 8 * 1024 * 1024
# An idle node may send this much at once, in seconds of one thread: a nearly empty cluster migrates immediately.
BURST_SECONDS = 1.0
SLEEP_DEFAULT = 1
# How soon a change of the parameters takes effect while something waits.
LOOK_SECONDS = 0.1


class Pace:
    """The time that this node's threads have left for sending.

    :param threads: returns the number of threads that send now
    """

    def __init__(self, threads: Callable[[], int]) -> None:
        self.threads = threads
        self._credit = BURST_SECONDS
        self._counted_at = time.monotonic()

    @property
    def held(self) -> bool:
        """Whether nothing may be sent, not even an empty partition."""
        return self.threads() == 0

    async def pay(self, seconds: float, current: Callable[[], bool]) -> bool:
        """Wait until `seconds` of one thread's time have passed.

        :returns: False if `current` became false, or sending is held: then nothing may be sent
        """
        while True:
            self._count(max(BURST_SECONDS, seconds))
            if self.held or not current():
                return False
            if self._credit >= seconds:
                self._credit -= seconds
                return True
            await asyncio.sleep(min((seconds - self._credit) / self.threads() + 0.001, LOOK_SECONDS))

    def _count(self, most: float) -> None:
        now = time.monotonic()
        self._credit = min(most, self._credit + (now - self._counted_at) * self.threads())
        self._counted_at = now


def seconds_to_send(records: int, size: int, sleep_us: int) -> float:
    """The time of one thread for `records` records of `size` bytes in all."""
    waiting = records * max(0, sleep_us - SLEEP_DEFAULT) / 1e6
    return max(records / RECORDS_PER_SECOND, size / BYTES_PER_SECOND) + waiting
