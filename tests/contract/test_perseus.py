"""The simulated Perseus: its two files, its table, its behaviour (facts from runs of the real Perseus), its counts."""

import contextlib
import os
import queue
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.perseus.live_load import (
    WORKLOAD_THREAD,
    name_of,
)
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.perseus.rows import TableReader
from perseus_simulated import configuration, database, keys, threads, workloads
from perseus_simulated.table import Table

from tests.contract.simulated_servers import TIMEOUT, wait_for

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "local_cloud/simulators/perseus"

# --- configuration.yaml ---

GOOD = yaml.safe_load(configuration.DEFAULT)


def write_config(folder: Path, change: Callable[[dict], object] = lambda content: None) -> None:
    """Write a test's configuration: the default without truncation, with the changes of `change`."""
    content = yaml.safe_load(configuration.DEFAULT)
    content["aerospikeConfiguration"]["truncateSet"] = False
    content["testConfiguration"]["perseusId"] = 1
    change(content)
    (folder / "configuration.yaml").write_text(yaml.safe_dump(content))


def test_missing_configuration_is_replaced_by_the_default_which_truncates(tmp_path: Path) -> None:
    found = configuration.load(tmp_path)
    assert (tmp_path / "configuration.yaml").exists()
    assert found.aerospikeConfiguration is not None
    assert found.aerospikeConfiguration.truncateSet is True
    assert found.aerospikeConfiguration.hosts == [configuration.Host("localhost", 3000)]
    assert found.testConfiguration is not None
    assert found.testConfiguration.readHitRatio == 0.8
    assert found.testConfiguration.rangeQueryConfiguration == configuration.RangeQuery(0.00001, 1000, 5)


@pytest.mark.parametrize(
    "change",
    [
        lambda c: c.update(unknown=1),
        lambda c: c["testConfiguration"].update(recordSise=1),
        lambda c: c["aerospikeConfiguration"]["hosts"][0].update(name="x"),
        lambda c: c["testConfiguration"].update(recordSize="many"),
        lambda c: c["testConfiguration"].update(recordSize=1.5),
        lambda c: c["testConfiguration"].update(recordSize=True),
        lambda c: c["testConfiguration"].update(stringIndex=1),
        lambda c: c["testConfiguration"].update(perseusId=None),
        lambda c: c["testConfiguration"].update(rangeQueryConfiguration=[]),
        lambda c: c["aerospikeConfiguration"].update(hosts="localhost"),
        lambda c: c["aerospikeConfiguration"].update(namespace=["x"]),
    ],
)
def test_unknown_keys_and_wrong_types_are_refused(tmp_path: Path, change: Callable[[dict], object]) -> None:
    write_config(tmp_path, change)
    with pytest.raises(configuration.ConfigurationError):
        configuration.load(tmp_path)


@pytest.mark.parametrize("text", ["", "a: [", "- a", "~"])
def test_files_without_a_configuration_are_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "configuration.yaml").write_text(text)
    with pytest.raises(configuration.ConfigurationError):
        configuration.load(tmp_path)


def test_an_integer_hit_ratio_and_quoted_numbers_are_accepted(tmp_path: Path) -> None:
    write_config(tmp_path, lambda c: c["testConfiguration"].update(readHitRatio=1, recordSize="300"))
    test = configuration.load(tmp_path).testConfiguration
    assert test is not None
    assert (test.readHitRatio, test.recordSize) == (1.0, 300)


# --- threads.yaml ---


def applied(folder: Path, text: str | None) -> dict[str, int]:
    """The thread counts that one reading of threads.yaml sets."""
    found: dict[str, int] = {}
    if text is not None:
        (folder / "threads.yaml").write_text(text)
    setters = {name: (lambda count, name=name: found.__setitem__(name, count)) for name in ("write", "batchread")}
    threads.apply(folder, setters)
    return found


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("write: 3\nbatchRead: 2\n", {"write": 3, "batchread": 2}),
        ("unknown: x\nwrite: 3\n", {"write": 3}),
        ("numericSearch: x\nwrite: 3\n", {"write": 3}),  # a workload without a column, so an unknown name
        ("write: 010\n", {"write": 8}),
        ("batchRead: 4\n", {"batchread": 4}),  # a missing workload keeps its count
        ("", {}),
        ("a: [", {}),
        ("- write\n", {}),
    ],
)
def test_threads_file(tmp_path: Path, text: str, expected: dict[str, int]) -> None:
    assert applied(tmp_path, text) == expected


@pytest.mark.parametrize("value", ['"3"', "2.5", "true", "", "99999999999", "{a: 1}", "[1]"])
def test_a_value_of_the_wrong_type_stops_the_reloading(tmp_path: Path, value: str) -> None:
    with pytest.raises(threads.ReloadDied):
        applied(tmp_path, f"write: {value}\n")


def test_a_null_document_stops_the_reloading(tmp_path: Path) -> None:
    with pytest.raises(threads.ReloadDied):
        applied(tmp_path, "~\n")


def test_a_deleted_file_comes_back_with_one_thread_for_most(tmp_path: Path) -> None:
    assert applied(tmp_path, None) == {"write": 1, "batchread": 1}
    content = yaml.safe_load((tmp_path / "threads.yaml").read_text())
    assert set(content) == set(threads.NAMES)
    assert content["delete"] == 0


# --- the table ---


def test_table_has_the_format_of_the_real_perseus() -> None:
    table = Table((("Write", " "), ("Read", "HitRate %80"), ("Batch Write", "Size: 50")), 11, 25)
    assert [*table.header([1, 1, 0]), table.row(1, [18215, 12157, 0], 30467)] == [
        "==========================================================================",
        "| Test Cases: | Write       | Read        | Batch Write | Total TPS      |",
        "|             |             | HitRate %80 | Size: 50    |                |",
        "--------------------------------------------------------------------------",
        "| Threads:    | 1           | 1           | 0           |                |",
        "==========================================================================",
        "| 1           | 18,215      | 12,157      | 0           | 30,467         |",
    ]


def test_pegasus_parses_the_table() -> None:
    table = Table((("Write", " "), ("Read", "HitRate %80"), ("Batch Write", "Size: 50"), ("Range", "Query ")), 11, 25)
    reader = TableReader()
    rows = reader.feed_all([*table.header([3, 1, 0, 0]), "Cluster is empty", table.row(1, [1215, 7, 2, 0], 1224)])
    assert [row.counts for row in rows] == [{"write": 1215, "read": 7, "batchWrite": 2, "rangeQuery": 0, "total": 1224}]
    assert rows[0].records["batchWrite"] == 50
    assert reader.threads == {"write": 3, "read": 1, "batchWrite": 0, "rangeQuery": 0}
    assert reader.others == ["Cluster is empty"]


def test_header_is_repeated() -> None:
    def rows(every: int) -> list[int]:
        table = Table((), 11, every)
        return [row for row in range(1, 10) if table.header_due(row)]

    assert rows(4) == [1, 5, 9]
    assert rows(1) == []
    with pytest.raises(ZeroDivisionError):
        rows(0)


# --- keys ---


class FakeStore:
    def __init__(self) -> None:
        self.ranges: dict[str, list[int]] = {}
        self.broken = False

    def read_ranges(self) -> dict[str, list[int]]:
        if self.broken:
            raise LookupError("Cluster is empty\nwith details")
        return dict(self.ranges)

    def write_range(self, name: str, bounds: list[int]) -> None:
        self.ranges[name] = list(bounds)


def ranges_of(store: FakeStore, instance: int, said: list[str] | None = None) -> keys.KeyRanges:
    return keys.KeyRanges(store, instance, (LookupError,), (said if said is not None else []).append)


def test_keys_are_distinct_between_instances_and_threads() -> None:
    store = FakeStore()
    first, second = ranges_of(store, 1), ranges_of(store, 2)
    made: list[int] = []
    workers = [
        threading.Thread(target=lambda ranges=ranges: made.extend([ranges.new() for _ in range(500)]))
        for ranges in (first, second)
        for _ in range(4)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert len(set(made)) == 4000
    first.refresh()
    second.refresh()
    first.refresh()
    seen = {first.existing() for _ in range(2000)}
    assert seen <= set(made)
    assert any(key >= 2 * 10**13 for key in seen), "reads the other instance's records too"
    assert any(key < 2 * 10**13 for key in seen)


def test_a_restart_continues_its_range() -> None:
    store = FakeStore()
    ranges = ranges_of(store, 3)
    made = [ranges.new() for _ in range(5)]
    ranges.refresh()
    again = ranges_of(store, 3)
    assert again.existing() in made
    assert again.new() == made[-1] + 1


def test_without_a_database_an_error_is_printed_and_no_key_generated() -> None:
    store, said = FakeStore(), list[str]()
    store.broken = True
    ranges = ranges_of(store, 0, said)
    assert said == ["Cluster is empty"]
    for make in (ranges.new, ranges.existing):
        with pytest.raises(keys.RangesUnknown):
            make()
    store.broken = False
    ranges.refresh()
    assert ranges.new() == 0


def test_hit_ratio() -> None:
    random.seed(1)
    ranges = ranges_of(FakeStore(), 0)
    existing = {ranges.new() for _ in range(100)}
    hits = sum(ranges.maybe_existing(0.8) in existing for _ in range(5000))
    assert 3800 < hits < 4200
    assert all(ranges.maybe_existing(1.0) in existing for _ in range(500))


def test_records_have_about_the_configured_size() -> None:
    sizes = [len(database.filler(1000)) for _ in range(500)]
    assert 980 < sum(sizes) / len(sizes) < 1020
    assert len(set(sizes)) > 50
    assert len(database.filler(0)) == 4


# --- workloads ---


def test_failed_operations_count_too_and_stop_the_workload(capsys: pytest.CaptureFixture[str]) -> None:
    total, done = workloads.Counter(), workloads.Counter()

    def execute(task: object) -> None:
        done.add()
        raise ValueError("refused")

    workload = workloads.Workload("read", ("Read", " "), total, lambda: 1, execute)
    workload.set_threads(3)
    wait_for(lambda: workload.threads == 0, "no thread is left")
    wait_for(lambda: "ValueError: refused" in capsys.readouterr().err, "a stack trace on stderr")
    count = 0

    def counted() -> bool:
        nonlocal count
        count += workload.counter.take()
        return count > 0 and count == done._value == total._value

    wait_for(counted, "each operation is counted once")
    assert count <= 3


def test_threads_are_bounded() -> None:
    total = workloads.Counter()
    workload = workloads.Workload("read", ("Read", " "), total, lambda: 1, lambda task: None)
    workload.set_threads(-5)
    assert workload.threads == 0
    workload.set_threads(501)
    assert workload.threads == 500
    workload.set_threads(2)
    wait_for(lambda: total.take() > 0, "operations of the two threads")
    workload.set_threads(0)
    wait_for(lambda: total.take() == 0, "no operation without threads")


@pytest.mark.parametrize(
    ("duration", "operations"), [(0.0, 50), (0.01, 50), (0.04, 25)], ids=["instant", "quick", "slower than the pace"]
)
def test_a_thread_is_paced(monkeypatch: pytest.MonkeyPatch, duration: float, operations: int) -> None:
    """On a fake clock: operations of one thread per second, by the duration of an operation."""
    now = 0.0
    monkeypatch.setattr(workloads, "time", types.SimpleNamespace(monotonic=lambda: now))

    class Stop(threading.Event):
        def is_set(self) -> bool:
            return now > 1 - 1e-6

        def wait(self, timeout: float | None = None) -> bool:
            nonlocal now
            now += timeout or 0
            return self.is_set()

    def execute(_task: object) -> None:
        nonlocal now
        now += duration

    workload = workloads.Workload("read", ("Read", " "), workloads.Counter(), lambda: 1, execute)
    workload._loop(Stop())
    assert workload.counter.take() == operations


@pytest.mark.parametrize(("size", "seconds"), [(1, 0.02), (100, 0.25), (200, 0.5), (5000, 0.5)])
def test_batches_are_paced_by_their_records(size: int, seconds: float) -> None:
    assert workloads.batch_interval(size) == seconds


def test_workloads_that_are_not_simulated_print_a_line_and_count_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    total = workloads.Counter()
    workload = workloads.NotSimulated("udf", ("UDF (Lua)", " "), total, lambda: None, lambda _: None)
    workload.set_threads(2)
    workload.set_threads(3)
    assert workload.threads == 3
    assert capsys.readouterr().out == "SIMULATED: workload udf isn't simulated, it counts 0\n"
    assert (workload.counter.take(), total.take()) == (0, 0)
    workload.set_threads(0)


@pytest.mark.parametrize("kind", [workloads.Workload, workloads.NotSimulated])
def test_the_kernel_shows_the_workload_threads_under_javas_names(kind: type[workloads.Workload]) -> None:
    """In the real Perseus they are Thread-0, Thread-1, ... (seen with JDK 17), and exit when the load falls."""

    def shown() -> set[str]:
        tasks = list(Path("/proc/self/task").iterdir())
        return {task.name for task in tasks if WORKLOAD_THREAD.fullmatch(name_of(task))}

    others = shown()
    workload = kind("read", ("Read", " "), workloads.Counter(), lambda: 1, lambda task: None)
    for count in (3, 5, 2, 0):
        workload.set_threads(count)
        wait_for(lambda count=count: len(shown() - others) == count, f"{count} threads in /proc")


# --- the program, with a fake client ---

FAKE_CLIENT = """
import os, pathlib
class exception:
    class AerospikeError(Exception):
        def __init__(self, code=-1, msg=""):
            super().__init__(code, msg)
            self.code, self.msg = code, msg
exception.RecordNotFound = type("RecordNotFound", (exception.AerospikeError,), {})
EXP_WRITE_EVAL_NO_FAIL = EXP_WRITE_POLICY_NO_FAIL = POLICY_EXISTS_UPDATE = 1
GeoJSON = dict
class Client:
    def __init__(self):
        self.records = {}
    def check(self, key):
        if key[0] == "none":
            raise exception.AerospikeError(20, "namespace not found in partition map")
        if pathlib.Path("down").exists():
            raise exception.AerospikeError(11, "no node")
    def get(self, key, *a, **k):
        self.check(key)
        if key not in self.records:
            raise exception.RecordNotFound(2)
        return key, {}, self.records[key]
    def put(self, key, bins, *a, **k):
        self.check(key)
        self.records.setdefault(key, {}).update(bins)
    def remove(self, key, *a, **k):
        raise exception.AerospikeError(25, "enterprise only")
    def operate(self, key, *a, **k):
        self.get(key)
    def batch_write(self, *a, **k): pass
    def batch_read(self, *a, **k): pass
    def truncate(self, *a): print("TRUNCATED", *a, flush=True)
def client(config):
    if os.environ.get("NO_SERVER"):
        raise exception.AerospikeError(-10, "Failed to connect")
    return Client()
"""


@pytest.fixture
def fake_client(tmp_path: Path) -> dict[str, str]:
    """An environment in which `import aerospike` finds a client without a server."""
    library = tmp_path / "library"
    helpers = library / "aerospike_helpers"
    for folder in (helpers / "batch", helpers / "operations", library / "aerospike"):
        folder.mkdir(parents=True)
        (folder / "__init__.py").touch()
    (helpers / "__init__.py").touch()
    (library / "aerospike/__init__.py").write_text(FAKE_CLIENT)
    (helpers / "batch/records.py").write_text("Write = BatchRecords = lambda *a: a\n")
    (helpers / "operations/operations.py").write_text("write = lambda *a: a\n")
    (helpers / "operations/expression_operations.py").write_text("expression_read = expression_write = lambda *a: a\n")
    (helpers / "expressions.py").write_text(
        "class Cond:\n    def __init__(self, *a): pass\n    def compile(self): return []\nEq = IntBin = Sub = Cond\n"
    )
    return os.environ | {"PYTHONPATH": f"{SOURCE}:{library}"}


class Run:
    """A running Perseus, its rows and the other lines of its stdout."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.lines: list[str] = []
        self._queue: queue.Queue[str | None] = queue.Queue()
        threading.Thread(target=self._pump, daemon=True).start()

    def _pump(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._queue.put(line.rstrip("\n"))
        self._queue.put(None)

    def next(self, matches: Callable[[str], object], seconds: float = TIMEOUT) -> str:
        """The next line for which `matches` is true."""
        end = time.monotonic() + seconds
        while True:
            try:
                line = self._queue.get(timeout=max(0.0, end - time.monotonic()))
            except queue.Empty:
                raise AssertionError(f"no such line in {seconds} s; the lines were {self.lines}") from None
            assert line is not None, f"Perseus exited; its lines were {self.lines}"
            self.lines.append(line)
            if matches(line):
                return line

    def row(
        self, matches: Callable[[dict[str, int]], object] = lambda row: True, seconds: float = TIMEOUT
    ) -> dict[str, int]:
        """The next row for which `matches` is true: column -> count."""
        found: dict[str, int] = {}

        def check(line: str) -> bool:
            if not re.match(r"\| \d", line):
                return False
            found.clear()
            found.update(self._parse(line))
            return bool(matches(found))

        self.next(check)
        return found

    def _parse(self, line: str) -> dict[str, int]:
        header = [number for number, text in enumerate(self.lines) if text.startswith("| Test Cases:")][-1]
        names = zip(self._cells(self.lines[header])[1:], self._cells(self.lines[header + 1])[1:], strict=True)
        counts = [int(cell.replace(",", "")) for cell in self._cells(line)[1:]]
        return {" ".join(name).strip(): count for name, count in zip(names, counts, strict=True)}

    @staticmethod
    def _cells(line: str) -> list[str]:
        return [cell.strip() for cell in line.strip("|").split("|")]


@contextlib.contextmanager
def perseus(folder: Path, environment: dict[str, str], *program: str) -> Iterator[Run]:
    """Run Perseus in `folder`; it is killed afterwards."""
    command = [sys.executable, *(program or ("-m", "perseus_simulated"))]
    with (folder / "stderr").open("w") as errors:
        process = subprocess.Popen(
            command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=errors, text=True
        )
        try:
            yield Run(process)
        finally:
            process.kill()
            process.wait()


def set_threads(folder: Path, **counts: int) -> None:
    """Replace threads.yaml atomically; workloads that aren't named get 0 threads."""
    content = dict.fromkeys(threads.NAMES, 0) | counts
    (folder / "threads.yaml.new").write_text(yaml.safe_dump(content, sort_keys=False))
    (folder / "threads.yaml.new").replace(folder / "threads.yaml")


@pytest.fixture
def work(tmp_path: Path) -> Path:
    folder = tmp_path / "work"
    folder.mkdir()
    return folder


@pytest.mark.slow
def test_a_run_from_banner_to_exit(work: Path, fake_client: dict[str, str]) -> None:
    write_config(work, lambda c: c["outputWindowConfiguration"].update(numberOfLinesBeforeReprintingTheHeader=3))
    set_threads(work, write=2, read=1, udf=1)
    with perseus(work, fake_client) as run:
        assert "SIMULATED" in run.next(lambda line: True)
        row = run.row(lambda row: row["Read HitRate %80"])
        assert list(row) == [
            "Write", "Read HitRate %80", "Update", "Delete", "Expression Read", "Expression Write",
            "Batch Write Size: 50", "Batch Read Size: 50", "UDF (Lua)", "Total TPS",
        ]  # fmt: skip
        assert row["Update"] == row["UDF (Lua)"] == 0
        assert sum(row.values()) == 2 * row["Total TPS"]
        assert 0 < row["Read HitRate %80"] <= workloads.RATE * 1.5
        set_threads(work, delete=1)
        row = run.row(lambda row: row["Write"] == 0 and row["Delete"])
        assert row["Delete"] <= 2, "a failed operation counts, and stops the workload for up to a second"
        run.row(lambda row: row["Delete"])
        set_threads(work, update=1)
        run.row(lambda row: row["Update"])
        (work / "threads.yaml").write_text("read: [\n")
        for _ in range(2):
            assert run.row()["Update"] > 0, "a file that can't be parsed changes nothing"
        run.next(lambda line: line.startswith("| Threads:"))
        assert "SIMULATED: workload udf isn't simulated, it counts 0" in run.lines
        numbers = [int(line.split("|")[1]) for line in run.lines if re.match(r"\| \d", line)]
        assert numbers == list(range(1, len(numbers) + 1))
        run.process.send_signal(signal.SIGTERM)
        assert run.process.wait(timeout=TIMEOUT) == 143
    assert "enterprise only" in (work / "stderr").read_text()


@pytest.mark.slow
def test_a_row_is_written_in_pieces_as_in_the_real_perseus(work: Path, fake_client: dict[str, str]) -> None:
    """Each write(2) of the real Perseus is a cell or less (strace, 2026-11-25), so stderr in the same file splits rows.
    A packet socket as stdout keeps the writes separate."""
    write_config(work)
    here, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    command = [sys.executable, "-m", "perseus_simulated"]
    process = subprocess.Popen(command, cwd=work, env=fake_client, stdout=there, stderr=subprocess.DEVNULL)
    there.close()
    try:
        here.settimeout(20)
        while here.recv(65536).decode() != " 2           |":
            pass
        cells = [here.recv(65536).decode() for _ in range(3)]
    finally:
        process.kill()
        process.wait()
        here.close()
    assert [cell.count("|") for cell in cells] == [1, 1, 1], cells


@pytest.mark.slow
def test_an_outage_is_printed_and_survived(work: Path, fake_client: dict[str, str]) -> None:
    write_config(work)
    set_threads(work, write=1)
    with perseus(work, fake_client) as run:
        run.row(lambda row: row["Write"])
        (work / "down").touch()
        run.next(lambda line: line == "Cluster is empty")
        row = run.row(lambda row: 0 < row["Write"] <= 4)
        assert row["Total TPS"] == row["Write"]
        (work / "down").unlink()
        run.row(lambda row: row["Write"] > 20)
        run.process.send_signal(signal.SIGINT)
        assert run.process.wait(timeout=TIMEOUT) == 130


@pytest.mark.slow
def test_wrong_namespace_prints_an_error_and_rows_of_zeros(work: Path, fake_client: dict[str, str]) -> None:
    def change(config: dict[str, Any]) -> None:
        config["aerospikeConfiguration"]["namespace"] = "none"
        # As measured. With a ratio below 1, some reads need no known key: they are sent, fail and count.
        config["testConfiguration"]["readHitRatio"] = 1

    write_config(work, change)
    set_threads(work, write=1, read=1)
    with perseus(work, fake_client) as run:
        run.next(lambda line: line == "Namespace not found in partition map")
        assert set(run.row().values()) == {0}
        run.next(lambda line: line == "Namespace not found in partition map")
        assert set(run.row().values()) == {0}


@pytest.mark.slow
def test_a_wrong_value_stops_the_reloading_until_the_restart(work: Path, fake_client: dict[str, str]) -> None:
    write_config(work)
    set_threads(work, read=1)
    with perseus(work, fake_client) as run:
        run.row(lambda row: row["Read HitRate %80"] and not row["Write"])
        (work / "threads.yaml").write_text('read: "1"\n')
        for _ in range(2):
            run.row()
        set_threads(work, write=1)
        for _ in range(3):
            assert run.row()["Write"] == 0


@pytest.mark.parametrize(
    "change",
    [
        lambda c: c.pop("outputWindowConfiguration"),
        lambda c: c["outputWindowConfiguration"].pop("columnWidth"),
        lambda c: c["outputWindowConfiguration"].update(printIntervalSec=0),
        lambda c: c["testConfiguration"].pop("readHitRatio"),
        lambda c: c["testConfiguration"].pop("rangeQueryConfiguration"),
    ],
)
def test_configurations_that_hang_the_real_perseus_hang(
    work: Path, fake_client: dict[str, str], change: Callable[[dict], object]
) -> None:
    write_config(work, change)
    with perseus(work, fake_client) as run:
        wait_for(lambda: "Traceback" in (work / "stderr").read_text(), "a stack trace on stderr")
        with pytest.raises(subprocess.TimeoutExpired):
            run.process.wait(timeout=1)
        run.process.send_signal(signal.SIGTERM)
        assert run.process.wait(timeout=TIMEOUT) == 143


@pytest.mark.slow
def test_no_rows_when_the_header_is_due_every_zero_rows(work: Path, fake_client: dict[str, str]) -> None:
    write_config(work, lambda c: c["outputWindowConfiguration"].update(numberOfLinesBeforeReprintingTheHeader=0))
    set_threads(work, udf=1)
    with perseus(work, fake_client) as run:
        run.next(lambda line: "workload udf isn't simulated" in line)
        with pytest.raises(AssertionError, match="no such line"):
            run.next(lambda line: line.startswith("|"), seconds=3)
        assert run.process.poll() is None


@pytest.mark.parametrize(
    ("change", "environment"),
    [
        (lambda c: None, {"NO_SERVER": "1"}),
        (lambda c: c.update(unknown=1), {}),
        (lambda c: c.pop("aerospikeConfiguration"), {}),
        (lambda c: c["aerospikeConfiguration"].update(hosts=[]), {}),
    ],
)
def test_a_failed_start_exits_with_1(
    work: Path, fake_client: dict[str, str], change: Callable[[dict], object], environment: dict[str, str]
) -> None:
    write_config(work, change)
    with perseus(work, fake_client | environment) as run:
        assert run.process.wait(timeout=TIMEOUT) == 1
    assert "SIMULATED" in (work / "stderr").read_text()


def test_truncation_is_announced(work: Path, fake_client: dict[str, str]) -> None:
    write_config(work, lambda c: c["aerospikeConfiguration"].update(truncateSet=True))
    with perseus(work, fake_client) as run:
        assert run.next(lambda line: line.startswith("Trunc")) == "Truncating the set: test in namespace: test!"
        run.next(lambda line: line == "TRUNCATED test test 0")
        run.next(lambda line: line == "TRUNCATED test KeyRanges 0")


def client_host(work: Path) -> dict[str, str]:
    """An environment for `python -S` as on a client: no site-packages, but PyYAML and the sources of Perseus."""
    (work / "lib").mkdir()
    (work / "lib/yaml").symlink_to(Path(yaml.__file__).parent)
    return {"PATH": os.environ["PATH"], "PYTHONPATH": f"{SOURCE}:{work / 'lib'}"}


def test_a_host_without_the_client_gets_an_error(work: Path) -> None:
    write_config(work)
    with perseus(work, client_host(work), "-S", "-m", "perseus_simulated") as run:
        assert run.process.wait(timeout=TIMEOUT) == 1
    assert "the official client `aerospike` can't be loaded" in (work / "stderr").read_text()


# --- the program, with the official client against a simulated cluster ---


@pytest.fixture(scope="module")
def jar(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The program, built as on an instance, with the client inside."""
    from local_cloud.packages.perseus import client_wheel

    folder = tmp_path_factory.mktemp("perseus") / "source"
    shutil.copytree(SOURCE, folder)
    wheel = client_wheel(ROOT / ".cache", lambda _: None)
    (folder / "lib").mkdir()
    shutil.copy(wheel, folder / "lib")
    subprocess.run([sys.executable, "build"], cwd=folder, check=True, capture_output=True)
    return folder / "target/perseus-1.0-SNAPSHOT-jar-with-dependencies.jar"


@pytest.mark.skipif(sys.version_info[:2] != (3, 11), reason="the wheel in the program is for Python 3.11")
def test_the_client_is_unpacked_from_the_program(jar: Path, work: Path) -> None:
    write_config(work, lambda c: c["aerospikeConfiguration"].update(hosts=[{"ip": "127.0.0.1", "port": 9}]))
    with perseus(work, client_host(work), "-S", str(jar)) as run:
        assert run.process.wait(timeout=TIMEOUT) == 1
    assert "Failed to connect" in (work / "stderr").read_text()
    unpacked = list(work.glob(".aerospike-client-*"))
    assert len(unpacked) == 1
    assert list(unpacked[0].glob("aerospike.*.so"))


def counters(cluster: Any) -> dict[str, int]:
    """The servers' own counters, summed over the cluster."""
    names = ("client_write_success", "client_read_success", "client_read_not_found", "client_delete_success")
    names += ("batch_sub_read_success", "batch_sub_read_not_found", "batch_sub_write_success", "objects")
    sums = dict.fromkeys(names, 0)
    for node in cluster.running:
        stats = node.stats()
        for name in names:
            sums[name] += int(stats.get(name, 0))
    return sums


@pytest.mark.skipif(sys.version_info[:2] != (3, 11), reason="the wheel in the program is for Python 3.11")
@pytest.mark.slow
def test_counts_are_the_servers_counts(jar: Path, work: Path, simulated_cluster: Callable[..., Any]) -> None:
    """All eight workloads, with the official client: the rows show what the servers did."""
    cluster = simulated_cluster(nodes=3, replication_factor=2)

    def change(content: dict) -> None:
        content["aerospikeConfiguration"].update(namespace="Test")
        content["aerospikeConfiguration"]["hosts"] = [{"ip": "127.0.0.1", "port": cluster.nodes[0].port}]
        content["testConfiguration"].update(recordSize=300, readBatchSize=10, writeBatchSize=5)

    write_config(work, change)
    set_threads(work)
    with perseus(work, client_host(work), "-S", str(jar)) as run:
        idle = lambda row: row["Total TPS"] == 0  # noqa: E731
        run.row(idle)
        before, begin = counters(cluster), time.monotonic()
        assert before["objects"] > 0, "the warm-up has written"
        set_threads(work, write=2, read=2, update=1, expressionRead=1, expressionWrite=1, batchWrite=1, batchRead=1)
        sums: dict[str, int] = {}

        def add(row: dict[str, int]) -> bool:
            for name, count in row.items():
                sums[name] = sums.get(name, 0) + count
            columns = [name for name in row if name not in ("UDF (Lua)", "Delete")]
            return all(sums[name] > 20 for name in columns)

        run.row(add)
        set_threads(work)
        run.row(lambda row: bool(add(row)) and row["Total TPS"] == 0)
        after, elapsed = counters(cluster), time.monotonic() - begin
        done = {name: after[name] - before[name] for name in after}
        # Each second Perseus also reads and writes the record with its range of keys. The client sends a batch's part
        # for one node as a single operation if it has only one record, so the counters of both kinds are added.
        own = int(elapsed) + 3
        writes = sums["Write"] + sums["Update"] + sums["Expression Write"] + 5 * sums["Batch Write Size: 5"]
        assert 0 <= done["client_write_success"] + done["batch_sub_write_success"] - writes <= own
        reads = sums["Read HitRate %80"] + sums["Expression Read"] + 10 * sums["Batch Read Size: 10"]
        names = [
            f"{kind}_{result}" for kind in ("client_read", "batch_sub_read") for result in ("success", "not_found")
        ]
        assert 0 <= sum(done[name] for name in names) - reads <= own
        assert done["client_read_not_found"] > 0, "the hit rate is 80 %"
        assert done["batch_sub_write_success"] > 0
        assert done["batch_sub_read_success"] > 0
        assert sum(sums.values()) == 2 * sums["Total TPS"]

        set_threads(work, delete=1)
        sums.clear()
        run.row(lambda row: bool(add(row)) or sums["Delete"] > 20)
        assert counters(cluster)["client_delete_success"] > 0
    assert (work / "stderr").read_text() == ""


@pytest.mark.skipif(sys.version_info[:2] != (3, 11), reason="the wheel in the program is for Python 3.11")
@pytest.mark.slow
def test_updates_that_a_full_server_refuses_are_counted(
    jar: Path, work: Path, simulated_cluster: Callable[..., Any]
) -> None:
    """The case for the alert PerseusCountsUnanswered: rows at the full rate while the server refuses every update."""
    storage = "storage-engine memory {\n data-size 256M\nstop-writes-used-pct 0\n}"
    (node,) = simulated_cluster(1, replication_factor=1, storage=storage).nodes

    def change(content: dict) -> None:
        content["aerospikeConfiguration"].update(namespace="Test")
        content["aerospikeConfiguration"]["hosts"] = [{"ip": "127.0.0.1", "port": node.port}]
        content["testConfiguration"].update(recordSize=100_000, writeBatchSize=10)

    def written(outcome: str) -> int:
        return int(node.stats()[f"client_write_{outcome}"])

    write_config(work, change)
    set_threads(work, batchWrite=1)
    with perseus(work, client_host(work), "-S", str(jar)) as run:
        run.row(lambda _: int(node.stats()["data_used_pct"]) >= 1)
        set_threads(work, update=2)
        run.row(lambda row: row["Update"] > 10 and not row["Batch Write Size: 10"])
        assert written("error") == 0
        assert node.info("set-config:context=namespace;id=Test;stop-writes-used-pct=1") == "ok"
        wait_for(lambda: written("error") > 0, "refused writes")
        success, error = written("success"), written("error")
        counted = sum(run.row()["Update"] for _ in range(3))
        assert counted > 30
        assert written("success") == success, "no update succeeded"
        wait_for(lambda: written("error") - error >= counted * 0.75, "refused writes as many as counted")
        assert node.stats()["stop_writes"] == "true"


@pytest.mark.skipif(sys.version_info[:2] != (3, 11), reason="the wheel in the program is for Python 3.11")
@pytest.mark.slow
def test_load_survives_a_nodes_stop_and_return(jar: Path, work: Path, simulated_cluster: Callable[..., Any]) -> None:
    cluster = simulated_cluster(nodes=3, replication_factor=2)

    def change(content: dict) -> None:
        content["aerospikeConfiguration"].update(namespace="Test")
        content["aerospikeConfiguration"]["hosts"] = [{"ip": "127.0.0.1", "port": node.port} for node in cluster.nodes]

    write_config(work, change)
    set_threads(work, write=1, read=1)
    busy = lambda row: row["Write"] > 20 and row["Read HitRate %80"] > 20  # noqa: E731
    with perseus(work, client_host(work), "-S", str(jar)) as run:
        run.row(busy)
        cluster.nodes[2].stop()
        cluster.wait_stable(ignore_migrations=True)
        run.row(busy)
        cluster.nodes[2].start()
        cluster.wait_stable(ignore_migrations=True)
        run.row(busy)
