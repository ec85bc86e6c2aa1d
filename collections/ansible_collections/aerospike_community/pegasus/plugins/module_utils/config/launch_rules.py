# Copyright (c) Pegasus authors. SPDX-License-Identifier: Apache-2.0
"""Rules that compare a configuration with EC2's answers: instance types, disks, memory, a running cluster. Pure.

As in rules.py, an unknown value is absent, and rules that need it yield nothing.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ..aerospike import settings as aerospike_settings
from ..ec2.errors import Ec2Problem
from ..ec2.images import architectures
from ..ec2.instances import Instance
from ..host.disk_plan import Disk, LayoutSpec, PlanError, parse_partitions, plan_disk
from .fixed_values import TAG_FIXED, changed_values
from .schema import show

Values = Mapping[str, Any]
Found = tuple[str, str]

SERVER_TYPE = "ec2_provision_cluster_instance_type"
MONITORING_TYPE = "ec2_provision_monitoring_instance_type"
TYPE_KEYS = (SERVER_TYPE, "ec2_provision_client_instance_type", MONITORING_TYPE)
STORAGES = {
    "data": "pegasus_data_storage",
    "primary_index": "pegasus_primary_index_storage",
    "secondary_index": "pegasus_secondary_index_storage",
}
PARTITIONS = 4096  # of a namespace's data, not of a disk
SPRIG_BLOCK = 4096  # minimum bytes per sprig of an index on flash
SPRIG_ROOT = 5  # bytes per sprig in memory, even for an index on flash (as_sprig in the server's source: 40 bits)
MAX_MEMORY_PERCENT = 90  # of an instance's memory for data: the system and the indexes need the rest


def problems(
    values: Values,
    types: Mapping[str, Mapping[str, Any]],
    instances: Sequence[Instance],
    images: Sequence[Mapping[str, Any]] | None = None,
    config: str = "",
) -> list[Found]:
    """Find the problems that EC2's answers reveal in a configuration.

    :param types: elements of DescribeInstanceTypes by name, without types that EC2 doesn't know
    :param instances: the environment's instances
    :param images: the answer of DescribeImages for the image's name, None if it wasn't called
    :param config: the file of --config, for the commands in messages
    """
    found = [*_types(values, types), *_running(values, instances, config)]
    # An existing environment needs no image.
    if images is not None and not any(instance.live for instance in instances):
        found += _images(values, types, images)
    described = types.get(str(values.get(SERVER_TYPE)))
    if described:
        found += [*_disks(values, described), *_memory(values, described)]
    return found


def _types(values: Values, types: Mapping[str, Mapping[str, Any]]) -> Iterator[Found]:
    for key in TYPE_KEYS:
        name = values.get(key)
        if name is None:
            continue
        if name not in types:
            region = values.get("pegasus_region", "this region")
            yield key, f"found {show(name)}, expected an instance type that EC2 offers in {region}"
            continue
        try:
            architectures([dict(types[name])])
        except Ec2Problem as problem:
            yield key, f"found {show(name)}, expected a type whose architecture has packages: {problem.message}"


def _images(
    values: Values, types: Mapping[str, Mapping[str, Any]], images: Sequence[Mapping[str, Any]]
) -> Iterator[Found]:
    """Require an image for each architecture of the instance types."""
    available = {image.get("Architecture") for image in images}
    required: dict[str, str] = {}  # architecture -> the first type that has it
    for name in (str(values.get(key)) for key in TYPE_KEYS):
        with contextlib.suppress(Ec2Problem):  # reported by _types
            for architecture in architectures([dict(types[name])] if name in types else []).values():
                required.setdefault(architecture, name)
    for architecture, name in required.items():
        if architecture not in available:
            pattern = str(values["ec2_provision_image_name"])
            yield (
                "ec2_provision_image_name",
                f"found {show(pattern)}, expected the name of an image for {architecture} (of {name}) in "
                f"{values.get('pegasus_region', 'this region')}, owned by {values.get('ec2_provision_image_owner')}",
            )


def disks_of(described: Mapping[str, Any]) -> list[int]:
    """Return the size in bytes of each instance-store disk of a type."""
    groups = (described.get("InstanceStorageInfo") or {}).get("Disks") or []
    return [int(group["SizeInGB"]) * 10**9 for group in groups for _ in range(int(group["Count"]))]


def _on_disk(values: Values) -> list[str]:
    return [purpose for purpose, key in STORAGES.items() if values.get(key) == "disk"]


def _disks(values: Values, described: Mapping[str, Any]) -> Iterator[Found]:
    """Check that the partitions fit on the type's disks, and that an index on flash fits in its partitions."""
    purposes = _on_disk(values)
    if not purposes or values.get("nvme_partition_devices"):
        return  # disks that the user names may have any size
    sizes = disks_of(described)
    if not sizes:
        yield (
            SERVER_TYPE,
            f"found {show(values[SERVER_TYPE])}, which has no instance-store disks, expected a type that has them, "
            f"because {STORAGES[purposes[0]]} is disk (types with a d, such as r6gd.8xlarge, or i4i)",
        )
        return
    try:
        lists = {name: parse_partitions(values.get(f"nvme_partition_{name}_partitions", "")) for name in purposes}
        spec = LayoutSpec(values["nvme_partition_count"], values["nvme_partition_overprovisioning"], **lists)
        plans = [plan_disk(Disk(f"disk {n} of {values[SERVER_TYPE]}", size), spec) for n, size in enumerate(sizes, 1)]
    except KeyError:
        return
    except PlanError as error:
        yield "nvme_partition_count", f"found {values['nvme_partition_count']}, expected partitions that fit: {error}"
        return
    if len(lists.get("data", ())) * len(sizes) > aerospike_settings.MAX_DEVICES:
        yield (
            "nvme_partition_data_partitions",
            f"found {len(lists['data'])} partitions on each of {len(sizes)} disks, expected at most "
            f"{aerospike_settings.MAX_DEVICES} in total",
        )
    for purpose in ("primary_index", "secondary_index"):
        if purpose not in purposes or not lists[purpose]:
            continue
        budget = aerospike_settings.mounts_budget(
            [{"size_bytes": part.size} for plan in plans for part in plan.partitions if part.number in lists[purpose]]
        )
        yield from _flash(values, purpose, budget)


def _flash(values: Values, purpose: str, budget: int) -> Iterator[Found]:
    """Check an index on flash: the server's minimum size, and room for the sprigs.

    :param budget: bytes for the index on each node
    """
    key = f"nvme_partition_{purpose}_partitions"
    smallest = aerospike_settings.MIN_MOUNTS[purpose]
    if budget < smallest:
        yield (
            key,
            f"found {show(values.get(key, ''))}, which gives {_gib(budget)} on each node, expected at least "
            f"{_gib(smallest)}: use more or larger partitions (nvme_partition_count)",
        )
        return
    needed = ("pegasus_cluster_nodes", "pegasus_replication_factor", "aerospike_server_partition_tree_sprigs")
    if purpose != "primary_index" or any(key not in values for key in needed):
        return
    nodes, copies, sprigs = (values[name] for name in needed)
    each = sprig_bytes(sprigs, copies, nodes)
    if each > budget:
        fitting = largest_sprigs(budget, copies, nodes)
        advice = f"expected at most {fitting}" if fitting else f"expected more partitions: not even 256 fit ({key})"
        yield (
            "aerospike_server_partition_tree_sprigs",
            f"found {sprigs}, which need {_gib(each)} on each node for the primary index, but its partitions have "
            f"{_gib(budget)}, {advice}",
        )


def sprig_bytes(sprigs: int, copies: int, nodes: int, each: int = SPRIG_BLOCK) -> int:
    """Return the bytes that each node needs for sprigs of `each` bytes, with all partitions' copies spread evenly."""
    return -(-PARTITIONS * min(copies, nodes) * sprigs * each // nodes)


def largest_sprigs(budget: int, copies: int, nodes: int, each: int = SPRIG_BLOCK) -> int:
    """Return the largest number of sprigs, a power of two, that fits into a node's budget (bytes); 0 if none fits."""
    smallest, largest = aerospike_settings.SPRIGS
    fitting = 0
    sprigs = smallest
    while sprigs <= largest and sprig_bytes(sprigs, copies, nodes, each) <= budget:
        fitting = sprigs
        sprigs *= 2
    return fitting


def _memory(values: Values, described: Mapping[str, Any]) -> Iterator[Found]:
    """Check the memory that a node needs before it has records: the roots of all sprigs, and data in memory."""
    memory = int((described.get("MemoryInfo") or {}).get("SizeInMiB", 0)) * aerospike_settings.MIB
    if not memory:
        return
    room, of_type = memory * MAX_MEMORY_PERCENT // 100, f"the {_gib(memory)} of {values[SERVER_TYPE]}"
    needed = ("aerospike_server_partition_tree_sprigs", "pegasus_replication_factor", "pegasus_cluster_nodes")
    roots = 0
    if all(key in values for key in needed):
        sprigs, copies, nodes = (values[key] for key in needed)
        roots = sprig_bytes(sprigs, copies, nodes, SPRIG_ROOT)
        if roots > room:
            yield (
                "aerospike_server_partition_tree_sprigs",
                f"found {sprigs}, which need {_gib(roots)} of memory on each node, even for an index on disk, expected "
                f"at most {largest_sprigs(room, copies, nodes, SPRIG_ROOT)}, for {MAX_MEMORY_PERCENT} percent of "
                f"{of_type}",
            )
            return
    if values.get("pegasus_data_storage") != "memory":
        return
    size = values.get("aerospike_server_data_size")
    try:
        if size and aerospike_settings.size_bytes(size) > room - roots:
            reserved = f", less {_gib(roots)} for the sprigs" if roots > aerospike_settings.GIB // 10 else ""
            yield (
                "aerospike_server_data_size",
                f"found {size}, expected at most {MAX_MEMORY_PERCENT} percent of {of_type}{reserved}",
            )
        if not size and "aerospike_server_version" in values:
            smallest = aerospike_settings.dialect_of(values["aerospike_server_version"]).min_data
            if smallest > room - roots:
                yield (
                    SERVER_TYPE,
                    f"found {show(values[SERVER_TYPE])} with {_gib(memory)} of memory, expected a type with room for "
                    f"the minimum of data in memory ({smallest // aerospike_settings.MIB} MiB)",
                )
    except aerospike_settings.ConfError:
        return  # reported by rules.py


def _running(values: Values, instances: Sequence[Instance], config: str) -> Iterator[Found]:
    """Find values that a running cluster can't change."""
    servers = [instance for instance in instances if instance.live and instance.kind == "server"]
    seen = set()
    for tag in {instance.tags[TAG_FIXED]: None for instance in servers if TAG_FIXED in instance.tags}:
        for found in changed_values(tag, values, str(values.get("pegasus_cluster_name", "")), config):
            if found not in seen:
                seen.add(found)
                yield found


def _gib(count: int) -> str:
    return f"{count / aerospike_settings.GIB:.1f} GiB"
