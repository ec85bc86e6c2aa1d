"""The plan: which step follows from the state of an instance and its container."""

from __future__ import annotations

import pytest

from local_cloud.ec2.state import CODES, Instance
from local_cloud.engine import Container
from local_cloud.instances.plan import Action, plan


def instance_in(state, **more):
    values = {
        "id": "i-1", "name": "n", "type": "t3.micro", "state": state, "address": "172.30.0.4", "region": "us-east-1",
        "public_key": "", "user_data": b"", "on_power_off": "stop", "reboot_requested": False, "disks": 0,
    }  # fmt: skip
    return Instance(**{**values, **more})


def container_in(state):
    return Container("c-1", "pegasus-i-1", "i-1", state)


@pytest.mark.parametrize(
    ("state", "container", "action"),
    [
        ("pending", None, Action.LAUNCH),
        ("pending", "created", Action.LAUNCH),
        ("pending", "running", Action.RESUME),
        ("pending", "exited", Action.START),
        ("running", "running", None),
        ("running", "paused", None),
        ("running", "exited", Action.HANDLE_EXIT),
        ("running", None, Action.HANDLE_LOSS),
        ("stopping", "running", Action.STOP),
        ("stopping", "exited", Action.SETTLE_STOPPED),
        ("stopping", None, Action.SETTLE_STOPPED),
        ("stopped", "exited", None),
        ("stopped", "running", Action.STOP),
        ("stopped", None, Action.HANDLE_LOSS),
        ("shutting-down", "running", Action.REMOVE),
        ("shutting-down", None, Action.REMOVE),
        ("terminated", None, None),
        ("terminated", "exited", Action.REMOVE),
    ],
)
def test_plan(state, container, action):
    steps = plan([instance_in(state)], [container_in(container)] if container else [])
    assert [step.action for step in steps] == ([action] if action else [])


def test_every_state_has_a_plan_with_every_container():
    for state in CODES:
        for container in (None, "created", "running", "paused", "restarting", "removing", "exited", "dead"):
            plan([instance_in(state)], [container_in(container)] if container else [])


def test_a_requested_reboot_does_not_need_a_running_container():
    for container in ("running", "exited"):
        (step,) = plan([instance_in("running", reboot_requested=True)], [container_in(container)])
        assert step.action is Action.REBOOT


def test_a_container_without_an_instance_is_removed():
    (step,) = plan([], [container_in("running")])
    assert (step.action, step.instance_id, step.container) == (Action.REMOVE, "i-1", container_in("running"))
