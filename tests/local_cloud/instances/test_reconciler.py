"""What is done about the difference between EC2's instances and the containers, and how failures end."""

from __future__ import annotations

import dataclasses
import threading

import pytest
from docker.errors import APIError

from local_cloud.ec2.endpoint import Instance
from local_cloud.engine import Container, EngineGone
from local_cloud.instances import reconciler as instances
from local_cloud.instances.reconciler import Act, Reconciler, first_files, plan

STATES = ("pending", "running", "stopping", "stopped", "shutting-down", "terminated")


def wanted(state, **more):
    values = {
        "id": "i-1", "name": "n", "type": "t3.micro", "state": state, "address": "172.30.0.4", "region": "us-east-1",
        "public_key": "ssh-ed25519 AAAA", "user_data": b"", "on_power_off": "stop", "reboot_wanted": False, "disks": 0,
    }  # fmt: skip
    return Instance(**{**values, **more})


def found(state):
    return Container("c-1", "pegasus-i-1", "i-1", state)


@pytest.mark.parametrize(
    ("state", "container", "act"),
    [
        ("pending", None, Act.LAUNCH),
        ("pending", "created", Act.LAUNCH),
        ("pending", "running", Act.RESUME),
        ("pending", "exited", Act.START),
        ("running", "running", None),
        ("running", "paused", None),
        ("running", "exited", Act.DOWN),
        ("running", None, Act.LOST),
        ("stopping", "running", Act.STOP),
        ("stopping", "exited", Act.SETTLE_STOPPED),
        ("stopping", None, Act.SETTLE_STOPPED),
        ("stopped", "exited", None),
        ("stopped", "running", Act.STOP),
        ("stopped", None, Act.LOST),
        ("shutting-down", "running", Act.REMOVE),
        ("shutting-down", None, Act.REMOVE),
        ("terminated", None, None),
        ("terminated", "exited", Act.REMOVE),
    ],
)
def test_plan(state, container, act):
    steps = plan([wanted(state)], [found(container)] if container else [])
    assert [step.act for step in steps] == ([act] if act else [])


def test_every_state_has_a_plan_with_every_container():
    for state in STATES:
        for container in (None, "created", "running", "paused", "restarting", "removing", "exited", "dead"):
            plan([wanted(state)], [found(container)] if container else [])


def test_a_wanted_reboot_is_done_whether_the_container_runs_or_not():
    for container in ("running", "exited"):
        (step,) = plan([wanted("running", reboot_wanted=True)], [found(container)])
        assert step.act is Act.REBOOT


def test_a_container_without_an_instance_goes():
    (step,) = plan([], [found("running")])
    assert (step.act, step.instance_id, step.container) == (Act.REMOVE, "i-1", found("running"))


def test_first_files():
    files = first_files(wanted("pending", user_data=b"#!/bin/sh\n", public_key="ssh-ed25519 AAAA x\n\n"))
    assert files["/home/admin/.ssh/authorized_keys"] == (b"ssh-ed25519 AAAA x\n", 0o600, 1000)
    assert files["/var/lib/pegasus/user-data"] == (b"#!/bin/sh\n", 0o600, 0)
    identity = files["/etc/machine-id"][0]
    assert len(identity) == 33
    other = first_files(wanted("pending", id="i-2", public_key="", user_data=b""))
    assert set(other) == {"/etc/machine-id"}
    assert other["/etc/machine-id"][0] != identity


# --- The loop, with an engine and an endpoint that only remember ------------------------------------------------------


class FakeEndpoint:
    def __init__(self, *listed):
        self.listed = {one.id: one for one in listed}
        self.reasons = {}

    def instances(self):
        return list(self.listed.values())

    def forget_old(self, now):
        pass

    def settle(self, instance_id, state, code="", reason=""):
        self.listed[instance_id] = dataclasses.replace(self.listed[instance_id], state=state)
        if reason:
            self.reasons[instance_id] = reason

    def move(self, instance_id, expected, state):
        if self.listed[instance_id].state == expected:
            self.settle(instance_id, state)

    def begin_termination(self, instance_id, code, reason):
        self.settle(instance_id, "shutting-down", reason=reason)

    def rebooted(self, instance_id):
        self.listed[instance_id] = dataclasses.replace(self.listed[instance_id], reboot_wanted=False)


class FakeEngine:
    def __init__(self):
        self.states = {}
        self.away = False
        self.refuse = ""
        self.ends_at_once = False
        self.last_act = ""
        self.calls = []

    def _call(self, name):
        if self.away:
            raise EngineGone("connection refused")
        self.calls.append(name)
        if self.refuse and name == "create":
            raise APIError("500", explanation=self.refuse)

    def containers(self):
        if self.away:
            raise EngineGone("connection refused")
        return [Container(key, f"pegasus-{key}", key, state) for key, state in self.states.items()]

    def create(self, plan):
        self._call("create")
        self.states[plan.instance_id] = "created"
        return plan.instance_id

    def start(self, container):
        self._call("start")
        self.states[container] = "exited" if self.ends_at_once else "running"
        return 0

    def stop(self, container):
        self._call("stop")
        self.states[container] = "exited"

    def remove(self, container):
        self._call("remove")
        self.states.pop(container, None)

    def why_stopped(self, container):
        return self.last_act

    def last_lines(self, container):
        return "Failed to mount cgroup"

    def watch(self, wake, stopping):
        stopping.wait(0.02)
        wake()


@pytest.fixture
def run(monkeypatch, helpers):
    monkeypatch.setattr(instances, "ENGINE_RETRY", 0.02)
    running = []

    def start(endpoint, engine):
        reconciler = Reconciler(endpoint, engine, "image", None)
        reconciler.start()
        running.append(reconciler)
        return lambda condition, what: helpers.wait_until(condition, what, 10)

    yield start
    for reconciler in running:
        reconciler.stop()


def test_a_launch_ends_in_running(run):
    endpoint, engine = FakeEndpoint(wanted("pending")), FakeEngine()
    wait = run(endpoint, engine)
    wait(lambda: endpoint.listed["i-1"].state == "running", "it runs")
    assert engine.calls == ["create", "start"]


def test_an_engine_that_goes_away_changes_no_instance_and_work_goes_on_when_it_is_back(run):
    endpoint, engine = FakeEndpoint(wanted("running"), wanted("pending", id="i-2")), FakeEngine()
    engine.states["i-1"] = "running"
    engine.away = True
    wait = run(endpoint, engine)
    seen = threading.Event()
    seen.wait(0.2)  # several looks
    assert [one.state for one in endpoint.instances()] == ["running", "pending"]
    engine.states["i-1"] = "exited"  # the engine's own end has stopped it
    engine.last_act = "halt"
    engine.away = False
    wait(lambda: endpoint.listed["i-2"].state == "running", "the launch goes on")
    wait(lambda: engine.states["i-1"] == "running", "what the engine stopped runs again")
    assert endpoint.listed["i-1"].state == "running"


def test_a_launch_that_is_refused_several_times_ends_with_the_reason(run):
    endpoint, engine = FakeEndpoint(wanted("pending")), FakeEngine()
    engine.refuse = "no space left on device"
    wait = run(endpoint, engine)
    wait(lambda: endpoint.listed["i-1"].state == "terminated", "it ended")
    assert endpoint.reasons["i-1"] == "Server.InternalError: no space left on device"
    assert engine.calls.count("create") == instances.ATTEMPTS


def test_a_container_that_never_stays_up_ends_with_its_last_lines(run):
    endpoint, engine = FakeEndpoint(wanted("running")), FakeEngine()
    engine.states["i-1"] = "exited"
    engine.ends_at_once = True
    wait = run(endpoint, engine)
    wait(lambda: endpoint.listed["i-1"].state == "terminated", "it ended")
    assert "Failed to mount cgroup" in endpoint.reasons["i-1"]


@pytest.mark.parametrize(("behaviour", "state"), [("stop", "stopped"), ("terminate", "terminated")])
def test_power_off(run, behaviour, state):
    endpoint, engine = FakeEndpoint(wanted("running", on_power_off=behaviour)), FakeEngine()
    engine.states["i-1"] = "exited"
    engine.last_act = "poweroff"
    wait = run(endpoint, engine)
    wait(lambda: endpoint.listed["i-1"].state == state, f"it is {state}")


def test_callers_of_ec2_are_told_of_an_engine_that_stays_away():
    now = [0.0]
    reconciler = Reconciler(None, None, "image", None, monotonic=lambda: now[0])
    assert reconciler.engine_away() == ""
    reconciler._engine_is(away=True, why="connection refused")
    now[0] = instances.ENGINE_PATIENCE - 1
    assert reconciler.engine_away() == "", "an engine that restarts is waited for"
    reconciler._engine_is(away=True, why="connection refused")
    now[0] = instances.ENGINE_PATIENCE
    assert "connection refused" in reconciler.engine_away()
    reconciler._engine_is(away=False)
    assert reconciler.engine_away() == ""
