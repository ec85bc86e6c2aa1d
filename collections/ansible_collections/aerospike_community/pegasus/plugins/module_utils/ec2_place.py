"""Where and from what new instances are made: zone, subnet, architecture, image. Pure functions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ansible_collections.aerospike_community.pegasus.plugins.module_utils.ec2_errors import (
    CAPACITY,
    CONFIGURATION,
    Ec2Problem,
)

# EC2's name of an architecture -> the one in Debian's image names.
IMAGE_ARCHITECTURE = {"x86_64": "amd64", "arm64": "arm64"}


def architectures(descriptions: list[dict[str, Any]]) -> dict[str, str]:
    """The architecture (x86_64 or arm64) of each instance type, from DescribeInstanceTypes."""
    result = {}
    for found in descriptions:
        supported = found.get("ProcessorInfo", {}).get("SupportedArchitectures", [])
        usable = [one for one in IMAGE_ARCHITECTURE if one in supported]
        if not usable:
            raise Ec2Problem(
                CONFIGURATION,
                f"The architecture of {found['InstanceType']} is {', '.join(supported) or 'unknown'}; expected "
                f"{' or '.join(IMAGE_ARCHITECTURE)}.",
            )
        result[found["InstanceType"]] = usable[0]
    return result


def offered_types(offerings: list[dict[str, Any]]) -> dict[str, set[str]]:
    """Zone -> instance types, from DescribeInstanceTypeOfferings with LocationType=availability-zone."""
    zones: dict[str, set[str]] = {}
    for offering in offerings:
        zones.setdefault(offering["Location"], set()).add(offering["InstanceType"])
    return zones


def choose_subnet(
    subnets: list[dict[str, Any]],
    offered: dict[str, set[str]],
    types: set[str],
    addresses: int,
    zones: Sequence[str] = (),
) -> dict[str, Any]:
    """The first subnet, by zone, whose zone offers all `types` and that has `addresses` free ones.

    `zones` are those that may be used, the preferred first; empty is any, by name.
    All instances share a zone: traffic between zones is slower, and paid.
    """
    if not subnets:
        raise Ec2Problem(
            CONFIGURATION,
            "This region has no default subnet.",
            "Set ec2_provision_subnet_id to the subnet to use, or make a default VPC: aws ec2 create-default-vpc.",
        )
    ordered = sorted(subnets, key=lambda subnet: (subnet["AvailabilityZone"], subnet["SubnetId"]))
    if zones:
        allowed = [subnet for subnet in ordered if subnet["AvailabilityZone"] in zones]
        if not allowed:
            said = ", ".join(f"{subnet['SubnetId']} in {subnet['AvailabilityZone']}" for subnet in ordered)
            raise Ec2Problem(
                CONFIGURATION,
                f"Expected a subnet in one of ec2_provision_zones ({', '.join(zones)}); found: {said}.",
                "Name the zone of one of these in ec2_provision_zones, or a subnet in one of the zones "
                "(ec2_provision_subnet_id). An environment that has nodes keeps their subnet until it is destroyed.",
            )
        ordered = sorted(allowed, key=lambda subnet: list(zones).index(subnet["AvailabilityZone"]))
    offering = [subnet for subnet in ordered if types <= offered.get(subnet["AvailabilityZone"], set())]
    if not offering:
        lacking = {
            subnet["AvailabilityZone"]: types - offered.get(subnet["AvailabilityZone"], set()) for subnet in ordered
        }
        said = "; ".join(f"{zone} lacks {', '.join(sorted(names))}" for zone, names in lacking.items())
        raise Ec2Problem(
            CAPACITY,
            f"Expected one zone that offers {', '.join(sorted(types))}; found: {said}.",
            "Choose other instance types, other zones (ec2_provision_zones), another subnet "
            "(ec2_provision_subnet_id) or another region.",
        )
    for subnet in offering:
        if subnet.get("AvailableIpAddressCount", addresses) >= addresses:
            return subnet
    said = ", ".join(f"{subnet['SubnetId']} has {subnet['AvailableIpAddressCount']}" for subnet in offering)
    raise Ec2Problem(
        CAPACITY,
        f"{addresses} free addresses are needed in one subnet; found: {said}.",
        "Use a larger subnet (ec2_provision_subnet_id) or ask for fewer nodes.",
    )


def newest_image(
    images: list[dict[str, Any]], pattern: str, owner: str, architecture: str, region: str
) -> dict[str, Any]:
    """The image that was made last."""
    if not images:
        raise Ec2Problem(
            CONFIGURATION,
            f"No image in {region} is named {pattern}, is owned by {owner} and is made for {architecture}.",
            "Check ec2_provision_image_name and ec2_provision_image_owner, and that the instance types are of the "
            "architecture you mean; the local cloud has images for this machine's own architecture only.",
        )
    return max(images, key=lambda image: (image.get("CreationDate", ""), image["ImageId"]))
