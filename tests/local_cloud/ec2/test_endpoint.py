"""The EC2 endpoint without containers: what moto alone wouldn't do. The test plays the part of the containers."""

from __future__ import annotations

import copy
import os
import sys
from datetime import UTC, datetime, timedelta

import pytest
from botocore.exceptions import ClientError

from local_cloud.ec2 import endpoint as module

KEY = b"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJpYr3uKQ1dW0gzGg0tBnEb4b3RU1lJrN8rqFv2F3d1k test"


@pytest.fixture(scope="module")
def moto_environment(tmp_path_factory):
    """A moto of this module's own, imported in the daemon's environment.

    moto reads that environment when it is imported, and the endpoint changes a class of it: another test's moto in the
    same process would neither have the one nor should get the other.
    """

    def take_out():
        names = [name for name in sys.modules if name.partition(".")[0] == "moto"]
        return {name: sys.modules.pop(name) for name in names}

    kept, other = dict(os.environ), take_out()
    module.prepare_environment(tmp_path_factory.mktemp("moto") / "images.json", "amd64")
    import moto.ec2.models
    import moto.server  # noqa: F401

    yield
    take_out()
    sys.modules.update(other)
    os.environ.clear()
    os.environ.update(kept)


@pytest.fixture
def make(moto_environment, tmp_path, helpers):
    """Starts an endpoint with no state but the snapshot's; returns it and a client."""
    from moto.ec2.models import ec2_backends

    made = []

    def start(region="us-east-1"):
        for one in made:
            one.close()
        ec2_backends.clear()
        served = module.Endpoint("172.30.0.0/16", tmp_path / "state.pickle")
        served.listen("127.0.0.1", 0)
        made.append(served)
        return served, client(served, region)

    def client(served, region):
        return helpers.ec2_client(region, str(served._server.server_port))

    start.client = client
    yield start
    for one in made:
        one.close()
    ec2_backends.clear()


def launch(ec2, **more):
    image = ec2.describe_images(Owners=[module.IMAGE_OWNER])["Images"][0]["ImageId"]
    request = {"ImageId": image, "InstanceType": "t3.micro", "MinCount": 1, "MaxCount": 1, **more}
    return ec2.run_instances(**request)["Instances"][0]["InstanceId"]


def state(ec2, instance):
    return ec2.describe_instances(InstanceIds=[instance])["Reservations"][0]["Instances"][0]["State"]["Name"]


def refusal(call, **parameters):
    with pytest.raises(ClientError) as caught:
        call(**parameters)
    return caught.value.response["Error"]["Code"]


def test_only_the_simulated_image_is_offered(make):
    _, ec2 = make()
    (image,) = ec2.describe_images()["Images"]
    assert image["Name"] == "debian-12-amd64-pegasus-SIMULATED"
    assert (image["OwnerId"], image["Architecture"], image["RootDeviceName"]) == ("136693071363", "x86_64", "/dev/xvda")
    named = ec2.describe_images(
        Owners=["136693071363"],
        Filters=[{"Name": "name", "Values": ["debian-12-amd64-*"]}, {"Name": "architecture", "Values": ["x86_64"]}],
    )["Images"]
    assert [one["ImageId"] for one in named] == [image["ImageId"]]


def test_an_instance_goes_through_ec2s_states(make):
    served, ec2 = make()
    instance = launch(ec2)
    assert state(ec2, instance) == "pending"
    assert served.move(instance, "pending", "running")
    assert state(ec2, instance) == "running"
    ec2.stop_instances(InstanceIds=[instance])
    assert state(ec2, instance) == "stopping"
    assert refusal(ec2.start_instances, InstanceIds=[instance]) == "IncorrectInstanceState"
    served.move(instance, "stopping", "stopped")
    assert refusal(ec2.reboot_instances, InstanceIds=[instance]) == "IncorrectInstanceState"
    ec2.start_instances(InstanceIds=[instance])
    assert state(ec2, instance) == "pending"
    served.move(instance, "pending", "running")
    ec2.start_instances(InstanceIds=[instance])
    assert state(ec2, instance) == "running", "starting what runs changes nothing"
    ec2.reboot_instances(InstanceIds=[instance])
    assert served.instances()[0].reboot_wanted
    served.rebooted(instance)
    assert not served.instances()[0].reboot_wanted
    ec2.terminate_instances(InstanceIds=[instance])
    assert state(ec2, instance) == "shutting-down"
    served.settle(instance, "terminated")
    ec2.terminate_instances(InstanceIds=[instance])
    assert state(ec2, instance) == "terminated"
    assert refusal(ec2.start_instances, InstanceIds=[instance]) == "IncorrectInstanceState"


def test_a_container_that_is_late_does_not_undo_a_call(make):
    served, ec2 = make()
    instance = launch(ec2)
    ec2.terminate_instances(InstanceIds=[instance])
    assert served.move(instance, "pending", "running") is False
    assert state(ec2, instance) == "shutting-down"


def test_addresses_come_from_the_network_and_no_two_regions_give_the_same(make):
    served, ec2 = make()
    elsewhere = make.client(served, "eu-west-1")
    for client in (ec2, elsewhere, ec2, elsewhere):
        launch(client)
    addresses = [one.address for one in served.instances()]
    assert len(set(addresses)) == 4
    assert all(address.startswith("172.30.0.") for address in addresses)
    vpc = ec2.describe_vpcs(Filters=[{"Name": "is-default", "Values": ["true"]}])["Vpcs"][0]
    assert vpc["CidrBlock"] == "172.30.0.0/16"


def test_a_launch_that_is_repeated_with_its_token_gives_the_same_instances(make):
    served, ec2 = make()
    first = launch(ec2, ClientToken="once")
    assert launch(ec2, ClientToken="once") == first
    assert len(served.instances()) == 1
    assert refusal(lambda **more: launch(ec2, **more), ClientToken="once", InstanceType="t3.small") == (
        "IdempotentParameterMismatch"
    )
    # Also after a crash between the call and its answer.
    served, ec2 = make()
    assert launch(ec2, ClientToken="once") == first


def test_what_ec2_checks_is_checked(make):
    _, ec2 = make()
    assert refusal(lambda **more: launch(ec2, **more), InstanceType="x9.huge").startswith("InvalidInstanceType")
    assert refusal(lambda **more: launch(ec2, **more), KeyName="none") == "InvalidKeyPair.NotFound"
    assert refusal(lambda **more: launch(ec2, **more), ImageId="ami-00000000000000000") == "InvalidAMIID.NotFound"


def test_a_machine_that_can_take_no_more_says_so(make):
    served, ec2 = make()
    asked = []
    served.admit = lambda count: asked.append(count) or ("" if count < 3 else "raise the limit")
    launch(ec2)
    with pytest.raises(ClientError, match="raise the limit") as caught:
        launch(ec2, MinCount=2, MaxCount=2)
    assert caught.value.response["Error"]["Code"] == "InsufficientInstanceCapacity"
    assert asked == [1, 3]
    assert len(served.instances()) == 1


def test_key_user_data_and_behaviour_reach_the_instance(make):
    served, ec2 = make()
    ec2.import_key_pair(KeyName="k", PublicKeyMaterial=KEY)
    launch(ec2, KeyName="k", UserData="#!/bin/sh\necho ü\n", InstanceInitiatedShutdownBehavior="terminate")
    ec2.delete_key_pair(KeyName="k")
    (one,) = served.instances()
    assert one.public_key == KEY.decode()
    assert one.user_data.decode() == "#!/bin/sh\necho ü\n"
    assert one.on_power_off == "terminate"
    ec2.modify_instance_attribute(InstanceId=one.id, InstanceInitiatedShutdownBehavior={"Value": "stop"})
    assert served.instances()[0].on_power_off == "stop"


def test_everything_is_there_after_a_crash(make):
    served, ec2 = make()
    instance = launch(
        ec2, TagSpecifications=[{"ResourceType": "instance", "Tags": [{"Key": "Name", "Value": "host-1"}]}]
    )
    group = ec2.create_security_group(GroupName="g", Description="d")["GroupId"]
    served.move(instance, "pending", "running")
    before = served.instances()
    served, ec2 = make()
    assert served.instances() == before
    assert before[0].name == "host-1"
    assert ec2.describe_security_groups(GroupIds=[group])["SecurityGroups"][0]["GroupName"] == "g"
    assert launch(ec2) != instance
    assert len({one.address for one in served.instances()}) == 2


def test_a_state_that_cannot_be_read_is_kept_aside(make, tmp_path):
    (tmp_path / "state.pickle").write_bytes(b"half")
    served, ec2 = make()
    assert served.instances() == []
    assert (tmp_path / "state.unreadable").exists()
    launch(ec2)


def test_the_snapshot_is_private(make, tmp_path):
    _, ec2 = make()
    launch(ec2)
    assert (tmp_path / "state.pickle").stat().st_mode & 0o777 == 0o600


def test_instances_that_ended_long_ago_are_forgotten(make):
    served, ec2 = make()
    instance, kept = launch(ec2), launch(ec2)
    for one in (instance, kept):
        served.move(one, "pending", "running")
    ec2.terminate_instances(InstanceIds=[instance])
    served.settle(instance, "terminated")
    served.forget_old(datetime.now(UTC))
    assert len(served.instances()) == 2
    served.forget_old(datetime.now(UTC) + timedelta(hours=2))
    assert [one.id for one in served.instances()] == [kept]


def test_a_terminated_instance_no_longer_holds_its_security_group(make):
    served, ec2 = make()
    group = ec2.create_security_group(GroupName="g", Description="d")["GroupId"]
    instance = launch(ec2, SecurityGroupIds=[group])
    assert refusal(ec2.delete_security_group, GroupId=group) == "DependencyViolation"
    ec2.terminate_instances(InstanceIds=[instance])
    served.settle(instance, "terminated")
    ec2.delete_security_group(GroupId=group)


def test_no_call_is_answered_while_the_engine_is_away(make):
    served, ec2 = make()
    image = ec2.describe_images(Owners=[module.IMAGE_OWNER])["Images"][0]["ImageId"]
    served.away = lambda: "The container engine doesn't answer"
    assert refusal(ec2.describe_instances) == "EngineUnavailable"
    wanted = {"ImageId": image, "InstanceType": "t3.micro", "MinCount": 1, "MaxCount": 1}
    assert refusal(ec2.run_instances, **wanted) == "EngineUnavailable"
    served.away = lambda: ""
    assert launch(ec2)


def test_the_wake_is_called_for_changes_only(make):
    served, ec2 = make()
    woken = []
    served.wake = lambda: woken.append(1)
    ec2.describe_instances()
    assert woken == []
    launch(ec2)
    assert woken


@pytest.mark.parametrize(
    ("instance_type", "count"), [("t3.micro", 0), ("i4i.large", 1), ("i4i.8xlarge", 2), ("none.such", 0)]
)
def test_disk_count(moto_environment, instance_type, count):
    assert module.disk_count(instance_type) == count


@pytest.mark.parametrize(
    ("disk_bytes", "disks"), [(2 * 1024**3, [{"Count": 2, "SizeInGB": 2, "Type": "ssd"}]), (0, None)]
)
def test_descriptions_of_types_tell_the_disks_that_there_are(moto_environment, monkeypatch, disk_bytes, disks):
    from moto.ec2.models import instance_types

    monkeypatch.setattr(instance_types, "INSTANCE_TYPES", copy.deepcopy(instance_types.INSTANCE_TYPES))
    module.describe_own_disks(disk_bytes)
    described = instance_types.INSTANCE_TYPES["i4i.8xlarge"]
    assert described.get("InstanceStorageInfo", {}).get("Disks") == disks
    assert module.disk_count("i4i.8xlarge") == (2 if disks else 0)


def test_status_shows_no_user_data(make):
    served, ec2 = make()
    launch(ec2, UserData="#!/bin/sh\nsecret\n")
    assert "secret" not in str(served.status())
    assert served.status()["instances"][0]["state"] == "pending"
