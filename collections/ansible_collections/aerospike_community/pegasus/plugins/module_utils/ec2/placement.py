# Copyright (c) Pegasus authors. SPDX-License-Identifier: Apache-2.0
"""Where new instances are launched: zones, subnets, and the placement group."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from .api import Ec2, in_parallel
from .errors import CAPACITY, CONFIGURATION, Ec2Problem, Problems
from .images import architectures, find_image
from .instances import Instance
from .plan import Launch
from .request import LaunchContext
from .spec import Spec


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
    """The subnets whose zone offers all types, in the order of use.

    :param zones: the zones that may be used, the preferred zone first; empty for any, sorted by name
    :param preferred: ids of the subnets to use before all others: those of the nodes that exist
    """
    if not subnets:
        raise Ec2Problem(
            CONFIGURATION,
            "This region has no default subnet.",
            "Set ec2_provision_subnet_ids to the subnets to use, or create a default VPC: aws ec2 create-default-vpc.",
        )
    ordered = sorted(subnets, key=lambda subnet: (subnet["AvailabilityZone"], subnet["SubnetId"]))
    if zones:
        allowed = [subnet for subnet in ordered if subnet["AvailabilityZone"] in zones]
        if not allowed:
            found = ", ".join(f"{subnet['SubnetId']} in {subnet['AvailabilityZone']}" for subnet in ordered)
            raise Ec2Problem(
                CONFIGURATION,
                f"Expected a subnet in one of ec2_provision_zones ({', '.join(zones)}); found: {found}.",
                "Set ec2_provision_zones to the zone of one of these, or ec2_provision_subnet_ids to subnets in the "
                "zones. An environment with nodes keeps their subnets until it is destroyed.",
            )
        ordered = sorted(allowed, key=lambda subnet: list(zones).index(subnet["AvailabilityZone"]))
    ordered.sort(key=lambda subnet: subnet["SubnetId"] not in preferred)
    offering = [subnet for subnet in ordered if types <= offered.get(subnet["AvailabilityZone"], set())]
    if not offering:
        lacking = {
            subnet["AvailabilityZone"]: types - offered.get(subnet["AvailabilityZone"], set()) for subnet in ordered
        }
        found = "; ".join(f"{zone} lacks {', '.join(sorted(names))}" for zone, names in lacking.items())
        raise Ec2Problem(
            CAPACITY,
            f"Expected one zone that offers {', '.join(sorted(types))}; found: {found}.",
            "Choose other instance types, other zones (ec2_provision_zones), other subnets "
            "(ec2_provision_subnet_ids) or another region.",
        )
    return offering


def choose_subnets(offering: Sequence[dict[str, Any]], count: int, addresses: int) -> list[dict[str, Any]]:
    """The subnets with enough free addresses, one for each zone: `count` to use, the rest to fall back on.

    :param offering: from usable_subnets
    :param addresses: the number of new instances, which are spread evenly over `count` zones
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
        f"Expected {share} free addresses in {where}; found: {found}.",
        "Use larger subnets or more zones (ec2_provision_subnet_ids, ec2_provision_zones), or fewer nodes.",
    )


def spread(launches: Sequence[Launch], subnets: Sequence[dict[str, Any]], live: Sequence[Instance]) -> list[Launch]:
    """Divide launches over subnets, so that the nodes of each kind, live nodes included, are spread evenly over zones.

    The indexes of a part are consecutive. Of two zones with equally many nodes, the first in the list is filled first.
    """
    parts = []
    for launch in launches:
        count = {
            subnet["SubnetId"]: sum(
                instance.kind == launch.group.kind and instance.zone == subnet["AvailabilityZone"] for instance in live
            )
            for subnet in subnets
        }
        new = dict.fromkeys(count, 0)
        for _ in launch.indexes:
            chosen = min(count, key=lambda subnet_id: count[subnet_id])
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


def spread_over_zones(
    context: LaunchContext, launches: Sequence[Launch], live: Sequence[Instance], full: Collection[str] = ()
) -> list[Launch]:
    """The launches divided over the zones that aren't full; [] if too few zones are left."""
    subnets = [subnet for subnet in context.subnets if subnet["AvailabilityZone"] not in full]
    count = context.spec.zone_count
    return spread(launches, subnets[:count], live) if len(subnets) >= count else []


def find_context(
    ec2: Ec2, spec: Spec, launches: Sequence[Launch], live: Sequence[Instance], problems: Problems
) -> LaunchContext:
    """Find the subnets, images and descriptions of the instance types.

    What is wrong is added to `problems`. The context then holds what was found, so that quota and permissions can be
    checked for the rest.
    """
    types = sorted({launch.group.instance_type for launch in launches})
    # By filter, not by name: EC2 describes no type if one of the names is unknown.
    of_types = {"Filters": [{"Name": "instance-type", "Values": types}]}
    describe = partial(
        ec2.list,
        "describe_instance_types",
        "InstanceTypes",
        f"describe the instance types {', '.join(types)}",
        **of_types,
    )
    offer = partial(
        ec2.list,
        "describe_instance_type_offerings",
        "InstanceTypeOfferings",
        "find the zones that offer the instance types",
        LocationType="availability-zone",
        **of_types,
    )
    descriptions, offerings, subnets = in_parallel(
        [partial(problems.attempt, call) for call in (describe, offer, lambda: _subnets(ec2, spec, live))]
    )
    described = {description["InstanceType"]: description for description in descriptions or []}
    if descriptions is not None:
        unknown = [name for name in types if name not in described and not spec.is_reported(name)]
        problems += [_unknown_type(ec2, name, launches) for name in unknown]
    used = [instance.subnet_id for instance in live]
    chosen: list[dict[str, Any]] = []
    # An unknown type is offered nowhere, and needs neither zone nor image.
    if described and offerings is not None and subnets is not None:
        count = sum(len(launch.indexes) for launch in launches if launch.group.instance_type in described)
        offered = offered_types(offerings)
        chosen = (
            problems.attempt(
                lambda: choose_subnets(
                    usable_subnets(subnets, offered, set(described), spec.zones, preferred=used), spec.zone_count, count
                )
            )
            or []
        )
    return LaunchContext(
        spec,
        # Nodes that exist keep new nodes in their zones: nothing to fall back on.
        chosen[: spec.zone_count] if used else chosen,
        _find_images(ec2, spec, described, problems),
        described,
    )


def _find_images(
    ec2: Ec2, spec: Spec, described: dict[str, dict[str, Any]], problems: Problems
) -> dict[str, dict[str, Any]]:
    """The image of each described instance type, as far as they can be found."""
    architecture: dict[str, str] = {}
    for description in described.values():
        architecture |= problems.attempt(partial(architectures, [description])) or {}
    names = sorted(set(architecture.values()))
    image_problems = Problems()
    found = in_parallel([partial(image_problems.attempt, partial(find_image, ec2, spec, name)) for name in names])
    reported = spec.is_reported(spec.image_name)
    problems += [problem for problem in image_problems if problem.error_class != CONFIGURATION or not reported]
    images = {name: image for name, image in zip(names, found, strict=True) if image}
    return {name: images[value] for name, value in architecture.items() if value in images}


def _unknown_type(ec2: Ec2, name: str, launches: Sequence[Launch]) -> Ec2Problem:
    kinds = ", ".join(launch.group.kind for launch in launches if launch.group.instance_type == name)
    return Ec2Problem(
        CONFIGURATION,
        f"{ec2.region} has no instance type {name}, which is configured for {kinds} nodes.",
        "List the types with aws ec2 describe-instance-type-offerings, or choose another region.",
    )


def _subnets(ec2: Ec2, spec: Spec, live: Sequence[Instance]) -> list[dict[str, Any]]:
    """The subnets that may be used: those of the spec, else those of the nodes that exist, else each zone's default."""
    found: list[dict[str, Any]] = []
    ids = list(spec.subnet_ids) or sorted({instance.subnet_id for instance in live if instance.subnet_id})
    if ids:
        found = ec2.list("describe_subnets", "Subnets", f"describe the subnets {', '.join(ids)}", SubnetIds=ids)
    if spec.subnet_ids or (ids and len({subnet["AvailabilityZone"] for subnet in found}) >= spec.zone_count):
        return found
    default = [{"Name": "default-for-az", "Values": ["true"]}]
    others = ec2.list("describe_subnets", "Subnets", "describe the default subnets", Filters=default)
    return found + [subnet for subnet in others if subnet["SubnetId"] not in ids]


def placement_group_request(spec: Spec) -> dict[str, Any]:
    """The parameters of CreatePlacementGroup."""
    return {
        "GroupName": spec.resource_name,
        "Strategy": spec.placement,
        "TagSpecifications": spec.tag_specifications("placement-group"),
    }


def create_placement_group(ec2: Ec2, spec: Spec) -> None:
    """Create the placement group."""
    ec2.create(
        "create_placement_group",
        f"placement group named {spec.resource_name}",
        "InvalidPlacementGroup.Duplicate",
        **placement_group_request(spec),
    )
