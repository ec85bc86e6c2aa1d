"""The workloads: paced threads that repeat one operation and count it.

As in the real Perseus a failed operation counts too, and sets its workload's threads to 0 until threads.yaml is read
again (within a second).
"""

from __future__ import annotations

import contextlib
import itertools
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from . import output
from .configuration import Test
from .database import Database
from .keys import KeyRanges, RangesUnknown

MAX_THREADS = 500
RATE = 50  # operations per second and thread, at most
BATCH_RATE = 400  # records in batches per second and thread, at most
SLOWEST = 0.5  # seconds between two operations of a thread, so that each second's row has some


_numbers = itertools.count()


class Counter:
    """Counts operations since the last `take`. Safe to use from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._value = 0

    def add(self) -> None:
        with self._lock:
            self._value += 1

    def take(self) -> int:
        with self._lock:
            value, self._value = self._value, 0
            return value


@dataclass
class Workload:
    """One column. `prepare` returns an operation's input, `execute` runs it, `interval` (seconds) paces each thread."""

    name: str
    header: tuple[str, str]
    total: Counter
    prepare: Callable[[], Any]
    execute: Callable[[Any], None]
    interval: float = 1 / RATE
    counter: Counter = field(default_factory=Counter)
    _stops: list[threading.Event] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def threads(self) -> int:
        return len(self._stops)

    def set_threads(self, count: int) -> None:
        """Below 0 is 0, above 500 is 500."""
        count = max(0, min(count, MAX_THREADS))
        with self._lock:
            while len(self._stops) > count:
                self._stops.pop().set()
            while len(self._stops) < count:
                stop = threading.Event()
                self._stops.append(stop)
                name = f"Thread-{next(_numbers)}"
                threading.Thread(target=self._run, args=(stop,), name=name, daemon=True).start()

    def _run(self, stop: threading.Event) -> None:
        # As in Java: the kernel shows the thread's name.
        Path(f"/proc/self/task/{threading.get_native_id()}/comm").write_text(threading.current_thread().name)
        self._loop(stop)

    def _loop(self, stop: threading.Event) -> None:
        due = time.monotonic()
        while not stop.is_set():
            try:
                task = self.prepare()
            except RangesUnknown:
                # The real Perseus's thread dies here: without any key there is nothing to do and nothing to count.
                traceback.print_exc()
                return
            try:
                self.execute(task)
            except Exception:  # any error counts as an operation and stops the workload
                traceback.print_exc()
                self.set_threads(0)
            self.counter.add()
            self.total.add()
            # After a slow operation the pace starts again: no burst compensates for it.
            due = max(due + self.interval, time.monotonic())
            stop.wait(due - time.monotonic())


@dataclass
class NotSimulated(Workload):
    """A column whose workload isn't simulated: it prints one line, and its threads do and count nothing."""

    _reported: bool = False

    def set_threads(self, count: int) -> None:
        super().set_threads(count)
        if self.threads and not self._reported:
            self._reported = True
            output.say(f"SIMULATED: workload {self.name} isn't simulated, it counts 0")

    def _loop(self, stop: threading.Event) -> None:
        stop.wait()


def batch_interval(size: int) -> float:
    """Seconds between two batches of a thread."""
    return min(SLOWEST, max(1 / RATE, size / BATCH_RATE))


def make(database: Database, ranges: KeyRanges, test: Test, total: Counter) -> list[Workload]:
    """The columns of this configuration, in the order of the real Perseus."""
    size, hit_ratio = int(test.recordSize or 0), float(test.readHitRatio or 0)
    read_batch, write_batch = int(test.readBatchSize or 0), int(test.writeBatchSize or 0)

    def record() -> tuple[int, dict[str, Any]]:
        key = ranges.new()
        return key, database.bins(key, size)

    def ignoring_errors(operation: Callable[[int], None]) -> Callable[[int], None]:
        def execute(key: int) -> None:
            # The record may have been deleted; the real Perseus ignores every error here.
            with contextlib.suppress(database.error):
                operation(key)

        return execute

    hits = " " if hit_ratio == 1 else f"HitRate %{int(hit_ratio * 100)}"
    found = [
        Workload("write", ("Write", " "), total, record, lambda task: database.write(*task)),
        Workload("read", ("Read", hits), total, lambda: ranges.maybe_existing(hit_ratio), database.read),
        Workload("update", ("Update", " "), total, ranges.existing, ignoring_errors(database.update)),
        Workload("delete", ("Delete", " "), total, ranges.existing, database.delete),
        Workload("expressionRead", ("Expression", "Read"), total, ranges.existing, database.expression_read),
        Workload(
            "expressionWrite",
            ("Expression", "Write"),
            total,
            ranges.existing,
            ignoring_errors(database.expression_write),
        ),
        Workload(
            "batchWrite",
            ("Batch Write", f"Size: {write_batch}"),
            total,
            lambda: [record() for _ in range(write_batch)],
            database.batch_write,
            batch_interval(write_batch),
        ),
        Workload(
            "batchRead",
            ("Batch Read", f"Size: {read_batch}"),
            total,
            lambda: [ranges.existing() for _ in range(read_batch)],
            database.batch_read,
            batch_interval(read_batch),
        ),
    ]
    optional = (
        ("numericSearch", ("Numeric", "Search"), test.numericIndex),
        ("stringSearch", ("String", "Search"), test.stringIndex),
        ("geospatialSearch", ("Geospatial", "Search"), test.geoSpatialIndex),
        ("udf", ("UDF (Lua)", " "), True),
        ("udfAggregation", ("UDF", "Aggregate"), test.udfAggregation),
        ("rangeQuery", ("Range", "Query "), test.rangeQuery),
    )
    for name, header, enabled in optional:
        if enabled:
            found.append(NotSimulated(name, header, total, lambda: None, lambda _: None))
    return found
