"""The EC2 endpoint without containers: EC2's behaviour that moto lacks. The tests set the containers' states."""

from __future__ import annotations

import copy
import os
import sys
from datetime import UTC, datetime, timedelta

import pytest
from botocore.exceptions import ClientError

from local_cloud.ec2 import moto_setup
from local_cloud.ec2.endpoint import Endpoint
from local_cloud.ec2.state import Ec2State

KEY = b"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJpYr3uKQ1dW0gzGg0tBnEb4b3RU1lJrN8rqFv2F3d1k test"


@pytest.fixture(scope="module")
def moto_environment(tmp_path_factory):
    """Import moto for this module only, in the daemon's environment.

    moto reads its environment when it is imported, and the endpoint changes one of its classes. Other tests in this
    process need a moto without both.
    """

    def remove_moto():
        names = [name for name in sys.modules if name.partition(".")[0] == "moto"]
        return {name: sys.modules.pop(name) for name in names}

    kept, other = dict(os.environ), remove_moto()
    moto_setup.prepare_environment(tmp_path_factory.mktemp("moto") / "images.json", "amd64")
    import moto.ec2.models
    import moto.server  # noqa: F401

    yield
    remove_moto()
    sys.modules.update(other)
    os.environ.clear()
    os.environ.update(kept)


@pytest.fixture
def start_endpoint(moto_environment, tmp_path, helpers):
    """Start an endpoint with the snapshot's state only; returns the endpoint and a client."""
    from moto.ec2.models import ec2_backends

    endpoints = []

    def start(region="us-east-1"):
        close_all()
        endpoint = Endpoint(Ec2State("172.30.0.0/16", tmp_path / "state.pickle"))
        endpoint.listen("127.0.0.1", 0)
        endpoints.append(endpoint)
        return endpoint, client(endpoint, region)

    def client(endpoint, region):
        return helpers.ec2_client(region, str(endpoint._server.server_port))

    def close_all():
        for endpoint in endpoints:
            endpoint.close()
        endpoints.clear()
        ec2_backends.clear()

    start.client = client
    yield start
    close_all()


def launch(ec2, **more):
    image = ec2.describe_images(Owners=[moto_setup.IMAGE_OWNER])["Images"][0]["ImageId"]
    request = {"ImageId": image, "InstanceType": "t3.micro", "MinCount": 1, "MaxCount": 1, **more}
    return ec2.run_instances(**request)["Instances"][0]["InstanceId"]


def state(ec2, instance):
    return ec2.describe_instances(InstanceIds=[instance])["Reservations"][0]["Instances"][0]["State"]["Name"]


def refusal(call, **parameters):
    with pytest.raises(ClientError) as caught:
        call(**parameters)
    return caught.value.response["Error"]["Code"]


def test_the_only_image_is_simulated(start_endpoint):
    _, ec2 = start_endpoint()
    (image,) = ec2.describe_images()["Images"]
    assert image["Name"] == "debian-12-amd64-pegasus-SIMULATED"
    assert (image["OwnerId"], image["Architecture"], image["RootDeviceName"]) == ("136693071363", "x86_64", "/dev/xvda")
    named = ec2.describe_images(
        Owners=["136693071363"],
        Filters=[{"Name": "name", "Values": ["debian-12-amd64-*"]}, {"Name": "architecture", "Values": ["x86_64"]}],
    )["Images"]
    assert [found["ImageId"] for found in named] == [image["ImageId"]]


def test_an_instance_passes_through_ec2s_states(start_endpoint):
    endpoint, ec2 = start_endpoint()
    instance = launch(ec2)
    assert state(ec2, instance) == "pending"
    assert endpoint.state.move(instance, "pending", "running")
    assert state(ec2, instance) == "running"
    ec2.stop_instances(InstanceIds=[instance])
    assert state(ec2, instance) == "stopping"
    assert refusal(ec2.start_instances, InstanceIds=[instance]) == "IncorrectInstanceState"
    endpoint.state.move(instance, "stopping", "stopped")
    assert refusal(ec2.reboot_instances, InstanceIds=[instance]) == "IncorrectInstanceState"
    ec2.start_instances(InstanceIds=[instance])
    assert state(ec2, instance) == "pending"
    endpoint.state.move(instance, "pending", "running")
    ec2.start_instances(InstanceIds=[instance])
    assert state(ec2, instance) == "running", "starting a running instance has no effect"
    ec2.reboot_instances(InstanceIds=[instance])
    assert endpoint.state.instances()[0].reboot_requested
    endpoint.state.rebooted(instance)
    assert not endpoint.state.instances()[0].reboot_requested
    ec2.terminate_instances(InstanceIds=[instance])
    assert state(ec2, instance) == "shutting-down"
    endpoint.state.settle(instance, "terminated")
    ec2.terminate_instances(InstanceIds=[instance])
    assert state(ec2, instance) == "terminated"
    assert refusal(ec2.start_instances, InstanceIds=[instance]) == "IncorrectInstanceState"


def test_a_late_container_does_not_undo_a_call(start_endpoint):
    endpoint, ec2 = start_endpoint()
    instance = launch(ec2)
    ec2.terminate_instances(InstanceIds=[instance])
    assert endpoint.state.move(instance, "pending", "running") is False
    assert state(ec2, instance) == "shutting-down"


def test_addresses_are_in_the_network_and_unique_across_regions(start_endpoint):
    endpoint, ec2 = start_endpoint()
    elsewhere = start_endpoint.client(endpoint, "eu-west-1")
    for client in (ec2, elsewhere, ec2, elsewhere):
        launch(client)
    addresses = [instance.address for instance in endpoint.state.instances()]
    assert len(set(addresses)) == 4
    assert all(address.startswith("172.30.0.") for address in addresses)
    vpc = ec2.describe_vpcs(Filters=[{"Name": "is-default", "Values": ["true"]}])["Vpcs"][0]
    assert vpc["CidrBlock"] == "172.30.0.0/16"


def test_a_launch_repeated_with_its_token_returns_the_same_instances(start_endpoint):
    endpoint, ec2 = start_endpoint()
    first = launch(ec2, ClientToken="once")
    assert launch(ec2, ClientToken="once") == first
    assert len(endpoint.state.instances()) == 1
    assert refusal(lambda **more: launch(ec2, **more), ClientToken="once", InstanceType="t3.small") == (
        "IdempotentParameterMismatch"
    )
    # The same after a crash between the call and its response.
    endpoint, ec2 = start_endpoint()
    assert launch(ec2, ClientToken="once") == first


def test_a_launch_is_validated(start_endpoint):
    _, ec2 = start_endpoint()
    assert refusal(lambda **more: launch(ec2, **more), InstanceType="x9.huge").startswith("InvalidInstanceType")
    assert refusal(lambda **more: launch(ec2, **more), KeyName="none") == "InvalidKeyPair.NotFound"
    assert refusal(lambda **more: launch(ec2, **more), ImageId="ami-00000000000000000") == "InvalidAMIID.NotFound"


def test_a_launch_that_does_not_fit_the_machine_is_refused(start_endpoint):
    endpoint, ec2 = start_endpoint()
    counts = []
    endpoint.admit = lambda count: counts.append(count) or ("" if count < 3 else "raise the limit")
    launch(ec2)
    with pytest.raises(ClientError, match="raise the limit") as caught:
        launch(ec2, MinCount=2, MaxCount=2)
    assert caught.value.response["Error"]["Code"] == "InsufficientInstanceCapacity"
    assert counts == [1, 3]
    assert len(endpoint.state.instances()) == 1


def test_an_instance_has_its_key_user_data_and_shutdown_behaviour(start_endpoint):
    endpoint, ec2 = start_endpoint()
    ec2.import_key_pair(KeyName="k", PublicKeyMaterial=KEY)
    launch(ec2, KeyName="k", UserData="#!/bin/sh\necho ü\n", InstanceInitiatedShutdownBehavior="terminate")
    ec2.delete_key_pair(KeyName="k")
    (instance,) = endpoint.state.instances()
    assert instance.public_key == KEY.decode()
    assert instance.user_data.decode() == "#!/bin/sh\necho ü\n"
    assert instance.on_power_off == "terminate"
    ec2.modify_instance_attribute(InstanceId=instance.id, InstanceInitiatedShutdownBehavior={"Value": "stop"})
    assert endpoint.state.instances()[0].on_power_off == "stop"


def test_the_state_survives_a_crash(start_endpoint):
    endpoint, ec2 = start_endpoint()
    instance = launch(
        ec2, TagSpecifications=[{"ResourceType": "instance", "Tags": [{"Key": "Name", "Value": "host-1"}]}]
    )
    group = ec2.create_security_group(GroupName="g", Description="d")["GroupId"]
    endpoint.state.move(instance, "pending", "running")
    before = endpoint.state.instances()
    endpoint, ec2 = start_endpoint()
    assert endpoint.state.instances() == before
    assert before[0].name == "host-1"
    assert ec2.describe_security_groups(GroupIds=[group])["SecurityGroups"][0]["GroupName"] == "g"
    assert launch(ec2) != instance
    assert len({instance.address for instance in endpoint.state.instances()}) == 2


def test_an_unreadable_state_is_renamed(start_endpoint, tmp_path):
    (tmp_path / "state.pickle").write_bytes(b"half")
    endpoint, ec2 = start_endpoint()
    assert endpoint.state.instances() == []
    assert (tmp_path / "state.unreadable").exists()
    launch(ec2)


def test_the_snapshot_is_private(start_endpoint, tmp_path):
    _, ec2 = start_endpoint()
    launch(ec2)
    assert (tmp_path / "state.pickle").stat().st_mode & 0o777 == 0o600


def test_instances_that_were_terminated_long_ago_are_forgotten(start_endpoint):
    endpoint, ec2 = start_endpoint()
    instance, kept = launch(ec2), launch(ec2)
    for launched in (instance, kept):
        endpoint.state.move(launched, "pending", "running")
    ec2.terminate_instances(InstanceIds=[instance])
    endpoint.state.settle(instance, "terminated")
    endpoint.state.forget_old(datetime.now(UTC))
    assert len(endpoint.state.instances()) == 2
    endpoint.state.forget_old(datetime.now(UTC) + timedelta(hours=2))
    assert [instance.id for instance in endpoint.state.instances()] == [kept]


def test_a_terminated_instance_releases_its_security_group(start_endpoint):
    endpoint, ec2 = start_endpoint()
    group = ec2.create_security_group(GroupName="g", Description="d")["GroupId"]
    instance = launch(ec2, SecurityGroupIds=[group])
    assert refusal(ec2.delete_security_group, GroupId=group) == "DependencyViolation"
    ec2.terminate_instances(InstanceIds=[instance])
    endpoint.state.settle(instance, "terminated")
    ec2.delete_security_group(GroupId=group)


def test_all_calls_are_refused_while_the_engine_is_away(start_endpoint):
    endpoint, ec2 = start_endpoint()
    image = ec2.describe_images(Owners=[moto_setup.IMAGE_OWNER])["Images"][0]["ImageId"]
    endpoint.away = lambda: "The container engine doesn't answer"
    assert refusal(ec2.describe_instances) == "EngineUnavailable"
    request = {"ImageId": image, "InstanceType": "t3.micro", "MinCount": 1, "MaxCount": 1}
    assert refusal(ec2.run_instances, **request) == "EngineUnavailable"
    endpoint.away = lambda: ""
    assert launch(ec2)


def test_only_changes_wake_the_reconciler(start_endpoint):
    endpoint, ec2 = start_endpoint()
    woken = []
    endpoint.wake = lambda: woken.append(1)
    ec2.describe_instances()
    assert woken == []
    launch(ec2)
    assert woken


@pytest.mark.parametrize(
    ("instance_type", "count"), [("t3.micro", 0), ("i4i.large", 1), ("i4i.8xlarge", 2), ("none.such", 0)]
)
def test_disk_count(moto_environment, instance_type, count):
    assert moto_setup.disk_count(instance_type) == count


@pytest.mark.parametrize(
    ("disk_bytes", "disks"), [(2 * 1024**3, [{"Count": 2, "SizeInGB": 2, "Type": "ssd"}]), (0, None)]
)
def test_instance_types_are_described_with_this_machines_disks(moto_environment, monkeypatch, disk_bytes, disks):
    from moto.ec2.models import instance_types

    monkeypatch.setattr(instance_types, "INSTANCE_TYPES", copy.deepcopy(instance_types.INSTANCE_TYPES))
    moto_setup.set_disk_size(disk_bytes)
    described = instance_types.INSTANCE_TYPES["i4i.8xlarge"]
    assert described.get("InstanceStorageInfo", {}).get("Disks") == disks
    assert moto_setup.disk_count("i4i.8xlarge") == (2 if disks else 0)


def test_status_omits_user_data(start_endpoint):
    endpoint, ec2 = start_endpoint()
    launch(ec2, UserData="#!/bin/sh\nsecret\n")
    assert "secret" not in str(endpoint.status())
    assert endpoint.status()["instances"][0]["state"] == "pending"
