"""Settings that a running cluster can't change, and the tag that stores them."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.config import (
    fixed_values,
    launch_rules,
)
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.host.disk_plan import parse_partitions
from ansible_collections.aerospike_community.pegasus.tests.unit.module_utils.config.examples import (
    FLASH,
    MEMORY,
    TYPES,
    VALUES,
    server,
)
from hypothesis import given, settings
from hypothesis import strategies as st

ON_DISK = {**VALUES, **FLASH}


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("aerospike_server_edition", "community"),
        ("pegasus_namespace", "Other"),
        ("pegasus_replication_factor", 3),
        ("aerospike_server_default_ttl", 60),
        ("pegasus_data_storage", "memory"),
        ("pegasus_primary_index_storage", "memory"),
        ("pegasus_secondary_index_storage", "disk"),
        ("aerospike_server_partition_tree_sprigs", 512),
        ("nvme_partition_count", 6),
        ("nvme_partition_overprovisioning", 20),
        ("nvme_partition_data_partitions", "3-5"),
        ("nvme_partition_primary_index_partitions", "1-2"),
    ],
)
def test_a_running_cluster_refuses_new_values(key: str, value: Any) -> None:
    assert launch_rules.problems(ON_DISK, TYPES, [server(ON_DISK)]) == []
    changed = {**ON_DISK, key: value}
    texts = [text for about, text in launch_rules.problems(changed, TYPES, [server(ON_DISK)]) if about == key]
    assert any(
        "it can't be changed, because" in text
        and text.endswith("./pegasus-driver destroy-cluster && ./pegasus-driver setup-cluster")
        for text in texts
    )
    # Terminated instances, other kinds and servers without the tag don't restrict the configuration.
    for other in (server(ON_DISK, state="terminated"), server(ON_DISK, kind="client"), server(ON_DISK, tags={})):
        assert not [text for _, text in launch_rules.problems(changed, TYPES, [other]) if "can't be changed" in text]


def test_a_tag_without_the_edition_restricts_the_rest() -> None:
    tag = fixed_values.tag_value(VALUES).replace("edition=enterprise ", "")
    changed = {**VALUES, "aerospike_server_edition": "community", "pegasus_namespace": "Other"}
    assert [key for key, _ in fixed_values.changed_values(tag, changed, "B")] == ["pegasus_namespace"]


def test_the_rebuild_command_names_the_same_environment() -> None:
    """Without the file of --config it would destroy another cluster."""
    changed = {**VALUES, "pegasus_namespace": "Other"}
    ((_, text),) = launch_rules.problems(changed, TYPES, [server(VALUES)], config="/my own/other.yml")
    assert text.endswith(
        "./pegasus-driver destroy-cluster --config '/my own/other.yml' && "
        "./pegasus-driver setup-cluster --config '/my own/other.yml'"
    )


def test_partitions_may_change_while_everything_is_in_memory() -> None:
    values = {**VALUES, **MEMORY}
    assert (
        list(fixed_values.changed_values(fixed_values.tag_value(values), values | {"nvme_partition_count": 9}, "B"))
        == []
    )


def test_another_spelling_of_the_same_partitions_isnt_a_change() -> None:
    tag = fixed_values.tag_value(VALUES)
    assert list(fixed_values.changed_values(tag, VALUES | {"nvme_partition_data_partitions": "1,2,3-5"}, "B")) == []
    odd = {**VALUES, "nvme_partition_count": 40, "nvme_partition_data_partitions": ",".join(map(str, range(1, 40, 2)))}
    assert "on-data=digest:" in fixed_values.tag_value(odd)
    # A tag with a longer list than today's limit.
    tag = fixed_values.tag_value(odd).replace("on-data=digest:", "on-data=1,3,5,7,9,11,13,15,17,19,21,23 was=")
    same = odd | {"nvme_partition_data_partitions": "1,3,5,7,9,11,13,15,17,19,21,23"}
    assert list(fixed_values.changed_values(tag, same, "B")) == []
    assert [key for key, _ in fixed_values.changed_values(tag, odd, "B")] == ["nvme_partition_data_partitions"]


@settings(deadline=None)
@given(st.lists(st.sampled_from(["data", "primary", "secondary", ""]), min_size=128, max_size=128))
def test_the_tag_fits_for_any_partitions(purposes: list[str]) -> None:
    values = {
        **VALUES,
        "pegasus_namespace": "n" * 31,
        "pegasus_replication_factor": 8,
        "aerospike_server_default_ttl": 315360000,
    }
    values |= {"aerospike_server_partition_tree_sprigs": 268435456, "nvme_partition_count": 128}
    for word, key in (("data", "data"), ("primary", "primary_index"), ("secondary", "secondary_index")):
        values[f"pegasus_{key}_storage"] = "disk"
        numbers = [str(number) for number, purpose in enumerate(purposes, 1) if purpose == word]
        values[f"nvme_partition_{key}_partitions"] = ",".join(numbers)
        parse_partitions(",".join(numbers))
    tag = fixed_values.tag_value(values)
    assert len(tag) < 256 and len(tag.split(" ")) == len(fixed_values.FIXED)
    assert list(fixed_values.changed_values(tag, values, "B")) == []
