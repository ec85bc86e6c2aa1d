"""Complete configurations against all rules: each rule with a value that passes and one that fails."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import jinja2
import pytest
import yaml
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.config import check
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.config import rules as config_rules
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.config.extra_vars import extra_values
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.config.file import ConfigFile, parse_config
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.config.key_rules import KEY_RULES
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.config.local_files import (
    WORKLOAD_NEEDS,
    most_nodes,
)
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.config.report import Problem, Report
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.config.schema import (
    load_schema,
    value_problems,
)
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

ROOT = Path(__file__).resolve().parents[8]
SCHEMA = load_schema()
TODAY = date(2026, 11, 25)
THREADS = (ROOT / "threads.yaml").read_text()
AWS = "pegasus_backend: aws\n"


class Raw(str):
    """A value written to the file as it is, without the quotes that a YAML writer would add."""


yaml.SafeDumper.add_representer(
    Raw,
    lambda dumper, value: dumper.represent_scalar(dumper.resolve(yaml.ScalarNode, str(value), (True, False)), value),
)


def no_templates(raw: Any) -> Callable[[str], Any]:
    """A resolver that can render no template."""

    def value(key: str) -> Any:
        raise LookupError(key)

    return value


class Project:
    """A project folder with the shipped files, which a test may change."""

    def __init__(self, root: Path) -> None:
        self.root = root
        for name in ("group_vars/all", "inventories/aws/group_vars", "inventories/local/group_vars", "playbooks"):
            (root / name).mkdir(parents=True)
        for name in ("group_vars/all/wiring.yml", "inventories/aws/group_vars/all.yml", "threads.yaml"):
            shutil.copy(ROOT / name, root / name)
        shutil.copy(ROOT / "inventories/local/group_vars/all.yml", root / "inventories/local/group_vars/all.yml")
        self.config = root / "group_vars/all/config.yml"
        self.base = yaml.safe_load((ROOT / "group_vars/all/config.yml").read_text()) | {"pegasus_backend": "aws"}

    def check(self, changes: dict[str, Any] | None = None, *extra: str, **options: Any) -> list[Problem]:
        """Write config.yml with some keys changed (None removes a key) and check it."""
        values = {key: value for key, value in {**self.base, **(changes or {})}.items() if value is not None}
        self.config.write_text(yaml.safe_dump(values, sort_keys=False))
        return self.examine(*extra, **options).problems

    def examine(
        self,
        *extra: str,
        config: Path | None = None,
        launching: bool = True,
        resolve: check.Resolve = no_templates,
    ) -> Report:
        return check.examine(
            self.root,
            config,
            extra_values(extra, self.root),
            resolve,
            schema=SCHEMA,
            launching=launching,
            today=TODAY,
        )


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path / "project")


DISK_INDEX = {
    "pegasus_primary_index_storage": "disk",
    "pegasus_data_storage": "disk",
    "nvme_partition_primary_index_partitions": "1",
    "nvme_partition_data_partitions": "2-5",
}
SECOND_INDEX = {
    "pegasus_secondary_index_storage": "disk",
    "pegasus_data_storage": "disk",
    "nvme_partition_secondary_index_partitions": "1",
    "nvme_partition_data_partitions": "2-5",
}
MEMORY = {"pegasus_data_storage": "memory"}
COMMUNITY = {"aerospike_server_edition": "community"}

# What passes, what fails, the key that the message is about, and a part of it.
RULES: list[tuple[dict[str, Any], dict[str, Any], str, str]] = [
    # the backend and the place
    ({"pegasus_backend": "local"}, {"pegasus_backend": "gcp"}, "pegasus_backend", "found 'gcp', expected local or aws"),
    ({"pegasus_backend": "aws"}, {"pegasus_backend": None}, "pegasus_backend", "found no such key"),
    ({"pegasus_region": "us-gov-west-1"}, {"pegasus_region": "useast1"}, "pegasus_region", "such as us-east-1"),
    ({"pegasus_artifact_source": "http://m:8"}, {"pegasus_artifact_source": "upstraem"}, "pegasus_artifact_source", "mirror"),
    ({"pegasus_connect_address": "public"}, {"pegasus_connect_address": "vpn"}, "pegasus_connect_address", "public or private"),
    ({"ec2_provision_expiry": "20h 30m"}, {"ec2_provision_expiry": "a day"}, "ec2_provision_expiry", "expected 20h 30m"),
    ({"ec2_provision_expiry": "3650d"}, {"ec2_provision_expiry": "3651d"}, "ec2_provision_expiry", "expected at most 3650d"),
    ({"ec2_provision_expiry": "90m"}, {"ec2_provision_expiry": "9" * 5000 + "d"}, "ec2_provision_expiry", "expected 20h 30m"),
    ({"pegasus_ec2_endpoint_url": "http://127.0.0.1:4570"}, {"pegasus_ec2_endpoint_url": "localhost"}, "pegasus_ec2_endpoint_url", "http(s) address"),
    ({"ec2_provision_expiry": 0}, {"ec2_provision_expiry": "1h 2h"}, "ec2_provision_expiry", "or 0 for never"),
    ({"ec2_provision_tags": {"team": "a"}}, {"ec2_provision_tags": {"pegasus:kind": "x"}}, "ec2_provision_tags", "pegasus:"),
    ({"ec2_provision_tags": {}}, {"ec2_provision_tags": {"a": None}}, "ec2_provision_tags", "expected text"),
    ({"ec2_provision_tags": {"a": "b" * 256}}, {"ec2_provision_tags": {"a": "b" * 257}}, "ec2_provision_tags", "at most 128"),
    (
        {"ec2_provision_tags": {f"k{n}": "v" for n in range(40)}},
        {"ec2_provision_tags": {f"k{n}": "v" for n in range(41)}},
        "ec2_provision_tags",
        "found 41 tags",
    ),
    (
        {"ec2_provision_allowed_cidrs": ["203.0.113.7/32", "2001:db8::/64"]},
        {"ec2_provision_allowed_cidrs": ["203.0.113.7/33"]},
        "ec2_provision_allowed_cidrs",
        "expected networks",
    ),
    ({"ec2_provision_subnet_ids": ["subnet-0123abcd"]}, {"ec2_provision_subnet_ids": ["vpc-1"]}, "ec2_provision_subnet_ids", "subnet ids"),
    ({"ec2_provision_zone_count": 3}, {"ec2_provision_zone_count": 0}, "ec2_provision_zone_count", "1 to 6"),
    (
        {"ec2_provision_zone_count": 2, "ec2_provision_zones": ["us-east-1a", "us-east-1b"]},
        {"ec2_provision_zone_count": 2, "ec2_provision_zones": ["us-east-1a"]},
        "ec2_provision_zones",
        "found 1, expected at least 2 zones",
    ),
    (
        {"ec2_provision_zone_count": 1, "ec2_provision_subnet_ids": ["subnet-0123abcd"]},
        {"ec2_provision_zone_count": 2, "ec2_provision_subnet_ids": ["subnet-0123abcd"]},
        "ec2_provision_subnet_ids",
        "expected at least 2 subnets in different zones",
    ),
    (
        {"ec2_provision_prices": {"r6gd.*": 1.5, "*": 0}},
        {"ec2_provision_prices": {"r6gd.*": "cheap"}},
        "ec2_provision_prices",
        "found 'cheap' for r6gd.*, expected US dollars an hour",
    ),
    (
        {"ec2_provision_placement": "cluster"},
        {"ec2_provision_placement": "cluster", "ec2_provision_zone_count": 2},
        "ec2_provision_placement",
        "expected ec2_provision_zone_count 1",
    ),
    (
        {"ec2_provision_placement": "spread", "pegasus_cluster_nodes": 7},
        {"ec2_provision_placement": "spread", "pegasus_cluster_nodes": 8},
        "ec2_provision_placement",
        "at most 7 in each zone",
    ),
    (
        {"pegasus_connect_address": "private", "ec2_provision_public_address": "never", "ec2_provision_allowed_cidrs": ["10.0.0.0/8"]},
        {"pegasus_connect_address": "public", "ec2_provision_public_address": "never"},
        "ec2_provision_public_address",
        "expected always or subnet",
    ),
    (
        {"pegasus_connect_address": "private", "ec2_provision_allowed_cidrs": ["10.0.0.0/8"]},
        {"pegasus_connect_address": "private", "ec2_provision_allowed_cidrs": []},
        "ec2_provision_allowed_cidrs",
        "the networks that you connect from",
    ),
    ({"ec2_provision_root_volume_type": "gp2"}, {"ec2_provision_root_volume_type": "gp9"}, "ec2_provision_root_volume_type", "gp3"),
    (
        {"ec2_provision_key_name": "mine", "ec2_provision_private_key_file": "~/.ssh/mine.pem"},
        {"ec2_provision_key_name": "mine"},
        "ec2_provision_private_key_file",
        "the path of the private key of 'mine'",
    ),
    ({"pegasus_ssh_jump": "me@bastion.example:2222"}, {"pegasus_ssh_jump": "-oProxyCommand=x"}, "pegasus_ssh_jump", "user@host"),
    ({"ec2_provision_spot": ["client"]}, {"ec2_provision_spot": ["cluster"]}, "ec2_provision_spot", "server"),
    (
        {"ec2_provision_zones": ["us-east-1c", "us-east-1-bos-1a"]},
        {"ec2_provision_zones": ["us-east-1c", "us-west-2a"]},
        "ec2_provision_zones",
        "found 'us-west-2a', expected zones of us-east-1",
    ),
    ({"ec2_provision_zones": []}, {"ec2_provision_zones": [1]}, "ec2_provision_zones", "found 1, expected zones of us-east-1"),
    ({"ec2_provision_zones": []}, {"ec2_provision_zones": ["us-east-1"]}, "ec2_provision_zones", "such as us-east-1a"),
    ({"ec2_provision_image_owner": "self"}, {"ec2_provision_image_owner": "debian"}, "ec2_provision_image_owner", "12 digits"),
    ({"ec2_provision_root_volume_gb": 8}, {"ec2_provision_root_volume_gb": 7}, "ec2_provision_root_volume_gb", "8 to 16384 GiB"),
    (
        {"ec2_provision_cluster_instance_type": "i4i.metal"},
        {"ec2_provision_cluster_instance_type": "r6gd8xlarge"},
        "ec2_provision_cluster_instance_type",
        "an EC2 instance type",
    ),
    ({"ec2_provision_client_instance_type": "c6i.large"}, {"ec2_provision_client_instance_type": "c6i"}, "ec2_provision_client_instance_type", "an EC2 instance type"),
    ({"ec2_provision_monitoring_instance_type": "t3.large"}, {"ec2_provision_monitoring_instance_type": "T3.large"}, "ec2_provision_monitoring_instance_type", "an EC2 instance type"),
    # names
    ({"pegasus_cluster_name": "A_b-1.c"}, {"pegasus_cluster_name": "a/b"}, "pegasus_cluster_name", "letters, digits"),
    ({"pegasus_cluster_name": "run"}, {"pegasus_cluster_name": "runs"}, "pegasus_cluster_name", "not locks, runs, local-cloud"),
    ({"pegasus_cluster_name": "7"}, {"pegasus_cluster_name": 7}, "pegasus_cluster_name", "in quotes"),
    ({"pegasus_client_name": "C" * 63}, {"pegasus_client_name": "C" * 64}, "pegasus_client_name", "at most 63"),
    ({"pegasus_client_name": "Other"}, {"pegasus_client_name": "Benchmark"}, "pegasus_client_name", "three different names"),
    ({"pegasus_monitoring_name": "M"}, {"pegasus_monitoring_name": "BenchmarkClient"}, "pegasus_monitoring_name", "different"),
    ({"pegasus_namespace": "n" * 31}, {"pegasus_namespace": "n" * 32}, "pegasus_namespace", "1 to 31 characters"),
    ({"pegasus_namespace": "bar"}, {"pegasus_namespace": "b ar"}, "pegasus_namespace", "no blanks"),
    # the cluster
    ({"pegasus_cluster_nodes": 256}, {"pegasus_cluster_nodes": 257}, "pegasus_cluster_nodes", "1 to 256"),
    ({"pegasus_cluster_nodes": 2}, {"pegasus_cluster_nodes": "3"}, "pegasus_cluster_nodes", "without quotes"),
    ({"pegasus_client_nodes": 0}, {"pegasus_client_nodes": -1}, "pegasus_client_nodes", "0 to 1000"),
    ({"aerospike_server_edition": "community"}, {"aerospike_server_edition": "entreprise"}, "aerospike_server_edition", "did you mean enterprise?"),
    ({"aerospike_server_version": "8.0.*"}, {"aerospike_server_version": "8"}, "aerospike_server_version", "exact version"),
    ({"aerospike_server_version": "latest"}, {"aerospike_server_version": "6.3.0.1"}, "aerospike_server_version", "6.4 or newer"),
    ({"aerospike_server_tools_version": "11.2.*"}, {"aerospike_server_tools_version": "11"}, "aerospike_server_tools_version", "11.2.2"),
    ({"aerospike_server_version": "8.1"}, {"aerospike_server_version": 8.1}, "aerospike_server_version", "in quotes"),
    (
        {**COMMUNITY, "pegasus_cluster_nodes": 8},
        {**COMMUNITY, "pegasus_cluster_nodes": 9},
        "pegasus_cluster_nodes",
        "at most 8",
    ),
    (
        {"pegasus_replication_factor": 3},
        {"pegasus_replication_factor": 4},
        "pegasus_replication_factor",
        "found 4, expected at most the number of nodes",
    ),
    (
        {"pegasus_replication_factor": 8, "pegasus_cluster_nodes": 9},
        {"pegasus_replication_factor": 9, "pegasus_cluster_nodes": 9},
        "pegasus_replication_factor",
        "1 to 8",
    ),
    (
        {"aerospike_server_extra_settings": {"service": {"batch-index-threads": 8}, "namespace": {"storage-engine": {"flush-size": "128K"}}}},
        {"aerospike_server_extra_settings": {"servise": {"x": 1}}},
        "aerospike_server_extra_settings",
        "did you mean service?",
    ),
    (
        {"aerospike_server_extra_settings": {"service": {"x": None}}},
        {"aerospike_server_extra_settings": {"service": {"x": "a{b"}}},
        "aerospike_server_extra_settings",
        "aerospike.conf can't contain",
    ),
    (
        {"aerospike_server_extra_settings": {"namespace": {"index-type": "shmem", "storage-engine": {"x": 1}}, "logging": {"console": None}}},
        {"aerospike_server_extra_settings": {"network": {"heartbeat": 5}}},
        "aerospike_server_extra_settings",
        "network.heartbeat is a context",
    ),
    (
        {**DISK_INDEX, "aerospike_server_extra_settings": {"namespace": {"index-type": {"evict-mounts-pct": 80}}}},
        {"pegasus_primary_index_storage": "memory", "aerospike_server_extra_settings": {"namespace": {"index-type": {"evict-mounts-pct": 80}}}},
        "aerospike_server_extra_settings",
        "namespace.index-type doesn't exist",
    ),
    ({"aerospike_server_open_files": 20000}, {"aerospike_server_open_files": 10000}, "aerospike_server_proto_fd_max", "wouldn't start"),
    # the namespace
    ({"aerospike_server_default_ttl": 315360000}, {"aerospike_server_default_ttl": 315360001}, "aerospike_server_default_ttl", "seconds"),
    ({"aerospike_server_default_ttl": 60}, {"aerospike_server_default_ttl": -1}, "aerospike_server_default_ttl", "found -1"),
    ({"aerospike_server_compression": "zstd"}, {"aerospike_server_compression": "gzip"}, "aerospike_server_compression", "none or lz4"),
    (
        {**COMMUNITY, "aerospike_server_compression": "none"},
        {**COMMUNITY, "aerospike_server_compression": "lz4"},
        "aerospike_server_compression",
        "needs the Enterprise Edition",
    ),
    (DISK_INDEX, {**DISK_INDEX, **COMMUNITY}, "pegasus_primary_index_storage", "needs the Enterprise Edition"),
    (
        {**SECOND_INDEX, "aerospike_server_edition": "enterprise"},
        {**SECOND_INDEX, **COMMUNITY},
        "pegasus_secondary_index_storage",
        "needs the Enterprise Edition",
    ),
    (
        SECOND_INDEX,
        {**SECOND_INDEX, "nvme_partition_secondary_index_partitions": "2"},
        "nvme_partition_secondary_index_partitions",
        "partition 2 is for data and for secondary-index",
    ),
    (
        {"aerospike_server_heartbeat_interval": 150, "aerospike_server_heartbeat_timeout": 10},
        {"aerospike_server_heartbeat_interval": 50, "aerospike_server_heartbeat_timeout": 10},
        "aerospike_server_heartbeat_timeout",
        "at least 1500 milliseconds",
    ),
    ({"nvme_partition_mount_root": "/mnt/x"}, {"nvme_partition_mount_root": "mnt"}, "nvme_partition_mount_root", "an absolute path"),
    (MEMORY, {**DISK_INDEX, **MEMORY}, "pegasus_primary_index_storage", "data in memory needs both indexes in memory"),
    (
        MEMORY,
        {**MEMORY, "pegasus_secondary_index_storage": "disk"},
        "pegasus_secondary_index_storage",
        "data in memory needs both indexes in memory",
    ),
    ({**MEMORY, "aerospike_server_data_size": "1G"}, {**MEMORY, "aerospike_server_data_size": "1Gi"}, "aerospike_server_data_size", "4G or 512M"),
    ({**MEMORY, "aerospike_server_data_size": "256M"}, {**MEMORY, "aerospike_server_data_size": "128M"}, "aerospike_server_data_size", "at least 256M"),
    ({"aerospike_server_partition_tree_sprigs": 268435456}, {"aerospike_server_partition_tree_sprigs": 536870912}, "aerospike_server_partition_tree_sprigs", "a power of two"),
    ({"aerospike_server_partition_tree_sprigs": 512}, {"aerospike_server_partition_tree_sprigs": 300}, "aerospike_server_partition_tree_sprigs", "256 to 268435456"),
    ({"aerospike_server_partition_tree_sprigs": 256}, {"aerospike_server_partition_tree_sprigs": 128}, "aerospike_server_partition_tree_sprigs", "found 128"),
    # the disks
    ({"nvme_partition_count": 128}, {"nvme_partition_count": 129}, "nvme_partition_count", "1 to 128"),
    ({"nvme_partition_overprovisioning": 90}, {"nvme_partition_overprovisioning": 91}, "nvme_partition_overprovisioning", "0 to 90 percent"),
    ({"nvme_partition_overprovisioning": 0}, {"nvme_partition_overprovisioning": -1}, "nvme_partition_overprovisioning", "found -1"),
    ({"nvme_partition_data_partitions": "1-3,5"}, {"nvme_partition_data_partitions": "1-6"}, "nvme_partition_data_partitions", "up to 5, found 6"),
    ({"nvme_partition_data_partitions": 5}, {"nvme_partition_data_partitions": "a-b"}, "nvme_partition_data_partitions", "like 1-3,7-9"),
    ({"nvme_partition_data_partitions": "1"}, {"nvme_partition_data_partitions": ""}, "nvme_partition_data_partitions", "at least one partition"),
    (DISK_INDEX, {**DISK_INDEX, "nvme_partition_data_partitions": "1-5"}, "nvme_partition_primary_index_partitions", "partition 1 is for data and for primary-index"),
    (DISK_INDEX, {**DISK_INDEX, "nvme_partition_primary_index_partitions": ""}, "nvme_partition_primary_index_partitions", "at least one partition"),
    # the clients
    ({"perseus_client_record_size": 178}, {"perseus_client_record_size": 177}, "perseus_client_record_size", "178"),
    ({"perseus_client_read_batch_size": 1}, {"perseus_client_read_batch_size": 0}, "perseus_client_read_batch_size", "1 to"),
    ({"perseus_client_write_batch_size": 1}, {"perseus_client_write_batch_size": 0}, "perseus_client_write_batch_size", "1 to"),
    ({"perseus_client_read_hit_ratio": 1}, {"perseus_client_read_hit_ratio": 1.01}, "perseus_client_read_hit_ratio", "0 to 1"),
    ({"perseus_client_read_hit_ratio": 0.0}, {"perseus_client_read_hit_ratio": -0.1}, "perseus_client_read_hit_ratio", "0 to 1"),
    ({"perseus_client_max_time_range_chance": 1e-05}, {"perseus_client_max_time_range_chance": 2}, "perseus_client_max_time_range_chance", "0 to 1"),
    ({"perseus_client_normal_time_range": 100}, {"perseus_client_normal_time_range": 101}, "perseus_client_normal_time_range", "at most perseus_client_max_time_range (100)"),
    ({"perseus_client_truncate_set": True}, {"perseus_client_truncate_set": "yes"}, "perseus_client_truncate_set", "true or false"),
    ({"perseus_client_string_index": True}, {"perseus_client_string_index": 1}, "perseus_client_string_index", "true or false"),
    ({"perseus_client_set": "s" * 63}, {"perseus_client_set": "s" * 64}, "perseus_client_set", "1 to 63"),
    ({"grafana_prometheus_prometheus_version": "2.42.*"}, {"grafana_prometheus_prometheus_version": "newest"}, "grafana_prometheus_prometheus_version", "2.42.0"),
    ({"perseus_client_ref": "v1.0"}, {"perseus_client_ref": "a b"}, "perseus_client_ref", "a branch, a tag or a commit"),
    ({"perseus_client_heap": "512m"}, {"perseus_client_heap": "6 GB"}, "perseus_client_heap", "6g, or a share"),
    ({"perseus_client_heap": "50%"}, {"perseus_client_heap": "0%"}, "perseus_client_heap", "a share of the memory such as 50%"),
    # monitoring
    ({"grafana_prometheus_admin_password": "abcd"}, {"grafana_prometheus_admin_password": "abc"}, "grafana_prometheus_admin_password", "at least 4"),
    ({"grafana_prometheus_grafana_version": "12.4.3"}, {"grafana_prometheus_grafana_version": "latest"}, "grafana_prometheus_grafana_version", "exact version"),
    ({"grafana_prometheus_scrape_interval": "1m30s"}, {"grafana_prometheus_scrape_interval": "5 s"}, "grafana_prometheus_scrape_interval", "such as 5s"),
    ({"grafana_prometheus_dashboards": ["cluster"]}, {"grafana_prometheus_dashboards": ["clusters"]}, "grafana_prometheus_dashboards", "did you mean cluster?"),
    ({"grafana_prometheus_exporter_version": "1.*"}, {"grafana_prometheus_exporter_version": "v1"}, "grafana_prometheus_exporter_version", "1.34.0"),
    ({"grafana_prometheus_retention": "2w"}, {"grafana_prometheus_retention": "long"}, "grafana_prometheus_retention", "such as 15d"),
    ({"grafana_prometheus_admin_user": "me"}, {"grafana_prometheus_admin_user": "a:b"}, "grafana_prometheus_admin_user", "without blanks or colons"),
    # numbers and dates that YAML reads differently
    ({"pegasus_cluster_nodes": 8}, {"pegasus_cluster_nodes": Raw("010")}, "pegasus_cluster_nodes", "found 010, which YAML reads as 8"),
    ({"ec2_provision_expiry": 90}, {"ec2_provision_expiry": Raw("1:30")}, "ec2_provision_expiry", "found 1:30, which YAML reads as 90, expected a plain number, or quotes"),
    ({"pegasus_namespace": "0x10"}, {"pegasus_namespace": Raw("0x10")}, "pegasus_namespace", "found 0x10, which YAML reads as 16"),
    ({"perseus_client_read_hit_ratio": Raw("1.0e-05")}, {"perseus_client_read_hit_ratio": Raw("1:30.5")}, "perseus_client_read_hit_ratio", "found 1:30.5"),
    ({"aerospike_server_version": "8.0"}, {"aerospike_server_version": Raw("2026-01-02")}, "aerospike_server_version", "found 2026-01-02, expected text: put it in quotes"),
    ({"aerospike_server_version": "8.0.0.4"}, {"aerospike_server_version": "\uff18.0.0.4"}, "aerospike_server_version", "an exact version"),
    # keys
    ({}, {"pegasus_cluster_node": 3}, "pegasus_cluster_node", "did you mean pegasus_cluster_nodes?"),
    ({}, {"CLUSTER_NAME": "x"}, "CLUSTER_NAME", "did you mean pegasus_cluster_name?"),
    ({}, {"quite_something_else": 1}, "quite_something_else", "docs/configuration.md"),
    ({}, {"aerospike_server_seeds": ["1.2.3.4"]}, "aerospike_server_seeds", "a value that Pegasus derives"),
    ({}, {"ec2_provision_state": "absent"}, "ec2_provision_state", "for one run only"),
    ({"pegasus_region": "us-east-2"}, {"pegasus_region": "{{ region }}"}, "pegasus_region", "found a template"),
    ({"pegasus_namespace": "{{ x }}"}, {"pegasus_namespace": None}, "pegasus_namespace", "found no such key"),
]  # fmt: skip


@pytest.mark.parametrize(("good", "bad", "key", "message"), RULES)
def test_each_rule(project: Project, good: dict[str, Any], bad: dict[str, Any], key: str, message: str) -> None:
    assert project.check(good) == []
    problems = project.check(bad)
    about = [problem for problem in problems if problem.key == key]
    assert about, problems
    assert any(message in problem.message for problem in about), about
    for problem in problems:
        assert "found" in problem.message and "expected" in problem.message
        lines = project.config.read_text().splitlines()
        if problem.line:
            assert problem.text.startswith(f"group_vars/all/config.yml:{problem.line}: {problem.key}: ")
            assert lines[problem.line - 1].startswith(f"{problem.key}:")
        else:
            assert not any(line.startswith(f"{problem.key}:") for line in lines)


def test_every_rule_has_a_row() -> None:
    """A value that passes and one that fails for each pattern, each limit (below) and each rule across keys."""
    keys = {key for _, bad, key, _ in RULES if key in bad}
    assert {key for key, rule in KEY_RULES.items() if rule.pattern or rule.choices} <= keys
    base = {key: option.default for key, option in SCHEMA.items() if option.default is not None}
    base |= yaml.safe_load((ROOT / "group_vars/all/config.yml").read_text())
    refusing = {
        rule.__name__ for _, bad, _, _ in RULES for rule in config_rules.RULES if _refuses(rule, {**base, **bad})
    }
    assert refusing == {rule.__name__ for rule in config_rules.RULES}


def _refuses(rule: Any, values: dict[str, Any]) -> bool:
    """Whether a rule reports a problem; it never gets values of a wrong type."""
    right = (
        {key: value for key, value in values.items() if not list(value_problems(SCHEMA[key], value))}
        if all(key in SCHEMA for key in values)
        else {}
    )
    return bool(list(rule(right)))


def test_a_numeric_secret_isnt_shown(project: Project) -> None:
    (problem,) = project.check({"grafana_prometheus_admin_password": Raw("01234567")})
    assert "found a number that YAML reads differently" in problem.message and "1234567" not in problem.text


def test_a_message_is_one_line(project: Project) -> None:
    changes = {"pegasus_namespace": "a\nb", "ec2_provision_tags": {"x\ny": None}, "a\nb": 1}
    changes["aerospike_server_extra_settings"] = {"service": {"x": "a\nb"}}
    problems = project.check(changes)
    assert len(problems) >= 4 and all(len(problem.text.splitlines()) == 1 for problem in problems)


def test_every_key_rule_belongs_to_a_known_key_and_accepts_its_default() -> None:
    assert set(KEY_RULES) <= set(SCHEMA)
    for key, rule in KEY_RULES.items():
        option = SCHEMA[key]
        assert option.default is None or not list(value_problems(option, option.default)), key
        assert bool(rule.text) or bool(rule.scope), f"{key}: the rule says nothing"
        assert not rule.unit or rule.minimum is not None, key


@pytest.mark.parametrize("key", [key for key, rule in KEY_RULES.items() if rule.minimum is not None])
def test_each_limit_accepts_its_ends_and_refuses_what_is_beyond(key: str) -> None:
    option, rule = SCHEMA[key], KEY_RULES[key]
    assert option.type in ("int", "float") and rule.minimum is not None
    assert list(value_problems(option, rule.minimum)) == []
    assert "expected" in next(value_problems(option, rule.minimum - 1))
    if rule.maximum is not None:
        assert list(value_problems(option, rule.maximum)) == []
        assert "expected" in next(value_problems(option, rule.maximum + 1))


def test_the_shipped_files_have_no_mistake(project: Project) -> None:
    shutil.copy(ROOT / "group_vars/all/config.yml", project.config)
    report = project.examine()
    assert report.problems == []
    assert "pegasus_data_storage" in report.unknown  # of the local preset, known once the local cloud runs
    assert project.check({}) == []


def test_all_mistakes_at_once_with_their_lines(project: Project) -> None:
    problems = project.check(
        {"pegasus_cluster_nodes": "many", "pegasus_replication_factor": 0, "pegasus_region": "", "nodes": 3}
    )
    assert {problem.key for problem in problems} == {
        "pegasus_cluster_nodes",
        "pegasus_replication_factor",
        "pegasus_region",
        "nodes",
    }
    assert all(problem.line for problem in problems)
    assert [problem.line for problem in problems] == sorted(problem.line for problem in problems)


def test_an_unknown_value_causes_no_problem(project: Project) -> None:
    """In the local cloud, the data storage depends on the machine."""
    local = {"pegasus_backend": "local", "pegasus_primary_index_storage": "disk"}
    lists = {"nvme_partition_primary_index_partitions": "1", "nvme_partition_data_partitions": "2-5"}
    assert project.check({**local, **lists}) == []
    assert project.check({**local, **lists, **MEMORY})


# --- files --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "line", "message"),
    [
        ("a: 1\nb: [2\nc: 3\n", 3, "expected valid YAML"),
        ("a: 1\n\tb: 2\n", 2, "expected valid YAML"),
        ("just text\n", 1, "expected lines of `key: value`"),
        ("- a\n- b\n", 1, "expected lines of `key: value`"),
        ("pegasus_namespace: a\npegasus_namespace: b\n", 2, "found a duplicate (first on line 1)"),
        ("ec2_provision_tags: {a: 1,\n  a: 2}\n", 2, "found 'a' twice in it"),
        ("ec2_provision_tags:\n  a: [1_0]\n", 2, "found 1_0, which YAML reads as 10"),
        ("1: 2\n", 1, "found '1' as a key"),
        ("[a, b]: 2\n", 1, "found a structure as a key"),
        ("a: &x [*x]\n", 1, "found the alias *x"),
        ("a: 1\n---\nb: 2\n", 2, "found a second document"),
        ("a: " + "[" * 30 + "]" * 30, 1, "levels of nesting"),
        ("pegasus_namespace: 2026-99-99\n", 1, "can't read"),
        ("pegasus_namespace: !!python/object:os.system x\n", 1, "expected a plain value"),
        ("pegasus_cluster_nodes: " + "9" * 5000, 1, "can't read"),
        (b"a: 1\nb: \xff\n", 2, "aren't UTF-8"),
        ("a: \x00\n", 0, "expected valid YAML"),
        (b"#" * 2_000_000, 0, "expected at most"),
    ],
)
def test_files_that_cant_be_read(project: Project, content: str | bytes, line: int, message: str) -> None:
    project.config.write_bytes(content if isinstance(content, bytes) else content.encode())
    found = [(problem.line, problem.message) for problem in project.examine().problems]
    assert any(at == line and message in text for at, text in found), found


def test_a_missing_file(project: Project) -> None:
    (problem,) = project.examine().problems
    assert problem.text.startswith("group_vars/all/config.yml: found no such file, expected a configuration")


def test_an_encrypted_value_is_left_to_ansible(project: Project) -> None:
    text = yaml.safe_dump({**project.base, "grafana_prometheus_admin_password": "x"})
    project.config.write_text(
        text.replace("admin_password: x", "admin_password: !vault |\n  $ANSIBLE_VAULT;1.1;AES256\n  6162")
    )
    assert project.examine().problems == []


def test_a_byte_order_mark_is_accepted(project: Project) -> None:
    project.config.write_text("\ufeff" + yaml.safe_dump(project.base), encoding="utf-8")
    assert project.examine().problems == []


# --- -e and --config ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("extra", "key", "message"),
    [
        ("perseus_client_record_size=10", "perseus_client_record_size", "178"),
        ("perseus_client_record_size=ten", "perseus_client_record_size", "a whole number"),
        ("pegasus_cluster_nodes=3 pegasus_replication_factor=4", "pegasus_replication_factor", "the number of nodes"),
        ("perseus_client_recordsize=300", "perseus_client_recordsize", "did you mean perseus_client_record_size?"),
        ('{"nvme_partition_count": "5"}', "nvme_partition_count", ""),
        ('{"nvme_partition_count": 500}', "nvme_partition_count", "1 to 128"),
        ("pegasus_region=us-west-1", "pegasus_region", "--config other.yml"),
        ("pegasus_backend=aws", "pegasus_backend", "the inventory reads the file"),
        ("novalue", "", "found no '='"),
        ("a='", "", "expected KEY=VALUE"),
        ("{", "", "expected valid YAML"),
        ("@nowhere.yml", "", "found no such file"),
    ],
)
def test_values_of_the_command_line_follow_the_same_rules(project: Project, extra: str, key: str, message: str) -> None:
    problems = project.check({}, extra)
    if not message:
        assert problems == []
        return
    assert [problem for problem in problems if problem.key == key and message in problem.message], problems
    assert all(problem.file.partition(" ")[0] == "-e" and "expected" in problem.message for problem in problems)


def test_values_of_the_command_line_win(project: Project) -> None:
    assert project.check({"perseus_client_record_size": 10}, "perseus_client_record_size=300") == []
    report = project.examine("perseus_client_string_index=yes", "chaos_nodes=1,2", "ansible_user=me")
    assert report.values["perseus_client_string_index"] is True
    assert report.values["chaos_nodes"] == [1, 2]


def test_a_playbooks_own_variable_is_accepted(project: Project) -> None:
    (project.root / "playbooks/logs.yml").write_text(
        "# Reads the path.\n- hosts: servers\n  vars: {x: '{{ logs_path | default(pegasus_root) }}'}\n"
    )
    assert project.check({}, "logs_path=/x") == []
    assert project.check({}, "pegasus_logs_dir=/x") == [], "a variable of wiring.yml"
    for word in ("logs_paths", "servers", "path", "hosts", "default"):
        (problem,) = project.check({}, f"{word}=1")
        assert problem.key == word and "found an unknown key" in problem.message


def test_a_file_of_the_command_line_is_reported_with_its_lines(project: Project) -> None:
    project.check({})
    (project.root / "more.yml").write_text("\nnodes: 3\n\npegasus_replication_factor: 9\npegasus_region: eu-west-1\n")
    texts = [problem.text for problem in project.examine("perseus_client_record_size=1", "@more.yml").problems]
    assert [text.partition(" found")[0] for text in texts] == [
        "-e: perseus_client_record_size:",
        "-e @more.yml:2: nodes:",
        "-e @more.yml:4: pegasus_replication_factor:",
        "-e @more.yml:5: pegasus_region:",
    ]
    (project.root / "more.yml").write_text("a: [\n")
    (problem,) = project.examine("@more.yml").problems
    assert (problem.file, problem.line) == ("-e @more.yml", 2)
    # The later value wins.
    assert project.examine("nvme_partition_count=4", '{"nvme_partition_count": 6}').values["nvme_partition_count"] == 6


def test_a_second_file_overrides_config_yml(project: Project, tmp_path: Path) -> None:
    project.check({})
    other = tmp_path / "other.yml"
    other.write_text(
        "pegasus_backend: aws\npegasus_region: eu-west-1\npegasus_cluster_name: Other\npegasus_cluster_nodes: 1\n"
    )
    report = project.examine(config=other)
    (problem,) = report.problems
    assert problem.key == "pegasus_replication_factor" and problem.file == "group_vars/all/config.yml"
    assert report.values["pegasus_cluster_name"] == "Other"
    other.write_text("pegasus_cluster_name: Other\n")
    assert {problem.key for problem in project.examine(config=other).problems} == {"pegasus_backend", "pegasus_region"}


# --- threads.yaml and the licence -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("old", "new", "line", "message"),
    [
        ("write: 1", "write: 501", 4, "0 to 500"),
        ("write: 1", "wirte: 1", 4, "did you mean 'write'?"),
        ("write: 1", "write: 010", 4, "octal"),
        ("write: 1", "write: '1'", 4, "a plain whole number"),
        ("read: 1", "write: 1", 5, "is already on line 4"),
    ],
)
def test_wrong_threads(project: Project, old: str, new: str, line: int, message: str) -> None:
    (project.root / "threads.yaml").write_text(THREADS.replace(old, new, 1))
    problems = project.check({})
    assert any(p.file == "threads.yaml" and p.line == line and message in p.message for p in problems), problems
    assert project.check({}) and not project.examine(launching=False).problems


@pytest.mark.parametrize(("workload", "key"), WORKLOAD_NEEDS.items())
def test_a_query_workload_needs_its_setting(project: Project, workload: str, key: str) -> None:
    (project.root / "threads.yaml").write_text(THREADS.replace(f"{workload}: 0", f"{workload}: 2"))
    (problem,) = project.check({key: False})
    assert problem.key == workload and problem.line and f"while {key} is false, expected 0" in problem.message
    assert project.check({key: True}) == []


def test_the_line_of_a_workload_is_found_in_any_format(project: Project) -> None:
    (project.root / "threads.yaml").write_text("\ufeff" + THREADS.replace("stringSearch: 0", "stringSearch  : 2"))
    (problem,) = project.check({"perseus_client_string_index": False})
    assert problem.line == THREADS[: THREADS.index("stringSearch")].count("\n") + 1


def test_another_file_of_the_live_load_is_checked(project: Project) -> None:
    project.check({})
    (project.root / "other.yaml").write_text(THREADS.replace("write: 1", "write: 501"))
    report = project.examine("perseus_client_threads_file=other.yaml", resolve=lambda raw: raw.__getitem__)
    (problem,) = report.problems
    assert problem.file == "other.yaml" and problem.line == 4


def test_a_missing_threads_file(project: Project) -> None:
    (project.root / "threads.yaml").unlink()
    (problem,) = project.check({})
    assert problem.file == "threads.yaml"


LICENCE = "# for a test\nfeature-key-version 2\nserial-number 4711\nvalid-until-date {date}\nasdb-cluster-nodes-limit {nodes}\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (LICENCE.format(date="2026-11-25", nodes=3), ""),
        (LICENCE.format(date="2027-01-01", nodes=0), ""),
        ("feature-key-version 2\n", ""),
        (LICENCE.format(date="2026-11-24", nodes=3), "valid until 2026-11-24, expected one that is valid today"),
        (LICENCE.format(date="2027-01-01", nodes=2), "for 2 nodes, expected one for 3"),
        (LICENCE.format(date="31.12.2027", nodes=3), "found the valid-until-date '31.12.2027' in "),
        (LICENCE.format(date="2027-02-30 4711", nodes=3), "found the valid-until-date '2027-02-30' in "),
        (LICENCE.format(date="x" * 300 + "4711", nodes=3), f"found the valid-until-date '{'x' * 32}' in "),
        (LICENCE.format(date="", nodes=3), "expected a day as in 2026-12-31"),
        (LICENCE.format(date="2027-01-01", nodes="many"), "found the asdb-cluster-nodes-limit 'many' in "),
        ("no licence", "without a licence's lines"),
        (None, "no readable file"),
    ],
)
def test_licences(project: Project, text: str | None, message: str) -> None:
    if text is not None:
        (project.root / "features.conf").write_text(text)
    problems = project.check({"aerospike_server_features_file": "features.conf"})
    assert [message in problem.message for problem in problems] == [True] * bool(message)
    assert not any("4711" in problem.text for problem in problems)
    # Removing an environment needs no valid licence.
    assert project.examine(launching=False).problems == []
    assert project.check({"aerospike_server_features_file": "features.conf", **COMMUNITY}) == []


@pytest.mark.parametrize("name", ["features.conf", "{root}/features.conf", "~/features.conf"])
def test_the_role_reads_the_licence_that_was_checked(
    project: Project, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """A path that only the check finds would fail on the hosts, after their launch."""

    def lookup(plugin: str, path: str, rstrip: bool) -> str:
        """Ansible's lookup: it resolves a relative path in the playbook's folder, not in the project's."""
        assert (plugin, rstrip) == ("ansible.builtin.file", False)
        return (project.root / "playbooks" / Path(path).expanduser()).read_text()

    monkeypatch.setenv("HOME", str(project.root))
    text = LICENCE.format(date="2027-01-01", nodes=0)
    (project.root / "features.conf").write_text(text)
    name = name.format(root=project.root)
    assert project.check({"aerospike_server_features_file": name}) == []
    role = Path(check.__file__).parents[3] / "roles/aerospike_server"
    known = {"aerospike_server_features_file": name, "pegasus_root": str(project.root), "lookup": lookup}
    source = yaml.safe_load((role / "vars/main.yml").read_text())["__aerospike_server_features_source"]
    known["__aerospike_server_features_source"] = jinja2.Template(source).render(known).strip()
    (file,) = [
        task["aerospike_community.pegasus.host_service"]["files"][0]
        for task in yaml.safe_load((role / "tasks/prepare.yml").read_text())
        if task["name"] == "Prepare | Place the features file"
    ]
    assert jinja2.Template(file["secret_content"], keep_trailing_newline=True).render(known) == text


def test_the_largest_number_of_nodes(project: Project) -> None:
    """add-nodes adds to the existing nodes, which only EC2 knows."""

    def most(settings: dict[str, Any]) -> tuple[int, str]:
        project.check(settings)
        return most_nodes(project.examine(), project.root)

    # Packages of other sources may be simulated.
    assert most({"pegasus_artifact_source": "http://mirror"}) == (0, "")
    bare = {"pegasus_artifact_source": "upstream"}
    assert most(bare) == (
        1,
        "without a licence (aerospike_server_features_file) the enterprise edition allows at most 1",
    )
    assert most({**bare, **COMMUNITY})[0] == 8
    named = {"aerospike_server_features_file": "features.conf"}
    assert most(named) == (0, "")
    for nodes, reason in ((4, "the licence (aerospike_server_features_file) is for 4"), (0, ""), ("x", "")):
        (project.root / "features.conf").write_text(LICENCE.format(date="2027-01-01", nodes=nodes))
        assert most(named) == (nodes if reason else 0, reason)
    assert most({**named, **COMMUNITY}) == (8, "the community edition allows at most 8")


# --- arbitrary files ------------------------------------------------------------------------------------------------------

SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=40),
    st.dates(),
    st.sampled_from(["1-3,7-9", "24h", "{{ x }}", "8.0.0.4", "memory", "disk", "0x10", "1_0", "1:30", "yes", "~"]),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(SCALARS.filter(lambda x: x == x), inner, max_size=3),
    max_leaves=8,
)
KEYS = st.sampled_from(sorted(SCHEMA))
ANYTHING = settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))


@ANYTHING
@given(
    content=st.one_of(st.binary(max_size=300), st.text(max_size=300).map(lambda text: text.encode("utf-8", "replace")))
)
@example(content=b"a: !!set {b}")
@example(content=b"a: !!binary x")
@example(content=b"<<: {a: 1}")
@example(content=b"<<: 1\n=: 2")
@example(content=b"? {a: b}\n: c")
@example(content=b"\xef\xbb\xbf")
@example(content=b"a: !!timestamp x")
@example(content=b"a: !!bool x")
@example(content=b"a: !!int x")
@example(content=b"a: !!float x")
@example(content=b"!!timestamp x")
@example(content=b"a: !!int ''")
@example(content=b"a: !!omap [b]")
@example(content=b"{a: b}: c")
@example(content=b"a: !vault {b: c}")
@example(content=b"[" * 100_000)
@example(content=b"- " * 100_000)
@example(content=b"a: 0b\n")
@example(content=b"a: 190:20:30.15.x\n")
def test_no_file_makes_the_check_crash(content: bytes, tmp_path_factory: pytest.TempPathFactory) -> None:
    file = parse_config(content, ConfigFile(Path("config.yml")))
    assert file.readable or file.problems
    project = _shared(tmp_path_factory)
    project.config.write_bytes(content)
    report = project.examine()
    assert report.problems, "no such file is a complete configuration"
    assert all(problem.text for problem in report.problems)


@ANYTHING
@given(changes=st.dictionaries(KEYS, VALUES, max_size=4))
def test_no_value_makes_the_check_crash(changes: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> None:
    project = _shared(tmp_path_factory)
    problems = project.check(changes)
    for problem in problems:
        assert "found" in problem.message and "expected" in problem.message
        assert len(problem.text.splitlines()) == 1


@ANYTHING
@given(
    key=st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), min_size=1, max_size=30)
    | KEYS.map(lambda key: key[:-1]),
    value=SCALARS,
)
def test_no_unknown_key_is_accepted(key: str, value: Any, tmp_path_factory: pytest.TempPathFactory) -> None:
    if key in SCHEMA:
        return
    project = _shared(tmp_path_factory)
    problems = project.check({key: "x" if value is None else value})
    assert any(problem.line or not project.examine().files[0].readable for problem in problems), problems
    assert any(problem.key == key or problem.key == "" for problem in problems)


@ANYTHING
@given(arguments=st.lists(st.text(st.characters(codec="utf-8"), max_size=40), max_size=3))
def test_no_argument_makes_the_check_crash(arguments: list[str], tmp_path_factory: pytest.TempPathFactory) -> None:
    project = _shared(tmp_path_factory)
    project.check({}, *arguments)


_projects: list[Project] = []


def _shared(factory: pytest.TempPathFactory) -> Project:
    """A folder that all examples of the property tests share."""
    if not _projects:
        _projects.append(Project(factory.mktemp("any") / "project"))
    return _projects[0]


def test_the_text_of_a_problem() -> None:
    problem = Problem("config.yml", 7, "key", "found 1, expected 2", "kez")
    assert problem.text == problem.record()["text"] == "config.yml:7: key: found 1, expected 2"
    assert problem.record()["nearest"] == "kez"
