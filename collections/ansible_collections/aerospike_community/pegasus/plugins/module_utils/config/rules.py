# Copyright (c) Pegasus authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""The rules of config.yml beyond types: limits of single values, and rules across fields. All of them need no network.

A rule sees the values that count (defaults, preset, config.yml, -e); one that isn't known yet, or is of a wrong type,
is absent, and a rule that needs it is silent. Each rule yields (key, "found ..., expected ...").
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ansible_collections.aerospike_community.pegasus.plugins.module_utils.aerospike import conf as aerospike_conf
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.aerospike import rules as server_rules
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.aerospike import settings as server_settings
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.durations import parse_duration
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.ec2 import plan as ec2_plan
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.perseus import configuration as perseus_config

from .schema import nearest, show

Values = Mapping[str, Any]
Found = tuple[str, str]

# Folders of .pegasus/ that aren't environments: an environment's state folder is named after the cluster.
RESERVED_NAMES = ("locks", "runs", "local-cloud")
NAME_EXPECTED = "letters, digits, '-', '_' and '.', at most 63, starting with a letter or a digit"
NAME_KEYS = ("pegasus_cluster_name", "pegasus_client_name", "pegasus_monitoring_name")
LONGEST_TTL = 315_360_000  # seconds; the server's limit of ten years
LARGEST_SET_NAME = 63  # characters
LARGEST_TAG = (128, 256)  # characters of key and value
MOST_SPREAD = 7  # instances of a placement group of the strategy spread, in one zone
MOST_TAGS = 40  # of EC2's 50; Pegasus has its own
# Of aerospike.conf, and the contexts that are always in them.
CONTEXTS: dict[str, tuple[str, ...]] = {
    "service": (),
    "logging": ("console",),
    "network": ("service", "heartbeat", "fabric"),
    "namespace": ("storage-engine",),
    "security": (),
    "xdr": (),
    "mod-lua": (),
}


@dataclass(frozen=True)
class Limits:
    """The smallest and the largest number that a key may have; unit as users read it."""

    low: float
    high: float | None = None
    unit: str = ""

    @property
    def text(self) -> str:
        """The limits in words."""
        span = f"{_number(self.low)} or more" if self.high is None else f"{_number(self.low)} to {_number(self.high)}"
        return f"{span} {self.unit}".strip()

    def hold(self, value: float) -> bool:
        return self.low <= value and (self.high is None or value <= self.high)


_INT = float(perseus_config.LARGEST_INT)
LIMITS: dict[str, Limits] = {
    "pegasus_cluster_nodes": Limits(1, 256),
    "pegasus_client_nodes": Limits(0, 1000),
    "pegasus_replication_factor": Limits(1, 8),
    "ec2_provision_root_volume_gb": Limits(8, 16384, "GiB"),
    "ec2_provision_zone_count": Limits(1, 6),
    "pegasus_ssh_timeout": Limits(1, None, "seconds"),
    "ec2_provision_timeout": Limits(1, None, "seconds"),
    "ec2_provision_price_limit": Limits(0, None, "US dollars an hour"),
    "aerospike_server_default_ttl": Limits(0, LONGEST_TTL, "seconds"),
    "aerospike_server_nsup_period": Limits(0, LONGEST_TTL, "seconds"),
    "aerospike_server_memory_percent": Limits(1, 95, "percent"),
    "aerospike_server_rack_id": Limits(0, 1_000_000),
    "aerospike_server_heartbeat_interval": Limits(50, 600_000, "milliseconds"),
    "aerospike_server_heartbeat_timeout": Limits(3, None, "intervals"),
    "aerospike_server_ready_timeout": Limits(1, None, "seconds"),
    "aerospike_server_open_files": Limits(1024, 2_097_152),
    "aerospike_server_proto_fd_max": Limits(1024, 2_097_152),
    "aerospike_server_min_free_kbytes": Limits(0, None, "KiB"),
    "nvme_partition_count": Limits(1, 128),
    "nvme_partition_overprovisioning": Limits(0, 90, "percent"),
    "perseus_client_record_size": Limits(perseus_config.MIN_RECORD_SIZE, _INT, "bytes"),
    "perseus_client_read_batch_size": Limits(1, _INT, "records"),
    "perseus_client_write_batch_size": Limits(1, _INT, "records"),
    "perseus_client_read_hit_ratio": Limits(0, 1),
    "perseus_client_normal_time_range": Limits(1, _INT, "records"),
    "perseus_client_max_time_range": Limits(1, _INT, "records"),
    "perseus_client_max_time_range_chance": Limits(0, 1),
    "perseus_client_port": Limits(1, 65535),
    "perseus_client_cluster_timeout": Limits(1, None, "seconds"),
    "perseus_client_build_timeout": Limits(1, None, "seconds"),
    "perseus_client_ready_rows": Limits(1, 60, "rows"),
    "perseus_client_ready_timeout": Limits(1, None, "seconds"),
    "grafana_prometheus_ready_timeout": Limits(1, None, "seconds"),
    "chaos_port": Limits(1, 65535),
    "chaos_timeout": Limits(1, None, "seconds"),
}


@dataclass(frozen=True)
class Form:
    """What text has to look like."""

    pattern: str
    expected: str


_DURATION_UNIT = r"(\d+(ms|s|m|h|d|w|y))+"
FORMS: dict[str, Form] = {
    **dict.fromkeys(NAME_KEYS, Form(ec2_plan.NAME.pattern, NAME_EXPECTED)),
    "pegasus_namespace": Form(
        rf"(?=[!-~]+$)[^\s;:,\"'{{}}#]{{1,{server_settings.MAX_NAME}}}",
        f"1 to {server_settings.MAX_NAME} characters of ASCII, no blanks and none of ;:,\"'{{}}#",
    ),
    "pegasus_region": Form(r"[a-z]{2,4}(-[a-z]+)+-\d{1,2}", "the name of an EC2 region, such as us-east-1"),
    "pegasus_artifact_source": Form(r"upstream|https?://[^\s/]\S*", "upstream, or the http(s) address of a mirror"),
    "pegasus_ssh_jump": Form(
        r"|([^\s@:,]+@)?[^\s@:,/-][^\s@:,/]*(:\d{1,5})?", "user@host or user@host:port, or nothing"
    ),
    "pegasus_ec2_endpoint_url": Form(r"|https?://[^\s/]\S*", "an http(s) address, or nothing"),
    "ec2_provision_image_owner": Form(r"\d{12}|self|amazon|aws-marketplace", "an account number of 12 digits"),
    **dict.fromkeys(
        tuple(f"ec2_provision_{group}_instance_type" for group in ("cluster", "client", "monitoring")),
        Form(r"[a-z][a-z0-9-]*\.[a-z0-9-]+", "an EC2 instance type, such as r6gd.8xlarge"),
    ),
    "aerospike_server_version": Form(
        r"latest|\d+\.\d+(\.(\d+|\*)){0,2}", "an exact version (8.0.0.4), a pattern (8.0.*) or latest"
    ),
    "aerospike_server_tools_version": Form(
        r"|\d+\.\d+(\.(\d+|\*))*", "an exact version (11.2.2), a pattern (11.2.*), or nothing"
    ),
    "aerospike_server_data_size": Form(r"|\d+[KMGTP]?", "a size such as 4G or 512M, or nothing"),
    "nvme_partition_mount_root": Form(r"/[^\s\"'#]+", "an absolute path without blanks"),
    "perseus_client_set": Form(r"[^\s;:,\"'{}#]{1,63}", f"1 to {LARGEST_SET_NAME} characters without blanks"),
    "perseus_client_ref": Form(r"[^\s~^:?*\[\\-][^\s~^:?*\[\\]*", "a branch, a tag or a commit"),
    "perseus_client_heap": Form(r"\d+[kKmMgG]?|[1-9]\d?%", "a size such as 6g, or a share of the memory such as 50%"),
    "grafana_prometheus_grafana_version": Form(r"\d+(\.\d+)+", "an exact version, such as 12.4.3"),
    "grafana_prometheus_prometheus_version": Form(
        r"|\d+(\.(\d+|\*))+([+~-][\w.+~-]*)?", "a version that the distribution has, such as 2.42.0, or nothing"
    ),
    "grafana_prometheus_exporter_version": Form(r"latest|\d+(\.(\d+|\*))+", "a version, such as 1.34.0"),
    "grafana_prometheus_scrape_interval": Form(_DURATION_UNIT, "a length of time as Prometheus writes it, such as 5s"),
    "grafana_prometheus_retention": Form(_DURATION_UNIT, "a length of time as Prometheus writes it, such as 15d"),
    "grafana_prometheus_admin_user": Form(r"[^\s:]+", "a name without blanks and colons"),
    "grafana_prometheus_admin_password": Form(r".{4,}", "at least 4 characters"),
}
SECRETS = ("grafana_prometheus_admin_password",)


def limit_problem(key: str, value: object, kind: str) -> str:
    """What is wrong with one value that has the right type (`kind`, as in the specification), or ''."""
    if key in LIMITS and isinstance(value, (int, float)) and not LIMITS[key].hold(value):
        whole = "a whole number, " if kind == "int" else ""
        return f"found {show(value)}, expected {whole}{LIMITS[key].text}"
    if key in FORMS and not re.fullmatch(FORMS[key].pattern, str(value), re.ASCII):
        found = "an unfit text" if key in SECRETS else show(value)
        return f"found {found}, expected {FORMS[key].expected}"
    if key in NAME_KEYS and not isinstance(value, str):
        return f"found {show(value)}, expected text: put it between quotes"
    if key == "pegasus_cluster_name" and value in RESERVED_NAMES:
        return f"found {show(value)}, expected {NAME_EXPECTED}; not {', '.join(RESERVED_NAMES)}"
    return ""


def problems(values: Values) -> list[Found]:
    """Everything that is wrong across fields."""
    return [found for rule in RULES for found in rule(values)]


def _names(values: Values) -> Iterator[Found]:
    """Hosts are called after the three names."""
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
    if len(tags) > MOST_TAGS:
        yield "ec2_provision_tags", f"found {len(tags)} tags, expected at most {MOST_TAGS}"
    for key, value in tags.items():
        if str(key) == ec2_plan.TAG_NAME or str(key).lower().startswith(("pegasus:", "aws:")):
            yield "ec2_provision_tags", f"found the tag {show(key)}, expected none of Name, pegasus:... and aws:..."
        if isinstance(value, (dict, list)) or value is None:
            yield "ec2_provision_tags", f"found {show(value)} for the tag {show(key)}, expected text"
        if not 1 <= len(str(key)) <= LARGEST_TAG[0] or len(str(value)) > LARGEST_TAG[1]:
            yield (
                "ec2_provision_tags",
                f"found the tag {show(key)} with {len(str(key))} and {len(str(value))} characters, "
                f"expected at most {LARGEST_TAG[0]} in the key and {LARGEST_TAG[1]} in the value",
            )


def _networks(values: Values) -> Iterator[Found]:
    for cidr in values.get("ec2_provision_allowed_cidrs", []):
        try:
            ec2_plan.normal_cidr(str(cidr))
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
            expected = "subnets' ids, such as subnet-0123456789abcdef0"
            yield "ec2_provision_subnet_ids", f"found {show(subnet)}, expected {expected}"
    count = values.get("ec2_provision_zone_count", 1)
    for key, what in (("ec2_provision_zones", "zones"), ("ec2_provision_subnet_ids", "subnets, each in another zone")):
        given = values.get(key, [])
        if given and len(set(given)) < count:
            yield key, f"found {len(set(given))}, expected {count} {what}, or more (ec2_provision_zone_count)"


def _placement(values: Values) -> Iterator[Found]:
    key = "ec2_provision_placement"
    placement, zones = values.get(key, "none"), values.get("ec2_provision_zone_count", 1)
    if placement == "cluster" and zones > 1:
        yield key, f"found cluster, which is in one zone, expected ec2_provision_zone_count 1 (it is {zones})"
    nodes = values.get("pegasus_cluster_nodes", 0)
    if placement == "spread" and nodes > MOST_SPREAD * zones:
        yield (
            key,
            f"found spread for {nodes} nodes, expected at most {MOST_SPREAD} in each zone "
            f"(ec2_provision_zone_count: {zones})",
        )


def _key(values: Values) -> Iterator[Found]:
    """Which file is the private key of a given key pair can't be guessed, and a made one has its own place."""
    name, file = values.get("ec2_provision_key_name"), values.get("ec2_provision_private_key_file")
    if name and file == "":
        yield "ec2_provision_private_key_file", f"found nothing, expected the path of the private key of {show(name)}"


def _reach(values: Values) -> Iterator[Found]:
    """How this machine gets to the instances."""
    address = values.get("pegasus_connect_address")
    if address == "public" and values.get("ec2_provision_public_address") == "never":
        yield (
            "ec2_provision_public_address",
            "found never, expected always or subnet, because pegasus_connect_address is public",
        )
    if address == "private" and values.get("ec2_provision_allowed_cidrs") == []:
        yield (
            "ec2_provision_allowed_cidrs",
            "found nothing, expected the networks that ssh comes from (the VPN's, or the bastion's address), because "
            "pegasus_connect_address is private: this machine's public address isn't what instances see",
        )


def _servers(values: Values) -> Iterator[Found]:
    """Editions, storage, partitions, sprigs: the rules that the roles have too."""
    said: dict[tuple[str, str], str] = {}
    for text in server_rules.problems(_complete(values)):
        key, _, rest = text.partition(": ")
        before, _, _ = rest.rpartition(", found ")
        said[key, before or rest] = rest  # of ten partitions that are too many, the last
    for (key, _), rest in said.items():
        if "expected" not in rest:
            rest = f"found {show(values.get(key))}, expected another value: {rest}"
        yield key, rest if "found" in rest else f"found {show(values.get(key))}, {rest}"


def _complete(values: Values) -> dict[str, Any]:
    """The values for server_rules, which takes a default for what is absent: nothing may follow from such a default."""
    given = {key: value for key, value in values.items() if key in _SERVER_KEYS}
    if "pegasus_data_storage" not in given:
        # Not known before the backend is up. In memory, both indexes would have to be there; on disk, nothing follows.
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


def _perseus(values: Values) -> Iterator[Found]:
    """What Perseus itself refuses, by the rules of its role."""
    fields = perseus_config.PerseusSettings.__dataclass_fields__
    given = {name: values[f"perseus_client_{name}"] for name in fields if f"perseus_client_{name}" in values}
    given |= {"hosts": ["unknown"], "namespace": values.get("pegasus_namespace", "unknown"), "id": 0}
    try:
        perseus_config.settings_from(given)
    except perseus_config.PerseusConfigError as error:
        for text in error.problems:
            name, _, rest = text.partition(": ")
            key = "pegasus_namespace" if name == "namespace" else f"perseus_client_{name}"
            yield key, rest.replace("; expected", ", expected")


def _files(values: Values) -> Iterator[Found]:
    """The limit that systemd sets has to be above the one that the server sets itself."""
    limit, connections = values.get("aerospike_server_open_files"), values.get("aerospike_server_proto_fd_max")
    if limit is not None and connections is not None and connections > limit:
        yield (
            "aerospike_server_proto_fd_max",
            f"found {connections}, expected at most aerospike_server_open_files ({limit}): the server wouldn't start",
        )


def _context_of(names: Iterable[str]) -> aerospike_conf.Context:
    """A context that holds empty ones."""
    return aerospike_conf.Context(items={name: aerospike_conf.Context() for name in names})


def _extra_settings(values: Values) -> Iterator[Found]:
    """Lines of aerospike.conf: known contexts, plain values. What else may stand in them only the server knows."""
    extra, key = values.get("aerospike_server_extra_settings", {}), "aerospike_server_extra_settings"
    for context in extra:
        if context not in CONTEXTS:
            near = nearest(context, CONTEXTS)
            hint = f": did you mean {near}?" if near else ""
            yield key, f"found the context {show(context)}, expected one of {', '.join(CONTEXTS)}{hint}"
    try:
        # With what every configuration holds in them, so that a value in a context's place is found.
        tree = aerospike_conf.Context(items={name: _context_of(inner) for name, inner in CONTEXTS.items()})
        tree.items["namespace"] = namespace = _context_of(CONTEXTS["namespace"])
        for name, storage in (("index-type", "primary_index"), ("sindex-type", "secondary_index")):
            if values.get(f"pegasus_{storage}_storage") != "memory":
                namespace.items[name] = aerospike_conf.Context()
        aerospike_conf.merge(tree, extra)
        aerospike_conf.render(tree)
    except (server_settings.ConfError, TypeError) as error:
        yield key, f"found what no aerospike.conf can hold ({error}), expected values by context"


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
    _perseus,
    _files,
    _extra_settings,
)


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) else str(value)
