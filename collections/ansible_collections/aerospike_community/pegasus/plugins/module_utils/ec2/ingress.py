# Copyright (c) Pegasus authors. SPDX-License-Identifier: Apache-2.0
"""Who may reach an environment: the rules of its security group."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from typing import Any

from .api import Ec2
from .errors import CONFIGURATION, ENDPOINT, Ec2Problem

# ssh, Grafana, Prometheus.
OPEN_PORTS = (22, 3000, 9090)
ADDRESS_SERVICE = "https://checkip.amazonaws.com"
# Kind of source -> EC2's list in IpPermissions, and the key of the source in its elements.
SOURCES = {
    "cidr4": ("IpRanges", "CidrIp"),
    "cidr6": ("Ipv6Ranges", "CidrIpv6"),
    "group": ("UserIdGroupPairs", "GroupId"),
    "prefix": ("PrefixListIds", "PrefixListId"),
}


@dataclass(frozen=True, order=True)
class Rule:
    """A source that may reach a range of ports. `kind` is a key of SOURCES; the protocol -1 means everything."""

    protocol: str
    first_port: int
    last_port: int
    kind: str
    source: str

    def permission(self) -> dict[str, Any]:
        """The rule as an element of IpPermissions."""
        field_name, key = SOURCES[self.kind]
        permission: dict[str, Any] = {"IpProtocol": self.protocol, field_name: [{key: self.source}]}
        if self.protocol != "-1":
            permission |= {"FromPort": self.first_port, "ToPort": self.last_port}
        return permission

    def text(self) -> str:
        """The rule in a message, after `allow`."""
        ports = "all ports" if self.protocol == "-1" else f"port {self.first_port}"
        if self.last_port != self.first_port:
            ports += f" to {self.last_port}"
        return f"{ports} from {self.source}"


@dataclass(frozen=True)
class RuleChanges:
    """The rules to add and to remove."""

    add: frozenset[Rule] = frozenset()
    remove: frozenset[Rule] = frozenset()

    def text(self) -> list[str]:
        """The changes as lines."""
        lines = [f"allow {rule.text()}" for rule in sorted(self.add)]
        return lines + [f"no longer allow {rule.text()}" for rule in sorted(self.remove)]


def normalize_cidr(text: str) -> str:
    """The network in EC2's form; an address becomes a network of its own.

    :raises ValueError: the text isn't an address range
    """
    try:
        return str(ipaddress.ip_network(text.strip(), strict=False))
    except ValueError:
        raise ValueError(
            f"{text!r} isn't an address range. Expected something like 203.0.113.7/32 or 2001:db8::/64."
        ) from None


def own_address() -> str:
    """The public address of this machine as AWS sees it, as a network."""
    from urllib.request import urlopen  # not for everyone who checks an address range

    try:
        with urlopen(ADDRESS_SERVICE, timeout=5) as answer:
            return normalize_cidr(answer.read(200).decode())
    except (OSError, ValueError) as error:
        raise Ec2Problem(
            ENDPOINT,
            f"Could not find the public address of this machine at {ADDRESS_SERVICE}: {error}.",
            "Set ec2_provision_allowed_cidrs to the networks that may reach the environment.",
        ) from error


def desired_rules(group_id: str, cidrs: list[str]) -> set[Rule]:
    """All ports within the environment; only OPEN_PORTS from these networks."""
    rules = {Rule("-1", -1, -1, "group", group_id)}
    for cidr in cidrs:
        kind = "cidr6" if ":" in cidr else "cidr4"
        rules |= {Rule("tcp", port, port, kind, cidr) for port in OPEN_PORTS}
    return rules


def existing_rules(permissions: list[dict[str, Any]]) -> set[Rule]:
    """The rules in EC2's IpPermissions."""
    rules = set()
    for permission in permissions:
        protocol = str(permission["IpProtocol"])
        first, last = (-1, -1) if protocol == "-1" else (permission.get("FromPort", -1), permission.get("ToPort", -1))
        for kind, (field_name, key) in SOURCES.items():
            sources = permission.get(field_name, [])
            rules |= {Rule(protocol, first, last, kind, source[key]) for source in sources if key in source}
    return rules


def rule_changes(group_id: str, permissions: list[dict[str, Any]], cidrs: list[str]) -> RuleChanges:
    """What turns the permissions of a security group into the desired rules."""
    desired, existing = desired_rules(group_id, cidrs), existing_rules(permissions)
    return RuleChanges(frozenset(desired - existing), frozenset(existing - desired))


def set_rules(ec2: Ec2, group_id: str, changes: RuleChanges) -> None:
    """Apply the changes to a security group, which may be so new that EC2 doesn't know it everywhere yet."""
    for operation, verb, rules in (
        ("authorize_security_group_ingress", "open", changes.add),
        ("revoke_security_group_ingress", "close", changes.remove),
    ):
        if rules:
            ec2.call(
                operation,
                f"{verb} ports of the security group {group_id}",
                until_visible=("InvalidGroup.NotFound",),
                GroupId=group_id,
                IpPermissions=[rule.permission() for rule in sorted(rules)],
            )


def allow(ec2: Ec2, allowed_cidrs: list[str], *, check: bool) -> tuple[list[str], list[str]]:
    """Let only these networks reach the environment; without any, only this machine.

    :returns: the changes as lines, and the networks
    """
    groups = ec2.security_groups()
    if not groups:
        raise Ec2Problem(
            CONFIGURATION, f"{ec2.environment} has no security group in {ec2.region}.", "Set the environment up: setup"
        )
    cidrs = allowed_cidrs or [own_address()]
    lines = []
    for group in groups:
        changes = rule_changes(group["GroupId"], group["IpPermissions"], cidrs)
        lines += changes.text()
        if not check:
            set_rules(ec2, group["GroupId"], changes)
    return lines, cidrs
