"""docs/events.md and docs/actions.md describe the driver completely, and describe nothing that doesn't exist."""

from __future__ import annotations

import io
import json
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from local_cloud.cloud import CloudStatus
from pegasus_driver.actions import ACTIONS
from pegasus_driver.commands.registry import COMMANDS
from pegasus_driver.commands.tail import json_view
from pegasus_driver.docs import __main__ as docs_main
from pegasus_driver.docs import actions as docs_actions
from pegasus_driver.environment import EnvironmentHost
from pegasus_driver.exit_codes import ExitCode
from pegasus_driver.run.events import Event, HostEvent, HostStats, Stats, parse
from pegasus_driver.run.outcome import Change, Failure
from pegasus_driver.run.records import RECORD_TYPES, RecordView
from pegasus_driver.run.state import Ending, RunState
from pegasus_driver.view.panes import Line
from tests.driver.fakes import REPORT, FakeWorld, began, failed, ok, play, raw, stats

DOCS = Path(__file__).parents[3] / "docs"
ONE_OBJECT = "\n## Commands that print one object\n"
# The contents of these fields are described elsewhere.
OPAQUE = ("report", "hosts", "counts", "threads")
STORY = [
    play("p"),
    began("B-1", "t", "r"),
    raw("playbook_on_task_start", name="t", role="r"),
    raw("runner_retry", host="B-1", task="t", role="r", res={"attempts": 1, "retries": 3}),
    ok("B-1", "t", "r", changed=True, changes=["wrote x"]),
    failed("B-2", "t", "r", msg="m"),
    raw("warning", stdout="[WARNING]: w"),
    raw("error", stdout="[ERROR]: e"),
    ok("localhost", action="ansible.builtin.debug", msg="hello"),
    ok("localhost", action="aerospike_community.pegasus.environment_report", report=REPORT),
    ok("localhost", action="aerospike_community.pegasus.ec2_environment", question="Launch?", message=["launch 3"]),
    raw("playbook_on_no_hosts_matched", play="p"),
    stats(ok={"B-1": 1}, failures={"B-2": 1}),
]


def documented() -> dict[str, set[str]]:
    """Record type -> field names, from the page's headings and tables."""
    found: dict[str, set[str]] = {}
    page, _, _ = (DOCS / "events.md").read_text().partition(ONE_OBJECT)
    for part in page.split("\n### ")[1:]:
        (kind,) = re.findall(r"^`(\w+)`", part)
        found[kind] = {*re.findall(r"^\| `([\w.\[\]]+)` \|", part, re.MULTILINE)}
    return found


def fields(record: dict[str, Any], prefix: str = "") -> set[str]:
    """Names of a record's fields and of the fields of nested records."""
    names = set()
    for key, value in record.items():
        names.add(prefix + key)
        if key not in OPAQUE and isinstance(value, list):
            for item in value:
                if isinstance(item, dict):
                    names |= fields(item, f"{prefix}{key}[].")
    return names


def emitted(world: FakeWorld) -> dict[str, set[str]]:
    """Record type -> field names, from records of every type."""
    out = io.StringIO()
    state = RunState("setup", "Bench", "local")
    view: Any = RecordView(state, out, lambda: datetime(2026, 11, 24, tzinfo=UTC), verbose=True)
    view.start(0.0)
    view.say("m", 0.0)
    for event in (parsed for raw_event in STORY for parsed in parse(raw_event)):
        state.add(event, 0.0)
        view.handle(event, 0.0)
    ending = Ending(
        ExitCode.HOST, "setup", "Bench", 1.0,
        failures=[Failure("B-2", "t", "r", "m", ExitCode.HOST)], plan=[Change("B-1", "t", "r", ("wrote x",))],
        stages=state.progress.stages, report=REPORT,
    )  # fmt: skip
    view.finish(ending, 1.0)
    host = world.real()
    host.root, host.stdout = DOCS.parent, out
    view = json_view([EnvironmentHost("C-1", "client", 1, "10.0.0.1", "running", "i-1")], host)
    for text in TABLE:
        view.take(Line("C-1", "line", text))
    view.take(Line("C-1", "lost", "closed"))
    records = [json.loads(line) for line in out.getvalue().splitlines()]
    assert all(record["time"] for record in records)
    found: dict[str, set[str]] = {}
    for record in records:
        found.setdefault(record["type"], set()).update(fields(record) - {"time", "type"})
    return found


TABLE = (
    "| Test Cases: | Write | Total TPS |",
    "|             |       |           |",
    "| Threads:    | 1     |           |",
    "| 1           | 7     | 7         |",
    "Cluster is empty",
)


def test_every_record_is_documented_and_every_documented_record_exists(world: FakeWorld) -> None:
    assert emitted(world) == documented()


def test_every_kind_of_event_is_in_the_story() -> None:
    """Otherwise the test above would miss a kind."""
    kinds: set[type[Event]] = {type(event) for raw_event in STORY for event in parse(raw_event)}
    assert kinds == set(RECORD_TYPES)
    assert {*Event.__subclasses__(), *HostEvent.__subclasses__()} - {HostEvent} == set(RECORD_TYPES)
    assert HostStats() in Stats({"B-1": HostStats()}).hosts.values()


def test_a_refused_command_prints_the_same_record(world: FakeWorld) -> None:
    assert world.run("setpu", "--output", "json") == ExitCode.USAGE
    (end,) = [json.loads(line) for line in world.text.splitlines()]
    assert set(end) - {"time", "type"} == {name for name in documented()["end"] if "[]" not in name}


def test_the_page_of_actions_is_current(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    assert docs_main.main(["--check"]) == 0
    text = (DOCS / "actions.md").read_text()
    for entry in [*ACTIONS, *COMMANDS]:
        assert f"## {entry.name}\n" in text
    for code in ExitCode:
        assert f"| {code.value} | {code.name.lower()} |" in text
    monkeypatch.setattr(docs_actions, "ACTIONS", ACTIONS[:-1])
    assert docs_main.main(["--check"]) == 1
    assert "docs/actions.md is stale" in capsys.readouterr().err


@pytest.mark.parametrize("action", [action for action in ACTIONS if action.playbook], ids=lambda action: action.name)
def test_every_action_is_a_playbook(action: Any) -> None:
    assert (DOCS.parent / "playbooks" / action.playbook).is_file()


def objects() -> dict[str, set[str]]:
    """Command -> field names, for commands that print one object."""
    _, _, page = (DOCS / "events.md").read_text().partition(ONE_OBJECT)
    found = {}
    for part in page.split("\n#### ")[1:]:
        (command,) = re.findall(r"^`([\w ]+)`", part)
        found[command] = {*re.findall(r"^\| `(\w+)` \|", part, re.MULTILINE)}
    return found


def printed(world: FakeWorld, *words: str) -> dict[str, Any]:
    assert world.run(*words, "--output", "json") == 0, world.errors
    (line,) = world.text.splitlines()
    record: dict[str, Any] = json.loads(line)
    return record


def test_the_output_of_other_commands_is_documented(world: FakeWorld, tmp_path: Path) -> None:
    world.cloud.status = lambda root: CloudStatus(False)  # type: ignore[method-assign,assignment,return-value]
    wanted = objects()
    end = {name for name in documented()["end"] if "[]" not in name} | {"time", "type"}
    assert set(printed(world, "validate")) == end | wanted.pop("validate")
    status = wanted["local status"]
    assert set(printed(world, "local", "start")) == status | wanted.pop("local start")
    for verb in ("stop", "status", "image"):
        assert set(printed(world, "local", verb)) == wanted.pop(f"local {verb}")
    assert set(printed(world, "mirror", "list")) == wanted.pop("mirror list")
    assert set(wanted) == {"mirror fetch", "mirror serve"}  # tests/driver/mirror/test_mirror.py covers these


def test_every_mistake_has_the_documented_parts(world: FakeWorld) -> None:
    assert world.run("validate", "--output", "json", "-e", "pegasus_cluster_nodes=0") == ExitCode.CONFIGURATION
    (mistake,) = json.loads(world.text)["mistakes"]
    (row,) = [line for line in (DOCS / "events.md").read_text().splitlines() if line.startswith("| `mistakes`")]
    assert set(re.findall(r"`(\w+)`", row)) - {"mistakes"} == set(mistake)
