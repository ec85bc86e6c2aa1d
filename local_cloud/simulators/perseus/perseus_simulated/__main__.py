"""Starts Perseus in the working directory. It takes no arguments except --version, and never exits on its own.

Exit codes of the real Perseus: 1 if it can't start, 143 after SIGTERM, 130 after SIGINT.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
import traceback
from pathlib import Path
from typing import NoReturn

from . import BANNER, VERSION, configuration, library, output, threads, workloads
from .database import Database
from .keys import KeyRanges, message
from .table import Table

TRUNCATE_SECONDS = 10  # the wait of the real Perseus after truncating
FIRST_ROW_SECONDS = 2
WARM_UP_SECONDS = 1
WARM_UP_THREADS = 5


class Failed(Exception):
    """Perseus can't start: exit 1."""


class Hung(Exception):
    """The real Perseus throws in one thread while others run on: it prints the exception and hangs forever."""


class Perseus:
    """One run: the workloads, the table and the work of each second."""

    def __init__(self, folder: Path, database: Database, config: configuration.Configuration) -> None:
        test, window = config.testConfiguration, config.outputWindowConfiguration
        if test is None:
            raise Failed("testConfiguration is missing")
        self._folder = folder
        self._total = workloads.Counter()
        ranges = KeyRanges(database, test.perseusId, (database.error,), output.say)
        _repeat(2, 1, ranges.refresh)
        if missing := test.missing():
            raise Hung(f"testConfiguration.{missing[0]} is missing")
        self._workloads = workloads.make(database, ranges, test, self._total)
        if window is None or window.columnWidth is None or window.columnWidth < 1:
            raise Hung("outputWindowConfiguration or its columnWidth is missing")
        if window.printIntervalSec is None or window.printIntervalSec < 1:
            raise Hung("outputWindowConfiguration.printIntervalSec must be above 0")
        # With 0 the first row fails, and a failed row is the last row: the process stays up and prints nothing.
        every = window.numberOfLinesBeforeReprintingTheHeader or 0
        self._table = Table(tuple(item.header for item in self._workloads), window.columnWidth, every)
        self._rows = 0
        _repeat(FIRST_ROW_SECONDS, window.printIntervalSec, self._print_row)

    def start(self) -> None:
        """Warm up, then follow threads.yaml."""
        write = self._workloads[0]
        write.set_threads(WARM_UP_THREADS)
        time.sleep(WARM_UP_SECONDS)
        write.counter.take()
        self._total.take()
        setters = {item.name.lower(): item.set_threads for item in self._workloads}
        _repeat(0, 1, lambda: threads.apply(self._folder, setters))

    def _print_row(self) -> None:
        self._rows += 1
        lines = []
        if self._table.header_due(self._rows):
            lines += self._table.header([item.threads for item in self._workloads])
        lines.append(self._table.row(self._rows, [item.counter.take() for item in self._workloads], self._total.take()))
        output.table(lines)


def _repeat(delay: float, interval: float, action: object) -> None:
    """Call `action` at a fixed rate in a thread of its own. The first exception stops it silently, as in the real
    Perseus's scheduler."""

    def run() -> None:
        due = time.monotonic() + delay
        while True:
            time.sleep(max(0.0, due - time.monotonic()))
            try:
                action()  # type: ignore[operator]
            except Exception:
                return
            due += interval

    threading.Thread(target=run, daemon=True).start()


def _connect(config: configuration.Configuration, archive: Path, folder: Path) -> Database:
    settings = config.aerospikeConfiguration
    if settings is None:
        raise Failed("Cannot read configuration: aerospikeConfiguration is null")
    hosts = [(str(host.ip), int(host.port or 0)) for host in settings.hosts]
    if not hosts:
        raise Failed("Failed to connect: there are no hosts")
    aerospike = library.load(archive, folder)
    try:
        database = Database(aerospike, hosts, settings.username or "", settings.password or "")
    except aerospike.exception.AerospikeError as error:
        raise Failed(f"Failed to connect to {hosts}: {message(error)}") from error
    database.use(str(settings.namespace), str(settings.set))
    if settings.truncateSet is None:
        raise Failed("Cannot read configuration: truncateSet is null")
    if settings.truncateSet:
        what = f"the set: {settings.set} in namespace: {settings.namespace}"
        output.say(f"Truncating {what}!")
        try:
            database.truncate()
        except aerospike.exception.AerospikeError as error:
            raise Failed(f"Truncating {what} failed: {message(error)}") from error
        time.sleep(TRUNCATE_SECONDS)
        output.say(f"The set {what.removeprefix('the set')} was successfully truncated!")
    return database


def _run(archive: Path, folder: Path) -> None:
    try:
        config = configuration.load(folder)
    except configuration.ConfigurationError:
        # The real Perseus hides the cause behind an empty configuration.
        config = configuration.Configuration()
    Perseus(folder, _connect(config, archive, folder), config).start()


def main() -> int:
    if sys.argv[1:] == ["--version"]:
        print(f"Perseus {VERSION}")
        return 0
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _end)
    print(BANNER.format(rate=workloads.RATE), flush=True)
    archive = Path(sys.argv[0]).resolve()
    try:
        _run(archive, Path.cwd())
    except Hung:
        _print_exception()
    except (Failed, library.LibraryError, OSError):
        _print_exception()
        return 1
    while True:
        signal.pause()


def _print_exception() -> None:
    print('SIMULATED Perseus: Exception in thread "main"', file=sys.stderr)
    traceback.print_exc()


def _end(number: int, frame: object) -> NoReturn:
    """Exit immediately, regardless of other threads, with 128 + the signal's number, as a JVM does."""
    os._exit(128 + number)


if __name__ == "__main__":
    sys.exit(main())
