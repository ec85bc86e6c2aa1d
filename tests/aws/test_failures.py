"""Failures in EC2: each gives a clear message and the right exit code, the next run converges, destroy leaves nothing.

The driver and Ansible run against a server that refuses calls, hides instances and terminates them. The instances have
no ssh, so a run that succeeds in EC2 fails with exit code 4 at the first host.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
import yaml
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.ec2 import launch, removal
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.ec2.api import Ec2
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.ec2.spec import Spec
from ansible_collections.aerospike_community.pegasus.plugins.modules import ec2_environment
from moto.ec2.models import ec2_backends

from pegasus_driver.exit_codes import ExitCode
from tests.aws.checkout import Checkout, Run
from tests.aws.ec2_server import Call, Ec2Server

NAMES = ["Bench-1", "Bench-2", "Bench-3", "BenchClient-1", "BenchGrafana-1"]
GROUPS = [
    {"kind": "server", "name": "Bench", "nodes": 3, "instance_type": "i4i.large"},
    {"kind": "client", "name": "BenchClient", "nodes": 1, "instance_type": "c6i.large"},
    {"kind": "monitor", "name": "BenchGrafana", "nodes": 1, "instance_type": "t3.medium"},
]
Make = Callable[..., Checkout]
Live = Callable[[], dict[str, Any]]

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]  # complete runs of the driver, on a busy machine


def refuse(code: str, action: str, *, dry: bool = False, matches: Callable[[Call], bool] = lambda call: True) -> Any:
    """A fault for an action, or for its dry runs."""

    def fault(call: Call, number: int) -> str | None:
        is_dry = call.parameters.get("DryRun") == "true"
        return code if call.action == action and is_dry == dry and matches(call) else None

    return fault


def next_client(server: Ec2Server) -> Ec2:
    """The client of the next run, with a server that works again."""
    server.faults.clear()
    server.edits.clear()
    return Ec2("Bench", region="us-east-1", endpoint_url=server.url, access_key="next", secret_key="run")


def destroy(server: Ec2Server) -> removal.Removal:
    """What the module does for destroy, without Ansible."""
    return removal.remove(next_client(server), 30, check=False)


def set_up(project: Checkout, server: Ec2Server) -> launch.Outcome:
    """What the module does for the next setup, without Ansible."""
    arguments = ec2_environment.ARGUMENTS
    defaults = {name: argument["default"] for name, argument in arguments.items() if "default" in argument}
    key = str(project.path / ".pegasus/aws/us-east-1/Bench/id_ed25519")
    changed = {"environment": "Bench", "groups": GROUPS, "private_key_file": key, "timeout": 30}
    spec = Spec.from_params(defaults | changed | {"allowed_cidrs": ["127.0.0.0/8"]})
    return launch.present(next_client(server), spec, check=False)


def check_recovery(project: Checkout, server: Ec2Server, live: Live) -> None:
    """Check that the next run creates what is missing and no more, and that destroy leaves nothing."""
    set_up(project, server)
    assert sorted(live()) == NAMES
    assert set_up(project, server).changes == []
    assert len(destroy(server).terminated) == len(NAMES)
    check_nothing_is_left(server, live)


def check_nothing_is_left(server: Ec2Server, live: Live) -> None:
    ec2 = server.client()
    assert live() == {}
    assert ec2.describe_key_pairs()["KeyPairs"] == []
    assert [group["GroupName"] for group in ec2.describe_security_groups()["SecurityGroups"]] == ["default"]
    assert ec2.describe_volumes()["Volumes"] == []


def messages(run: Any) -> str:
    return "\n".join(str(failure["message"]) for failure in run.end["failures"])


def next_steps(run: Any) -> str:
    return "\n".join([*run.end["next_steps"], *(str(failure["next_step"]) for failure in run.end["failures"])])


def described_since_tagged(server: Ec2Server) -> int:
    """The number of DescribeInstances calls. The first finishes the module's wait, the second is the inventory's."""
    actions = [call.action for call in server.calls]
    return actions[actions.index("CreateTags") :].count("DescribeInstances") if "CreateTags" in actions else 0


def test_throttled_calls_are_retried(server: Ec2Server, checkout: Make, live: Live) -> None:
    """EC2 refuses the first request of each action, and every fifth after that."""
    seen: dict[str, int] = {}

    def throttle(call: Call, number: int) -> str | None:
        seen[call.name] = seen.get(call.name, 0) + 1
        return "RequestLimitExceeded" if call.service == "ec2" and seen[call.name] % 5 == 1 else None

    server.faults.append(throttle)
    project = checkout()
    run = project.driver("setup")
    assert run.code == ExitCode.SSH, run.text
    assert sorted(live()) == NAMES
    seen.clear()
    done = project.driver("destroy")
    assert done.code == ExitCode.OK, done.text
    check_nothing_is_left(server, live)


@pytest.mark.parametrize(
    ("fault", "code", "message", "next_step"),
    [
        pytest.param(
            refuse("InsufficientInstanceCapacity", "RunInstances", matches=lambda call: "c6i" in str(call.parameters)),
            ExitCode.EC2, "InsufficientInstanceCapacity", "Try another zone (ec2_provision_zones", id="capacity",
        ),
        pytest.param(
            refuse("VcpuLimitExceeded", "RunInstances", matches=lambda call: "i4i" in str(call.parameters)),
            ExitCode.EC2, "VcpuLimitExceeded", "request a higher limit", id="quota",
        ),
        pytest.param(
            refuse("UnauthorizedOperation", "RunInstances", dry=True),
            ExitCode.EC2, "EC2 refused to launch 3 x i4i.large (server): UnauthorizedOperation",
            "docs/iam-policy.generated.json", id="permission",
        ),
        pytest.param(
            refuse("UnauthorizedOperation", "CreateTags"),
            ExitCode.EC2, "EC2 refused to tag 5 instances: UnauthorizedOperation", "docs/iam-policy.generated.json",
            id="permission, halfway",
        ),
        pytest.param(
            lambda call, number: "ExpiredToken" if number > 23 else None,
            ExitCode.EC2, "ExpiredToken", "Check the access key of this account", id="credentials expire halfway",
        ),
    ],
)  # fmt: skip
def test_a_refusal(
    server: Ec2Server, checkout: Make, live: Live, fault: Any, code: ExitCode, message: str, next_step: str
) -> None:
    server.faults.append(fault)
    project = checkout()
    run = project.driver("setup")
    assert run.code == code, run.text
    assert message in messages(run)
    assert next_step in next_steps(run)
    # Each group is complete or missing.
    groups = {name.rsplit("-", 1)[0] for name in live()}
    assert sorted(live()) == [name for name in NAMES if name.rsplit("-", 1)[0] in groups]
    check_recovery(project, server, live)


def test_one_setup_reports_every_problem(server: Ec2Server, checkout: Make, live: Live) -> None:
    """An unknown type, missing permissions, and a price above the limit that nobody can confirm."""
    server.faults.append(refuse("UnauthorizedOperation", "RunInstances", dry=True))
    server.faults.append(refuse("UnauthorizedOperation", "ImportKeyPair", dry=True))
    run = checkout(ec2_provision_monitoring_instance_type="t3.huge", ec2_provision_prices={"*": 3}).driver("setup")
    assert run.code == ExitCode.EC2, run.text
    (failure,) = run.end["failures"]
    for text in (
        "ec2_provision_monitoring_instance_type: found 't3.huge', expected an instance type that EC2 offers",
        "15.00 USD an hour is above the limit of 10.00",
        "EC2 refused to launch 3 x i4i.large (server): UnauthorizedOperation",
        "EC2 refused to import key pair: UnauthorizedOperation",
    ):
        assert failure["message"].count(text) == 1, failure["message"]
    assert "has no instance type" not in failure["message"] and "--yes" in failure["message"]
    check_nothing_is_left(server, live)


def test_credentials_that_expire_after_the_launch_are_reported(server: Ec2Server, checkout: Make, live: Live) -> None:
    """The inventory can't be read any more: for Ansible that is a warning, and no hosts."""
    expired = False

    def expire(call: Call, number: int) -> str | None:
        nonlocal expired
        expired = expired or call.action == "CreateTags"
        return "ExpiredToken" if expired and call.action == "DescribeInstances" and running() else None

    def running() -> bool:
        """Whether the module has seen its instances running and tagged."""
        return described_since_tagged(server) > 1

    server.faults.append(expire)
    project = checkout()
    run = project.driver("setup")
    assert run.code == ExitCode.EC2, run.text
    assert "ExpiredToken" in messages(run)
    assert sorted(live()) == NAMES
    check_recovery(project, server, live)


def test_an_instance_terminates_at_launch(server: Ec2Server, checkout: Make, live: Live) -> None:
    def end(call: Call, number: int) -> None:
        if call.action == "CreateTags":
            # Before the next description: the server answers one request at a time, and this one isn't finished.
            ec2_backends["123456789012"]["us-east-1"].terminate_instances([call.parameters["ResourceId.1"]])

    server.faults.append(end)
    reason = b"Server.InternalError: Internal error on launch"

    def explain(call: Call, answer: bytes) -> bytes:
        return re.sub(rb"(<stateReason>.*?<message>)[^<]*", rb"\1" + reason, answer, flags=re.S)

    server.edits.append(explain)
    project = checkout()
    run = project.driver("setup")
    assert run.code == ExitCode.EC2, run.text
    assert "Expected every instance to run, but 1 terminated" in messages(run)
    assert "Internal error on launch" in messages(run)
    assert len(live()) == 4
    assert len(set_up(project, server).launched) == 1
    assert len(live()) == 5
    destroy(server)
    check_nothing_is_left(server, live)


def test_an_instance_without_ssh(server: Ec2Server, checkout: Make, live: Live) -> None:
    project = checkout()
    run = project.driver("setup")
    assert run.code == ExitCode.SSH, run.text
    assert {failure["host"] for failure in run.end["failures"]} == set(NAMES)
    assert "Connection refused" in messages(run)
    assert "security group lets this machine in" in next_steps(run)
    # status reports the instances and their cost nevertheless.
    status = project.driver("status")
    assert status.code == ExitCode.OK, status.text
    assert {node["service"] for node in status.end["report"]["nodes"]} == {"unreachable by ssh"}
    assert status.end["report"]["cost"] and status.end["report"]["expires"] != "never"
    # No node is launched that couldn't join.
    grown = project.driver("add-nodes", "1")
    assert grown.code == ExitCode.SSH, grown.text
    assert sorted(live()) == NAMES
    check_recovery(project, server, live)


def test_nodes_beyond_the_licence_are_not_launched(server: Ec2Server, checkout: Make, live: Live) -> None:
    """The licence allows the three configured nodes. Existing and added nodes count."""
    project = checkout(aerospike_server_features_file="features.conf")
    (project.path / "features.conf").write_text("serial-number 4711\nasdb-cluster-nodes-limit 4\n")

    def grow(more: int) -> Run:
        values = {"ec2_provision_kinds": ["server"], "ec2_provision_add": {"server": more}}
        kind = {"name": "aerospike_community.pegasus.ec2_provision"}
        task = {"name": "Provision", "ansible.builtin.import_role": kind, "vars": values}
        play = {"name": "Grow", "hosts": "localhost", "connection": "local", "gather_facts": False, "tasks": [task]}
        (project.path / "grow.yml").write_text(yaml.safe_dump([play]))
        return project.driver("run", "grow.yml")

    assert grow(0).code == ExitCode.OK
    run = grow(2)
    assert run.code == ExitCode.CONFIGURATION, run.text
    assert "would have 5 nodes, the 3 that exist and 2 new" in messages(run)
    assert "the licence (aerospike_server_features_file) is for 4" in messages(run) and "4711" not in run.text
    assert len(live()) == 3
    assert grow(1).code == ExitCode.OK
    assert len(live()) == 4
    destroy(server)
    check_nothing_is_left(server, live)


@pytest.mark.parametrize(
    "listed",
    [
        pytest.param(True, id="after the inventory was read"),
        pytest.param(False, id="before the inventory is read"),
    ],
)
def test_an_instance_terminates_during_setup(server: Ec2Server, checkout: Make, live: Live, listed: bool) -> None:
    """It was running when setup waited for it. EC2 or ssh reports it as lost; the next run launches a replacement."""

    def lose(call: Call, number: int) -> None:
        if call.action == "DescribeInstances" and described_since_tagged(server) == 2:
            client, ident = server.client(), launched[0]
            lost.add(ident)
            if listed:
                threading.Thread(target=lambda: client.terminate_instances(InstanceIds=[ident])).start()
            else:
                ec2_backends["123456789012"]["us-east-1"].terminate_instances([ident])

    launched: list[str] = []
    lost: set[str] = set()

    def note(call: Call, answer: bytes) -> bytes:
        if call.action == "RunInstances":
            launched.extend(re.findall(r"<instanceId>(i-[0-9a-f]+)</instanceId>", answer.decode()))
        return answer

    server.faults.append(lose)
    server.edits.append(note)
    project = checkout()
    run = project.driver("setup")
    assert run.code == (ExitCode.SSH if listed else ExitCode.EC2), run.text
    if not listed:
        assert "is terminated" in messages(run)
        assert "expected it to be running, as it was after the launch" in messages(run)
        assert "it launches a replacement" in next_steps(run)
    until(lambda: len(live()) == 4)
    assert len(set_up(project, server).launched) == 1
    assert len(live()) == 5 and len(lost) == 1 and not lost & {instance.id for instance in live().values()}
    destroy(server)
    check_nothing_is_left(server, live)


def test_new_instances_are_not_listed_for_five_seconds(server: Ec2Server, checkout: Make, live: Live) -> None:
    """A second launch would create a second set of nodes."""
    launched_at: dict[bytes, float] = {}

    def forget(call: Call, answer: bytes) -> bytes:
        if call.action == "RunInstances":
            for ident in re.findall(rb"<instanceId>(i-[0-9a-f]+)</instanceId>", answer):
                launched_at.setdefault(ident, time.monotonic())
        if call.action != "DescribeInstances":
            return answer

        def keep(match: re.Match[bytes]) -> bytes:
            hidden = any(ident in match[0] and time.monotonic() - since < 5 for ident, since in launched_at.items())
            return b"" if hidden else match[0]

        return re.sub(rb"<item>\s*<reservationId>.*?</instancesSet>.*?</item>", keep, answer, flags=re.S)

    server.edits.append(forget)
    project = checkout()
    began = time.monotonic()
    run = project.driver("setup")
    assert run.code == ExitCode.SSH, run.text
    assert time.monotonic() - began > 5 and len(launched_at) == 5
    assert sorted(live()) == NAMES
    assert {failure["host"] for failure in run.end["failures"]} == set(NAMES)
    check_recovery(project, server, live)


def until(condition: Callable[[], bool], seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)
