"""Start, stop, crashes, concurrent starts and refusals of a cloud. Needs a container engine."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from local_cloud import LocalCloudError
from local_cloud import cloud as local_cloud
from local_cloud.settings import Settings
from local_cloud.status import daemon_pid

pytestmark = pytest.mark.docker


def test_start_stop_leaves_nothing(cloud_root, helpers):
    assert local_cloud.stop(cloud_root, print) is False
    assert local_cloud.status(cloud_root).running is False
    running = helpers.start_cloud(cloud_root)
    instance = running.launch_running(instance_type="i4i.large")
    status = local_cloud.status(cloud_root)
    facts = json.loads((cloud_root / ".pegasus/local-cloud/facts.json").read_text())
    assert facts["pid"] == status.pid
    assert facts["endpoint_url"] == status.endpoint_url == "http://127.0.0.1:4571"
    assert facts["mirror_url"] == status.mirror_url == "http://172.30.0.1:8570"
    assert facts["disks"] == status.disks
    assert bool(facts["disks_reason"]) != facts["disks"]
    assert facts["network"] == "172.30.0.0/16"
    assert (cloud_root / ".pegasus/local-cloud").stat().st_mode & 0o777 == 0o700
    assert local_cloud.leftovers(cloud_root) == []

    keys = cloud_root / ".pegasus/local/us-east-1/Bench"
    keys.mkdir(parents=True)
    (keys / "id_ed25519").touch()
    again = local_cloud.start(cloud_root, print)
    assert again.pid == status.pid
    assert local_cloud.stop(cloud_root, print, if_empty=True) is False
    assert running.state(instance) == "running"
    assert local_cloud.stop(cloud_root, print) is True
    assert not (cloud_root / ".pegasus/local").exists()
    assert set(helpers.traces(cloud_root).values()) == {""}
    assert local_cloud.leftovers(cloud_root) == []
    assert local_cloud.stop(cloud_root, print) is False


def test_without_an_engine_leftovers_are_unknown(cloud_root, monkeypatch):
    monkeypatch.setenv("DOCKER_HOST", "unix:///nonexistent.sock")
    for call in (local_cloud.leftovers, lambda root: local_cloud.stop(root, print)):
        with pytest.raises(LocalCloudError, match="engine"):
            call(cloud_root)


def test_a_start_to_remove_builds_nothing(cloud, helpers, monkeypatch):
    """After a crash and with a full disk the instances can still be terminated."""
    instance = cloud.launch_running()
    _kill_daemon(cloud.root, helpers)
    monkeypatch.setattr("local_cloud.preflight.SPACE_TO_RUN", 10**18)
    monkeypatch.setattr(local_cloud, "build_mirror", lambda *_: pytest.fail("builds packages"))
    with pytest.raises(LocalCloudError, match="GiB free"):
        local_cloud.start(cloud.root, print)
    local_cloud.start(cloud.root, print, to_remove=True)
    cloud.ec2.terminate_instances(InstanceIds=[instance])
    cloud.wait_state(instance, "terminated")
    assert local_cloud.stop(cloud.root, print, if_empty=True) is True


def test_stop_if_empty_stops_a_cloud_whose_instances_are_terminated(cloud, helpers):
    instance = cloud.launch_running()
    cloud.ec2.terminate_instances(InstanceIds=[instance])
    cloud.wait_state(instance, "terminated")
    assert local_cloud.stop(cloud.root, print, if_empty=True) is True
    assert set(helpers.traces(cloud.root).values()) == {""}


def _kill_daemon(root, helpers):
    pid = local_cloud.status(root).pid
    os.kill(pid, signal.SIGKILL)
    helpers.wait_until(lambda: not local_cloud.status(root).running, "the daemon has exited")


def test_start_waits_for_the_daemon_of_a_start_that_was_killed(cloud_root, helpers):
    """The start is killed after the daemon took its lock and before it answers."""
    code = "import pathlib, sys; from local_cloud import cloud; cloud.start(pathlib.Path(sys.argv[1]), print)"
    helpers.start_cloud(cloud_root)
    local_cloud.stop(cloud_root, print)  # the image exists now, so that the next start is quick
    starter = subprocess.Popen([sys.executable, "-c", code, str(cloud_root)])
    settings = Settings.from_environment(cloud_root)
    pid = helpers.wait_until(lambda: daemon_pid(settings), "the daemon has its lock")
    starter.kill()
    starter.wait()
    assert local_cloud.start(cloud_root, print).pid == pid
    assert local_cloud.stop(cloud_root, print) is True


def test_start_adopts_the_leftovers_of_a_killed_daemon(cloud, helpers):
    instance = cloud.launch_running(instance_type="i4i.large")
    (stopped,) = cloud.launch()
    cloud.wait_state(stopped, "running")
    cloud.ec2.stop_instances(InstanceIds=[stopped])
    cloud.wait_state(stopped, "stopped")
    ending = cloud.launch_running(InstanceInitiatedShutdownBehavior="terminate")
    boot = cloud.boot_id(instance)
    before = dataclasses.asdict(local_cloud.status(cloud.root))
    disks = before["disks"]
    disk = cloud.ssh(instance, "ls /dev/disk/by-id").strip() if disks else ""

    _kill_daemon(cloud.root, helpers)
    left = "\n".join(local_cloud.leftovers(cloud.root))
    assert f"container pegasus-{instance} (running)" in left
    assert "network pegasus-local-4571" in left
    # Without a daemon: an instance powers itself off, and a container without an instance appears.
    helpers.docker("exec", f"pegasus-{ending}", "systemctl", "poweroff")
    helpers.docker(
        "run", "--detach", "--name", "pegasus-i-unknown", "--label", "pegasus.instance-id=i-unknown",
        "--label", f"pegasus.local-cloud={cloud.root}/.pegasus/local-cloud", "--entrypoint", "sleep",
        before["image"], "300",
    )  # fmt: skip

    after = local_cloud.start(cloud.root, print)
    assert after.pid != before["pid"]
    cloud.wait_state(ending, "terminated")
    assert cloud.state(instance) == "running"
    assert cloud.state(stopped) == "stopped"
    assert cloud.boot_id(instance) == boot, "the instance wasn't restarted"
    helpers.wait_until(lambda: "i-unknown" not in helpers.docker("ps", "--all"), "the unknown container is removed")
    if disks:
        cloud.ssh(instance, f"sudo sfdisk --quiet /dev/disk/by-id/{disk}", stdin="label: gpt\n,\n")
        helpers.wait_until(
            lambda: cloud.ssh(instance, f"ls /dev/disk/by-id/{disk}-part1", check=False), "new partitions appear again"
        )
    cloud.ec2.start_instances(InstanceIds=[stopped])
    cloud.wait_state(stopped, "running")


def test_stop_cleans_up_after_a_killed_daemon(cloud, helpers):
    cloud.launch_running(instance_type="i4i.large")
    _kill_daemon(cloud.root, helpers)
    assert local_cloud.stop(cloud.root, print, if_empty=True) is False
    assert local_cloud.stop(cloud.root, print) is True
    assert set(helpers.traces(cloud.root).values()) == {""}


def test_a_kill_during_a_launch_loses_no_instance(cloud, helpers):
    instances = cloud.launch(count=4)
    _kill_daemon(cloud.root, helpers)
    local_cloud.start(cloud.root, print)
    for instance in instances:
        cloud.wait_state(instance, "running")
        cloud.wait_ssh(instance)
    assert (
        len(
            helpers.docker(
                "ps", "--all", "--quiet", "--filter", f"label=pegasus.local-cloud={cloud.root}/.pegasus/local-cloud"
            ).split()
        )
        == 4
    )


def test_concurrent_starts_start_one_cloud(cloud_root):
    lines: list[str] = []
    gate = threading.Barrier(2)

    def start(_):
        gate.wait()
        return local_cloud.start(cloud_root, lines.append)

    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(start, range(2))
    assert first.pid == second.pid
    assert any("Waiting" in line for line in lines)


def test_a_port_in_use_is_reported_with_its_process(cloud_root, helpers):
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taken.bind(("127.0.0.1", 4571))
        taken.listen()
        with pytest.raises(LocalCloudError) as caught:
            local_cloud.start(cloud_root, print)
    assert "port 4571" in caught.value.message
    assert f"pid {os.getpid()}" in caught.value.message
    assert "PEGASUS_LOCAL_PORT" in caught.value.next_step
    assert set(helpers.traces(cloud_root).values()) == {""}


def test_an_overlapping_network_is_reported(cloud_root, helpers):
    helpers.docker("network", "create", "--subnet", "172.30.5.0/24", "pegasus-test-taken")
    try:
        with pytest.raises(LocalCloudError) as caught:
            local_cloud.start(cloud_root, print)
    finally:
        helpers.docker("network", "rm", "pegasus-test-taken")
    assert "pegasus-test-taken" in caught.value.message
    assert "PEGASUS_LOCAL_NETWORK" in caught.value.next_step
    assert set(helpers.traces(cloud_root).values()) == {""}


def test_a_start_with_other_settings_than_the_running_cloud_fails(cloud, monkeypatch):
    monkeypatch.setenv("PEGASUS_LOCAL_PORT", "4599")
    with pytest.raises(LocalCloudError, match=r"running at http://127\.0\.0\.1:4571"):
        local_cloud.start(cloud.root, print)
    # Status and stop use the running cloud's settings.
    assert local_cloud.status(cloud.root).endpoint_url == "http://127.0.0.1:4571"
    assert local_cloud.stop(cloud.root, print) is True
