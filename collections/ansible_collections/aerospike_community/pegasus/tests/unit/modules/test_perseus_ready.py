"""When Perseus is ready: the module's watch over a log that the test writes. test_proof.py has the verdicts."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from ansible.module_utils.testing import patch_module_args
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.aerospike import health
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.aerospike.health import Statistics
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.aerospike.info import InfoError
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.host.systemd import parse_state
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.perseus import threads as threads_file
from ansible_collections.aerospike_community.pegasus.plugins.modules import perseus_ready
from ansible_collections.aerospike_community.pegasus.plugins.modules.perseus_ready import NotReadyError, Watch

NO_THREADS = dict.fromkeys(threads_file.WORKLOADS, 0)


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
        "edition": "community",
        "clients": 1,
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
    assert verdict.operations > 0


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
        pytest.raises(NotReadyError, match=r"found 0 of \d+ reads, 0 of \d+ writes in"),
    ):
        watch.run()


def test_the_reason_of_the_servers_is_reported(
    params: dict, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Writes that are refused: Perseus prints healthy rates anyway."""
    server = {"client_write_success": 0, "client_read_success": 0}
    stopped = Statistics({}, {"test": {"stop_writes": "true"}, "other": {"stop_writes": "true"}})
    monkeypatch.setattr(health, "query", lambda hosts, port: dict.fromkeys(hosts, stopped))
    monkeypatch.setattr(perseus_ready, "Systemd", lambda _: FakeSystemd())

    def refuse_writes(*_: object, **__: object) -> dict[str, int]:
        return {
            "client_write_error": server["client_write_success"],
            "client_read_success": server["client_read_success"],
        }

    class OneWindow(Watch):
        """Its timeout is over after the first window with failures, however long that took."""

        def problems(self) -> list[health.Problem]:
            self.deadline = 0.0
            return super().problems()

    monkeypatch.setattr(perseus_ready, "sum_counters", refuse_writes)
    monkeypatch.setattr(perseus_ready, "Watch", OneWindow)
    with perseus(Path(params["rows_file"]), server), patch_module_args(params), pytest.raises(SystemExit):
        perseus_ready.main()
    result = json.loads(capsys.readouterr().out)
    reason = "stop-writes of node 10.0.0.1 (namespace test: stop_writes because the server names no reason)"
    assert "expected write (1 thread) to succeed" in result["msg"] and reason in result["msg"]
    assert "namespace other" not in result["msg"]
    # The wanted threads and the figures belong to a failure too.
    assert result["threads"] == {**NO_THREADS, "write": 1, "read": 1} and result["refused"] == []
    assert result["operations_per_second"] > 0 and result["servers"]["failed_records_per_second"] > 0


def test_threads_that_the_edition_refuses_are_a_note(
    params: dict, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    server = {"client_write_success": 0, "client_read_success": 0}
    monkeypatch.setattr(perseus_ready, "sum_counters", lambda *_, **__: dict(server))
    monkeypatch.setattr(perseus_ready, "Systemd", lambda _: FakeSystemd())
    Path(params["threads_file"]).write_text(threads_file.render({**NO_THREADS, "write": 1, "read": 1, "delete": 2}))
    with perseus(Path(params["rows_file"]), server), patch_module_args(params), pytest.raises(SystemExit):
        perseus_ready.main()
    result = json.loads(capsys.readouterr().out)
    assert (result["refused"], result["threads"]["delete"]) == (["delete"], 2)
    assert result["notes"][0].startswith("delete: found 2 threads, expected 0: the Community Edition refuses")


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
