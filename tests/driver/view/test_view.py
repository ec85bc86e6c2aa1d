"""Progress, plain view, live view and report, from given events and times."""

from __future__ import annotations

import io
import json
from datetime import UTC, datetime
from typing import Any

import pytest

from pegasus_driver.exit_codes import ExitCode
from pegasus_driver.run.events import Event, HostResult, HostRetry, HostStats, Note, Stats, Warning, parse
from pegasus_driver.run.progress import Progress
from pegasus_driver.run.records import RecordView
from pegasus_driver.run.state import Ending, RunState
from pegasus_driver.run.view import View
from pegasus_driver.view.live import LiveView
from pegasus_driver.view.plain import HEARTBEAT, PlainView
from pegasus_driver.view.report import report_lines
from pegasus_driver.view.text import duration, table
from tests.driver.fakes import MODULE, REPORT, began, failed, ok, play, raw, stats


def feed(target: Progress | View, *events: tuple[float, dict]) -> None:
    for now, event in events:
        for parsed in parse(event):
            if isinstance(target, View):
                target.state.add(parsed, now)
            target.handle(parsed, now)


def state() -> RunState:
    return RunState("setup", "Bench", "local")


STORY = [
    (0.0, play("Set up the hosts")),
    (0.1, began("B-1", "Prepare", "nvme", "ansible.builtin.include_role")),
    (0.2, began("B-1", "Install", "server")),
    (0.2, began("B-2", "Install", "server")),
    (0.2, began("C-1", "Install", "client")),
    (3.0, ok("B-1", "Install", "server", changed=True)),
    (3.1, began("B-1", "Start", "exporter")),
    (4.0, failed("C-1", "Install", "client", msg="m")),
]


def test_roles_count_the_hosts_that_left() -> None:
    progress = Progress()
    feed(progress, *STORY)
    (stage,) = progress.stages
    assert set(stage.roles) == {"server", "client", "exporter"}, "an include is no task of the role"
    server = stage.roles["server"]
    assert (server.entered, server.left, server.changed) == ({"B-1", "B-2"}, {"B-1"}, 1)
    assert stage.roles["client"].failed == {"C-1"} and stage.failed
    name, slowest = stage.slowest() or ("", None)
    assert name == "B-2" and slowest is not None and slowest.since == 0.2


def test_a_rescued_host_is_not_failed() -> None:
    progress = Progress()
    feed(progress, *STORY, (5.0, ok("C-1", "Rescue", "client")))
    assert not progress.stages[0].failed and not progress.stages[0].roles["client"].failed


def test_an_idle_host_counts_as_done_in_the_view() -> None:
    progress = Progress()
    feed(progress, (0.0, play("p")), (0.0, began("B-1", "t", "server")), (1.0, ok("B-1", "t", "server")))
    stage = progress.stages[0]
    assert stage.idle_in("server", 1.5) == 0 and stage.idle_in("server", 3.0) == 1


def test_plain_lines() -> None:
    out = io.StringIO()
    view = PlainView(state(), out, io.StringIO())
    view.start(0.0)
    feed(view, *STORY, (61.0, play("Next")), (62.0, stats(ok={"B-1": 1})))
    assert out.getvalue().splitlines() == [
        "Pegasus setup: Bench on local",
        "[ 0:00] Set up the hosts",
        "[ 0:04]   failed: C-1: client: Install",
        "[ 0:04]     m",
        "[ 1:01]   server: 2 of 2 hosts, changed 1",
        "[ 1:01]   client: 0 of 1 host, 1 failed",
        "[ 1:01]   exporter: 1 of 1 host",
        "[ 1:01] Next",
    ]


def test_a_role_that_is_entered_again_is_reported_again() -> None:
    """The first report of the role wasn't its end."""
    out = io.StringIO()
    view = PlainView(state(), out, io.StringIO())
    view.start(0.0)
    feed(
        view,
        (0.0, play("p")),
        *((0.0, began("C-1", "Prepare", "client")), (1.0, ok("C-1", "Prepare", "client"))),
        *((1.0, began("C-1", "Serve", "exporter")), (2.0, ok("C-1", "Serve", "exporter"))),
        *((2.0, began("C-1", "Prove", "client")), (9.0, ok("C-1", "Prove", "client", changed=True))),
        (10.0, play("Next")),
    )
    lines = [line for line in out.getvalue().splitlines() if "client" in line]
    assert lines == ["[ 0:01]   client: 1 of 1 host", "[ 0:10]   client: 1 of 1 host, changed 1"]


def test_plain_output_shows_that_the_run_is_still_running() -> None:
    out = io.StringIO()
    view = PlainView(state(), out, io.StringIO())
    view.start(0.0)
    feed(view, (1.0, play("p")), (2.0, began("B-1", "Wait for the cluster", "server")))
    view.tick(HEARTBEAT - 1)
    assert "still" not in out.getvalue()
    view.tick(HEARTBEAT + 2)
    assert "still running: B-1: Wait for the cluster, 30 s" in out.getvalue()


class Terminal(io.StringIO):
    encoding = "utf-8"

    def isatty(self) -> bool:
        return True


@pytest.fixture
def live(monkeypatch: pytest.MonkeyPatch) -> LiveView:
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setenv("LINES", "30")
    monkeypatch.setenv("TERM", "xterm-256color")
    return LiveView(state(), Terminal(), Terminal())


def test_the_live_view(live: LiveView) -> None:
    live.start(0.0)
    feed(live, (0.0, play("Bring up the instances")), *STORY)
    retry: Event = HostRetry("B-2", "Install", "server", 2, 5)
    live.state.add(retry, 8.0)
    live.handle(retry, 8.0)
    view = live.view(10.0).plain.splitlines()
    assert view[0].startswith("Pegasus setup: Bench on local") and view[0].endswith("10 s")
    assert view[2].startswith("✔ Bring up the instances")
    assert view[3].startswith("✘ Set up the hosts")
    server = next(line for line in view if "server " in line)
    assert "1 of 2 hosts" in server and "B-2 9.8 s (try 2 of 5): Install" in server
    assert any("client" in line and "1 failed" in line for line in view)
    assert all(len(line) <= 96 for line in view)
    live.finish(Ending(ExitCode.HOST, "setup", "Bench", 10.0), 10.0)


def test_a_narrow_view_keeps_the_slowest_hosts_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    live = LiveView(state(), Terminal(), Terminal())
    task = "Prepare | Install the server and its tools from the archive"
    feed(live, (0.0, play("Set up the hosts")), (0.0, began("Benchmark-2", task, "aerospike_server")))
    (row,) = [line for line in live.view(12.0).plain.splitlines() if "aerospike_server" in line]
    assert "Benchmark-2 12 s: Pre" in row and len(row) <= 76


def test_a_stage_counts_its_hosts(live: LiveView) -> None:
    feed(live, (0.0, play("Set up the hosts")), *((0.0, began(f"B-{n}", "Wait", "")) for n in (1, 2, 3)))
    assert "0 of 3 hosts" in live.view(1.0).plain.splitlines()[2]
    feed(live, (2.0, ok("B-1", "Wait", "")), (2.0, failed("B-2", "Wait", "", msg="m")))
    assert "0 of 3 hosts" in live.view(2.5).plain.splitlines()[2], "it may begin another task"
    assert "1 of 3 hosts" in live.view(5.0).plain.splitlines()[2], "a failed host isn't done"
    feed(live, (6.0, ok("B-3", "Wait", "")), (6.0, stats(ok={"B-1": 1})))
    assert "2 of 3 hosts" in live.view(6.0).plain.splitlines()[2]


def test_the_live_view_fits_a_small_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setenv("LINES", "10")
    live = LiveView(state(), Terminal(), Terminal())
    for number in range(30):
        feed(live, (float(number), play(f"play {number} " + "long " * 40)))
    view = live.view(31.0).plain.splitlines()
    assert len(view) <= 10 and "play 29" in view[-1] and all(len(line) <= 96 for line in view)


def test_markup_in_messages_is_shown_as_it_is(live: LiveView) -> None:
    live.start(0.0)
    feed(live, (0.0, raw("warning", stdout="[WARNING]: found [/dev/sda] and [bold]x")))
    live.finish(Ending(ExitCode.INTERNAL, "setup", "Bench", 1.0, problems=["[red]problem[/]"]), 1.0)
    assert "found [/dev/sda] and [bold]x" in live._console.file.getvalue()  # type: ignore[attr-defined]
    assert "[red]problem[/]" in live._errors.file.getvalue()  # type: ignore[attr-defined]


def test_a_closed_pipe_silences_the_output() -> None:
    class Gone(io.StringIO):
        def write(self, text: str) -> int:
            raise BrokenPipeError

    view = PlainView(state(), Gone(), Gone())
    view.start(0.0)
    view.finish(Ending(ExitCode.OK, "setup", "Bench", 1.0), 1.0)


@pytest.mark.parametrize(
    ("seconds", "text"), [(3.44, "3.4 s"), (59.4, "59 s"), (59.6, "1:00 min"), (3723, "1:02:03 h")]
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_tables_leave_empty_columns_out() -> None:
    assert table([("a", "b", "n"), ("x", None, 1), ("yy", "", 20)]) == ["  a    n", "  x    1", "  yy  20"]


@pytest.mark.parametrize("part", [None, *REPORT])
def test_a_report_with_a_part_missing(part: str | None) -> None:
    report = {key: value for key, value in REPORT.items() if key != part}
    assert report_lines(report)
    assert report_lines({**REPORT, **({part: None} if part else {})})


def test_public_addresses_are_shown_if_hosts_are_reached_by_them() -> None:
    assert "public" not in "\n".join(report_lines(REPORT))
    nodes = [{**node, "public_address": "203.0.113.7"} for node in REPORT["nodes"]]
    text = "\n".join(report_lines({**REPORT, "nodes": nodes}))
    assert "public" in text and "203.0.113.7" in text and "172.31.0.10" in text


def test_simulated_is_shown_clearly() -> None:
    assert "(SIMULATED)" in report_lines(REPORT)[0]
    assert "SIMULATED" not in "\n".join(report_lines({**REPORT, "simulated": False}))


def test_what_was_not_checked_is_left_out() -> None:
    """setup-cluster doesn't check the clients: the report has no load of 0. setup-clients doesn't check the servers."""
    text = "\n".join(report_lines({**REPORT, "clients": [{"name": "C-1", "rate": None, "rates": {}, "threads": {}}]}))
    assert "load" not in text and "operations" not in text and "cluster  " in text
    text = "\n".join(report_lines({**REPORT, "cluster": {"size": None, "key": "", "stable": None}}))
    assert "cluster  " not in text and "operations/s" in text


def test_a_cluster_with_missing_nodes_is_shown_as_stable_if_the_others_are() -> None:
    """stop-node reports the other nodes as a stable cluster, so status must too."""
    nodes = [{"name": f"B-{index}", "index": index, "kind": "server"} for index in (1, 2, 3)]
    rest = {"stable": False, "namespace": "Test", "replication_factor": 2}

    def shown(size: int, key: str) -> str:
        return "\n".join(report_lines({**REPORT, "nodes": nodes, "cluster": {"size": size, "key": key, **rest}}))

    assert "2 nodes, key ABC, stable, 3 expected, namespace" in shown(2, "ABC")
    assert "3 nodes, key ABC, NOT STABLE" in shown(3, "ABC")
    assert "2 nodes, key ?, NOT STABLE" in shown(2, "")


def test_the_space_for_data_is_shown() -> None:
    """The size of data in memory is computed from the hosts' memory, so the user sees the result."""

    def shown(size: int) -> str:
        return "\n".join(report_lines({**REPORT, "cluster": {**REPORT["cluster"], "data_bytes": size}}))

    assert "replication factor 2, 1,433.6 GiB for data on all nodes" in shown(1433 * 2**30 + 6 * 2**30 // 10)
    assert "for data" not in shown(0)


def test_each_item_of_a_loop_has_its_message_in_the_note() -> None:
    items = [{"msg": "B-1 is skipped"}, {"skipped": True}, {"msg": "B-2 is skipped"}]
    looped = ok("localhost", action="ansible.builtin.debug", msg="All items completed", results=items)
    (note,) = [event for event in parse(looped) if isinstance(event, Note)]
    assert note.lines == ("B-1 is skipped", "B-2 is skipped")


def test_the_reason_of_a_failure_is_shown_when_it_happens() -> None:
    out = io.StringIO()
    view = PlainView(state(), out, io.StringIO())
    view.start(0.0)
    for event in parse(failed("B-1", "t", "r", msg="expected a port, found none\nmore")):
        view.handle(event, 1.0)
    assert "failed: B-1: r: t\n" in out.getvalue() and "expected a port, found none" in out.getvalue()
    assert "more" not in out.getvalue()


def test_a_modules_warning_is_shown() -> None:
    checked = ok("C-1", "t", "r", action="a.b.perseus_ready", warnings=["the database on 10.0.0.3 is stopped: skipped"])
    assert [event.text for event in parse(checked) if isinstance(event, Warning)] == checked["event_data"]["res"][
        "warnings"
    ]


@pytest.mark.parametrize(
    ("event", "lines"),
    [
        (ok("C-2", action=MODULE + "perseus_threads", note="C-2: the load runs", changed=True), ["C-2: the load runs"]),
        (ok("B-1", action=MODULE + "node_drain", note=["quiesced", "migrated"]), ["quiesced", "migrated"]),
        (ok("B-1", action=MODULE + "chaos_node", results=[{"note": "a"}, {"note": "b"}]), ["a", "b"]),
        (ok("B-1", action="ansible.builtin.debug", msg=["a", "b"]), ["a", "b"]),
    ],
)  # fmt: skip
def test_notes_come_from_every_module_of_the_collection(event: dict[str, Any], lines: list[str]) -> None:
    (note,) = [parsed for parsed in parse(event) if isinstance(parsed, Note)]
    assert list(note.lines) == lines


@pytest.mark.parametrize(
    "event",
    [
        ok("B-1", action="community.general.other", note="a", question="b?", report={}, message="c", changed=True),
        failed("B-1", action=MODULE + "chaos_node", note="a", question="b?", msg="m"),
        ok("B-1", action=MODULE + "chaos_node", msg="of no interest"),
    ],
)
def test_the_keys_of_other_collections_and_of_failures_are_ignored(event: dict[str, Any]) -> None:
    (result,) = parse(event)
    assert isinstance(result, HostResult) and result.changes == ()


def test_a_record_has_no_module_result() -> None:
    """The result is large, and its keys are no interface."""
    out = io.StringIO()
    view = RecordView(state(), out, lambda: datetime(2026, 11, 25, tzinfo=UTC))
    for event in parse(failed("a", "Do it", "role", MODULE + "ec2_node", msg="m", large=1, error_class="quota")):
        view.handle(event, 0.0)
    view.handle(Stats({"a": HostStats(ok=1)}), 0.0)
    first, second = (json.loads(line) for line in out.getvalue().splitlines())
    assert (first["type"], first["host"], first["error_class"]) == ("host_result", "a", "quota")
    assert not {"result", "large"} & set(first)
    assert second["hosts"]["a"]["ok"] == 1


def test_the_report_shows_cost_and_a_near_expiry() -> None:
    cost = {"text": "12.00 USD so far", "unknown": ["t3.large: AccessDenied"]}
    lines = report_lines({**REPORT, "cost": cost, "expiry_warnings": ["Bench-1 ends in 42 min"]})
    assert any(line.split() == ["cost", "12.00", "USD", "so", "far"] for line in lines)
    assert "price unknown: t3.large: AccessDenied" in "\n".join(lines)
    assert lines[-1] == "WARNING  Bench-1 ends in 42 min"
