"""Failures: their classes, exit codes and messages."""

from __future__ import annotations

import pytest
from ansible_collections.aerospike_community.pegasus.plugins.module_utils import results
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.ec2.errors import NEXT_STEP

from pegasus_driver.exit_codes import BY_CAUSE, MEANINGS, OF_ERROR_CLASS, ExitCode
from tests.driver.fakes import (
    GOOD,
    MODULE,
    FakeWorld,
    failed,
    play,
    raw,
    stats,
    unreachable,
)


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


def test_the_class_nearest_to_the_cause_decides_the_exit_code(world: FakeWorld) -> None:
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


def test_a_modules_message_is_shown_verbatim(world: FakeWorld) -> None:
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


def test_the_cause_wins_over_its_consequences_and_equal_messages_are_shown_once(world: FakeWorld) -> None:
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
