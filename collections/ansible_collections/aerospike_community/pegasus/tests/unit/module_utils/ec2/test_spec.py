"""The checks of a spec."""

from __future__ import annotations

import pytest
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.ec2.spec import (
    Group,
    check_environment,
    check_request,
)

SERVERS = Group("server", "Bench", 3, "i4i.large")


@pytest.mark.parametrize("name", ["", "Bench*", "a?", "-a", "a b", "a" * 64, "ä"])
def test_dangerous_names_are_refused(name):
    assert "expected letters, digits" in check_environment(name)
    assert check_request([Group("client", name, 1, "c6i.large")], {})


def test_every_wrong_parameter_is_reported():
    groups = [SERVERS, Group("server", "Bench", -1, "i4i.large")]
    text = "\n".join(check_request(groups, {"Name": "x", "pegasus:index": "9", "fine": "y"}))
    assert "Two groups have the kind 'server'" in text
    assert "Two groups have the name 'Bench'" in text
    assert "Bench has -1 nodes" in text
    assert "The tag 'Name' can't be set" in text
    assert "The tag 'pegasus:index' can't be set" in text
    assert "fine" not in text
