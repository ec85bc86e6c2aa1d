"""Where and from what new instances are made: zone, subnet, architecture, image. Pure functions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from .errors import CAPACITY, CONFIGURATION, Ec2Problem
from .plan import Instance, Launch

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


def usable_subnets(
    subnets: list[dict[str, Any]],
    offered: dict[str, set[str]],
    types: set[str],
    zones: Sequence[str] = (),
    preferred: Sequence[str] = (),
) -> list[dict[str, Any]]:
    """The subnets whose zone offers all `types`, one for each zone, in the order in which zones are used.

    `zones` are those that may be used, the preferred first; empty is any, by name. `preferred` are ids of subnets that
    come before all others: those of the nodes that exist.
    """
    if not subnets:
        raise Ec2Problem(
            CONFIGURATION,
            "This region has no default subnet.",
            "Set ec2_provision_subnet_ids to the subnets to use, or make a default VPC: aws ec2 create-default-vpc.",
        )
    ordered = sorted(subnets, key=lambda subnet: (subnet["AvailabilityZone"], subnet["SubnetId"]))
    if zones:
        allowed = [subnet for subnet in ordered if subnet["AvailabilityZone"] in zones]
        if not allowed:
            said = ", ".join(f"{subnet['SubnetId']} in {subnet['AvailabilityZone']}" for subnet in ordered)
            raise Ec2Problem(
                CONFIGURATION,
                f"Expected a subnet in one of ec2_provision_zones ({', '.join(zones)}); found: {said}.",
                "Name the zone of one of these in ec2_provision_zones, or subnets in the zones "
                "(ec2_provision_subnet_ids). An environment that has nodes keeps their subnets until it is destroyed.",
            )
        ordered = sorted(allowed, key=lambda subnet: list(zones).index(subnet["AvailabilityZone"]))
    ordered.sort(key=lambda subnet: subnet["SubnetId"] not in preferred)
    offering = [subnet for subnet in ordered if types <= offered.get(subnet["AvailabilityZone"], set())]
    if not offering:
        lacking = {
            subnet["AvailabilityZone"]: types - offered.get(subnet["AvailabilityZone"], set()) for subnet in ordered
        }
        said = "; ".join(f"{zone} lacks {', '.join(sorted(names))}" for zone, names in lacking.items())
        raise Ec2Problem(
            CAPACITY,
            f"Expected one zone that offers {', '.join(sorted(types))}; found: {said}.",
            "Choose other instance types, other zones (ec2_provision_zones), other subnets "
            "(ec2_provision_subnet_ids) or another region.",
        )
    return offering


def choose_subnets(offering: Sequence[dict[str, Any]], count: int, addresses: int) -> list[dict[str, Any]]:
    """Subnets with room, as usable_subnets orders them, one for each zone: `count` to use, the rest to fall back on.

    `addresses` is the number of new instances, which are spread evenly over `count` zones.
    """
    share = -(-addresses // count)
    roomy: dict[str, dict[str, Any]] = {}
    for subnet in offering:
        if subnet.get("AvailableIpAddressCount", share) >= share:
            roomy.setdefault(subnet["AvailabilityZone"], subnet)
    if len(roomy) >= count:
        return list(roomy.values())
    found = ", ".join(
        f"{subnet['SubnetId']} ({subnet['AvailabilityZone']}) has {subnet.get('AvailableIpAddressCount', '?')}"
        for subnet in offering
    )
    where = "one subnet" if count == 1 else f"each of {count} zones (ec2_provision_zone_count)"
    raise Ec2Problem(
        CAPACITY,
        f"{share} free addresses are needed in {where}; found: {found}.",
        "Use larger subnets or more zones (ec2_provision_subnet_ids, ec2_provision_zones), or ask for fewer nodes.",
    )


def spread(launches: Sequence[Launch], subnets: Sequence[dict[str, Any]], live: Sequence[Instance]) -> list[Launch]:
    """Divide launches over subnets, so that each kind's nodes, `live` ones counted, are spread evenly over the zones.

    The indexes of a part are neighbours. Which of two zones with equally many nodes comes first is the subnets' order.
    """
    parts = []
    for launch in launches:
        count = {
            subnet["SubnetId"]: sum(
                one.kind == launch.group.kind and one.zone == subnet["AvailabilityZone"] for one in live
            )
            for subnet in subnets
        }
        new = dict.fromkeys(count, 0)
        for _ in launch.indexes:
            chosen = min(count, key=lambda one: count[one])
            count[chosen] += 1
            new[chosen] += 1
        rest = list(launch.indexes)
        for subnet in subnets:
            share, rest = rest[: new[subnet["SubnetId"]]], rest[new[subnet["SubnetId"]] :]
            if share:
                parts.append(
                    replace(
                        launch,
                        indexes=tuple(share),
                        subnet_id=subnet["SubnetId"],
                        zone=subnet["AvailabilityZone"],
                    )
                )
    return parts


def image_name(pattern: str, architecture: str) -> str:
    """The name for one of EC2's architectures: {architecture} is amd64 or arm64, {machine} x86_64 or arm64."""
    return pattern.replace("{architecture}", IMAGE_ARCHITECTURE[architecture]).replace("{machine}", architecture)


def is_parameter(name: str) -> bool:
    """Whether ec2_provision_image_name names a parameter of Systems Manager; those begin with a slash."""
    return name.startswith("/")


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
