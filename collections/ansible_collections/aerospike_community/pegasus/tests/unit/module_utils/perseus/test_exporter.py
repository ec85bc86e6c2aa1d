"""The exporter with real files: a log that grows and is rotated, a threads.yaml that users edit, HTTP."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.perseus import threads as threads_file
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.perseus.exporter import (
    Exporter,
    ServiceWatch,
    make_server,
)

COLLECTIONS = Path(__file__).resolve().parents[7]
HEADER = "| Test Cases: | Write | Total TPS |\n|  |  |  |\n| Threads: | 2 |  |\n"
GOOD = threads_file.render({**dict.fromkeys(threads_file.WORKLOADS, 0), "write": 2})


class Host:
    """A client: its files, its clock, its service."""

    def __init__(self, folder: Path) -> None:
        self.log, self.threads = folder / "perseus.log", folder / "threads.yaml"
        self.errors = folder / "errors.log"
        self.threads.write_text(GOOD)
        self.now, self.unit = 1000.0, "ActiveState=active\nInvocationID=a1\n"
        self.exporter = self.restart_exporter()

    def restart_exporter(self) -> Exporter:
        service = ServiceWatch(lambda: self.unit)
        self.exporter = Exporter(self.log, self.errors, self.threads, service, lambda: self.now)
        return self.exporter

    def prints(self, text: str) -> None:
        with self.log.open("a") as stream:
            stream.write(text)
        self.now += 1
        self.exporter.poll()

    def value(self, name: str) -> float:
        found = [line.rpartition(" ")[2] for line in self.exporter.page().splitlines() if line.startswith(f"{name} ")]
        assert len(found) == 1, f"{name}: {found}"
        return float(found[0])


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


WRITES = 'perseus_operations_total{workload="write"}'
REQUESTED = 'perseus_threads_requested{workload="write"}'


def test_a_log_that_appears_later_and_grows_by_partial_lines(host: Host) -> None:
    assert host.value("perseus_rows_total") == 0
    host.prints(HEADER + "| 1 | 10 | 1")
    assert host.value("perseus_rows_total") == 0
    host.prints("0 |\n| 2 | 5 | 5 |\n")
    assert host.value(WRITES) == 15


def test_a_log_that_is_rotated_by_copying_or_renaming(host: Host, tmp_path: Path) -> None:
    host.prints(HEADER + "| 1 | 10 | 10 |\n")
    os.truncate(host.log, 0)  # logrotate's copytruncate
    host.exporter.poll()
    host.prints("| 2 | 10 | 10 |\n")
    assert host.value(WRITES) == 20, "the columns are still known"
    host.log.rename(tmp_path / "perseus.log.1")
    host.prints("| 3 | 10 | 10 |\n")
    assert host.value(WRITES) == 30


def test_a_restarted_exporter_reads_the_header_and_counts_nothing_twice(host: Host) -> None:
    host.prints(HEADER + "| 1 | 10 | 10 |\n")
    host.restart_exporter()
    assert host.value('perseus_threads_running{workload="write"}') == 2
    host.prints("| 2 | 7 | 7 |\n")
    assert host.value(WRITES) == 7


@pytest.mark.parametrize(
    "text",
    [
        GOOD + "wrong: 1\n",  # Perseus ignores an unknown key
        GOOD.replace("write: 2\n", ""),  # without its key, a workload keeps its last value
        GOOD.replace("write: 2", "write: -1"),  # becomes 0
        GOOD.replace("write: 2", "write: 501"),  # becomes 500
        GOOD.replace("write: 2", "write: 010"),  # octal
        "write: [\n",  # malformed, ignored
        "",  # empty, ignored
        "- write\n",  # a list, ignored
        *(GOOD.replace("write: 2", f"write: {value}") for value in ('"3"', "2.5", "true", "", "99999999999", "{a: 1}")),
        "~\n",  # after these, Perseus never reads the file again
    ],
)
def test_an_invalid_file_is_reported_and_the_last_valid_request_stays(host: Host, text: str) -> None:
    assert (host.value(REQUESTED), host.value("perseus_threads_file_ok")) == (2, 1)
    host.threads.write_text(text)
    assert (host.value(REQUESTED), host.value("perseus_threads_file_ok")) == (2, 0)
    host.threads.write_text(GOOD.replace("write: 2", "write: 5"))
    assert (host.value(REQUESTED), host.value("perseus_threads_file_ok")) == (5, 1)


def test_a_deleted_file_and_the_default_that_perseus_writes_are_reported(host: Host) -> None:
    assert host.value("perseus_threads_file_ok") == 1
    host.threads.unlink()
    assert (host.value(REQUESTED), host.value("perseus_threads_file_ok")) == (2, 0)
    host.threads.write_text("".join(f"{name}: 1\n" for name in threads_file.WORKLOADS))
    assert (host.value(REQUESTED), host.value("perseus_threads_file_ok")) == (1, 0), "read by Perseus"


def test_stack_traces_are_read_from_their_own_log(host: Host) -> None:
    """A real Perseus with the Community Edition: each delete fails while Perseus writes a row in pieces."""
    enterprise_only = 'perseus_error_lines_total{kind="enterprise_only"}'
    trace = (
        "com.aerospike.client.AerospikeException: Error 25,1,0,30000,1000,0,BB908001CAC4202 172.28.0.8 3000: "
        "Enterprise only\n\tat com.aerospike.client.command.DeleteCommand.parseResult(DeleteCommand.java:91)\n"
    )
    host.errors.write_text(trace)  # before the exporter starts, so not counted
    host.restart_exporter()
    host.prints(HEADER + "| 1 | 2")
    with host.errors.open("a") as stream:
        stream.write(trace * 3)
    host.prints("0 | 20 |\n")
    assert (host.value(WRITES), host.value(enterprise_only)) == (20, 3)
    assert host.value('perseus_error_lines_total{kind="unknown"}') == 0


def test_restarts_of_the_service_are_counted(host: Host) -> None:
    assert (host.value("perseus_up"), host.value("perseus_restarts_total")) == (1, 0)
    host.unit, host.now = "ActiveState=activating\nInvocationID=a1\n", host.now + 1
    assert (host.value("perseus_up"), host.value("perseus_restarts_total")) == (0, 0)
    host.unit, host.now = "ActiveState=active\nInvocationID=b2\n", host.now + 1
    assert (host.value("perseus_up"), host.value("perseus_restarts_total")) == (1, 1)
    host.unit, host.now = "ActiveState=inactive\nInvocationID=\n", host.now + 1
    assert (host.value("perseus_up"), host.value("perseus_restarts_total")) == (0, 1)


def test_without_an_answer_of_systemd_the_service_is_down(host: Host) -> None:
    def silent() -> str:
        raise subprocess.TimeoutExpired("systemctl", 5)

    assert ServiceWatch(silent).state(0.0).active is False


def test_the_exporter_serves_http(host: Host) -> None:
    server = make_server(host.exporter, 0, "127.0.0.1")
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{server.server_port}/metrics", timeout=5) as answer:
            assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
            assert b"\nperseus_up 1\n" in answer.read()
        with pytest.raises(urllib.error.HTTPError):
            urllib.request.urlopen(f"http://127.0.0.1:{server.server_port}/else", timeout=5)
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_the_exporter_runs_from_the_files_that_the_role_copies(tmp_path: Path) -> None:
    """With only the standard library and these modules. It exits on SIGTERM."""
    package = Path("ansible_collections/aerospike_community/pegasus/plugins/module_utils/perseus")
    (tmp_path / package).mkdir(parents=True)
    for name in ("exporter", "meter", "rows", "threads"):
        (tmp_path / package / f"{name}.py").write_bytes((COLLECTIONS / package / f"{name}.py").read_bytes())
    log = tmp_path / "log"
    log.write_text(HEADER)
    command = [sys.executable, "-s", "-m", str(package / "exporter").replace("/", "."), "--port", "0"]
    process = subprocess.Popen(
        [*command, "--rows", str(log)], cwd=tmp_path, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(tmp_path)},
    )  # fmt: skip
    try:
        assert process.stdout is not None
        assert "reading" in process.stdout.readline()
        process.terminate()
        assert process.wait(10) == 0
    finally:
        process.kill()
