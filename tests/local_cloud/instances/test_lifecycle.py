"""Instances as containers: launch, ssh, user data, stop, start, reboot, power-off, terminate. Needs an engine."""

from __future__ import annotations

import urllib.request

import pytest
from botocore.exceptions import ClientError

from local_cloud import cloud as local_cloud

pytestmark = pytest.mark.docker


def test_an_instance_is_reachable_by_ssh(shared_cloud, helpers):
    instance = shared_cloud.launch_running(
        UserData="#!/bin/sh\necho started by $(id -un) on $(hostname)\n",
        TagSpecifications=[{"ResourceType": "instance", "Tags": [{"Key": "Name", "Value": "host-1"}]}],
    )
    described = shared_cloud.describe(instance)
    address = described["PrivateIpAddress"]
    assert address.startswith("172.30.")
    assert "PublicIpAddress" not in described
    hostname = "ip-" + address.replace(".", "-")
    assert shared_cloud.ssh(instance, "hostname").strip() == hostname
    assert shared_cloud.ssh(instance, "sudo id -un").strip() == "root"
    helpers.wait_until(
        lambda: "started by root" in shared_cloud.ssh(instance, "sudo cat /var/log/user-data.log", check=False),
        "the user data ran",
    )
    helpers.wait_until(
        lambda: shared_cloud.ssh(instance, "systemctl is-system-running", check=False).strip() == "running",
        "systemd has started everything",
    )
    # Debian would start these. Here an Ansible role does.
    assert shared_cloud.ssh(instance, "systemctl is-active prometheus prometheus-node-exporter ; true").split() == [
        "inactive",
        "inactive",
    ]
    (shown,) = [entry for entry in local_cloud.status(shared_cloud.root).instances if entry.id == instance]
    assert (shown.name, shown.type, shown.state, shown.address) == ("host-1", "t3.micro", "running", address)
    assert helpers.docker("ps", "--quiet", "--filter", f"name={shown.container}").strip()


def test_instances_reach_each_other_and_the_mirror(shared_cloud):
    first, second = shared_cloud.launch(count=2)
    for instance in (first, second):
        shared_cloud.wait_state(instance, "running")
        shared_cloud.wait_ssh(instance)
    other = shared_cloud.describe(second)["PrivateIpAddress"]
    assert shared_cloud.ssh(first, f"timeout 5 bash -c 'exec 3<>/dev/tcp/{other}/22; head -c 7 <&3'") == "SSH-2.0"
    url = local_cloud.status(shared_cloud.root).mirror_url
    assert shared_cloud.ssh(first, f"curl -fsS {url}/file") == "mirrored\n"
    with urllib.request.urlopen(f"{url}/", timeout=5) as listing:
        assert b'href="file"' in listing.read()


def test_user_data_that_is_not_a_script_is_refused(shared_cloud, helpers):
    instance = shared_cloud.launch_running(UserData="#cloud-config\npackages: [vim]\n")
    text = helpers.wait_until(
        lambda: shared_cloud.ssh(instance, "sudo cat /var/log/user-data.log", check=False), "the log has a line"
    )
    assert "refused" in text
    assert "#cloud-config" in text
    assert "refused" in (shared_cloud.root / ".pegasus/local-cloud/daemon.log").read_text()


def test_stop_and_start_keep_the_root_disk_and_run_user_data_once(shared_cloud, helpers):
    instance = shared_cloud.launch_running(UserData="#!/bin/sh\necho once >> /var/tmp/runs\n")
    helpers.wait_until(lambda: shared_cloud.ssh(instance, "cat /var/tmp/runs", check=False), "the user data ran")
    shared_cloud.ssh(instance, "echo kept > /home/admin/file")
    key = shared_cloud.ssh(instance, "cat /etc/ssh/ssh_host_ed25519_key.pub")
    address = shared_cloud.describe(instance)["PrivateIpAddress"]

    shared_cloud.ec2.stop_instances(InstanceIds=[instance])
    shared_cloud.wait_state(instance, "stopped")
    container = f"pegasus-{instance}"
    assert helpers.docker("inspect", "--format", "{{.State.Running}}", container).strip() == "false"
    assert shared_cloud.ssh(instance, "true", check=False) == ""

    shared_cloud.ec2.start_instances(InstanceIds=[instance])
    shared_cloud.wait_state(instance, "running")
    shared_cloud.wait_ssh(instance)
    assert shared_cloud.ssh(instance, "cat /home/admin/file") == "kept\n"
    assert shared_cloud.ssh(instance, "cat /etc/ssh/ssh_host_ed25519_key.pub") == key
    assert shared_cloud.describe(instance)["PrivateIpAddress"] == address
    assert shared_cloud.ssh(instance, "cat /var/tmp/runs") == "once\n"


@pytest.mark.parametrize("way", ["api", "inside"])
def test_reboot_restarts_the_instance(shared_cloud, helpers, way):
    instance = shared_cloud.launch_running()
    before = shared_cloud.boot_id(instance)
    if way == "api":
        shared_cloud.ec2.reboot_instances(InstanceIds=[instance])
    else:
        shared_cloud.ssh(instance, "sudo systemctl reboot", check=False)
    helpers.wait_until(lambda: shared_cloud.boot_id(instance) not in ("", before), "the instance has rebooted")
    assert shared_cloud.state(instance) == "running"


@pytest.mark.parametrize(("behaviour", "state"), [("stop", "stopped"), ("terminate", "terminated")])
def test_power_off_inside_follows_the_shutdown_behaviour(shared_cloud, helpers, behaviour, state):
    instance = shared_cloud.launch_running(InstanceInitiatedShutdownBehavior=behaviour)
    shared_cloud.ssh(instance, "sudo systemctl poweroff", check=False)
    shared_cloud.wait_state(instance, state)
    assert shared_cloud.describe(instance)["StateReason"]["Code"] == "Client.InstanceInitiatedShutdown"
    container = helpers.docker("ps", "--all", "--quiet", "--filter", f"name=pegasus-{instance}").strip()
    assert bool(container) == (behaviour == "stop")
    if behaviour == "stop":
        shared_cloud.ec2.start_instances(InstanceIds=[instance])
        shared_cloud.wait_state(instance, "running")
        shared_cloud.wait_ssh(instance)


def test_an_expiry_timer_terminates_the_instance(shared_cloud):
    instance = shared_cloud.launch_running(
        InstanceInitiatedShutdownBehavior="terminate",
        UserData="#!/bin/sh\nsystemd-run --on-active=2 --timer-property=AccuracySec=100ms systemctl poweroff\n",
    )
    shared_cloud.wait_state(instance, "terminated")


def test_a_container_that_is_killed_or_stopped_from_outside_is_restarted(shared_cloud, helpers):
    instance = shared_cloud.launch_running(InstanceInitiatedShutdownBehavior="terminate")
    before = shared_cloud.boot_id(instance)
    helpers.docker("kill", f"pegasus-{instance}")
    helpers.wait_until(lambda: shared_cloud.boot_id(instance) not in ("", before), "the instance is running again")
    before = shared_cloud.boot_id(instance)
    helpers.docker("stop", f"pegasus-{instance}")
    helpers.wait_until(lambda: shared_cloud.boot_id(instance) not in ("", before), "the instance is running again")
    assert shared_cloud.state(instance) == "running"


def test_a_container_that_is_removed_from_outside_terminates_its_instance(shared_cloud, helpers):
    instance = shared_cloud.launch_running()
    helpers.docker("rm", "--force", f"pegasus-{instance}")
    shared_cloud.wait_state(instance, "terminated")
    assert "container is missing" in shared_cloud.describe(instance)["StateReason"]["Message"]


def test_terminate_removes_the_container_and_frees_the_security_group(shared_cloud, helpers):
    group = shared_cloud.ec2.create_security_group(GroupName="terminate-test", Description="test")["GroupId"]
    instance = shared_cloud.launch_running(SecurityGroupIds=[group])
    shared_cloud.ec2.terminate_instances(InstanceIds=[instance])
    assert shared_cloud.state(instance) in ("shutting-down", "terminated")
    shared_cloud.wait_state(instance, "terminated")
    assert not helpers.docker("ps", "--all", "--quiet", "--filter", f"name=pegasus-{instance}").strip()
    shared_cloud.ec2.delete_security_group(GroupId=group)
    # As on EC2, a repeated call succeeds.
    shared_cloud.ec2.terminate_instances(InstanceIds=[instance])
    assert shared_cloud.state(instance) == "terminated"


def test_a_launch_that_the_engine_refuses_is_terminated_with_the_reason(shared_cloud, helpers):
    taken = "172.30.9.9"
    blocker = helpers.docker(
        "run", "--detach", "--network", "pegasus-local-4571", "--ip", taken, "--entrypoint", "sleep",
        local_cloud.status(shared_cloud.root).image, "300",
    ).strip()  # fmt: skip
    try:
        (instance,) = shared_cloud.launch(PrivateIpAddress=taken)
        shared_cloud.wait_state(instance, "terminated")
        reason = shared_cloud.describe(instance)["StateReason"]
        assert reason["Code"] == "Server.InternalError"
        assert "in use" in reason["Message"].lower()
    except ClientError as error:
        pytest.fail(f"the call itself was refused: {error}")
    finally:
        helpers.docker("rm", "--force", blocker)
