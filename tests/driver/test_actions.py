"""Actions in-process: playbooks and their variables, the local cloud, Grafana, reports."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from local_cloud import LocalCloudError
from pegasus_driver import ROOT
from pegasus_driver.actions import ACTIONS
from pegasus_driver.cli import main
from pegasus_driver.exit_codes import ExitCode
from tests.driver.fakes import (
    GOOD,
    MODULE,
    REPORT,
    FakeWorld,
    Instance,
    failed,
    ok,
    play,
    raw,
    stats,
)


def test_setup_starts_the_cloud_runs_the_playbook_and_reports(world: FakeWorld) -> None:
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
    assert "SIMULATED" in text and "shown once" not in text
    assert "aerospike_server: 1 of 1 host, changed 1" in text
    assert "cluster             1 node, key A1B2, stable, namespace Test, replication factor 2" in text
    assert "1,234 operations/s, 3 threads (write 1, read 2)" in text
    assert "http://172.31.0.12:3000  (2 dashboards)" in text and "4 of 5 targets up" in text
    assert "edit threads.yaml, then ./pegasus-driver copy-threads" in text
    assert "./pegasus-driver destroy" in text
    assert "setup of Bench: done in" in text and "changed=1" in text
    assert not world.errors


def test_setup_as_json(world: FakeWorld) -> None:
    world.events = GOOD
    assert world.run("setup", "--output=json") == 0
    records = world.records
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
def test_grafana_is_not_opened_but_its_address_is_shown(
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


def test_a_missing_browser_is_reported_but_is_no_failure(world: FakeWorld) -> None:
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


def test_suggested_commands_name_the_same_configuration(world: FakeWorld) -> None:
    """Otherwise the suggested destroy would remove another environment."""
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


def test_an_unexpected_error_is_reported_without_traceback(world: FakeWorld) -> None:
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
    assert world.records[-1]["not_ready"] == [problem]


def test_a_modules_next_step_is_shown(world: FakeWorld) -> None:
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


def test_an_action_that_matches_no_host_fails(world: FakeWorld) -> None:
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
def test_the_variables_of_an_action(world: FakeWorld, arguments: list[str], variables: dict[str, object]) -> None:
    world.cloud.running = True
    (world.root / "playbooks" / f"{arguments[0]}.yml").write_text("[]\n")
    assert world.run(*arguments) == 0
    assert world.requests[0].extra_vars == variables
    assert world.requests[0].playbook.name == f"{arguments[0]}.yml"


@pytest.mark.parametrize("count", ["0", "-1", "two"])
def test_the_number_of_nodes_to_add_is_checked(world: FakeWorld, count: str) -> None:
    assert world.run("add-nodes", count) == ExitCode.USAGE
    assert not world.requests


def test_every_action_has_its_own_playbook() -> None:
    for action in (action for action in ACTIONS if action.name != "run"):  # runs a user's playbook
        assert action.playbook == f"{action.name}.yml", action.name
        assert (ROOT / "playbooks" / action.playbook).is_file(), action.name


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


def test_the_status_of_the_local_cloud_imports_no_engine() -> None:
    """Actions on instances check it first, and importing docker alone takes a tenth of a second."""
    code = "import sys, local_cloud.status; print({'docker', 'moto'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
