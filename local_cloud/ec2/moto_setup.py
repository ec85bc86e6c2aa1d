"""Adapts moto's catalogue to this machine: the image, the default VPC, the disks of instance types."""

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

IMAGE_OWNER = "136693071363"


def prepare_environment(images: Path, architecture: str) -> None:
    """Write the file `images`, and set the environment variables that moto reads when it is imported.

    Removes the caller's AWS settings, because a profile that doesn't exist would break botocore inside moto.
    """
    for name in [name for name in os.environ if name.startswith(("AWS_", "MOTO_"))]:
        del os.environ[name]
    images.write_text(json.dumps(image_list(architecture)))
    os.environ["MOTO_AMIS_PATH"] = str(images)
    os.environ["MOTO_EC2_ENABLE_INSTANCE_TYPE_VALIDATION"] = "true"
    os.environ["MOTO_ENABLE_KEYPAIR_VALIDATION"] = "true"
    os.environ["MOTO_ENABLE_AMI_VALIDATION"] = "true"
    os.environ["AWS_EC2_METADATA_DISABLED"] = "true"


def image_list(architecture: str) -> list[dict[str, Any]]:
    """The only image of the endpoint, in moto's format. `architecture` is amd64 or arm64."""
    name = f"debian-12-{architecture}-pegasus-SIMULATED"
    return [
        {
            "ami_id": "ami-0" + hashlib.sha256(name.encode()).hexdigest()[:16],
            "name": name,
            "description": "SIMULATED: a container with Debian 12, systemd and sshd on this machine",
            "owner_id": IMAGE_OWNER,
            "public": True,
            "architecture": {"amd64": "x86_64", "arm64": "arm64"}[architecture],
            "virtualization_type": "hvm",
            "hypervisor": "xen",
            "state": "available",
            "image_type": "machine",
            "image_location": f"{IMAGE_OWNER}/{name}",
            "root_device_name": "/dev/xvda",
            "root_device_type": "ebs",
            "sriov": "simple",
            "creation_date": "2025-01-01T00:00:00.000Z",
        }
    ]


def default_vpc_of(network: str) -> Callable[[Any], Any]:
    """A replacement for EC2Backend.create_default_vpc: the engine's network as address range, no public addresses."""

    def create_default_vpc(backend: Any) -> Any:
        vpc = backend.create_vpc(cidr_block=network, is_default=True)
        for zone in backend.describe_availability_zones():
            backend.create_default_subnet(zone.name).map_public_ip_on_launch = False
        return vpc

    return create_default_vpc


def set_disk_size(disk_bytes: int) -> None:
    """Make DescribeInstanceTypes return the size of this machine's instance-store disks; 0: no type has disks."""
    from moto.ec2.models.instance_types import INSTANCE_TYPES

    for described in INSTANCE_TYPES.values():
        storage = described.get("InstanceStorageInfo")
        if not storage:
            continue
        if not disk_bytes:
            del described["InstanceStorageInfo"]
            described["InstanceStorageSupported"] = False
            continue
        for disk in storage["Disks"]:
            disk["SizeInGB"] = disk_bytes // 10**9
        storage["TotalSizeInGB"] = sum(int(disk["Count"]) * disk["SizeInGB"] for disk in storage["Disks"])


def disk_count(instance_type: str) -> int:
    """The number of instance-store disks of a type, as DescribeInstanceTypes returns it."""
    from moto.ec2.models.instance_types import INSTANCE_TYPES

    described = INSTANCE_TYPES.get(instance_type) or {}
    return sum(int(disk["Count"]) for disk in (described.get("InstanceStorageInfo") or {}).get("Disks") or [])
