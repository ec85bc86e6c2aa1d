"""Rules across the settings of servers and disks, by the names of config.yml."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.aerospike import settings as server_settings
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.aerospike.rules import SETTINGS, problems

ROLES = Path(__file__).resolve().parents[4] / "roles"
GOOD: dict[str, Any] = {
    "aerospike_server_version": "8.0.0.4",
    "aerospike_server_edition": "enterprise",
    "pegasus_cluster_name": "Benchmark",
    "pegasus_cluster_nodes": 3,
    "pegasus_namespace": "Test",
    "pegasus_data_storage": "disk",
    "pegasus_primary_index_storage": "disk",
    "nvme_partition_primary_index_partitions": "1-2",
    "nvme_partition_data_partitions": "3-5",
    "nvme_partition_count": 5,
}


def test_good_settings_have_no_problems() -> None:
    assert problems(GOOD) == []
    assert problems({}) == []


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"pegasus_replication_factor": 9}, "pegasus_replication_factor: expected 1 to 8, found 9"),
        (
            {"aerospike_server_partition_tree_sprigs": 300},
            "aerospike_server_partition_tree_sprigs: expected a power of two",
        ),
        ({"aerospike_server_default_ttl": "x"}, "aerospike_server_default_ttl: expected a whole number, found 'x'"),
        (
            {"pegasus_data_storage": "memory"},
            "pegasus_primary_index_storage: data in memory needs both indexes in memory",
        ),
        (
            {"aerospike_server_edition": "community"},
            "pegasus_primary_index_storage: an index on disk needs the Enterprise",
        ),
        ({"nvme_partition_data_partitions": "2-5"}, "partition 2 is for data and for primary-index"),
        (
            {"nvme_partition_data_partitions": "3-6"},
            "nvme_partition_data_partitions: expected partitions up to 5, found 6",
        ),
        ({"nvme_partition_data_partitions": "x"}, "nvme_partition_data_partitions: expected partitions like 1-3,7-9"),
        ({"nvme_partition_primary_index_partitions": ""}, "because pegasus_primary_index_storage is disk, found none"),
        ({"nvme_partition_overprovisioning": 95}, "0 to 90 percent, found 95"),
        ({"nvme_partition_count": "many"}, "expected whole numbers"),
    ],
)
def test_problems_begin_with_the_name_of_the_variable(changes: dict[str, Any], message: str) -> None:
    assert any(message in text for text in problems({**GOOD, **changes}))


def test_partitions_do_not_count_if_everything_is_in_memory() -> None:
    memory = {"pegasus_data_storage": "memory", "pegasus_primary_index_storage": "memory"}
    assert problems({**GOOD, **memory, "nvme_partition_data_partitions": "1-99"}) == []


@pytest.mark.parametrize("role", ["aerospike_server", "nvme_partition"])
def test_every_variable_has_a_default_and_a_specification(role: str) -> None:
    defaults = yaml.safe_load((ROLES / role / "defaults/main.yml").read_text())
    options = yaml.safe_load((ROLES / role / "meta/argument_specs.yml").read_text())["argument_specs"]["main"][
        "options"
    ]
    assert set(defaults) == {name for name in options if name.startswith(f"{role}_")}
    for name, value in defaults.items():
        specified = options[name]["default"]
        assert str(value).strip() == str(specified).strip(), name
    assert all(option.get("required") for name, option in options.items() if name.startswith("pegasus_"))


def test_the_role_sets_fields_of_the_settings() -> None:
    settings = yaml.safe_load((ROLES / "aerospike_server/vars/main.yml").read_text())["__aerospike_server_settings"]
    fields = set(server_settings.Settings.__dataclass_fields__)
    assert set(settings) <= fields
    assert set(SETTINGS) <= fields
    assert {"seeds", "data_devices", "memory_bytes"} <= set(settings)


@pytest.mark.parametrize(
    ("check", "before", "licence", "pending", "restarted", "expected"),
    [
        (True, "8.0.0.3", False, [], [], True),  # a dry run with another version
        (True, "8.0.0.4", True, [], [], True),  # a dry run with another licence
        (True, "8.0.0.4", False, ["aerospike"], [], True),
        (True, "8.0.0.4", False, [], [], False),
        (True, "", True, [], [], False),  # a new host has nothing to restart
        (True, "8.0.0.3", True, [], ["aerospike"], False),  # nor has a stopped server
        (False, "8.0.0.3", True, ["aerospike"], [], True),
        (False, "8.0.0.3", True, [], ["aerospike"], False),
    ],
)
def test_a_dry_run_reports_the_restart_for_a_new_version_or_licence(
    check: bool, before: str, licence: bool, pending: list[str], restarted: list[str], expected: bool
) -> None:
    loader = DataLoader()
    variables = loader.load_from_file(str(ROLES / "aerospike_server/vars/main.yml"), trusted_as_template=True)
    variables |= {
        "ansible_check_mode": check,
        "__aerospike_server_package": {"previous_version": before, "version": "8.0.0.4"},
        "__aerospike_server_features": {"changed": licence},
        "__aerospike_server_service": {"pending": pending, "restarted": restarted},
        "__aerospike_server_configuration": {"restart": []},
    }
    reasons = Templar(loader, variables).template(variables["__aerospike_server_restart_reasons"])
    assert reasons == (["the program, its unit or its licence changed"] if expected else [])
