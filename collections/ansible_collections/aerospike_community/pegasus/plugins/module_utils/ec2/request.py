"""What a RunInstances call says: tags, user data, client token. Pure functions."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .expiry import METRIC_FILE, METRIC_PATH, SERVICE_PATH, SERVICE_UNIT, TIMER, TIMER_PATH, TIMER_UNIT
from .plan import (
    TAG_ENVIRONMENT,
    TAG_FIXED,
    TAG_KIND,
    TAG_LAUNCH,
    TAG_NAME,
    TAG_OWNER,
    Instance,
    Launch,
    format_indexes,
)

# Which nodes a placement group holds: near each other, or each on hardware of its own. The monitor isn't among them:
# burstable types can't be in a group of the strategy cluster.
PLACED_KINDS = {"cluster": ("server", "client"), "spread": ("server",)}

# The script knows a length of time only: the same launch, asked for twice, has to be the same to the letter (see
# client_token).
EXPIRY_SCRIPT = f"""\
#!/bin/sh
# Pegasus: this instance ends itself. Look: systemctl list-timers {TIMER}
set -eu
seconds=$(($(date +%s) + @SECONDS@))
end=$(date -u -d "@$seconds" '+%Y-%m-%d %H:%M:%S UTC')
cat > {SERVICE_PATH} <<'UNIT'
{SERVICE_UNIT}UNIT
cat > {TIMER_PATH} <<UNIT
{TIMER_UNIT.format(end="$end")}UNIT
systemctl daemon-reload
systemctl enable --now {TIMER}
mkdir -p {Path(METRIC_PATH).parent}
cat > {METRIC_PATH} <<METRIC
{METRIC_FILE.format(seconds="$seconds")}METRIC
echo "Pegasus: this instance powers itself off at $end"
"""


@dataclass(frozen=True)
class Surroundings:
    """What all launches of a run share."""

    environment: str
    owner: str
    key_name: str
    group_id: str
    root_volume_gb: int
    monitoring_volume_gb: int  # the monitor's, which holds the samples
    expiry_seconds: int
    extra_tags: dict[str, str]
    root_volume_type: str = "gp3"
    # Whether instances get a public address: always, never, or (subnet) as their subnet is set up.
    public_address: str = "subnet"
    # A placement group, and its strategy (cluster, spread); '' for none.
    placement_group: str = ""
    placement: str = ""


def user_data(expiry_seconds: int) -> str:
    """The script that sets the expiry timer at the first boot; '' when the instance doesn't expire."""
    return EXPIRY_SCRIPT.replace("@SECONDS@", str(expiry_seconds)) if expiry_seconds else ""


def tag_list(tags: dict[str, str]) -> list[dict[str, str]]:
    """Tags in EC2's form, in a fixed order."""
    return [{"Key": key, "Value": tags[key]} for key in sorted(tags)]


def shared_tags(environment: str, owner: str, extra_tags: dict[str, str]) -> dict[str, str]:
    """The tags of everything that is made."""
    return {**extra_tags, TAG_ENVIRONMENT: environment, TAG_OWNER: owner}


def run_request(launch: Launch, around: Surroundings, image_id: str, root_device: str) -> dict[str, Any]:
    """The parameters of RunInstances, without the client token."""
    count = len(launch.indexes)
    tags = shared_tags(around.environment, around.owner, around.extra_tags) | {TAG_KIND: launch.group.kind}
    own = {TAG_NAME: launch.group.name, TAG_LAUNCH: format_indexes(launch.indexes)}
    own |= {TAG_FIXED: launch.group.fixed} if launch.group.fixed else {}
    request: dict[str, Any] = {
        "ImageId": image_id,
        "InstanceType": launch.group.instance_type,
        # As many at least as at most: all of them or none.
        "MinCount": count,
        "MaxCount": count,
        "KeyName": around.key_name,
        "InstanceInitiatedShutdownBehavior": "terminate",
        "MetadataOptions": {"HttpTokens": "required", "HttpEndpoint": "enabled", "HttpPutResponseHopLimit": 1},
        "BlockDeviceMappings": [
            {
                "DeviceName": root_device,
                "Ebs": {
                    "VolumeSize": (
                        around.monitoring_volume_gb if launch.group.kind == "monitor" else around.root_volume_gb
                    ),
                    "VolumeType": around.root_volume_type,
                    "Encrypted": True,
                    "DeleteOnTermination": True,
                },
            }
        ],
        "TagSpecifications": [
            {"ResourceType": "instance", "Tags": tag_list(tags | own)},
            {"ResourceType": "volume", "Tags": tag_list(tags | {TAG_NAME: launch.group.name})},
        ],
    }
    if around.public_address == "subnet":
        request |= {"SubnetId": launch.subnet_id, "SecurityGroupIds": [around.group_id]}
    else:
        request["NetworkInterfaces"] = [
            {
                "DeviceIndex": 0,
                "SubnetId": launch.subnet_id,
                "Groups": [around.group_id],
                "AssociatePublicIpAddress": around.public_address == "always",
                "DeleteOnTermination": True,
            }
        ]
    if around.placement_group and launch.group.kind in PLACED_KINDS[around.placement]:
        request["Placement"] = {"GroupName": around.placement_group}
    script = user_data(around.expiry_seconds)
    if script:
        request["UserData"] = script
    return request


def as_spot(request: dict[str, Any]) -> dict[str, Any]:
    """The same request for spot instances: EC2 ends them when it wants them back, and doesn't start them again."""
    options = {"SpotInstanceType": "one-time", "InstanceInterruptionBehavior": "terminate"}
    return {**request, "InstanceMarketOptions": {"MarketType": "spot", "SpotOptions": options}}


def client_token(request: dict[str, Any], instances: list[Instance], attempt: int = 0) -> str:
    """A token by which EC2 knows that a launch was asked for already.

    A run that was killed after RunInstances is followed by one that may not see the new instances yet (descriptions
    lag behind). It asks for the same launch with the same token, and EC2 answers with the instances of the first. The
    security group in the request is the environment's own, so a later environment of the same name has other tokens;
    so has a launch after one of the known instances is gone, and a request that differs in anything.
    `attempt` makes another token when EC2 answers with instances that are gone. At most 64 characters.
    """
    known = sorted(instance.id for instance in instances)
    seed = json.dumps([request, known, attempt], sort_keys=True)
    return f"pegasus-{hashlib.sha256(seed.encode()).hexdigest()[:48]}"
