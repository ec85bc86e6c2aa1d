# Copyright (c) Pegasus authors. SPDX-License-Identifier: Apache-2.0
"""What an environment should be: the parameters of the module ec2_environment, checked and typed."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from ..durations import parse_duration
from .errors import CONFIGURATION, Ec2Problem, joined
from .ingress import normalize_cidr
from .tags import TAG_ENVIRONMENT, TAG_NAME, TAG_OWNER, tag_list

# Names become host names in the inventory and tag values in EC2.
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}")


@dataclass(frozen=True)
class Group:
    """What should exist of one kind. The module's documentation describes the fields."""

    kind: str
    name: str
    nodes: int
    instance_type: str
    replace: tuple[int, ...] = ()
    add: int = 0
    fixed: str = ""
    spot: bool = False
    limit: int = 0
    limit_reason: str = ""

    @classmethod
    def from_params(cls, params: Mapping[str, Any]) -> Group:
        """Build it from a module's parameters, in which Ansible may have left numbers and booleans as text."""
        values = {item.name: params[item.name] for item in fields(cls) if item.name in params}
        values |= {key: int(values[key]) for key in ("nodes", "add", "limit") if key in values}
        values["replace"] = tuple(int(index) for index in values.get("replace", ()))
        values["spot"] = str(values.get("spot", False)).lower() == "true"
        return cls(**values)


@dataclass(frozen=True)
class Spec:
    """A checked spec. Its fields have the names of the module's parameters, which document them."""

    environment: str
    groups: list[Group]
    owner: str
    private_key_file: Path
    key_name: str
    image_name: str
    image_owner: str
    subnet_ids: list[str]
    zones: list[str]
    zone_count: int
    placement: str
    public_address: str
    allowed_cidrs: list[str]
    root_volume_gb: int
    monitoring_volume_gb: int
    root_volume_type: str
    expiry: int  # seconds, 0 for never
    tags: dict[str, str]
    timeout: float
    problems: tuple[Ec2Problem, ...] = ()  # what earlier checks found, reported together with what this run finds

    @classmethod
    def from_params(cls, params: Mapping[str, Any]) -> Spec:
        """Build it from the module's parameters.

        :raises Ec2Problem: with everything that is wrong with them
        """
        groups = [Group.from_params(group) for group in params["groups"]]
        tags = {str(key): str(value) for key, value in params["tags"].items()}
        wrong = check_request(groups, tags)
        expiry, cidrs = 0, []
        try:
            expiry = parse_duration(params["expiry"])
        except ValueError as error:
            wrong.append(f"ec2_provision_expiry: {error}")
        for cidr in params["allowed_cidrs"]:
            try:
                cidrs.append(normalize_cidr(cidr))
            except ValueError as error:
                wrong.append(f"ec2_provision_allowed_cidrs: {error}")
        for name, unit in (("root_volume_gb", " (GiB)"), ("monitoring_volume_gb", " (GiB)"), ("zone_count", "")):
            if params[name] < 1:
                wrong.append(f"ec2_provision_{name} is {params[name]}; expected at least 1{unit}.")
        problems = tuple(_earlier_problem(problem) for problem in params["problems"])
        if wrong:
            raise joined([*problems, Ec2Problem(CONFIGURATION, "\n".join(wrong))])
        values = {item.name: params[item.name] for item in fields(cls)}
        values |= {"groups": groups, "tags": tags, "expiry": expiry, "allowed_cidrs": cidrs, "problems": problems}
        values["private_key_file"] = Path(params["private_key_file"]).absolute()
        return cls(**values)

    def is_reported(self, value: str) -> bool:
        """Whether an earlier check already reported this value of the configuration."""
        return any(problem.error_class == CONFIGURATION and value in problem.message for problem in self.problems)

    @property
    def resource_name(self) -> str:
        """The name of the security group, the key pair and the placement group."""
        return f"pegasus-{self.environment}"

    @property
    def shared_tags(self) -> dict[str, str]:
        """The tags of every resource of the environment."""
        return {**self.tags, TAG_ENVIRONMENT: self.environment, TAG_OWNER: self.owner}

    def tag_specifications(self, resource_type: str) -> list[dict[str, Any]]:
        """The parameter TagSpecifications for a resource with resource_name."""
        return [{"ResourceType": resource_type, "Tags": tag_list(self.shared_tags | {TAG_NAME: self.resource_name})}]


def _earlier_problem(params: Mapping[str, Any]) -> Ec2Problem:
    """A problem from the result of another module, whose message ends with the next step."""
    message = params["msg"].removesuffix(params["next_step"]).rstrip()
    return Ec2Problem(params["error_class"], message, params["next_step"])


def check_environment(name: str) -> str:
    """What is wrong with the name of an environment; '' if nothing is."""
    return _check_name("pegasus_cluster_name", name)


def _check_name(key: str, name: str) -> str:
    if NAME.fullmatch(name):
        return ""
    return (
        f"{key} is {name!r}; expected letters, digits, '-', '_' and '.', at most 63, starting with a letter or digit."
    )


def check_request(groups: list[Group], extra_tags: dict[str, str]) -> list[str]:
    """What is wrong with the requested groups and tags, as sentences."""
    wrong = [text for group in groups if (text := _check_name(f"The name of the {group.kind} group", group.name))]
    for attribute in ("kind", "name"):
        values = [getattr(group, attribute) for group in groups]
        wrong.extend(
            f"Two groups have the {attribute} {value!r}; expected a different {attribute} for each group."
            for value in sorted(set(values))
            if values.count(value) > 1
        )
    wrong.extend(f"{group.name} has {group.nodes} nodes; expected 0 or more." for group in groups if group.nodes < 0)
    wrong.extend(f"{group.name} adds {group.add} nodes; expected 1 or more." for group in groups if group.add < 0)
    wrong.extend(
        f"The tag {key!r} can't be set; expected a key other than Name, without the prefix pegasus: or aws:."
        for key in extra_tags
        if key == TAG_NAME or key.startswith(("pegasus:", "aws:"))
    )
    return wrong
