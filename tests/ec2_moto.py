"""What the collection's tests of EC2 share: groups, errors and descriptions, against moto in their own process."""

from __future__ import annotations

from typing import Any

from ansible_collections.aerospike_community.pegasus.plugins.module_utils.ec2.instances import Instance
from botocore.exceptions import ClientError

REGION = "us-east-1"
SERVERS = {"kind": "server", "name": "Bench", "nodes": 3, "instance_type": "i4i.large"}
CLIENTS = {"kind": "client", "name": "BenchClient", "nodes": 1, "instance_type": "c6i.large"}
MONITOR = {"kind": "monitor", "name": "BenchGrafana", "nodes": 1, "instance_type": "t3.medium"}
GROUPS = [SERVERS, CLIENTS, MONITOR]


def refuse(code: str, operation: str = "Operation") -> ClientError:
    """An error of EC2."""
    return ClientError({"Error": {"Code": code, "Message": f"{code} from the test"}}, operation)


def descriptions(ec2: Any) -> list[dict[str, Any]]:
    """EC2's descriptions of all instances."""
    reservations = ec2.describe_instances()["Reservations"]
    return [description for reservation in reservations for description in reservation["Instances"]]


def live(ec2: Any) -> list[Instance]:
    """The live instances by kind and index."""
    instances = [Instance.from_description(description) for description in descriptions(ec2)]
    return sorted((instance for instance in instances if instance.live), key=lambda instance: instance.order)


def live_by_name(ec2: Any) -> dict[str, dict[str, Any]]:
    """Name -> description of the live instances."""
    return {
        Instance.from_description(description).label: description
        for description in descriptions(ec2)
        if Instance.from_description(description).live
    }


def tags_of(resource: dict[str, Any]) -> dict[str, str]:
    """The tags of a description."""
    return {tag["Key"]: tag["Value"] for tag in resource["Tags"]}


def launch(
    ec2: Any, index: int, kind: str = "server", environment: str = "Bench", expires: str | None = "never"
) -> str:
    """Launch a tagged instance; returns its id."""
    tags = {"pegasus:environment": environment, "pegasus:kind": kind, "pegasus:index": str(index)}
    tags |= {"Name": f"{environment}-{index}"} | ({} if expires is None else {"pegasus:expires": expires})
    specification = {"ResourceType": "instance", "Tags": [{"Key": key, "Value": tags[key]} for key in tags]}
    answer = ec2.run_instances(
        ImageId="ami-amd64", MinCount=1, MaxCount=1, InstanceType="i4i.large", TagSpecifications=[specification]
    )
    return str(answer["Instances"][0]["InstanceId"])


def states(ec2: Any) -> dict[str, tuple[str, str | None]]:
    """Name -> state and expiry tag of all instances."""
    return {
        tags_of(description)["Name"]: (description["State"]["Name"], tags_of(description).get("pegasus:expires"))
        for description in descriptions(ec2)
    }
