"""The module ec2_ingress, and the rules of a launch, against moto."""

from __future__ import annotations

import json

import pytest
from ansible.module_utils.testing import patch_module_args
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.ec2 import (
    ingress,
)
from ansible_collections.aerospike_community.pegasus.plugins.modules import ec2_ingress

from tests.ec2_moto import REGION, descriptions

pytestmark = pytest.mark.slow  # launches in moto, half a second each


def test_the_security_group_has_exactly_these_rules(ec2, run):
    run(allowed_cidrs=["203.0.113.7", "198.51.100.0/24", "2001:db8::/64"])
    (group,) = ec2.describe_security_groups(GroupNames=["pegasus-Bench"])["SecurityGroups"]
    found = {
        (permission["IpProtocol"], permission.get("FromPort"), permission.get("ToPort"), source)
        for permission in group["IpPermissions"]
        for source in (
            *(source["CidrIp"] for source in permission["IpRanges"]),
            *(source["CidrIpv6"] for source in permission["Ipv6Ranges"]),
            *(source["GroupId"] for source in permission["UserIdGroupPairs"]),
            *(source["PrefixListId"] for source in permission["PrefixListIds"]),
        )
    }
    networks = ("203.0.113.7/32", "198.51.100.0/24", "2001:db8::/64")
    assert found == {("tcp", port, port, network) for port in (22, 3000, 9090) for network in networks} | {
        ("-1", None, None, group["GroupId"])
    }
    assert {tuple(instance["SecurityGroups"][0].items()) for instance in descriptions(ec2)} == {
        (("GroupId", group["GroupId"]), ("GroupName", "pegasus-Bench"))
    }
    assert all(len(instance["SecurityGroups"]) == 1 for instance in descriptions(ec2))


@pytest.fixture
def allow(tmp_path, capsys):
    """Run the module ec2_ingress."""

    def run_module(check=False, **changed):
        arguments = {
            "environment": "Bench", "region": REGION, "access_key": "testing", "secret_key": "testing",
            "_ansible_check_mode": check, "_ansible_remote_tmp": str(tmp_path), **changed,
        }  # fmt: skip
        capsys.readouterr()
        with patch_module_args(arguments), pytest.raises(SystemExit):
            ec2_ingress.main()
        return json.loads(capsys.readouterr().out)

    return run_module


def test_a_new_address_of_this_machine_is_allowed(ec2, run, allow, monkeypatch):
    run(allowed_cidrs=["203.0.113.7"])
    monkeypatch.setattr(ingress, "own_address", lambda: "198.51.100.9/32")
    planned = allow(check=True)
    result = allow()
    assert (
        planned["changes"]
        == result["changes"]
        == [
            *(f"allow port {port} from 198.51.100.9/32" for port in (22, 3000, 9090)),
            *(f"no longer allow port {port} from 203.0.113.7/32" for port in (22, 3000, 9090)),
        ]
    )
    assert "open to 198.51.100.9/32 (this machine's public address) only" in result["message"][-1]
    again = allow()
    assert again["changed"] is False and again["message"][0].startswith("nothing to change")
    assert allow(allowed_cidrs=["192.0.2.0/24", "2001:db8::/64"])["cidrs"] == ["192.0.2.0/24", "2001:db8::/64"]
    assert run(allowed_cidrs=["192.0.2.0/24", "2001:db8::/64"])["changed"] is False


def test_ingress_needs_an_environment(ec2, allow):
    result = allow(allowed_cidrs=["192.0.2.0/24"])
    assert result["error_class"] == "configuration"
    assert "Bench has no security group in us-east-1" in result["msg"]
    assert "'here' isn't an address range" in allow(allowed_cidrs=["here"])["msg"]
