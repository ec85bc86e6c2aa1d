# Copyright (c) Pegasus authors. SPDX-License-Identifier: Apache-2.0
"""Rules across the keys of config.yml, and rules of one key that a KeyRule can't express. None needs the network.

A rule gets the effective values (defaults, preset, config.yml, -e). A value that is unknown or of the wrong type is
absent, and rules that need it yield nothing. Each rule yields (key, "found ..., expected ...").
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from ..aerospike import conf as aerospike_conf
from ..aerospike import rules as server_rules
from ..aerospike import settings as aerospike_settings
from ..durations import parse_duration
from ..ec2.ingress import normalize_cidr
from ..ec2.tags import TAG_NAME
from .key_rules import NAME_EXPECTED
from .schema import nearest, show

Values = Mapping[str, Any]
Found = tuple[str, str]

# Folders of .pegasus/ that aren't environments: an environment's state folder is named after the cluster.
RESERVED_NAMES = ("locks", "runs", "local-cloud")
NAME_KEYS = ("pegasus_cluster_name", "pegasus_client_name", "pegasus_monitoring_name")
MAX_TAG = (128, 256)  # characters of key and value
MAX_SPREAD = 7  # instances of a spread placement group in one zone
MAX_TAGS = 40  # EC2 allows 50, and Pegasus needs some of them
# Contexts of aerospike.conf, and the contexts that each always contains.
CONTEXTS: dict[str, tuple[str, ...]] = {
    "service": (),
    "logging": ("console",),
    "network": ("service", "heartbeat", "fabric"),
    "namespace": ("storage-engine",),
    "security": (),
    "xdr": (),
    "mod-lua": (),
}


def problems(values: Values) -> list[Found]:
    """Apply all rules."""
    return [found for rule in RULES for found in rule(values)]


def _names(values: Values) -> Iterator[Found]:
    """Hosts and local folders use these three names."""
    for key in NAME_KEYS:
        if key in values and not isinstance(values[key], str):
            yield key, f"found {show(values[key])}, expected text: put it in quotes"
    if values.get("pegasus_cluster_name") in RESERVED_NAMES:
        reserved = f"expected {NAME_EXPECTED}; not {', '.join(RESERVED_NAMES)}"
        yield "pegasus_cluster_name", f"found {show(values['pegasus_cluster_name'])}, {reserved}"
    names = {key: str(values[key]) for key in NAME_KEYS if key in values}
    for key, name in list(names.items())[1:]:
        same = [other for other in list(names)[: list(names).index(key)] if names[other] == name]
        if same:
            yield key, f"found {show(name)}, the same as {same[0]}, expected three different names"


def _expiry(values: Values) -> Iterator[Found]:
    if "ec2_provision_expiry" in values:
        try:
            parse_duration(values["ec2_provision_expiry"])
        except ValueError as error:
            expected = str(error).partition("Expected ")[2].rstrip(".")
            yield "ec2_provision_expiry", f"found {show(values['ec2_provision_expiry'])}, expected {expected}"


def _tags(values: Values) -> Iterator[Found]:
    tags = values.get("ec2_provision_tags", {})
    if len(tags) > MAX_TAGS:
        yield "ec2_provision_tags", f"found {len(tags)} tags, expected at most {MAX_TAGS}"
    for key, value in tags.items():
        if str(key) == TAG_NAME or str(key).lower().startswith(("pegasus:", "aws:")):
            yield "ec2_provision_tags", f"found the tag {show(key)}, expected no tag Name, pegasus:... or aws:..."
        if isinstance(value, (dict, list)) or value is None:
            yield "ec2_provision_tags", f"found {show(value)} for the tag {show(key)}, expected text"
        if not 1 <= len(str(key)) <= MAX_TAG[0] or len(str(value)) > MAX_TAG[1]:
            yield (
                "ec2_provision_tags",
                f"found the tag {show(key)} with {len(str(key))} and {len(str(value))} characters, "
                f"expected at most {MAX_TAG[0]} in the key and {MAX_TAG[1]} in the value",
            )


def _networks(values: Values) -> Iterator[Found]:
    for cidr in values.get("ec2_provision_allowed_cidrs", []):
        try:
            normalize_cidr(str(cidr))
        except ValueError:
            yield "ec2_provision_allowed_cidrs", f"found {show(cidr)}, expected networks such as 203.0.113.7/32"


def _prices(values: Values) -> Iterator[Found]:
    for pattern, usd in values.get("ec2_provision_prices", {}).items():
        if isinstance(usd, bool) or not isinstance(usd, (int, float)) or usd < 0:
            yield (
                "ec2_provision_prices",
                f"found {show(usd)} for {pattern}, expected US dollars an hour, 0 or more: {{r6gd.8xlarge: 1.5}}",
            )


def _zones(values: Values) -> Iterator[Found]:
    region = values.get("pegasus_region")
    for zone in values.get("ec2_provision_zones", []):
        if region and not re.fullmatch(rf"{re.escape(region)}(-[a-z]+-\d+)?[a-z]", str(zone), re.ASCII):
            yield "ec2_provision_zones", f"found {show(zone)}, expected zones of {region}, such as {region}a"
    for subnet in values.get("ec2_provision_subnet_ids", []):
        if not re.fullmatch(r"subnet-[0-9a-f]{8,17}", subnet):
            expected = "subnet ids, such as subnet-0123456789abcdef0"
            yield "ec2_provision_subnet_ids", f"found {show(subnet)}, expected {expected}"
    count = values.get("ec2_provision_zone_count", 1)
    for key, what in (("ec2_provision_zones", "zones"), ("ec2_provision_subnet_ids", "subnets in different zones")):
        given = values.get(key, [])
        if given and len(set(given)) < count:
            yield key, f"found {len(set(given))}, expected at least {count} {what} (ec2_provision_zone_count)"


def _placement(values: Values) -> Iterator[Found]:
    key = "ec2_provision_placement"
    placement, zones = values.get(key, "none"), values.get("ec2_provision_zone_count", 1)
    if placement == "cluster" and zones > 1:
        yield key, f"found cluster, which uses one zone, expected ec2_provision_zone_count 1 (it is {zones})"
    nodes = values.get("pegasus_cluster_nodes", 0)
    if placement == "spread" and nodes > MAX_SPREAD * zones:
        yield (
            key,
            f"found spread for {nodes} nodes, expected at most {MAX_SPREAD} in each zone "
            f"(ec2_provision_zone_count: {zones})",
        )


def _key(values: Values) -> Iterator[Found]:
    """The file of a user's own private key can't be guessed; a generated key has a fixed place."""
    name, file = values.get("ec2_provision_key_name"), values.get("ec2_provision_private_key_file")
    if name and file == "":
        yield "ec2_provision_private_key_file", f"found nothing, expected the path of the private key of {show(name)}"


def _reach(values: Values) -> Iterator[Found]:
    """How this machine reaches the instances."""
    address = values.get("pegasus_connect_address")
    if address == "public" and values.get("ec2_provision_public_address") == "never":
        yield (
            "ec2_provision_public_address",
            "found never, expected always or subnet, because pegasus_connect_address is public",
        )
    if address == "private" and values.get("ec2_provision_allowed_cidrs") == []:
        yield (
            "ec2_provision_allowed_cidrs",
            "found nothing, expected the networks that you connect from (the VPN's, or the bastion's address), because "
            "pegasus_connect_address is private: instances don't see this machine's public address",
        )


def _servers(values: Values) -> Iterator[Found]:
    """Editions, storage, partitions, sprigs: the rules that the roles apply too."""
    last: dict[tuple[str, str], str] = {}
    for text in server_rules.problems(_complete(values)):
        key, _, rest = text.partition(": ")
        before, _, _ = rest.rpartition(", found ")
        last[key, before or rest] = rest  # of several partitions beyond the count, report only the last
    for (key, _), rest in last.items():
        if "expected" not in rest:
            rest = f"found {show(values.get(key))}, expected another value: {rest}"
        yield key, rest if "found" in rest else f"found {show(values.get(key))}, {rest}"


def _complete(values: Values) -> dict[str, Any]:
    """Complete the values for server_rules, which uses defaults for absent values: a default must cause no problem."""
    given = {key: value for key, value in values.items() if key in _SERVER_KEYS}
    if "pegasus_data_storage" not in given:
        # Unknown before the backend is up. Data in memory requires both indexes in memory; data on disk doesn't.
        given["pegasus_data_storage"] = "disk" if _any_index_on_disk(given) else "memory"
    if "nvme_partition_data_partitions" not in values:
        given.pop("nvme_partition_data_partitions", None)
    return given


def _any_index_on_disk(values: Values) -> bool:
    return any(values.get(f"pegasus_{kind}_index_storage") == "disk" for kind in ("primary", "secondary"))


_SERVER_KEYS = (
    set(server_rules.SETTINGS.values())
    | {f"nvme_partition_{purpose}_partitions" for purpose in server_rules.PURPOSES}
    | {"pegasus_cluster_nodes", "nvme_partition_count", "nvme_partition_overprovisioning"}
)


def _copies(values: Values) -> Iterator[Found]:
    copies, nodes = values.get("pegasus_replication_factor"), values.get("pegasus_cluster_nodes")
    if copies is not None and nodes is not None and copies > nodes:
        yield (
            "pegasus_replication_factor",
            f"found {copies}, expected at most the number of nodes (pegasus_cluster_nodes: {nodes})",
        )


def _ranges(values: Values) -> Iterator[Found]:
    normal, longest = values.get("perseus_client_normal_time_range"), values.get("perseus_client_max_time_range")
    if normal is not None and longest is not None and normal > longest:
        yield (
            "perseus_client_normal_time_range",
            f"found {normal}, expected at most perseus_client_max_time_range ({longest})",
        )


def _files(values: Values) -> Iterator[Found]:
    """The server's own limit must not exceed the limit that systemd sets."""
    limit, connections = values.get("aerospike_server_open_files"), values.get("aerospike_server_proto_fd_max")
    if limit is not None and connections is not None and connections > limit:
        yield (
            "aerospike_server_proto_fd_max",
            f"found {connections}, expected at most aerospike_server_open_files ({limit}): the server wouldn't start",
        )


def _context_of(names: Iterable[str]) -> aerospike_conf.Context:
    """Build a context of empty contexts."""
    return aerospike_conf.Context(items={name: aerospike_conf.Context() for name in names})


def _extra_settings(values: Values) -> Iterator[Found]:
    """Lines of aerospike.conf: known contexts, plain values. Only the server knows which settings they may contain."""
    extra, key = values.get("aerospike_server_extra_settings", {}), "aerospike_server_extra_settings"
    for context in extra:
        if context not in CONTEXTS:
            near = nearest(context, CONTEXTS)
            hint = f": did you mean {near}?" if near else ""
            yield key, f"found the context {show(context)}, expected one of {', '.join(CONTEXTS)}{hint}"
    try:
        # Merge into the contexts of every configuration, so that a value in place of a context is found.
        tree = aerospike_conf.Context(items={name: _context_of(inner) for name, inner in CONTEXTS.items()})
        tree.items["namespace"] = namespace = _context_of(CONTEXTS["namespace"])
        for name, storage in (("index-type", "primary_index"), ("sindex-type", "secondary_index")):
            if values.get(f"pegasus_{storage}_storage") != "memory":
                namespace.items[name] = aerospike_conf.Context()
        aerospike_conf.merge(tree, extra)
        aerospike_conf.render(tree)
    except (aerospike_settings.ConfError, TypeError) as error:
        yield key, f"found settings that aerospike.conf can't contain ({error}), expected values by context"


RULES: tuple[Callable[[Values], Iterator[Found]], ...] = (
    _names,
    _expiry,
    _tags,
    _networks,
    _zones,
    _placement,
    _key,
    _reach,
    _prices,
    _servers,
    _copies,
    _ranges,
    _files,
    _extra_settings,
)
