# Copyright (c) Pegasus authors. SPDX-License-Identifier: Apache-2.0
"""The parameters of RunInstances: tags, user data, client token. Pure functions."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .expiry import METRIC_FILE, METRIC_PATH, SERVICE_PATH, SERVICE_UNIT, TIMER, TIMER_PATH, TIMER_UNIT
from .instances import Instance
from .plan import Launch
from .spec import Spec
from .tags import TAG_FIXED, TAG_KIND, TAG_LAUNCH, TAG_NAME, format_indexes, tag_list

# The kinds that a placement group holds, by its strategy. The monitor is never in it: burstable types can't be in a
# group with the strategy cluster.
PLACED_KINDS = {"cluster": ("server", "client"), "spread": ("server",)}

# The script holds a duration and no time, because a repeated request must be identical (see client_token).
EXPIRY_SCRIPT = f"""\
#!/bin/sh
# Pegasus: this instance powers itself off at its expiry. See: systemctl list-timers {TIMER}
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
class LaunchContext:
    """What all launches of a run share. Names and ids are '' while the resource doesn't exist."""

    spec: Spec
    subnets: list[dict[str, Any]]  # those to use (as many as spec.zone_count), then those to fall back on
    images: dict[str, dict[str, Any]]  # by instance type
    types: dict[str, dict[str, Any]]  # descriptions by instance type
    key_name: str = ""
    group_id: str = ""
    placement_group: str = ""

    @property
    def vpc_id(self) -> str:
        """The VPC of the subnets."""
        return str(self.subnets[0]["VpcId"]) if self.subnets else ""


def user_data(expiry_seconds: int) -> str:
    """The script that sets the expiry timer at the first boot; '' if the instance doesn't expire."""
    return EXPIRY_SCRIPT.replace("@SECONDS@", str(expiry_seconds)) if expiry_seconds else ""


def run_request(launch: Launch, context: LaunchContext) -> dict[str, Any]:
    """The parameters of RunInstances, without the client token and what the context lacks."""
    spec, group, count = context.spec, launch.group, len(launch.indexes)
    image = context.images[group.instance_type]
    volume_gb = spec.monitoring_volume_gb if group.kind == "monitor" else spec.root_volume_gb
    tags = spec.shared_tags | {TAG_KIND: group.kind, TAG_NAME: group.name}
    instance_tags = tags | {TAG_LAUNCH: format_indexes(launch.indexes)}
    if group.fixed:
        instance_tags[TAG_FIXED] = group.fixed
    request: dict[str, Any] = {
        "ImageId": image["ImageId"],
        "InstanceType": group.instance_type,
        # All of them or none.
        "MinCount": count,
        "MaxCount": count,
        "InstanceInitiatedShutdownBehavior": "terminate",
        "MetadataOptions": {"HttpTokens": "required", "HttpEndpoint": "enabled", "HttpPutResponseHopLimit": 1},
        "BlockDeviceMappings": [
            {
                "DeviceName": image["RootDeviceName"],
                "Ebs": {
                    "VolumeSize": volume_gb,
                    "VolumeType": spec.root_volume_type,
                    "Encrypted": True,
                    "DeleteOnTermination": True,
                },
            }
        ],
        "TagSpecifications": [
            {"ResourceType": "instance", "Tags": tag_list(instance_tags)},
            {"ResourceType": "volume", "Tags": tag_list(tags)},
        ],
    }
    if context.key_name:
        request["KeyName"] = context.key_name
    security_groups = [context.group_id] if context.group_id else []
    if spec.public_address == "subnet":
        request["SubnetId"] = launch.subnet_id
        request |= {"SecurityGroupIds": security_groups} if security_groups else {}
    else:
        interface: dict[str, Any] = {
            "DeviceIndex": 0,
            "SubnetId": launch.subnet_id,
            "AssociatePublicIpAddress": spec.public_address == "always",
            "DeleteOnTermination": True,
        }
        request["NetworkInterfaces"] = [interface | ({"Groups": security_groups} if security_groups else {})]
    if context.placement_group and group.kind in PLACED_KINDS[spec.placement]:
        request["Placement"] = {"GroupName": context.placement_group}
    script = user_data(spec.expiry)
    if script:
        request["UserData"] = script
    return request


def as_spot(request: dict[str, Any]) -> dict[str, Any]:
    """The same request for spot instances: EC2 terminates them to reclaim them, and doesn't restart them."""
    options = {"SpotInstanceType": "one-time", "InstanceInterruptionBehavior": "terminate"}
    return {**request, "InstanceMarketOptions": {"MarketType": "spot", "SpotOptions": options}}


def client_token(request: dict[str, Any], instances: list[Instance], attempt: int = 0) -> str:
    """The token by which EC2 recognizes a launch that was requested before. At most 64 characters.

    A run that was killed after RunInstances is followed by a run that may not see the new instances yet, because
    descriptions lag behind. It requests the same launch with the same token, and EC2 answers with the instances of the
    first launch. The request holds the id of the environment's security group, so a later environment of the same name
    has other tokens. So does a launch after one of the known instances is removed, and any other request.

    :param attempt: gives another token when EC2 answers with terminated instances
    """
    known = sorted(instance.id for instance in instances)
    seed = json.dumps([request, known, attempt], sort_keys=True)
    return f"pegasus-{hashlib.sha256(seed.encode()).hexdigest()[:48]}"
