"""The filter rack_id: a rack for each zone, none without racks."""

from __future__ import annotations

import pytest
from ansible_collections.aerospike_community.pegasus.plugins.filter.rack_id import rack_id

ZONES = ["us-east-1b", "us-east-1a", "us-east-1b"]


@pytest.mark.parametrize(
    ("zones", "own", "edition", "rack"),
    [
        (ZONES, "us-east-1a", "enterprise", 1),
        (ZONES, "us-east-1b", "enterprise", 2),
        (ZONES, "us-east-1b", "community", 0),
        (["us-east-1a"] * 3, "us-east-1a", "enterprise", 0),
        ([], "", "enterprise", 0),
        (["", "us-east-1a"], "us-east-1a", "enterprise", 0),
    ],
)
def test_racks(zones: list[str], own: str, edition: str, rack: int) -> None:
    assert rack_id(zones, own, edition) == rack
