"""The rules of the security group."""

from __future__ import annotations

import pytest
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.ec2.ingress import (
    Rule,
    desired_rules,
    existing_rules,
    normalize_cidr,
)


def test_rules_survive_the_conversion_to_permissions():
    rules = desired_rules("sg-1", ["203.0.113.7/32", "2001:db8::/64"])
    assert len(rules) == 7
    assert {(rule.first_port, rule.source) for rule in rules if rule.kind == "cidr4"} == {
        (22, "203.0.113.7/32"),
        (3000, "203.0.113.7/32"),
        (9090, "203.0.113.7/32"),
    }
    assert existing_rules([rule.permission() for rule in rules]) == rules


def test_permissions_are_flattened():
    permission = {
        "IpProtocol": "tcp",
        "FromPort": 22,
        "ToPort": 23,
        "IpRanges": [{"CidrIp": "10.0.0.0/8"}, {"CidrIp": "0.0.0.0/0", "Description": "x"}],
        "PrefixListIds": [{"PrefixListId": "pl-1"}],
    }
    assert existing_rules([permission]) == {
        Rule("tcp", 22, 23, "cidr4", "10.0.0.0/8"),
        Rule("tcp", 22, 23, "cidr4", "0.0.0.0/0"),
        Rule("tcp", 22, 23, "prefix", "pl-1"),
    }


@pytest.mark.parametrize(
    ("text", "network"),
    [("203.0.113.7", "203.0.113.7/32"), ("10.1.2.3/8", "10.0.0.0/8"), ("2001:DB8::1/64", "2001:db8::/64")],
)
def test_cidrs_are_normalized(text, network):
    assert normalize_cidr(text) == network


def test_an_invalid_cidr_is_refused():
    with pytest.raises(ValueError, match="'myhost' isn't an address range"):
        normalize_cidr("myhost")
