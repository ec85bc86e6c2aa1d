"""The reconciler's loop with a fake engine and a fake EC2: launches, exits, failures, an engine that goes away."""

from __future__ import annotations

import dataclasses

import pytest
from docker.errors import APIError

from local_cloud.ec2.state import Instance
from local_cloud.engine import Container, EngineGone
from local_cloud.instances import reconciler as module
from local_cloud.instances.reconciler import Reconciler, first_files


def instance_in(state, **more):
    values = {
        "id": "i-1", "name": "n", "type": "t3.micro", "state": state, "address": "172.30.0.4", "region": "us-east-1",
        "public_key": "", "user_data": b"", "on_power_off": "stop", "reboot_requested": False, "disks": 0,
    }  # fmt: skip
    return Instance(**{**values, **more})


def test_first_files():
    files = first_files(instance_in("pending", user_data=b"#!/bin/sh\n", public_key="ssh-ed25519 AAAA x\n\n"))
    assert files["/home/admin/.ssh/authorized_keys"] == (b"ssh-ed25519 AAAA x\n", 0o600, 1000)
    assert files["/var/lib/pegasus/user-data"] == (b"#!/bin/sh\n", 0o600, 0)
    identity = files["/etc/machine-id"][0]
    assert len(identity) == 33
    other = first_files(instance_in("pending", id="i-2", public_key="", user_data=b""))
    assert set(other) == {"/etc/machine-id"}
    assert other["/etc/machine-id"][0] != identity


# --- The loop ---------------------------------------------------------------------------------------------------------


class FakeState:
    def __init__(self, *instances):
        self.by_id = {instance.id: instance for instance in instances}
        self.reasons = {}

    def instances(self):
        return list(self.by_id.values())

    def forget_old(self, now):
        pass

    def settle(self, instance_id, state, code="", reason=""):
        self.by_id[instance_id] = dataclasses.replace(self.by_id[instance_id], state=state)
        if reason:
            self.reasons[instance_id] = reason

    def move(self, instance_id, expected, state):
        if self.by_id[instance_id].state == expected:
            self.settle(instance_id, state)

    def begin_termination(self, instance_id, code, reason):
        self.settle(instance_id, "shutting-down", reason=reason)

    def rebooted(self, instance_id):
        self.by_id[instance_id] = dataclasses.replace(self.by_id[instance_id], reboot_requested=False)


class FakeEngine:
    def __init__(self):
        self.states = {}
        self.away = False
        self.refuse = ""
        self.exits_at_once = False
        self.exit_reason = ""
        self.calls = []
        self.unanswered = 0

    def _call(self, name):
        if self.away:
            raise EngineGone("connection refused")
        self.calls.append(name)
        if self.refuse and name == "create":
            raise APIError("500", explanation=self.refuse)

    def containers(self):
        if self.away:
            self.unanswered += 1
            raise EngineGone("connection refused")
        return [Container(key, f"pegasus-{key}", key, state) for key, state in self.states.items()]

    def create(self, instance_id, image, hostname, address, files, devices, device_rules):
        self._call("create")
        self.states[instance_id] = "created"
        return instance_id

    def start(self, container):
        self._call("start")
        self.states[container] = "exited" if self.exits_at_once else "running"
        return 0

    def stop(self, container):
        self._call("stop")
        self.states[container] = "exited"

    def remove(self, container):
        self._call("remove")
        self.states.pop(container, None)

    def why_stopped(self, container):
        return self.exit_reason

    def last_lines(self, container):
        return "Failed to mount cgroup"

    def watch(self, wake, stopping):
        stopping.wait(0.02)
        wake()


@pytest.fixture
def run(monkeypatch, helpers):
    monkeypatch.setattr(module, "ENGINE_RETRY", 0.02)
    running = []

    def start(state, engine):
        reconciler = Reconciler(state, engine, "image", None)
        reconciler.start()
        running.append(reconciler)
        return helpers.wait_until

    yield start
    for reconciler in running:
        reconciler.stop()


def test_a_launched_instance_becomes_running(run):
    state, engine = FakeState(instance_in("pending")), FakeEngine()
    wait = run(state, engine)
    wait(lambda: state.by_id["i-1"].state == "running", "the instance is running")
    assert engine.calls == ["create", "start"]


def test_instances_keep_their_states_while_the_engine_is_away(run):
    state, engine = FakeState(instance_in("running"), instance_in("pending", id="i-2")), FakeEngine()
    engine.states["i-1"] = "running"
    engine.away = True
    wait = run(state, engine)
    wait(lambda: engine.unanswered > 3, "several comparisons have failed")
    assert [instance.state for instance in state.instances()] == ["running", "pending"]
    engine.states["i-1"] = "exited"  # a stopping engine stops its containers
    engine.exit_reason = "halt"
    engine.away = False
    wait(lambda: state.by_id["i-2"].state == "running", "the launch continues")
    wait(lambda: engine.states["i-1"] == "running", "the stopped container is running again")
    assert state.by_id["i-1"].state == "running"


def test_a_launch_that_fails_repeatedly_is_terminated_with_the_reason(run):
    state, engine = FakeState(instance_in("pending")), FakeEngine()
    engine.refuse = "no space left on device"
    wait = run(state, engine)
    wait(lambda: state.by_id["i-1"].state == "terminated", "the instance is terminated")
    assert state.reasons["i-1"] == "Server.InternalError: no space left on device"
    assert engine.calls.count("create") == module.ATTEMPTS


def test_a_container_that_does_not_stay_up_is_terminated_with_its_output(run):
    state, engine = FakeState(instance_in("running")), FakeEngine()
    engine.states["i-1"] = "exited"
    engine.exits_at_once = True
    wait = run(state, engine)
    wait(lambda: state.by_id["i-1"].state == "terminated", "the instance is terminated")
    assert "Failed to mount cgroup" in state.reasons["i-1"]


@pytest.mark.parametrize(("behaviour", "expected"), [("stop", "stopped"), ("terminate", "terminated")])
def test_power_off_follows_the_shutdown_behaviour(run, behaviour, expected):
    state, engine = FakeState(instance_in("running", on_power_off=behaviour)), FakeEngine()
    engine.states["i-1"] = "exited"
    engine.exit_reason = "poweroff"
    wait = run(state, engine)
    wait(lambda: state.by_id["i-1"].state == expected, f"the instance is {expected}")


def test_callers_get_errors_while_the_engine_stays_away():
    now = [0.0]
    reconciler = Reconciler(None, None, "image", None, monotonic=lambda: now[0])
    assert reconciler.engine_away() == ""
    reconciler._record_engine(away=True, why="connection refused")
    now[0] = module.ENGINE_TIMEOUT - 1
    assert reconciler.engine_away() == "", "the engine may be restarting"
    reconciler._record_engine(away=True, why="connection refused")
    now[0] = module.ENGINE_TIMEOUT
    assert "connection refused" in reconciler.engine_away()
    reconciler._record_engine(away=False)
    assert reconciler.engine_away() == ""
