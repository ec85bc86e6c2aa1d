"""What goes wrong in EC2: each with a clear message, the right exit code, a next run that converges, and nothing left.

The whole driver runs, with all of Ansible, against a server that refuses, forgets and ends. There is no ssh at the
instances' addresses, so a run whose EC2 side is in order ends with exit code 4 at the first host.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
import yaml
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.ec2 import launch as ec2_launch
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.ec2 import removal as ec2_removal
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.ec2.api import Ec2
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

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]  # whole runs of the driver, on a machine that may be busy


def refuse(code: str, action: str, *, dry: bool = False, more: Callable[[Call], bool] = lambda call: True) -> Any:
    """A fault for one action; dry runs have to be named."""

    def fault(call: Call, number: int) -> str | None:
        is_dry = call.parameters.get("DryRun") == "true"
        return code if call.action == action and is_dry == dry and more(call) else None

    return fault


def next_client(server: Ec2Server) -> Ec2:
    """What the next run calls EC2 with, which works again."""
    server.faults.clear()
    server.edits.clear()
    return Ec2("Bench", region="us-east-1", endpoint_url=server.url, access_key="next", secret_key="run")


def gone(server: Ec2Server) -> ec2_removal.Removal:
    """What the module does for destroy, without Ansible around it."""
    return ec2_removal.remove(next_client(server), 30, check=False)


def again(project: Checkout, server: Ec2Server) -> ec2_launch.Outcome:
    """What the module does for the next setup, without Ansible around it."""
    defaults = {key: one["default"] for key, one in ec2_environment.ARGUMENTS.items() if "default" in one}
    group = {key: one.get("default") for key, one in ec2_environment.ARGUMENTS["groups"]["options"].items()}
    groups = [group | one for one in GROUPS]
    key = str(project.path / ".pegasus/aws/us-east-1/Bench/id_ed25519")
    asked = defaults | {"environment": "Bench", "groups": groups, "private_key_file": key}
    wish = ec2_environment.wish_from(asked | {"allowed_cidrs": ["127.0.0.0/8"], "timeout": 30})
    return ec2_launch.present(next_client(server), wish, check=False)


def converges_and_goes(project: Checkout, server: Ec2Server, live: Live) -> None:
    """The next run makes what is missing and no more; destroy leaves nothing with the environment's tag."""
    again(project, server)
    assert sorted(live()) == NAMES
    assert again(project, server).changes == []
    assert len(gone(server).terminated) == len(NAMES)
    nothing_is_left(server, live)


def nothing_is_left(server: Ec2Server, live: Live) -> None:
    ec2 = server.client()
    assert live() == {}
    assert ec2.describe_key_pairs()["KeyPairs"] == []
    assert [one["GroupName"] for one in ec2.describe_security_groups()["SecurityGroups"]] == ["default"]
    assert ec2.describe_volumes()["Volumes"] == []


def messages(run: Any) -> str:
    return "\n".join(str(one["message"]) for one in run.end["failures"])


def next_steps(run: Any) -> str:
    return "\n".join([*run.end["next_steps"], *(str(one["next_step"]) for one in run.end["failures"])])


def described_since_tagged(server: Ec2Server) -> int:
    """How often, this time included. The first one ends the module's wait, the second is the inventory."""
    actions = [one.action for one in server.calls]
    return actions[actions.index("CreateTags") :].count("DescribeInstances") if "CreateTags" in actions else 0


def test_throttling_on_every_call_is_waited_out(server: Ec2Server, checkout: Make, live: Live) -> None:
    """EC2 refuses the first request of each kind, and every fifth after that."""
    seen: dict[str, int] = {}

    def throttle(call: Call, number: int) -> str | None:
        seen[call.name] = seen.get(call.name, 0) + 1
        return "RequestLimitExceeded" if call.service == "ec2" and seen[call.name] % 5 == 1 else None

    server.faults.append(throttle)
    project = checkout()
    run = project.driver("setup")
    assert run.code == ExitCode.SSH, run.said
    assert sorted(live()) == NAMES
    seen.clear()
    done = project.driver("destroy")
    assert done.code == ExitCode.OK, done.said
    nothing_is_left(server, live)


@pytest.mark.parametrize(
    ("fault", "code", "said", "advice"),
    [
        pytest.param(
            refuse("InsufficientInstanceCapacity", "RunInstances", more=lambda call: "c6i" in str(call.parameters)),
            ExitCode.EC2, "InsufficientInstanceCapacity", "Try another zone (ec2_provision_zones", id="capacity",
        ),
        pytest.param(
            refuse("VcpuLimitExceeded", "RunInstances", more=lambda call: "i4i" in str(call.parameters)),
            ExitCode.EC2, "VcpuLimitExceeded", "ask AWS for a higher limit", id="quota",
        ),
        pytest.param(
            refuse("UnauthorizedOperation", "RunInstances", dry=True),
            ExitCode.EC2, "EC2 refused to launch 3 x i4i.large (server): UnauthorizedOperation",
            "docs/iam-policy.json", id="permission",
        ),
        pytest.param(
            refuse("UnauthorizedOperation", "CreateTags"),
            ExitCode.EC2, "EC2 refused to tag 5 instances: UnauthorizedOperation", "docs/iam-policy.json",
            id="permission half-way",
        ),
        pytest.param(
            lambda call, number: "ExpiredToken" if number > 23 else None,
            ExitCode.EC2, "ExpiredToken", "Check the access key of this account", id="credentials expire half-way",
        ),
    ],
)  # fmt: skip
def test_a_refusal(
    server: Ec2Server, checkout: Make, live: Live, fault: Any, code: ExitCode, said: str, advice: str
) -> None:
    server.faults.append(fault)
    project = checkout()
    run = project.driver("setup")
    assert run.code == code, run.said
    assert said in messages(run)
    assert advice in next_steps(run)
    # A group is there whole or not at all.
    groups = {name.rsplit("-", 1)[0] for name in live()}
    assert sorted(live()) == [name for name in NAMES if name.rsplit("-", 1)[0] in groups]
    converges_and_goes(project, server, live)


def test_one_setup_tells_all_that_stands_against_it(server: Ec2Server, checkout: Make, live: Live) -> None:
    """A type that isn't there, permissions that are missing, and a price above the limit that nobody can say yes to."""
    server.faults.append(refuse("UnauthorizedOperation", "RunInstances", dry=True))
    server.faults.append(refuse("UnauthorizedOperation", "ImportKeyPair", dry=True))
    run = checkout(ec2_provision_monitoring_instance_type="t3.huge", ec2_provision_prices={"*": 3}).driver("setup")
    assert run.code == ExitCode.EC2, run.said
    (failure,) = run.end["failures"]
    for text in (
        "ec2_provision_monitoring_instance_type: found 't3.huge', expected an instance type that EC2 offers",
        "15.00 USD an hour are above the limit of 10.00",
        "EC2 refused to launch 3 x i4i.large (server): UnauthorizedOperation",
        "EC2 refused to import key pair: UnauthorizedOperation",
    ):
        assert failure["message"].count(text) == 1, failure["message"]
    assert "has no instance type" not in failure["message"] and "--yes" in failure["message"]
    nothing_is_left(server, live)


def test_credentials_that_expire_after_the_launch_are_called_that(
    server: Ec2Server, checkout: Make, live: Live
) -> None:
    """The inventory can't be read any more: for Ansible that is a warning, and no hosts."""
    gone = False

    def expire(call: Call, number: int) -> str | None:
        nonlocal gone
        gone = gone or call.action == "CreateTags"
        return "ExpiredToken" if gone and call.action == "DescribeInstances" and running() else None

    def running() -> bool:
        """Once the module has seen what it waits for: its instances, tagged."""
        return described_since_tagged(server) > 1

    server.faults.append(expire)
    project = checkout()
    run = project.driver("setup")
    assert run.code == ExitCode.EC2, run.said
    assert "ExpiredToken" in messages(run)
    assert sorted(live()) == NAMES
    converges_and_goes(project, server, live)


def test_an_instance_that_goes_straight_to_terminated(server: Ec2Server, checkout: Make, live: Live) -> None:
    def end(call: Call, number: int) -> None:
        if call.action == "CreateTags":
            # At once, so before the next description: the server answers one request at a time, this one isn't over.
            ec2_backends["123456789012"]["us-east-1"].terminate_instances([call.parameters["ResourceId.1"]])

    server.faults.append(end)
    reason = b"Server.InternalError: Internal error on launch"

    def explain(call: Call, answer: bytes) -> bytes:
        return re.sub(rb"(<stateReason>.*?<message>)[^<]*", rb"\1" + reason, answer, flags=re.S)

    server.edits.append(explain)
    project = checkout()
    run = project.driver("setup")
    assert run.code == ExitCode.EC2, run.said
    assert "Expected every instance to run, but EC2 ended 1" in messages(run)
    assert "Internal error on launch" in messages(run)
    assert len(live()) == 4
    assert len(again(project, server).launched) == 1
    assert len(live()) == 5
    gone(server)
    nothing_is_left(server, live)


def test_an_instance_that_never_gets_ssh(server: Ec2Server, checkout: Make, live: Live) -> None:
    project = checkout()
    run = project.driver("setup")
    assert run.code == ExitCode.SSH, run.said
    assert {one["host"] for one in run.end["failures"]} == set(NAMES)
    assert "Connection refused" in messages(run)
    assert "security group lets this machine in" in next_steps(run)
    # What exists and costs is told all the more.
    status = project.driver("status")
    assert status.code == ExitCode.OK, status.said
    assert {one["service"] for one in status.end["report"]["nodes"]} == {"unreachable by ssh"}
    assert status.end["report"]["cost"] and status.end["report"]["expires"] != "never"
    # A node that couldn't join isn't launched.
    grown = project.driver("add-nodes", "1")
    assert grown.code == ExitCode.SSH, grown.said
    assert sorted(live()) == NAMES
    converges_and_goes(project, server, live)


def test_nodes_beyond_the_licence_are_not_launched(server: Ec2Server, checkout: Make, live: Live) -> None:
    """The configuration asks for three, which the licence allows: what exists and what is added counts."""
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
    assert run.code == ExitCode.CONFIGURATION, run.said
    assert "would have 5 nodes, the 3 that exist and 2 new" in messages(run)
    assert "the licence (aerospike_server_features_file) is for 4" in messages(run) and "4711" not in run.said
    assert len(live()) == 3
    assert grow(1).code == ExitCode.OK
    assert len(live()) == 4
    gone(server)
    nothing_is_left(server, live)


@pytest.mark.parametrize(
    "listed",
    [
        pytest.param(True, id="after the inventory was read"),
        pytest.param(False, id="before the inventory is read"),
    ],
)
def test_an_instance_that_is_lost_in_the_middle(server: Ec2Server, checkout: Make, live: Live, listed: bool) -> None:
    """It ran when setup had waited for it. EC2 or ssh finds it gone; the next run launches another."""

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
    assert run.code == (ExitCode.SSH if listed else ExitCode.EC2), run.said
    if not listed:
        assert "is terminated" in messages(run) and "expected it to run, as it did a moment ago" in messages(run)
        assert "it launches another in its place" in next_steps(run)
    until(lambda: len(live()) == 4)
    assert len(again(project, server).launched) == 1
    assert len(live()) == 5 and len(lost) == 1 and not lost & {one.id for one in live().values()}
    gone(server)
    nothing_is_left(server, live)


def test_a_new_instance_that_is_not_listed_for_five_seconds(server: Ec2Server, checkout: Make, live: Live) -> None:
    """Every description misses them until then. A second launch would be a second set of nodes."""
    born: dict[bytes, float] = {}

    def forget(call: Call, answer: bytes) -> bytes:
        if call.action == "RunInstances":
            for ident in re.findall(rb"<instanceId>(i-[0-9a-f]+)</instanceId>", answer):
                born.setdefault(ident, time.monotonic())
        if call.action != "DescribeInstances":
            return answer

        def keep(match: re.Match[bytes]) -> bytes:
            hidden = any(ident in match[0] and time.monotonic() - since < 5 for ident, since in born.items())
            return b"" if hidden else match[0]

        return re.sub(rb"<item>\s*<reservationId>.*?</instancesSet>.*?</item>", keep, answer, flags=re.S)

    server.edits.append(forget)
    project = checkout()
    began = time.monotonic()
    run = project.driver("setup")
    assert run.code == ExitCode.SSH, run.said
    assert time.monotonic() - began > 5 and len(born) == 5
    assert sorted(live()) == NAMES
    assert {one["host"] for one in run.end["failures"]} == set(NAMES)
    converges_and_goes(project, server, live)


def until(condition: Callable[[], bool], seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)
