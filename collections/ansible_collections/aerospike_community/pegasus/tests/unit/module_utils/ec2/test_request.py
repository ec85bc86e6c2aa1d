"""The parameters of RunInstances."""

from __future__ import annotations

import os
import subprocess
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.ec2.instances import Instance
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.ec2.plan import Launch
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.ec2.request import (
    LaunchContext,
    as_spot,
    client_token,
    run_request,
    user_data,
)
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.ec2.spec import Group, Spec
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.ec2.tags import KINDS, expiry_tag

NOW = datetime(2026, 1, 31, 12, 0, 0, tzinfo=UTC)
SERVERS = Group("server", "Bench", 3, "i4i.large")


SPEC = Spec(
    environment="Bench", groups=[SERVERS], owner="me", private_key_file=Path("key"), key_name="", image_name="image",
    image_owner="owner", subnet_ids=[], zones=[], zone_count=1, placement="none", public_address="subnet",
    allowed_cidrs=[], root_volume_gb=50, monitoring_volume_gb=100, root_volume_type="gp3", expiry=3600,
    tags={"team": "a"}, timeout=60,
)  # fmt: skip
IMAGE = {"ImageId": "ami-1", "RootDeviceName": "/dev/xvda"}
CONTEXT = LaunchContext(SPEC, [], {SERVERS.instance_type: IMAGE}, {}, key_name="pegasus-Bench", group_id="sg-1")


def with_spec(**changed):
    """The context with a changed spec."""
    return replace(CONTEXT, spec=replace(SPEC, **changed))


def request(indexes=(1, 2, 3), context=CONTEXT):
    return run_request(Launch(SERVERS, indexes, "subnet-a", "a"), context)


@pytest.mark.parametrize(("setting", "associate"), [("always", True), ("never", False)])
def test_public_addresses_are_assigned_or_not(setting, associate):
    parameters = request(context=with_spec(public_address=setting))
    assert "SubnetId" not in parameters and "SecurityGroupIds" not in parameters
    (interface,) = parameters["NetworkInterfaces"]
    assert interface["AssociatePublicIpAddress"] is associate
    assert (interface["SubnetId"], interface["Groups"]) == ("subnet-a", ["sg-1"])


@pytest.mark.parametrize(("placement", "kinds"), [("cluster", ["server", "client"]), ("spread", ["server"])])
def test_a_placement_group_holds_the_kinds_of_its_strategy(placement, kinds):
    context = replace(with_spec(placement=placement), placement_group="pegasus-Bench")
    placed = [
        kind for kind in KINDS if run_request(Launch(replace(SERVERS, kind=kind), (1,)), context).get("Placement")
    ]
    assert placed == kinds


def test_a_spot_request_differs_only_in_the_market():
    parameters = as_spot(request())
    market = parameters.pop("InstanceMarketOptions")
    assert market["MarketType"] == "spot"
    assert market["SpotOptions"]["InstanceInterruptionBehavior"] == "terminate"
    assert parameters == request()


def test_the_request_is_all_or_nothing_and_safe():
    parameters = request()
    assert (parameters["MinCount"], parameters["MaxCount"]) == (3, 3)
    assert parameters["InstanceInitiatedShutdownBehavior"] == "terminate"
    assert parameters["MetadataOptions"]["HttpTokens"] == "required"
    assert parameters["BlockDeviceMappings"][0]["Ebs"]["Encrypted"] is True
    tags = {
        spec["ResourceType"]: {t["Key"]: t["Value"] for t in spec["Tags"]} for spec in parameters["TagSpecifications"]
    }
    assert tags["instance"] == {
        "team": "a",
        "pegasus:environment": "Bench",
        "pegasus:kind": "server",
        "pegasus:owner": "me",
        "pegasus:launch": "1-3",
        "Name": "Bench",
    }
    assert (parameters["SubnetId"], parameters["SecurityGroupIds"]) == ("subnet-a", ["sg-1"])
    assert (
        "NetworkInterfaces" not in parameters
        and "Placement" not in parameters
        and "InstanceMarketOptions" not in parameters
    )
    assert tags["volume"]["pegasus:environment"] == "Bench"


def test_the_monitor_has_a_larger_volume():
    def size(kind):
        launch = Launch(replace(SERVERS, kind=kind), (1,))
        parameters = run_request(launch, CONTEXT)
        return parameters["BlockDeviceMappings"][0]["Ebs"]["VolumeSize"]

    assert [size(kind) for kind in ("server", "client", "monitor")] == [50, 50, 100]


def test_only_the_same_launch_has_the_same_token():
    terminated = Instance("i-server1", "server", "terminated", "i4i.large")
    token = client_token(request(), [])
    assert token == client_token(request(), [])
    assert len(token) <= 64
    others = [
        client_token(request(), [terminated]),
        client_token(request(), [], attempt=1),
        client_token(request((2, 3)), []),
        client_token(request(context=replace(CONTEXT, group_id="sg-2")), []),
    ]
    assert len({token, *others}) == 5


def test_the_user_data_sets_a_timer(tmp_path: Path):
    """Run the script with a systemctl that only logs its arguments."""
    script = user_data(3600)
    units = tmp_path / "units"
    units.mkdir()
    systemctl = tmp_path / "systemctl"
    systemctl.write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/arguments\n')
    systemctl.chmod(0o755)
    before = datetime.now(UTC).replace(microsecond=0)
    subprocess.run(
        ["/bin/sh", "-c", script.replace("/etc/systemd/system", str(units))],
        check=True,
        env={**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"},
    )
    after = datetime.now(UTC)
    assert (tmp_path / "arguments").read_text().splitlines() == ["daemon-reload", "enable --now pegasus-expiry.timer"]
    timer = (units / "pegasus-expiry.timer").read_text()
    end = next(line for line in timer.splitlines() if line.startswith("OnCalendar=")).removeprefix("OnCalendar=")
    moment = datetime.strptime(end, "%Y-%m-%d %H:%M:%S UTC").replace(tzinfo=UTC)
    assert before <= moment - timedelta(hours=1) <= after
    assert "poweroff" in (units / "pegasus-expiry.service").read_text()


def test_without_an_expiry_there_is_no_timer():
    assert "UserData" not in request(context=with_spec(expiry=0))
    assert expiry_tag(NOW, 0) == "never"
