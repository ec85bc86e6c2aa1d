# Copyright (c) Pegasus authors. SPDX-License-Identifier: Apache-2.0
"""The security group of an environment."""

from __future__ import annotations

from typing import Any

from .api import Ec2, Found
from .errors import CONFIGURATION, Ec2Problem
from .ingress import rule_changes, set_rules
from .spec import Spec


def find_group(spec: Spec, found: Found, subnets: list[dict[str, Any]]) -> dict[str, Any] | None:
    """The environment's security group, None if there is none yet.

    :param subnets: the subnets of new instances
    :raises Ec2Problem: new instances would be in another VPC
    """
    if not found.groups:
        return None
    group = next((group for group in found.groups if group["GroupName"] == spec.resource_name), found.groups[0])
    if subnets and group.get("VpcId") != subnets[0]["VpcId"]:
        raise Ec2Problem(
            CONFIGURATION,
            f"The environment's security group {group['GroupId']} is in {group.get('VpcId')}, the subnet "
            f"{subnets[0]['SubnetId']} in {subnets[0]['VpcId']}; expected the same VPC.",
            "Use subnets of that VPC (ec2_provision_subnet_ids), or destroy the environment first.",
        )
    return group


def group_request(spec: Spec, vpc_id: str) -> dict[str, Any]:
    """The parameters of CreateSecurityGroup."""
    return {
        "GroupName": spec.resource_name,
        "Description": f"Pegasus environment {spec.environment}",
        "VpcId": vpc_id,
        "TagSpecifications": spec.tag_specifications("security-group"),
    }


def create_group(ec2: Ec2, spec: Spec, vpc_id: str, cidrs: list[str]) -> str:
    """Create the security group with its rules, and return its id."""
    answer = ec2.create(
        "create_security_group",
        f"security group named {spec.resource_name}",
        "InvalidGroup.Duplicate",
        **group_request(spec, vpc_id),
    )
    group_id = str(answer["GroupId"])
    set_rules(ec2, group_id, rule_changes(group_id, [], cidrs))
    return group_id
