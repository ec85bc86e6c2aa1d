"""tail against a fake ssh: rows, a lost and restored connection, panes."""

from __future__ import annotations

import io
import json
import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.perseus.rows import TableReader

from pegasus_driver.commands import tail
from pegasus_driver.exit_codes import ExitCode
from pegasus_driver.view.panes import Line, Pane, Panes
from tests.driver.fakes import HOSTS, FakeWorld

ROOT = Path(__file__).parents[3]
HEAD = (
    "==========",
    "| Test Cases: | Write       | Read        | Udf (Lua)   | Batch Read  | Total TPS      |",
    "|             |             | HitRate %80 |             | Size: 50    |                |",
    "| Threads:    | 1           | 2           | 0           | 0           |                |",
    "==========",
)
# A fake ssh: prints the log's number of lines, the lines, then new lines. A second connection continues.
SSH = """\
#!/bin/sh
for word; do target=$before; before=$word; done
echo "$target $word" >> "$LOG_FOLDER/calls"
count=$(grep -c "^$target " "$LOG_FOLDER/calls")
if [ "$count" = 1 ]; then
    cat "$LOG_FOLDER/head"
    echo "| 2 | 1,000 | 20 | 0 | 0 | 1,020 |"
    sleep 0.2
    echo "Connection reset by peer" >&2
    exit 255
fi
echo 9
echo "| 3 | 30 | 40 | 0 | 0 | 70 |"
echo "Cluster is empty"
echo "| 4 | 31 | 41 | 0 | 0 | 72 |"
exec sleep 60
"""


@pytest.fixture
def ssh(reachable: FakeWorld, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeWorld:
    """A world with the fake ssh in PATH; it reconnects quickly."""
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "ssh").write_text(SSH)
    (folder / "ssh").chmod(0o755)
    (folder / "head").write_text("\n".join(["6", *HEAD, "| 1 | 5 | 6 | 0 | 0 | 11 |", ""]))
    (folder / "calls").touch()
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    monkeypatch.setattr(tail, "RETRY", (0.1, 0.2))
    reachable.environ = {"PATH": os.environ["PATH"], "LOG_FOLDER": str(folder)}
    return reachable


def interrupt_when(condition: Callable[[], bool]) -> threading.Thread:
    """Presses Ctrl-C once the condition holds, or after 40 s, when the test's assertions fail."""

    def main() -> None:
        deadline = time.monotonic() + 40
        while not condition() and time.monotonic() < deadline:
            time.sleep(0.02)
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=main)
    thread.start()
    return thread


def test_lines_with_the_clients_names_and_a_lost_connection(ssh: FakeWorld) -> None:
    thread = interrupt_when(lambda: ssh.text.count("| 4 |") == 2)
    assert ssh.run("tail") == 0
    thread.join()
    for name in ("BenchClient-1", "BenchClient-2"):
        rows = [line.partition(" | ")[2] for line in ssh.text.splitlines() if line.startswith(name)]
        assert rows == [
            "| 2 | 1,000 | 20 | 0 | 0 | 1,020 |",
            "| 3 | 30 | 40 | 0 | 0 | 70 |",
            "Cluster is empty",
            "| 4 | 31 | 41 | 0 | 0 | 72 |",
        ], "what was in the log before isn't shown, and nothing twice"
        assert f"{name} | connection lost, reconnecting: Connection reset by peer" in ssh.errors
    calls = (Path(ssh.environ["LOG_FOLDER"]) / "calls").read_text()
    assert calls.count("--lines=80") == 2 and calls.count("--lines=0") == 2
    assert "admin@172.31.0.12" in calls and "admin@172.31.0.13" in calls


def test_a_client_that_returns_with_another_address(ssh: FakeWorld) -> None:
    ssh.hosts[3] = HOSTS[3]
    thread = interrupt_when(lambda: "172.31.0.99" in (Path(ssh.environ["LOG_FOLDER"]) / "calls").read_text())
    looked = []

    def find(access: object) -> list:
        looked.append(access)
        return ssh.hosts if len(looked) == 1 else [type(HOSTS[3])("BenchClient-2", "client", 2, "172.31.0.99",
                                                                  "running", "i-4")]  # fmt: skip

    host = ssh.real()
    host.find_hosts = find  # type: ignore[assignment]
    assert tail.run_tail(arguments(clients=[2]), host) == 0
    thread.join()
    assert "172.31.0.99" in (Path(ssh.environ["LOG_FOLDER"]) / "calls").read_text()


def arguments(**values: object) -> object:
    import argparse

    return argparse.Namespace(output="plain", config="", **values)


def test_rows_as_records(ssh: FakeWorld) -> None:
    thread = interrupt_when(lambda: '"number": 4' in ssh.text)
    assert ssh.run("tail", "1", "--output", "json") == 0
    thread.join()
    records = [json.loads(line) for line in ssh.text.splitlines()]
    assert [r["type"] for r in records] == [
        "connection", "row", "connection", "connection", "row", "client_message", "row",
    ]  # fmt: skip
    assert [r["state"] for r in records if r["type"] == "connection"] == ["connected", "lost", "connected"]
    first = records[1]
    assert first["counts"] == {"write": 1000, "read": 20, "udf": 0, "batchRead": 0, "total": 1020}
    assert first["threads"] == {"write": 1, "read": 2, "udf": 0, "batchRead": 0}


def test_a_closed_pipe_ends_it(ssh: FakeWorld) -> None:
    class Gone(io.StringIO):
        def write(self, text: str) -> int:
            raise BrokenPipeError

    ssh.out = Gone()
    host = ssh.real()
    assert tail.run_tail(arguments(clients=[]), host) == 0


@pytest.mark.parametrize(
    ("argv", "code", "expected"),
    [
        (["tail", "3"], ExitCode.USAGE, "found no client with index 3, expected an existing index: 1, 2"),
        (["tail", "one"], ExitCode.USAGE, "expected a node's index"),
    ],
)
def test_wrong_clients(reachable: FakeWorld, argv: list[str], code: ExitCode, expected: str) -> None:
    assert reachable.run(*argv) == code
    assert expected in reachable.errors


def test_no_client(reachable: FakeWorld) -> None:
    reachable.hosts = HOSTS[:2]
    assert reachable.run("tail") == ExitCode.EC2 and "no running client" in reachable.errors


# --- panes ----------------------------------------------------------------------------------------------------------


def pane(name: str, *lines: str) -> Pane:
    result = Pane(name, TableReader())
    result.take(Line(name, "connected"))
    for line in (*HEAD, *lines):
        result.take(Line(name, "line", line))
    return result


def panes(monkeypatch: pytest.MonkeyPatch, *some: Pane) -> Panes:
    monkeypatch.setenv("TERM", "xterm-256color")
    return Panes(some, io.StringIO())


def test_a_pane_shows_busy_workloads(monkeypatch: pytest.MonkeyPatch) -> None:
    client = pane("C-1", "| 1 | 1,234 | 20 | 0 | 0 | 1,254 |", "Cluster is empty", "| 2 | 8 | 9 | 0 | 0 | 17 |")
    lines = client.lines(50, 6)
    assert [kind for _, kind in lines] == ["head", "threads", "row", "message", "row", "empty"]
    assert lines[0][0].split() == ["write", "read", "total"], "no thread, no column"
    assert lines[1][0].split() == ["thr.", "1", "2"]
    assert lines[2][0].split() == ["1", "1,234", "20", "1,254"]
    assert [text.split()[0] for text, kind in client.lines(50, 4) if kind != "head"][-1] == "2", "the newest rows stay"
    client.take(Line("C-1", "lost", "timed out"))
    assert ("connection lost, reconnecting: timed out", "lost") in client.lines(50, 6)


def test_panes_fill_the_width(monkeypatch: pytest.MonkeyPatch) -> None:
    some = [pane(f"C-{number}", f"| 1 | {number} | 2 | 0 | 0 | 3 |") for number in range(1, 5)]
    wide = panes(monkeypatch, *some).view(200, 12).plain.splitlines()
    assert all(f" C-{number} " in wide[0] for number in range(1, 5)) and len(wide) == 12
    assert max(map(len, wide)) <= 200
    narrow = panes(monkeypatch, *some).view(80, 24).plain.splitlines()
    assert " C-1 " in narrow[0] and " C-2 " in narrow[0] and " C-3 " in narrow[12] and len(narrow) == 24
    assert max(map(len, narrow)) <= 80
    single = panes(monkeypatch, *some).view(40, 24).plain.splitlines()
    assert [index for index, line in enumerate(single) if "C-" in line] == [0, 6, 12, 18]


def test_panes_without_room_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    busy = [pane(f"C-{number}", "| 1 | 1 | 2 | 3 | 4 | 10 |") for number in range(1, 14)]
    assert busy[0].lines(36, 6)[0][0].split() == ["write", "read", "total"]
    lines = panes(monkeypatch, *busy).view(80, 24).plain.splitlines()
    assert lines[0].count("(+2 workloads)") == 2 and len(lines) <= 24
    assert lines[-1] == "3 more clients: enlarge the terminal, or choose clients: tail 1 2"
    assert "more clients" not in panes(monkeypatch, *busy).view(80, 28).plain
    wide = panes(monkeypatch, busy[0]).view(100, 24).plain
    assert "(+" not in wide


def test_each_client_has_its_colour(monkeypatch: pytest.MonkeyPatch) -> None:
    view = panes(monkeypatch, pane("C-1"), pane("C-2")).view(120, 5)
    styles = {view.plain[span.start : span.end].strip(" ─"): str(span.style) for span in view.spans}
    assert styles["C-1"] != styles["C-2"]
