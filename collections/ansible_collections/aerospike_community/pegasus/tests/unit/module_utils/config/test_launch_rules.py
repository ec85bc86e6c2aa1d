"""Rules that need EC2's answers, by table."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.config import (
    launch_rules,
)
from ansible_collections.aerospike_community.pegasus.tests.unit.module_utils.config.examples import (
    FLASH,
    MEMORY,
    SERVER,
    TYPES,
    VALUES,
)
from hypothesis import given, settings
from hypothesis import strategies as st


@pytest.mark.parametrize(
    ("good", "bad", "key", "message"),
    [
        ({}, {SERVER: "r6gd.9xlarge"}, SERVER, "found 'r6gd.9xlarge', expected an instance type that EC2 offers in us-east-1"),
        ({}, {"ec2_provision_client_instance_type": "c6i.x"}, "ec2_provision_client_instance_type", "that EC2 offers"),
        ({}, {"ec2_provision_monitoring_instance_type": "mac1.metal"}, "ec2_provision_monitoring_instance_type", "architecture"),
        ({SERVER: "r6g.8xlarge", **MEMORY}, {SERVER: "r6g.8xlarge"}, SERVER, "which has no instance-store disks, expected"),
        ({SERVER: "r6g.8xlarge", "nvme_partition_devices": ["/dev/sdb"]}, {SERVER: "r6g.8xlarge"}, SERVER, "is disk"),
        ({SERVER: "small.disk"}, {SERVER: "small.disk", "nvme_partition_count": 60}, "nvme_partition_count", "use fewer partitions"),
        (FLASH, {**FLASH, SERVER: "small.disk"}, "nvme_partition_primary_index_partitions", "expected at least 4.0 GiB"),
        (
            {SERVER: "many.disks", "nvme_partition_data_partitions": "1-5"},
            {SERVER: "many.disks", "nvme_partition_count": 6, "nvme_partition_data_partitions": "1-6"},
            "nvme_partition_data_partitions",
            "6 partitions on each of 24 disks, expected at most 128",
        ),
        (
            # 1900 GB x 85 % / 5 x 95 % = 285.8 GiB for the index; 16384 sprigs need 170.7 GiB on each of 3 nodes.
            {**FLASH, "aerospike_server_partition_tree_sprigs": 16384},
            {**FLASH, "aerospike_server_partition_tree_sprigs": 32768},
            "aerospike_server_partition_tree_sprigs",
            "found 32768, which need 341.3 GiB on each node for the primary index, but its partitions have 285.8 GiB, "
            "expected at most 16384",
        ),
        (
            {**MEMORY, SERVER: "little.memory", "aerospike_server_data_size": "1G"},
            {**MEMORY, SERVER: "little.memory", "aerospike_server_data_size": "2G"},
            "aerospike_server_data_size",
            "at most 90 percent of the 2.0 GiB",
        ),
        (
            # 4096 partitions x 2 copies / 3 nodes x 2^24 sprigs x 5 bytes = 213.3 GiB, of 90 % of 256 GiB.
            {"aerospike_server_partition_tree_sprigs": 2**24},
            {"aerospike_server_partition_tree_sprigs": 2**28},
            "aerospike_server_partition_tree_sprigs",
            "found 268435456, which need 3413.3 GiB of memory on each node, even for an index on disk, expected at most "
            "16777216, for 90 percent of the 256.0 GiB of r6gd.8xlarge",
        ),
        (
            {**MEMORY, "aerospike_server_data_size": "200G", "aerospike_server_partition_tree_sprigs": 2**20},
            {**MEMORY, "aerospike_server_data_size": "200G", "aerospike_server_partition_tree_sprigs": 2**22},
            "aerospike_server_data_size",
            "90 percent of the 256.0 GiB of r6gd.8xlarge, less 53.3 GiB for the sprigs",
        ),
        (
            {**MEMORY, SERVER: "least.memory", "aerospike_server_version": "8.0.0.4"},
            {**MEMORY, SERVER: "least.memory", "aerospike_server_version": "8.1.0.3"},
            SERVER,
            "with 0.5 GiB of memory, expected a type with room for the minimum of data in memory (512 MiB)",
        ),
    ],
)  # fmt: skip
def test_each_rule(good: dict[str, Any], bad: dict[str, Any], key: str, message: str) -> None:
    assert launch_rules.problems({**VALUES, **good}, TYPES, []) == []
    found = launch_rules.problems({**VALUES, **bad}, TYPES, [])
    assert [text for about, text in found if about == key and message in text], found
    assert all("found" in text and "expected" in text for _, text in found)


def test_the_space_of_sprigs_is_spread_over_the_nodes() -> None:
    # 4096 x 2 x 256 x 4096 bytes in the cluster.
    assert launch_rules.sprig_bytes(256, 2, 2) == 4096 * 256 * 4096
    assert launch_rules.sprig_bytes(256, 2, 4) == 4096 * 256 * 4096 // 2
    assert launch_rules.sprig_bytes(256, 2, 1) == 4096 * 256 * 4096, "one node keeps one copy"
    assert launch_rules.largest_sprigs(1, 2, 3) == 0


@settings(deadline=None)
@given(st.integers(1, 10**15), st.integers(1, 8), st.integers(1, 256))
def test_the_largest_number_of_sprigs_fits_and_the_next_doesnt(budget: int, copies: int, nodes: int) -> None:
    sprigs = launch_rules.largest_sprigs(budget, copies, nodes)
    if sprigs:
        assert launch_rules.sprig_bytes(sprigs, copies, nodes) <= budget
        assert sprigs & (sprigs - 1) == 0
    larger = sprigs * 2 or 256
    assert larger > 268435456 or launch_rules.sprig_bytes(larger, copies, nodes) > budget


def test_the_message_gives_the_largest_that_fits() -> None:
    crowded = {**VALUES, **FLASH, "pegasus_cluster_nodes": 8, "pegasus_replication_factor": 8}
    crowded["aerospike_server_partition_tree_sprigs"] = 512
    budget = 4 * 1024**3  # exactly 256 sprigs
    (text,) = dict(launch_rules._flash(crowded, "primary_index", budget)).values()
    assert "which need 8.0 GiB" in text and text.endswith("expected at most 256")
