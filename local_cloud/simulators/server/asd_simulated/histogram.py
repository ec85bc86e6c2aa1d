"""Latencies in buckets of powers of two of a millisecond, for the `latencies` command."""

import time

BUCKETS = 17
WINDOW_SECONDS = 10.0


class Histogram:
    """Counts operations slower than 1, 2, 4 ... ms and reports the last complete window."""

    def __init__(self) -> None:
        self.started = time.monotonic()
        self.counts = [0] * (BUCKETS + 1)
        self.last: tuple[list[int], float] = (self.counts[:], WINDOW_SECONDS)

    def add(self, seconds: float) -> None:
        self.counts[min(int(seconds * 1000).bit_length(), BUCKETS)] += 1

    def line(self) -> str:
        """`msec,` operations per second, and the percentages slower than each threshold."""
        now = time.monotonic()
        if now - self.started >= WINDOW_SECONDS:
            self.last = self.counts, now - self.started
            self.counts, self.started = [0] * (BUCKETS + 1), now
        counts, seconds = self.last
        total = sum(counts)
        slower = [100 * sum(counts[bucket + 1 :]) / total if total else 0.0 for bucket in range(BUCKETS)]
        return f"msec,{total / seconds:.1f}," + ",".join(f"{percent:.2f}" for percent in slower)
