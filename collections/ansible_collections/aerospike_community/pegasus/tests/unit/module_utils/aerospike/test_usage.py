"""What a node holds and how full it is, in the statistics of each release."""

from __future__ import annotations

import pytest
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.aerospike.health import Statistics
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.aerospike.usage import usage

# The node's own figure also counts what it has to receive, so each migration would count twice.
NODE = {"system_free_mem_pct": "59", "migrate_partitions_remaining": "2726"}
NEW = {
    "objects": "200", "master_objects": "100", "migrate_tx_partitions_remaining": "1363",
    "data_total_bytes": "1000", "data_used_bytes": "620",
    "data_used_pct": "62", "data_avail_pct": "31",
}  # fmt: skip
ON_DISK = {
    "objects": "200", "master_objects": "100", "migrate_tx_partitions_remaining": "1363",
    "device_total_bytes": "1000", "device_used_bytes": "620",
    "device_available_pct": "31", "memory-size": "4000", "memory_used_bytes": "20",
}  # fmt: skip
IN_MEMORY = {
    "objects": "200",
    "master_objects": "100",
    "migrate_tx_partitions_remaining": "1363",
    "memory-size": "1000",
    "memory_used_bytes": "620",
}


@pytest.mark.parametrize(
    ("values", "available"), [(NEW, 31), (ON_DISK, 31), (IN_MEMORY, None)], ids=["7.0", "6.4 on disk", "6.4 in memory"]
)
def test_each_release_has_the_same_figures(values: dict[str, str], available: int | None) -> None:
    assert usage(Statistics(NODE, {"test": values})) == {
        "objects": 200,
        "master_objects": 100,
        "data_used_bytes": 620,
        "data_total_bytes": 1000,
        "data_used_pct": 62,
        "data_avail_pct": available,
        "memory_used_pct": 41,
        "migrations": 1363,
    }


def test_several_namespaces_add_up_and_the_fullest_decides() -> None:
    small = {"objects": "1", "data_total_bytes": "10", "data_used_bytes": "9", "data_avail_pct": "7"}
    found = usage(Statistics(NODE, {"test": NEW, "small": small}))
    assert (found["objects"], found["data_used_bytes"], found["data_total_bytes"]) == (201, 629, 1010)
    assert (found["data_used_pct"], found["data_avail_pct"]) == (90, 7)


def test_an_empty_namespace_is_used_by_zero() -> None:
    found = usage(Statistics({}, {"test": {"data_used_bytes": "0", "data_total_bytes": "10"}}))
    assert (found["data_used_bytes"], found["data_used_pct"], found["objects"]) == (0, 0, None)
