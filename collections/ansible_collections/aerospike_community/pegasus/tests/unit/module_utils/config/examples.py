"""A configuration, instance types and a server instance for tests of the rules."""

from __future__ import annotations

from typing import Any

from ansible_collections.aerospike_community.pegasus.plugins.module_utils.config import (
    fixed_values,
)
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.ec2.instances import Instance
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.ec2.tags import TAG_FIXED

VALUES: dict[str, Any] = {
    "pegasus_backend": "aws",
    "pegasus_ec2_endpoint_url": "",
    "ec2_provision_image_name": "debian-12-{architecture}-*",
    "ec2_provision_image_owner": "136693071363",
    "pegasus_region": "us-east-1",
    "pegasus_cluster_name": "Bench",
    "pegasus_cluster_nodes": 3,
    "pegasus_namespace": "Test",
    "pegasus_replication_factor": 2,
    "pegasus_data_storage": "disk",
    "pegasus_primary_index_storage": "memory",
    "pegasus_secondary_index_storage": "memory",
    "pegasus_artifact_source": "http://mirror",
    "aerospike_server_edition": "enterprise",
    "aerospike_server_version": "8.0.0.4",
    "grafana_prometheus_exporter_version": "1.34.0",
    "grafana_prometheus_grafana_version": "12.4.3",
    "aerospike_server_default_ttl": 0,
    "aerospike_server_partition_tree_sprigs": 256,
    "aerospike_server_data_size": "",
    "aerospike_server_features_file": "",
    "nvme_partition_count": 5,
    "nvme_partition_overprovisioning": 15,
    "nvme_partition_primary_index_partitions": "",
    "nvme_partition_secondary_index_partitions": "",
    "nvme_partition_data_partitions": "1-5",
    "ec2_provision_cluster_instance_type": "r6gd.8xlarge",
    "ec2_provision_client_instance_type": "c6i.4xlarge",
    "ec2_provision_monitoring_instance_type": "t3.xlarge",
}
MEMORY = {"pegasus_data_storage": "memory"}
FLASH = {
    "pegasus_primary_index_storage": "disk",
    "nvme_partition_primary_index_partitions": "1",
    "nvme_partition_data_partitions": "2-5",
}


def described(
    name: str, disks: list[int] | None = None, memory: int = 256, architecture: str = "arm64"
) -> dict[str, Any]:
    """An element of DescribeInstanceTypes. disks: sizes in GB; memory: GiB."""
    found: dict[str, Any] = {
        "InstanceType": name,
        "ProcessorInfo": {"SupportedArchitectures": [architecture]},
        "MemoryInfo": {"SizeInMiB": memory * 1024},
    }
    if disks:
        found["InstanceStorageInfo"] = {"Disks": [{"Count": 1, "SizeInGB": size, "Type": "ssd"} for size in disks]}
    return found


TYPES = {
    element["InstanceType"]: element
    for element in (
        described("r6gd.8xlarge", [1900]),
        described("small.disk", [2]),
        described("tiny.disk", [1]),
        described("many.disks", [1000] * 24),
        described("r6g.8xlarge"),
        described("mac1.metal", architecture="x86_64_mac"),
        described("c6i.4xlarge", architecture="x86_64"),
        described("t3.xlarge", architecture="x86_64"),
        described("little.memory", [100], memory=2),
        {**described("least.memory"), "MemoryInfo": {"SizeInMiB": 512}},
    )
}
SERVER = "ec2_provision_cluster_instance_type"


def server(values: dict[str, Any], **changes: Any) -> Instance:
    tags = {TAG_FIXED: fixed_values.tag_value(values)}
    return Instance(
        **{"id": "i-1", "kind": "server", "state": "running", "instance_type": "x", "tags": tags, **changes}
    )
