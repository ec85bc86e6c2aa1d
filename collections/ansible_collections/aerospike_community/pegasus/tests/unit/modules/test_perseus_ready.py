"""When Perseus is ready: the verdict on a window, and the module's watch over a log that the test writes."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from ansible.module_utils.testing import patch_module_args
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.aerospike.info import InfoError
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.host.systemd import parse_state
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.perseus import threads as threads_file
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.perseus.proof import Sample, Window, judge
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.perseus.rows import Row
from ansible_collections.aerospike_community.pegasus.plugins.modules import perseus_ready
from ansible_collections.aerospike_community.pegasus.plugins.modules.perseus_ready import NotReadyError, Watch

NO_THREADS = dict.fromkeys(threads_file.WORKLOADS, 0)


def row(number: int, records: int = 1, **counts: int) -> Row:
    """A row. `records` is the size of every batch."""
    sizes = {name: records if name.startswith("batch") else 1 for name in counts}
    return Row(number, {**counts, "total": sum(counts.values())}, {**sizes, "total": 1})


def window(rows: list[Row], nodes: int = 3, seconds: float = 3.0, **growth: int) -> Window:
    """Rows between two samples of counters with this growth."""
    before = dict.fromkeys(growth, 1000)
    return Window(rows, Sample(10.0, before), Sample(10.0 + seconds, {k: 1000 + v for k, v in growth.items()}), nodes)


THREE = [row(number, write=100, read=200, udf=0) for number in (2, 3, 4)]
THREADS = {**NO_THREADS, "write": 1, "read": 2}


def test_rows_that_the_servers_confirm_are_ready() -> None:
    verdict = judge(
        window(THREE, client_write_success=300, client_read_success=590, client_read_not_found=10), THREADS, 0.25
    )
    assert verdict.problem == ""
    assert (verdict.total_rate, verdict.printed_rate, verdict.server_rate) == (300.0, 300.0, 300.0)
    assert verdict.rates == {"write": 100.0, "read": 200.0, "udf": 0.0}
    assert verdict.warnings == []


def test_rows_that_the_servers_do_not_confirm_are_not_ready() -> None:
    verdict = judge(window(THREE, client_write_success=0, client_read_success=100), THREADS, 0.25)
    assert "900 operations in 3 rows, found 100" in verdict.problem


def test_other_clients_may_load_the_servers_too() -> None:
    assert judge(window(THREE, client_write_success=3000, client_read_success=6000), THREADS, 0.25).problem == ""


def test_only_errors_on_the_servers_are_not_ready() -> None:
    verdict = judge(window(THREE, client_write_error=300, client_read_timeout=600), THREADS, 0.25)
    assert "expected operations that succeed, found only errors and timeouts on the servers: 900" in verdict.problem
    assert verdict.server_error_rate == 300.0


def test_a_workload_with_threads_must_count() -> None:
    verdict = judge(window(THREE, client_write_success=900), {**THREADS, "udf": 4}, 0.25)
    assert "found 0 in 3 rows for udf (4 threads)" in verdict.problem


def test_a_workload_without_threads_must_not_count_in_the_last_row() -> None:
    moving = judge(window(THREE, client_write_success=900), {**NO_THREADS, "read": 2}, 0.25)
    assert "expected 0 in each column without threads, found write 100" in moving.problem
    ended = [THREE[0], THREE[1], row(4, write=0, read=200)]
    assert judge(window(ended, client_write_success=900), {**NO_THREADS, "read": 2}, 0.25).problem == ""


def test_a_batch_counts_as_its_records() -> None:
    rows = [row(number, 200, batchRead=4) for number in (2, 3, 4)]
    threads = {**NO_THREADS, "batchRead": 1}
    verdict = judge(window(rows, batch_sub_read_success=2400), threads, 0.25)
    assert (verdict.problem, verdict.total_rate, verdict.printed_rate) == ("", 800.0, 4.0)
    assert judge(window(rows, batch_sub_read_success=500), threads, 0.25).problem != ""
    # One batch per thread may be counted before the window and printed in it.
    assert judge(window(rows, batch_sub_read_success=1600), threads, 0.25).problem == ""


def test_a_query_is_counted_on_each_node_and_never_required() -> None:
    rows = [row(number, write=10, rangeQuery=count) for number, count in ((2, 0), (3, 0), (4, 0))]
    threads = {**NO_THREADS, "write": 1, "rangeQuery": 1, "numericSearch": 1}
    verdict = judge(window(rows, client_write_success=30, si_query_long_basic_complete=30), threads, 0.25)
    assert verdict.problem == ""
    assert verdict.server_rate == 13.3  # 30 writes and 30 / 3 queries in 3 seconds
    assert len(verdict.warnings) == 2


def test_no_load_is_ready_if_none_is_requested() -> None:
    rows = [row(number, write=0) for number in (2, 3, 4)]
    assert judge(window(rows, client_write_success=0), NO_THREADS, 0.25).problem == ""


def test_without_a_threads_file_rows_of_zero_are_not_ready() -> None:
    rows = [row(number, write=0) for number in (2, 3, 4)]
    assert "3 rows of 0" in judge(window(rows, client_write_success=0), {}, 0.25).problem


def test_smaller_counters_mean_a_restart() -> None:
    assert "a node was restarted" in judge(window(THREE, client_write_success=-500), THREADS, 0.25).problem


HEADER = "| Test Cases: | Write | Read | Total TPS |\n| | | | |\n| Threads: | 1 | 1 | |\n"


class FakeSystemd:
    """A service in a given state."""

    def __init__(self, active: str = "active") -> None:
        self.active = active

    def state(self, unit: str):
        """Return the state."""
        return parse_state(
            unit, f"LoadState=loaded\nActiveState={self.active}\nSubState=x\nResult=exit-code\nExecMainStatus=1"
        )

    def log_lines(self, unit: str, since: float = 0.0, count: int = 20) -> list[str]:
        """Return no lines."""
        return []


class RestartedSystemd(FakeSystemd):
    """A service with one more restart at each check, up to `most`."""

    def __init__(self, most: int) -> None:
        super().__init__()
        self.most, self.restarts = most, -1

    def state(self, unit: str):
        """Return the state."""
        self.restarts = min(self.restarts + 1, self.most)
        return parse_state(unit, f"LoadState=loaded\nActiveState=active\nSubState=running\nNRestarts={self.restarts}")


@contextmanager
def perseus(log: Path, server: dict[str, int], works: bool = True) -> Iterator[None]:
    """Print a row every 20 ms, and count it on the server if it works."""
    end = threading.Event()

    def run() -> None:
        number = 0
        while not end.wait(0.02):
            number += 1
            if works:
                server["client_write_success"] += 5
                server["client_read_success"] += 5
            with log.open("a") as stream:
                stream.write(f"| {number} | 5 | 5 | 10 |\n")

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        end.set()
        thread.join()


@pytest.fixture
def params(tmp_path: Path) -> dict:
    """The module's parameters, with a log that has a header."""
    (tmp_path / "log").write_text(HEADER)
    (tmp_path / "threads.yaml").write_text(threads_file.render({**NO_THREADS, "write": 1, "read": 1}))
    return {
        "rows_file": str(tmp_path / "log"),
        "errors_file": str(tmp_path / "errors"),
        "threads_file": str(tmp_path / "threads.yaml"),
        "service": "perseus",
        "hosts": ["10.0.0.1"],
        "port": 3000,
        "namespace": "test",
        "rows": 3,
        "tolerance": 0.25,
        "timeout": 20,
    }


def test_the_watch_ends_with_confirmed_rows(params: dict, monkeypatch: pytest.MonkeyPatch) -> None:
    server = {"client_write_success": 0, "client_read_success": 0}
    monkeypatch.setattr(perseus_ready, "sum_counters", lambda *_, **__: dict(server))
    with perseus(Path(params["rows_file"]), server):
        verdict, rows = Watch(params, FakeSystemd()).run()
    assert verdict.problem == ""
    assert len(rows) >= 3
    assert verdict.total_rate > 0


def test_the_watch_reports_why_it_timed_out(params: dict, monkeypatch: pytest.MonkeyPatch) -> None:
    watch = Watch(params, FakeSystemd())
    samples: list[dict[str, int]] = []

    def unchanged_counters(*_: object, **__: object) -> dict[str, int]:
        samples.append({"client_write_success": 0, "client_read_success": 0})
        if len(samples) == 2:  # a complete window; the timeout is over, however long it took
            watch.deadline = 0.0
        return samples[-1]

    monkeypatch.setattr(perseus_ready, "sum_counters", unchanged_counters)
    with (
        perseus(Path(params["rows_file"]), {}, works=False),
        pytest.raises(NotReadyError, match="found 0 in their counters"),
    ):
        watch.run()


def test_a_perseus_that_exits_repeatedly_is_not_waited_for(params: dict, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(perseus_ready, "SERVICE_POLL_SECONDS", 0.0)
    with pytest.raises(NotReadyError, match="exited 2 times meanwhile"):
        Watch(params, RestartedSystemd(most=5)).run()


def test_a_perseus_that_recovers_after_one_restart_is_ready(params: dict, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(perseus_ready, "SERVICE_POLL_SECONDS", 0.0)
    server = {"client_write_success": 0, "client_read_success": 0}
    monkeypatch.setattr(perseus_ready, "sum_counters", lambda *_, **__: dict(server))
    with perseus(Path(params["rows_file"]), server):
        assert Watch(params, RestartedSystemd(most=1)).run()[0].problem == ""


def test_a_server_that_does_not_answer_is_named(params: dict, monkeypatch: pytest.MonkeyPatch) -> None:
    watch = Watch(params, FakeSystemd())

    def refuse(*_: object, **__: object) -> dict[str, int]:
        watch.deadline = 0.0
        raise InfoError("10.0.0.1:3000 does not answer")

    monkeypatch.setattr(perseus_ready, "sum_counters", refuse)
    with (
        perseus(Path(params["rows_file"]), {}, works=False),
        pytest.raises(NotReadyError, match=r"10\.0\.0\.1:3000 does not"),
    ):
        watch.run()


def test_without_rows_perseus_is_not_ready(params: dict) -> None:
    params["timeout"] = 0
    with pytest.raises(NotReadyError, match="expected a row with counts, found none"):
        Watch(params, FakeSystemd()).run()


@pytest.mark.parametrize("active", ["failed", "inactive"])
def test_a_dead_service_is_reported_at_once(params: dict, active: str) -> None:
    with pytest.raises(NotReadyError, match=rf"to run, found it {active} \(x\), exit-code, exit status 1"):
        Watch(params, FakeSystemd(active)).run()


def test_the_module_fails_with_its_class(
    params: dict, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(perseus_ready, "Systemd", lambda _: FakeSystemd("failed"))
    with patch_module_args(params), pytest.raises(SystemExit):
        perseus_ready.main()
    result = json.loads(capsys.readouterr().out)
    assert result["error_class"] == "readiness" and result["msg"].startswith("Perseus is not ready: ")
