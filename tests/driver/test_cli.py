"""The command line in-process: actions, the local cloud around them, exit codes, interruptions."""

from __future__ import annotations

import argparse
import io
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from ansible_collections.aerospike_community.pegasus.plugins.module_utils import results
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.ec2.errors import NEXT_STEP

from local_cloud import LocalCloudError
from pegasus_driver import ROOT
from pegasus_driver.actions import ACTIONS, Action
from pegasus_driver.arguments import Argument, Option
from pegasus_driver.cli import main
from pegasus_driver.exit_codes import BY_CAUSE, MEANINGS, OF_ERROR_CLASS, ExitCode
from pegasus_driver.parser import build_parser, split_rest, subcommands
from pegasus_driver.run.lock import environment_lock, lock_path
from pegasus_driver.run.processes import LOCK_VARIABLE
from pegasus_driver.run.state import Ending, RunState
from pegasus_driver.view.report import report_lines
from tests.driver.fakes import (
    REPORT,
    FakeWorld,
    Instance,
    began,
    failed,
    ok,
    play,
    raw,
    stats,
    unreachable,
)

PLACE = Path("local/us-east-1/Bench")  # of tests/driver/fakes.py


def lines_of(world: FakeWorld) -> list[dict]:
    return [json.loads(line) for line in world.text.splitlines()]


# --- help and usage -------------------------------------------------------------------------------------------------


def test_help_names_actions_and_exit_codes(world: FakeWorld) -> None:
    assert world.run("--help") == 0
    for action in ACTIONS:
        assert action.name in world.text
    for code, meaning in MEANINGS.items():
        assert f"{code.value:<4} {meaning}" in world.text
    assert set(MEANINGS) == set(ExitCode)


@pytest.mark.parametrize("action", ACTIONS, ids=lambda action: action.name)
def test_help_of_an_action_has_an_example_that_parses(world: FakeWorld, action: Action) -> None:
    assert world.run(action.name, "--help") == 0
    assert f"example:\n  ./pegasus-driver {action.usage_example}\n" in world.text
    assert build_parser(io.StringIO()).parse_args(action.usage_example.split()).action is action


def parsers(parser: argparse.ArgumentParser, *words: str) -> Iterator[tuple[str, ...]]:
    """Every action, and every verb of an action that has some."""
    below = subcommands(parser)
    for word, sub in below.items():
        yield from parsers(sub, *words, word)
    if words:
        yield words


@pytest.mark.parametrize("words", list(parsers(build_parser(io.StringIO()))), ids=" ".join)
def test_every_help_has_an_example(world: FakeWorld, words: tuple[str, ...]) -> None:
    assert world.run(*words, "--help") == 0
    (line,) = re.findall(r"^example:\n  \./pegasus-driver (.+)$", world.text, re.MULTILINE)
    assert line.split()[: len(words)] == list(words)
    build_parser(io.StringIO()).parse_args(split_rest(shlex.split(line))[0])


GROW = Action(
    "grow", "for the tests", "setup.yml",
    arguments=(Argument("count", int, "how many", nargs="?", default=1, example="2"),),
    options=(Option("--force", "even so"), Option("--wait-time", "seconds", type=int, metavar="SECONDS")),
    variables=lambda arguments: {
        "count": arguments.count, "force": arguments.force, "wait": arguments.wait_time,
    },
)  # fmt: skip


def test_an_action_has_optional_arguments_and_options(world: FakeWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pegasus_driver.parser.ACTIONS", (*ACTIONS, GROW))
    assert world.run("grow") == 0 and "grow 1 of Bench: done" in world.text
    assert world.requests[-1].extra_vars == {"count": 1, "force": False, "wait": None}
    assert world.run("grow", "3", "--force", "--wait-time", "5") == 0
    assert world.requests[-1].extra_vars == {"count": 3, "force": True, "wait": 5}
    assert "grow 3 --force --wait-time 5 of Bench: done" in world.text
    assert GROW.usage_example == "grow 2"


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys; from pegasus_driver.cli import main; main(['--help']); "
        "print([m for m in ('rich', 'yaml', 'ansible_runner', 'docker', 'moto', 'boto3') if m in sys.modules], "
        "file=sys.stderr)"
    )
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert done.stderr.strip() == "[]"


@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        ([], "required: ACTION"),
        (["setpu"], "found 'setpu', expected an action; the nearest is setup\nnext: See ./pegasus-driver --help"),
        (["--dry-run", "setup"], "found '--dry-run', expected an action: options follow the action"),
        (["setup", "--bogus"], "found '--bogus', expected nothing more\nnext: See ./pegasus-driver setup --help"),
        (["connect-client", "1", "ls"], "found 'ls', expected nothing more"),
        (["connect-client", "1", "ls"], "connect-client --help. The command for the host follows after '--'"),
        (["stop-node"], "required: NODE"),
        (["stop-node", "zero"], "expected a node's index"),
        (["stop-node", "0"], "expected a node's index"),
        (["setup", "-e", "nonsense"], "expected KEY=VALUE"),
        (["setup", "-e", "@missing.yml"], "missing.yml isn't a file"),
        (["setup", "--config", "a.yml", "--config", "b.yml"], "--config is given twice (a.yml, b.yml), expected once"),
        (["extend", "soon"], "'soon' isn't a duration. Expected 20h 30m"),
        (["extend", "99999d"], "'99999d' is more than ten years"),
        (["local"], "required: VERB"),
    ],
)
def test_usage_errors(world: FakeWorld, argv: list[str], expected: str) -> None:
    assert world.run(*argv) == ExitCode.USAGE == 2
    assert expected in world.errors
    assert "Traceback" not in world.errors and not world.requests and not world.cloud.calls


def test_wrong_configuration_stops_before_anything(world: FakeWorld) -> None:
    (world.root / "group_vars/all/config.yml").write_text("pegasus_backend: lokal\n")
    assert world.run("setup") == ExitCode.CONFIGURATION
    assert "pegasus_backend: found 'lokal', expected local or aws" in world.errors
    assert not world.cloud.calls and not world.requests


def test_json_errors_are_json(world: FakeWorld) -> None:
    (world.root / "group_vars/all/config.yml").write_text("a: [\n")
    assert world.run("setup", "--output", "json") == ExitCode.CONFIGURATION
    (end,) = lines_of(world)
    assert (
        end["type"] == "end"
        and end["exit_code"] == 7
        and end["result"] == "configuration"
        and "config.yml:2: " in end["problems"][0]
    )
    assert not world.errors


# --- setup ----------------------------------------------------------------------------------------------------------

GOOD = [
    play("Set up the hosts"),
    began("Bench-1", "Install", "aerospike_server"),
    ok("Bench-1", "Install", "aerospike_server", changed=True),
    play("Prove that the environment is ready"),
    ok(
        "localhost",
        "Report",
        action="aerospike_community.pegasus.environment_report",
        report=REPORT,
        lines=["told twice"],
    ),
    ok("localhost", "Show", action="ansible.builtin.debug", msg=["told twice"]),
    stats(ok={"Bench-1": 1, "localhost": 2}, changed={"Bench-1": 1}),
]


def test_setup_starts_the_cloud_runs_the_playbook_and_sums_up(world: FakeWorld) -> None:
    world.events = GOOD
    (world.root / "mine.yml").write_text("chaos_timeout: 60\n")
    assert world.run("setup", "-e", "chaos_port=3000", "-e", "@mine.yml") == 0
    assert world.cloud.calls == ["start"]
    (request,) = world.requests
    assert request.playbook == world.root / "playbooks/setup.yml"
    assert request.inventories == [world.root / "inventories/local"]
    assert list(request.arguments) == ["-e", "chaos_port=3000", "-e", f"@{world.root}/mine.yml"]
    assert request.folder.parent == world.root / ".pegasus/runs"
    assert request.folder.name == "20261124T031000Z-setup"
    assert request.folder.stat().st_mode & 0o777 == 0o700
    text = world.text
    assert "SIMULATED" in text and "told twice" not in text
    assert "aerospike_server: 1 of 1 host, changed 1" in text
    assert "cluster             1 nodes, key A1B2, stable, namespace Test, replication factor 2" in text
    assert "1,234 operations/s, 3 threads (write 1, read 2)" in text
    assert "http://172.31.0.12:3000  (2 dashboards)" in text and "4 of 5 targets up" in text
    assert "edit threads.yaml, then ./pegasus-driver copy-threads" in text
    assert "./pegasus-driver destroy" in text
    assert "setup of Bench: done in" in text and "changed=1" in text
    assert not world.errors


def test_setup_as_json(world: FakeWorld) -> None:
    world.events = GOOD
    assert world.run("setup", "--output=json") == 0
    records = lines_of(world)
    assert [r["type"] for r in records if r["type"] == "play_started"] == ["play_started"] * 4
    assert {"host": "Bench-1", "status": "changed"}.items() <= next(
        r for r in records if r["type"] == "host_result"
    ).items()
    assert records[-1]["type"] == "end" and records[-1]["report"] == REPORT and records[-1]["exit_code"] == 0


GRAFANA = "http://172.31.0.12:3000"


@pytest.mark.parametrize("action", ["setup", "setup-grafana"])
def test_grafana_is_opened_on_a_desktop(world: FakeWorld, action: str) -> None:
    world.events, world.environ = GOOD, {"WAYLAND_DISPLAY": "wayland-0"}
    (world.root / f"playbooks/{action}.yml").touch()
    assert world.run(action) == 0
    assert world.browsed == [GRAFANA] and not world.errors
    assert f"{action} of Bench: done" in world.text


@pytest.mark.parametrize(
    ("environ", "words"),
    [
        ({}, ["setup"]),
        ({"DISPLAY": ":10.0", "SSH_CONNECTION": "10.0.0.1 22"}, ["setup"]),
        ({"DISPLAY": ":0"}, ["setup", "--no-open"]),
        ({"DISPLAY": ":0"}, ["setup", "--output", "json"]),
        ({"DISPLAY": ":0"}, ["setup", "--dry-run"]),
    ],
)
def test_grafana_is_not_opened_and_its_address_is_there(
    world: FakeWorld, environ: dict[str, str], words: list[str]
) -> None:
    world.events, world.environ = GOOD, environ
    assert world.run(*words) == 0
    assert not world.browsed and GRAFANA in world.text


def test_grafana_is_not_opened_after_a_failure(world: FakeWorld) -> None:
    world.events, world.environ, world.rc = (
        [*GOOD[:-1], failed("Bench-1"), stats(failures={"Bench-1": 1})],
        {"DISPLAY": ":0"},
        2,
    )
    assert world.run("setup") == ExitCode.HOST
    assert not world.browsed


def test_no_browser_is_told_and_no_failure(world: FakeWorld) -> None:
    world.events, world.environ = GOOD, {"DISPLAY": ":0"}
    host = world.real()
    host.browse = lambda url: False
    assert main(["setup"], host) == 0
    assert "open the address yourself" in world.errors


def test_aws_has_no_local_cloud(world: FakeWorld) -> None:
    config = world.root / "group_vars/all/config.yml"
    config.write_text(config.read_text().replace("backend: local", "backend: aws"))
    for action in ("setup", "destroy", "status"):
        assert world.run(action) == 0
    assert world.cloud.calls == []
    assert {path for request in world.requests for path in request.inventories} == {world.root / "inventories/aws"}


def test_a_named_configuration_reaches_playbook_and_inventory(world: FakeWorld) -> None:
    config = world.root / "group_vars/all/config.yml"
    (world.root / "other.yml").write_text(config.read_text().replace("Bench\n", "Other\n"))
    world.environ = {"PEGASUS_CONFIG": "other.yml"}
    assert world.run("setup") == 0
    assert "Pegasus setup: Other" in world.text
    (request,) = world.requests
    assert list(request.arguments) == ["-e", f"@{world.root}/other.yml"]
    assert request.environ["PEGASUS_CONFIG"] == str(world.root / "other.yml")


def test_commands_that_are_shown_are_about_the_environment_of_the_command(world: FakeWorld) -> None:
    """Or "take it down" would take another one down."""
    config = world.root / "group_vars/all/config.yml"
    (world.root / "other one.yml").write_text(config.read_text().replace("Bench\n", "Other\n"))
    world.events = GOOD
    assert world.run("setup", "--config", "other one.yml") == 0
    for command in ("copy-threads", "status", "destroy"):
        assert f"./pegasus-driver {command} --config 'other one.yml'\n" in world.text
    world.rc, world.events = 2, [play("p"), failed("Other-1", msg="m"), stats(failures={"Other-1": 1})]
    assert world.run("setup", "--config", "other one.yml") == ExitCode.HOST
    assert "take it down:  ./pegasus-driver destroy --config 'other one.yml'\n" in world.errors


def test_a_local_cloud_that_fails(world: FakeWorld) -> None:
    world.cloud.error = LocalCloudError("found no container engine", "Install docker")
    assert world.run("setup") == ExitCode.EC2
    assert "found no container engine" in world.errors and "next: Install docker" in world.errors
    assert "Traceback" not in world.errors


def test_an_unforeseen_error_is_told_without_traceback(world: FakeWorld) -> None:
    world.cloud.error = RuntimeError("surprise")
    assert world.run("setup") == ExitCode.INTERNAL
    assert "internal error: RuntimeError: surprise" in world.errors and "Traceback" not in world.errors
    assert "Traceback" in (world.root / ".pegasus/internal-error.log").read_text()


def test_verbose_shows_ansibles_output(world: FakeWorld) -> None:
    world.events = [raw("verbose", stdout="Using ansible.cfg"), *GOOD]
    world.run("setup", "--verbose")
    assert "Using ansible.cfg" in world.text and "PLAY [Set up the hosts]" in world.text
    world.run("setup")
    assert "Using ansible.cfg" not in world.text


# --- classes of failure ---------------------------------------------------------------------------------------------

MODULE = "aerospike_community.pegasus."


@pytest.mark.parametrize(
    ("event", "code"),
    [
        (failed("localhost", action=MODULE + "ec2_environment", msg="m", error_class="quota"), ExitCode.EC2),
        (failed("localhost", action=MODULE + "ec2_environment", msg="m", error_class="other"), ExitCode.EC2),
        (
            failed("localhost", action=MODULE + "ec2_environment", msg="m", error_class="configuration"),
            ExitCode.CONFIGURATION,
        ),
        (failed("localhost", action="ansible.builtin.assert", msg="m"), ExitCode.USAGE),
        (
            failed("Bench-1", action="ansible.builtin.validate_argument_spec", msg="m", argument_errors=["x"]),
            ExitCode.CONFIGURATION,
        ),
        (failed("localhost", action="a.b.command", cmd=["/x/pegasus-driver", "local", "start"], rc=3), ExitCode.EC2),
        (failed("Bench-1", action="ansible.builtin.assert", msg="chaos_nodes: found 9"), ExitCode.USAGE),
        (failed("localhost", action=MODULE + "ec2_node", msg="found 9", error_class="usage"), ExitCode.USAGE),
        (
            failed("localhost", action=MODULE + "validate_configuration", msg="m", error_class="configuration"),
            ExitCode.CONFIGURATION,
        ),
        (failed("Bench-1", action=MODULE + "cluster_stable", msg="m", error_class="readiness"), ExitCode.DATABASE),
        (failed("Bench-1", action=MODULE + "host_service", msg="m"), ExitCode.HOST),
        (failed("Bench-1", action=MODULE + "host_service", msg="m", error_class="host"), ExitCode.HOST),
        (failed("Bench-1", action="other.collection.module", msg="m", error_class="readiness"), ExitCode.HOST),
        (unreachable("Bench-1"), ExitCode.SSH),
        (failed("Bench-1", action="ansible.builtin.wait_for_connection", msg="timed out"), ExitCode.SSH),
    ],
)
def test_exit_code_of_a_failure(world: FakeWorld, event: dict, code: ExitCode) -> None:
    world.rc = 2
    host = event["event_data"]["host"]
    kind = "dark" if "unreachable" in event["event"] else "failures"
    world.events = [play("p"), event, stats(**{kind: {host: 1}})]
    assert world.run("setup") == code
    assert f"FAILED  {host}" in world.errors and f"(exit code {code.value})" in world.errors


def test_every_error_class_has_an_exit_code() -> None:
    classes = {value for name, value in vars(results).items() if name.isupper()}
    assert set(OF_ERROR_CLASS) == classes
    assert classes >= set(NEXT_STEP)


def test_of_several_classes_the_one_nearest_to_the_cause_counts(world: FakeWorld) -> None:
    world.rc = 2
    wrong = failed("Bench-1", action=MODULE + "perseus_threads", msg="m", error_class="configuration")
    host = failed("Bench-2", action=MODULE + "host_service", msg="m")
    unready = failed("Bench-3", action=MODULE + "aerospike_ready", msg="m", error_class="readiness")
    counts = stats(failures={"Bench-1": 1, "Bench-2": 1, "Bench-3": 1})
    world.events = [play("p"), unready, host, wrong, counts]
    assert world.run("setup") == ExitCode.CONFIGURATION
    world.events = [play("p"), unready, host, stats(failures={"Bench-2": 1, "Bench-3": 1})]
    assert world.run("setup") == ExitCode.HOST
    assert set(BY_CAUSE) == set(ExitCode) - {ExitCode.OK} and set(MEANINGS) == set(ExitCode)


def test_a_modules_message_is_shown_word_for_word(world: FakeWorld) -> None:
    message = "Bench-2: cluster-stable\nexpected size 3, found 2\nlast lines of the log:\n  CRITICAL: no   memory"
    world.rc = 2
    world.events = [
        play("p"),
        failed(
            "Bench-2",
            "Wait until ready",
            "aerospike_server",
            MODULE + "aerospike_ready",
            msg=message,
            error_class="readiness",
        ),
        stats(failures={"Bench-2": 1}),
    ]  # fmt: skip
    assert world.run("setup") == ExitCode.DATABASE
    for line in message.splitlines():
        assert f"  {line}\n" in world.errors
    assert "step: aerospike_server: Wait until ready" in world.errors
    assert "next: " in world.errors and "artifacts/run/stdout" in world.errors


def test_the_cause_wins_over_its_consequences_and_equal_messages_are_told_once(world: FakeWorld) -> None:
    world.rc = 2
    world.events = [
        play("p"),
        failed("Bench-1", action=MODULE + "aerospike_ready", msg="size 2", error_class="readiness"),
        failed("Bench-2", action=MODULE + "aerospike_ready", msg="size 2", error_class="readiness"),
        failed("Bench-3", action=MODULE + "host_service", msg="no memory"),
        stats(failures={"Bench-1": 1, "Bench-2": 1, "Bench-3": 1}),
    ]
    assert world.run("setup") == ExitCode.HOST
    assert "FAILED  Bench-1, Bench-2" in world.errors and world.errors.count("size 2") == 1


def test_rescued_and_ignored_failures_are_no_failures(world: FakeWorld) -> None:
    world.events = [
        play("p"),
        failed("Bench-1", msg="rescued"),
        failed("Bench-1", msg="ignored", ignored=True),
        stats(ok={"Bench-1": 2}, rescued={"Bench-1": 1}, ignored={"Bench-1": 1}),
    ]
    assert world.run("setup") == 0
    assert not world.errors


def test_a_rescue_that_fails_again_keeps_the_class(world: FakeWorld) -> None:
    world.rc = 2
    world.events = [
        play("p"),
        failed("Bench-1", action=MODULE + "aerospike_ready", msg="not stable", error_class="readiness"),
        failed("Bench-1", action="ansible.builtin.fail", msg="not stable, and the log says ..."),
        stats(failures={"Bench-1": 1}),
    ]
    assert world.run("setup") == ExitCode.DATABASE
    assert "the log says" in world.errors


def test_a_secret_stays_hidden(world: FakeWorld) -> None:
    world.rc = 2
    world.events = [play("p"), failed("Bench-1", censored="hidden by no_log"), stats(failures={"Bench-1": 1})]
    assert world.run("setup") == ExitCode.HOST
    assert "hidden by no_log" in world.errors


def test_ansible_that_can_not_run(world: FakeWorld) -> None:
    world.rc = 4
    world.events = [raw("error", stdout="[ERROR]: couldn't resolve module/action\n'x.y'.")]
    assert world.run("setup") == ExitCode.INTERNAL
    assert "ERROR  couldn't resolve module/action 'x.y'." in world.errors
    world.rc, world.events, world.run_error = None, [], "ansible-playbook isn't installed beside this Python"
    assert world.run("setup") == ExitCode.INTERNAL
    assert "isn't installed" in world.errors


def test_warnings_are_shown_once_and_deprecations_never(world: FakeWorld) -> None:
    world.events = [
        raw("warning", stdout="[WARNING]: the engine is\nslow"),
        raw("warning", stdout="[WARNING]: the engine is\nslow"),
        raw("deprecated", stdout="[DEPRECATION WARNING]: old"),
        *GOOD,
    ]
    world.run("setup")
    assert world.text.count("warning: the engine is slow") == 1 and "old" not in world.text


# --- destroy, status, nodes -----------------------------------------------------------------------------------------


def test_destroy_of_nothing(world: FakeWorld) -> None:
    assert world.run("destroy") == 0
    assert "nothing to destroy" in world.text
    assert world.cloud.calls == ["stop --if-empty"] and not world.requests  # keys without an instance


def test_destroy_stops_the_cloud_when_it_is_empty(world: FakeWorld) -> None:
    world.cloud.running = True
    assert world.run("destroy") == 0
    assert world.cloud.calls == ["start --to-remove", "stop --if-empty"] and not world.cloud.running


def test_destroy_adopts_what_a_crash_left(world: FakeWorld) -> None:
    world.cloud.left = ["container pegasus-i-1"]
    assert world.run("destroy") == 0
    assert world.cloud.calls == ["start --to-remove", "stop --if-empty"] and len(world.requests) == 1


def test_destroy_that_fails_keeps_the_cloud(world: FakeWorld) -> None:
    world.cloud.running, world.rc = True, 2
    world.events = [play("p"), failed("localhost", msg="m"), stats(failures={"localhost": 1})]
    assert world.run("destroy") == ExitCode.HOST
    assert world.cloud.calls == ["start --to-remove"]


def test_status_of_an_environment_that_is_not_ready(world: FakeWorld) -> None:
    world.cloud.running = True
    problem = "Bench-1: cluster size: expected 3, found 2"
    report = ok("localhost", action=MODULE + "environment_report", report=REPORT, problems=[problem])
    world.events = [play("Report"), report, stats(ok={"localhost": 1})]
    assert world.run("status") == 0
    assert f"NOT READY\n  {problem}" in world.text
    world.run("status", "--output", "json")
    assert lines_of(world)[-1]["not_ready"] == [problem]


def test_a_modules_own_advice_is_shown(world: FakeWorld) -> None:
    world.rc = 2
    event = failed(
        "localhost", action=MODULE + "ec2_environment", msg="no quota", error_class="quota", next_step="Ask AWS"
    )
    world.events = [play("p"), event, stats(failures={"localhost": 1})]
    assert world.run("setup") == ExitCode.EC2
    assert "  no quota\n  next: Ask AWS" in world.errors


def test_status(world: FakeWorld) -> None:
    assert world.run("status") == 0
    assert "nothing is running" in world.text and not world.requests
    world.cloud.left = ["container pegasus-i-1"]
    assert world.run("status") == 0
    assert "container pegasus-i-1" in world.text and not world.requests
    world.cloud.running, world.events = True, GOOD
    assert world.run("status") == 0
    assert "Bench-1" in world.text and world.cloud.calls == []


@pytest.mark.parametrize("action", ["stop-node", "restart-node"])
def test_node_actions(world: FakeWorld, action: str) -> None:
    assert world.run(action, "2") == ExitCode.EC2
    assert "the local cloud isn't running" in world.errors and not world.requests
    world.cloud.running = True
    assert world.run(action, "2") == 0
    assert world.requests[0].extra_vars == {"chaos_nodes": [2]}
    assert f"{action} 2 of Bench: done" in world.text
    world.events = [ok("Bench-2", action=MODULE + "chaos_node", changed=True, note="node 2 stopped in 1.2 s")]
    assert world.run(action, "2") == 0 and "node 2 stopped in 1.2 s" in world.text
    assert world.run(action, "2", "--force") == 0
    assert world.requests[-1].extra_vars == {"chaos_nodes": [2], "chaos_force": True}


def test_an_action_that_met_no_host_is_no_success(world: FakeWorld) -> None:
    world.cloud.running = True
    (world.root / "playbooks" / "logs.yml").write_text("[]\n")
    world.events = [play("Collect"), raw("playbook_on_no_hosts_matched", play="Collect"), stats()]
    assert world.run("logs") == ExitCode.USAGE
    assert "Bench has no host for this (Collect)" in world.errors


@pytest.mark.parametrize(
    ("arguments", "variables"),
    [
        (["add-nodes"], {"add_nodes_count": 1}),
        (["add-nodes", "3"], {"add_nodes_count": 3}),
        (["remove-node", "3"], {"chaos_nodes": [3]}),
        (["extend", "4h"], {"ec2_provision_expiry": "4h"}),
        (["reap", "--all"], {"ec2_provision_reap_all": True}),
        (["rebuild-clients", "--ref", "v1"], {"perseus_client_ref": "v1"}),
        (["build-clients"], {}),
    ],
)
def test_what_an_action_gives_its_playbook(
    world: FakeWorld, arguments: list[str], variables: dict[str, object]
) -> None:
    world.cloud.running = True
    (world.root / "playbooks" / f"{arguments[0]}.yml").write_text("[]\n")
    assert world.run(*arguments) == 0
    assert world.requests[0].extra_vars == variables
    assert world.requests[0].playbook.name == f"{arguments[0]}.yml"


@pytest.mark.parametrize("count", ["0", "-1", "two"])
def test_how_many_nodes_to_add_is_a_number(world: FakeWorld, count: str) -> None:
    assert world.run("add-nodes", count) == ExitCode.USAGE
    assert not world.requests


def test_every_action_has_a_playbook_of_its_own() -> None:
    for action in (one for one in ACTIONS if one.name != "run"):  # which runs somebody else's
        assert action.playbook == f"{action.name}.yml", action.name
        assert (ROOT / "playbooks" / action.playbook).is_file(), action.name


# --- the local cloud ------------------------------------------------------------------------------------------------


def test_local_verbs(world: FakeWorld) -> None:
    assert world.run("local", "status") == 0 and "not running" in world.text
    assert world.run("local", "start") == 0 and "started" in world.text
    assert "building the image" in world.errors
    assert world.run("local", "start") == 0 and "started" not in world.text
    world.cloud.instances = [Instance()]
    assert world.run("local", "status") == 0 and "Bench-1" in world.text and "i4i.large" in world.text
    assert world.run("local", "stop", "--if-empty") == 0 and "stopped" not in world.text
    assert world.run("local", "stop") == 0 and "stopped" in world.text
    assert world.run("local", "stop") == 0 and "not running" in world.text
    assert world.run("local", "image") == 0 and world.text == "pegasus-instance:abc\n"
    world.cloud.left = ["loop device /dev/loop7"]
    assert world.run("local", "status", "--output", "json") == 0
    assert json.loads(world.text)["leftovers"] == ["loop device /dev/loop7"]
    world.cloud.error = LocalCloudError("port 4570 is taken by nginx", "Set PEGASUS_LOCAL_PORT")
    assert world.run("local", "start") == ExitCode.EC2
    assert "taken by nginx" in world.errors and "Set PEGASUS_LOCAL_PORT" in world.errors


# --- lock and interruptions -----------------------------------------------------------------------------------------


def test_a_second_action_is_told_who_runs(world: FakeWorld) -> None:
    since = datetime(2026, 11, 24, 3, 5, tzinfo=UTC)
    with environment_lock(world.root, PLACE, "setup", since):
        assert world.run("destroy") == ExitCode.USAGE
        when = since.astimezone().strftime("%H:%M")
        assert f"setup of Bench has been running since {when} (pid {os.getpid()})" in world.errors
        assert world.run("status") == 0  # looks only
    assert world.run("setup") == 0


@pytest.mark.parametrize("place", ["local/eu-west-1/Bench", "aws/us-east-1/Bench"])
def test_an_action_in_another_place_holds_nothing_here(world: FakeWorld, place: str) -> None:
    with environment_lock(world.root, Path(place), "setup", datetime(2026, 11, 24, 3, 5, tzinfo=UTC)):
        assert world.run("setup") == 0


def test_an_action_on_aws_does_not_hold_the_local_cloud(world: FakeWorld) -> None:
    world.cloud.running = True
    with environment_lock(world.root, Path("aws/us-east-1/Bench"), "setup", datetime(2026, 11, 24, 3, 5, tzinfo=UTC)):
        assert world.run("local", "stop") == 0 and "stopped" in world.text


def test_the_local_cloud_is_not_stopped_under_an_action(world: FakeWorld) -> None:
    world.cloud.running = True
    with environment_lock(world.root, PLACE, "setup", datetime(2026, 11, 24, 3, 5, tzinfo=UTC)):
        assert world.run("local", "stop") == ExitCode.USAGE
        assert "setup of Bench has been running since" in world.errors and "Ctrl-C" in world.errors
        assert world.cloud.calls == []
        # destroy, which holds the lock itself, ends with this one.
        assert world.run("local", "stop", "--if-empty") == 0
    # A lock that a killed driver left isn't held.
    lock_path(world.root, PLACE).write_text('{"action": "setup", "pid": 1, "since": "2026-11-24T03:05:00+00:00"}')
    world.cloud.running = True
    assert world.run("local", "stop") == 0 and "stopped" in world.text


def test_what_a_killed_driver_left_at_work_is_ended(world: FakeWorld) -> None:
    mark = {LOCK_VARIABLE: str(lock_path(world.root, PLACE))}
    with subprocess.Popen(["sleep", "300"], env={**os.environ, **mark}) as orphan:
        assert world.run("status") == 0 and orphan.poll() is None
        assert world.run("setup") == 0
        assert "whose driver was killed" in world.text
        assert orphan.wait(10) == -signal.SIGKILL
    assert world.requests[-1].environ[LOCK_VARIABLE] == mark[LOCK_VARIABLE]
    assert world.run("setup") == 0 and "killed" not in world.text


def test_a_defect_in_the_view_does_not_leave_ansible_at_work(world: FakeWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    def handle(self: object, event: object, now: float) -> None:
        if world.runs:
            raise ValueError("defect")

    world.endless, world.events = True, GOOD
    monkeypatch.setattr("pegasus_driver.view.plain.PlainView.handle", handle)
    assert world.run("setup") == ExitCode.INTERNAL
    assert world.runs[0].killed


def test_a_terminal_that_goes_away(world: FakeWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(self: object, *arguments: object) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr("pegasus_driver.view.plain.PlainView.handle", gone)
    world.events = GOOD
    assert world.run("setup") == 0


def interrupt() -> None:
    os.kill(os.getpid(), signal.SIGINT)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupt_while_ansible_runs(
    world: FakeWorld, monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    before = signal.getsignal(signal.SIGINT)
    world.endless = True
    world.cloud.instances = [Instance(), Instance(name="Bench-2", state="pending")]
    world.events = [play("Set up the hosts")]
    seen = []

    def tick(self: object, now: float) -> None:
        if world.runs and not seen:
            seen.append(now)
            os.kill(os.getpid(), number)

    monkeypatch.setattr("pegasus_driver.view.plain.PlainView.tick", tick)
    assert world.run("setup") == ExitCode.INTERRUPTED
    assert world.runs[0].cancelled and not world.runs[0].killed
    assert "2 instances of the local cloud: Bench-1 (running), Bench-2 (pending)" in world.errors
    assert "continue:      ./pegasus-driver setup" in world.errors
    assert "take it down:  ./pegasus-driver destroy" in world.errors
    assert signal.getsignal(signal.SIGINT) is before


def test_a_second_interrupt_kills(world: FakeWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    world.endless = world.stubborn = True
    world.events = [play("Set up the hosts")]

    def tick(self: object, now: float) -> None:
        if world.runs and not world.runs[0].killed:
            interrupt()

    monkeypatch.setattr("pegasus_driver.view.plain.PlainView.tick", tick)
    assert world.run("setup") == ExitCode.INTERRUPTED
    assert world.runs[0].killed


def test_an_interrupted_command_names_itself_in_full(world: FakeWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    (world.root / "other.yml").write_text((world.root / "group_vars/all/config.yml").read_text())

    def start(root: Path, say: object, to_remove: bool) -> None:
        raise KeyboardInterrupt

    world.cloud.start = start  # type: ignore[method-assign,assignment]
    assert world.run("setup", "--config", "other.yml") == ExitCode.INTERRUPTED
    assert "continue:      ./pegasus-driver setup --config other.yml\n" in world.errors


def test_interrupt_while_the_cloud_starts(world: FakeWorld) -> None:
    def start(root: Path, say: object, to_remove: bool) -> None:
        interrupt()
        time.sleep(5)  # ended by the interrupt

    world.cloud.start = start  # type: ignore[method-assign,assignment]
    assert world.run("setup") == ExitCode.INTERRUPTED
    assert not world.requests
    assert "No instance exists." in world.errors and "interrupted after" in world.errors


# --- questions --------------------------------------------------------------------------------------------------------


def asking() -> dict:
    return ok("localhost", "See what will be taken", "r", "aerospike_community.pegasus.ec2_environment",
              question="Destroy these 2 parts of Bench?",
              message=["terminate Bench-1 (i-1, server)", "delete the key pair pegasus-Bench"])  # fmt: skip


def answer_file(world: FakeWorld) -> Path | None:
    path = world.requests[-1].extra_vars.get("ec2_provision_answer_file")
    return Path(path) if path else None


@pytest.mark.parametrize("output", ["auto", "plain"])
def test_on_a_terminal_destroy_shows_its_list_and_asks(world: FakeWorld, output: str) -> None:
    world.terminal, world.answers = True, ["yes"]
    world.events = [play("Take down"), asking(), asking(), stats(ok={"localhost": 1})]
    world.cloud.running = True
    assert world.run("destroy", "--output", output) == 0
    assert world.questions == ["Destroy these 2 parts of Bench? [yes/no]"]
    assert world.text.index("terminate Bench-1 (i-1, server)") < world.text.index("done in")
    path = answer_file(world)
    assert path and path.exists() and not world.runs[-1].killed


@pytest.mark.parametrize("answer", ["no", "", "^C", "yess"])
def test_anything_but_yes_changes_nothing(world: FakeWorld, answer: str) -> None:
    world.terminal, world.answers = True, [answer]
    world.events = [play("Take down"), asking(), failed("localhost", "Wait for the answer")]
    world.cloud.running = True
    assert world.run("destroy") == ExitCode.INTERRUPTED
    assert "not confirmed, so nothing was changed" in world.errors and "FAILED" not in world.errors
    path = answer_file(world)
    assert path and not path.exists() and world.runs[-1].killed
    assert "stop --if-empty" not in world.cloud.calls


def test_a_launch_that_was_declined_left_nothing(world: FakeWorld) -> None:
    config = world.root / "group_vars/all/config.yml"
    config.write_text(config.read_text().replace("backend: local", "backend: aws"))
    (world.root / "features.conf").write_text("feature-key-version 2\nasdb-cluster-nodes-limit 0\n")
    extra = ["-e", "aerospike_server_features_file=features.conf"]
    world.terminal, world.answers = True, ["n"]
    world.events = [play("Launch"), asking(), failed("localhost", "Wait for the answer")]
    assert world.run("setup", *extra) == ExitCode.INTERRUPTED
    assert "not confirmed, so nothing was changed" in world.errors and "Bench is unchanged" in world.errors
    assert "may exist" not in world.errors and "take it down" not in world.errors
    assert "continue:      ./pegasus-driver setup" in world.errors


@pytest.mark.parametrize("action", ["setup", "setup-cluster", "add-nodes", "destroy", "destroy-clients"])
def test_yes_is_told_to_the_playbook_and_nobody_is_asked(world: FakeWorld, action: str) -> None:
    (world.root / "playbooks" / f"{action}.yml").write_text("[]\n")
    world.terminal = world.cloud.running = True
    world.events = [asking()]
    assert world.run(action, "--yes") == 0
    assert world.requests[-1].extra_vars["ec2_provision_approved"] is True
    assert answer_file(world) is None and world.questions == []


@pytest.mark.parametrize(("terminal", "options"), [(False, []), (True, ["--output", "json"]), (True, ["--dry-run"])])
def test_where_nobody_can_be_asked_the_playbook_decides(world: FakeWorld, terminal: bool, options: list[str]) -> None:
    """It destroys, and refuses a launch above the limit."""
    world.terminal, world.cloud.running = terminal, True
    world.events = [asking()]
    assert world.run("destroy", *options) == 0
    assert world.questions == [] and not set(world.requests[-1].extra_vars) & {
        "ec2_provision_answer_file", "ec2_provision_approved"
    }  # fmt: skip


def test_a_live_view_leaves_the_terminal_to_the_question(tmp_path: Path) -> None:
    from pegasus_driver.run.events import Question
    from pegasus_driver.view.live import LiveView

    class Terminal(io.StringIO):
        encoding = "utf-8"

        def isatty(self) -> bool:
            return True

    out = Terminal()
    view = LiveView(RunState("destroy", "Bench", "local"), out, io.StringIO())
    view.start(0.0)
    view.ask(Question("Destroy?", ("terminate Bench-1",)), 0.1)
    assert not view._live.is_started and "terminate Bench-1" in out.getvalue()
    view.tick(1.0)
    assert view._live.is_started
    view.finish(Ending(ExitCode.OK, "destroy", "Bench", 1.0), 2.0)
    assert not view._live.is_started


def test_extend_of_one_group(world: FakeWorld) -> None:
    (world.root / "playbooks" / "extend.yml").write_text("[]\n")
    world.cloud.running = True
    assert world.run("extend", "4h") == 0
    assert world.requests[-1].extra_vars == {"ec2_provision_expiry": "4h"}
    assert world.run("extend", "4h", "--group", "clients") == 0
    assert world.requests[-1].extra_vars == {"ec2_provision_expiry": "4h", "pegasus_groups": ["clients"]}
    assert world.run("extend", "4h", "--group", "cluster") == ExitCode.USAGE
    assert "found 'cluster', expected one of servers, clients, monitors" in world.errors


def test_reap_everywhere(world: FakeWorld) -> None:
    (world.root / "playbooks" / "reap.yml").write_text("[]\n")
    world.cloud.running = True
    assert world.run("reap", "--all-regions", "--dry-run") == 0
    assert world.requests[-1].extra_vars == {"ec2_provision_reap_all": False, "ec2_provision_reap_all_regions": True}
    assert "--check" in world.requests[-1].arguments


def test_the_report_tells_cost_and_a_near_end() -> None:
    cost = {"text": "12.00 USD so far", "unknown": ["t3.large: AccessDenied"]}
    lines = report_lines({**REPORT, "cost": cost, "expiry_warnings": ["Bench-1 ends in 42 min"]})
    assert any(line.split() == ["cost", "12.00", "USD", "so", "far"] for line in lines)
    assert "price unknown: t3.large: AccessDenied" in "\n".join(lines)
    assert lines[-1] == "WARNING  Bench-1 ends in 42 min"


def test_asking_what_runs_imports_no_engine() -> None:
    """Actions on instances look first; docker alone costs a tenth of a second."""
    code = "import sys, local_cloud.status; print({'docker', 'moto'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
