# Copyright (c) Pegasus authors. SPDX-License-Identifier: Apache-2.0
"""Rules for single keys that argument_specs.yml can't express: limits, patterns, and where a key may be set.

KEY_RULES has one row per key. The checks, docs/configuration.md and docs/config.schema.json all read it; rules across
keys are in rules.py.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from .. import durations
from ..aerospike import settings as aerospike_settings
from ..ec2.spec import NAME
from ..perseus import configuration as perseus_config

# Where a key may be set; "" means anywhere.
RUN_ONLY = "run"  # for one run with -e, never in a file
FILE_ONLY = "file"  # in a file, never with -e: the inventory reads config.yml and doesn't see -e

NAME_EXPECTED = "letters, digits, '-', '_' and '.', at most 63, starting with a letter or a digit"
MAX_TTL = 315_360_000  # seconds; the server's limit of ten years
MAX_SET_NAME = 63  # characters
_INT = perseus_config.LARGEST_INT
_PARTITIONS = "such as 1-3,7-9, or nothing"
_PROMETHEUS_DURATION = r"(\d+(ms|s|m|h|d|w|y))+"


@dataclass(frozen=True)
class KeyRule:
    """Limits, choices or a pattern for one key. `expected` describes the pattern or the choices in messages."""

    minimum: float | None = None
    maximum: float | None = None
    unit: str = ""
    choices: tuple[int, ...] = ()
    pattern: str = ""
    expected: str = ""
    scope: str = ""

    @property
    def text(self) -> str:
        """The limits or the pattern, for messages; '' if the type is the only rule."""
        if self.minimum is None:
            return self.expected
        span = f"{self.minimum:.12g} or more" if self.maximum is None else f"{self.minimum:.12g} to {self.maximum:.12g}"
        return f"{span} {self.unit}".strip()

    def allows(self, value: object) -> bool:
        """Whether a value of the right type satisfies the rule."""
        if self.choices:
            return value in self.choices
        if self.pattern:
            return re.fullmatch(self.pattern, str(value), re.ASCII) is not None
        if not isinstance(value, (int, float)):
            return True
        return (self.minimum is None or self.minimum <= value) and (self.maximum is None or value <= self.maximum)


def _matching(pattern: str, expected: str, scope: str = "") -> KeyRule:
    return KeyRule(pattern=pattern, expected=expected, scope=scope)


_SECONDS = KeyRule(1, None, "seconds")
_PORT = KeyRule(1, 65535)
_SHARE = KeyRule(0, 1)
_INSTANCE_TYPE = _matching(r"[a-z][a-z0-9-]*\.[a-z0-9-]+", "an EC2 instance type, such as r6gd.8xlarge")
_RUN = KeyRule(scope=RUN_ONLY)

KEY_RULES: dict[str, KeyRule] = {
    # where an environment runs
    "pegasus_backend": KeyRule(scope=FILE_ONLY),
    "pegasus_region": _matching(
        r"[a-z]{2,4}(-[a-z]+)+-\d{1,2}", "the name of an EC2 region, such as us-east-1", FILE_ONLY
    ),
    "pegasus_artifact_source": _matching(
        r"upstream|https?://[^\s/]\S*", "upstream, or the http(s) address of a mirror"
    ),
    "pegasus_ssh_jump": _matching(
        r"|([^\s@:,]+@)?[^\s@:,/-][^\s@:,/]*(:\d{1,5})?", "user@host or user@host:port, or nothing"
    ),
    "pegasus_ssh_timeout": _SECONDS,
    "pegasus_ec2_endpoint_url": _matching(r"|https?://[^\s/]\S*", "an http(s) address, or nothing"),
    # names and numbers of hosts
    "pegasus_cluster_name": _matching(NAME.pattern, NAME_EXPECTED, FILE_ONLY),
    "pegasus_client_name": _matching(NAME.pattern, NAME_EXPECTED),
    "pegasus_monitoring_name": _matching(NAME.pattern, NAME_EXPECTED),
    "pegasus_cluster_nodes": KeyRule(1, 256),
    "pegasus_client_nodes": KeyRule(0, 1000),
    # EC2
    "ec2_provision_expiry": KeyRule(expected=durations.FORMS),
    "ec2_provision_image_owner": _matching(r"\d{12}|self|amazon|aws-marketplace", "an account number of 12 digits"),
    "ec2_provision_cluster_instance_type": _INSTANCE_TYPE,
    "ec2_provision_client_instance_type": _INSTANCE_TYPE,
    "ec2_provision_monitoring_instance_type": _INSTANCE_TYPE,
    "ec2_provision_root_volume_gb": KeyRule(8, 16384, "GiB"),
    "ec2_provision_zone_count": KeyRule(1, 6),
    "ec2_provision_timeout": _SECONDS,
    "ec2_provision_price_limit": KeyRule(0, None, "US dollars an hour"),
    "ec2_provision_state": _RUN,
    "ec2_provision_kinds": _RUN,
    "ec2_provision_replace": _RUN,
    "ec2_provision_add": _RUN,
    "ec2_provision_node_kind": _RUN,
    "ec2_provision_node_indexes": _RUN,
    "ec2_provision_node_state": _RUN,
    "ec2_provision_node_expect": _RUN,
    "ec2_provision_expires": _RUN,
    "ec2_provision_reap_all": _RUN,
    "ec2_provision_reap_all_regions": _RUN,
    "ec2_provision_approved": _RUN,
    "ec2_provision_answer_file": _RUN,
    # the server
    "pegasus_namespace": _matching(
        rf"(?=[!-~]+$)[^\s;:,\"'{{}}#]{{1,{aerospike_settings.MAX_NAME}}}",
        f"1 to {aerospike_settings.MAX_NAME} characters of ASCII, no blanks and none of ;:,\"'{{}}#",
    ),
    "pegasus_replication_factor": KeyRule(1, 8),
    "aerospike_server_version": _matching(
        r"latest|\d+\.\d+(\.(\d+|\*)){0,2}", "an exact version (8.0.0.4), a pattern (8.0.*) or latest"
    ),
    "aerospike_server_tools_version": _matching(
        r"|\d+\.\d+(\.(\d+|\*))*", "an exact version (11.2.2), a pattern (11.2.*), or nothing"
    ),
    "aerospike_server_data_size": _matching(r"|\d+[KMGTP]?", "a size such as 4G or 512M, or nothing"),
    "aerospike_server_default_ttl": KeyRule(0, MAX_TTL, "seconds"),
    "aerospike_server_nsup_period": KeyRule(0, MAX_TTL, "seconds"),
    "aerospike_server_memory_percent": KeyRule(1, 95, "percent"),
    "aerospike_server_rack_id": KeyRule(0, 1_000_000),
    "aerospike_server_heartbeat_interval": KeyRule(50, 600_000, "milliseconds"),
    "aerospike_server_heartbeat_timeout": KeyRule(3, None, "intervals"),
    "aerospike_server_partition_tree_sprigs": KeyRule(
        choices=tuple(2**power for power in range(8, 29)), expected="a power of two, 256 to 268435456"
    ),
    "aerospike_server_ready_timeout": _SECONDS,
    "aerospike_server_open_files": KeyRule(1024, 2_097_152),
    "aerospike_server_proto_fd_max": KeyRule(1024, 2_097_152),
    "aerospike_server_min_free_kbytes": KeyRule(0, None, "KiB"),
    # the disks
    "nvme_partition_count": KeyRule(1, 128),
    "nvme_partition_overprovisioning": KeyRule(0, 90, "percent"),
    "nvme_partition_data_partitions": KeyRule(expected=_PARTITIONS),
    "nvme_partition_primary_index_partitions": KeyRule(expected=_PARTITIONS),
    "nvme_partition_secondary_index_partitions": KeyRule(expected=_PARTITIONS),
    "nvme_partition_mount_root": _matching(r"/[^\s\"'#]+", "an absolute path without blanks"),
    # the clients
    "perseus_client_set": _matching(
        rf"[^\s;:,\"'{{}}#]{{1,{MAX_SET_NAME}}}", f"1 to {MAX_SET_NAME} characters without blanks"
    ),
    "perseus_client_ref": _matching(r"[^\s~^:?*\[\\-][^\s~^:?*\[\\]*", "a branch, a tag or a commit"),
    "perseus_client_heap": _matching(
        r"\d+[kKmMgG]?|[1-9]\d?%", "a size such as 6g, or a share of the memory such as 50%"
    ),
    "perseus_client_record_size": KeyRule(perseus_config.MIN_RECORD_SIZE, _INT, "bytes"),
    "perseus_client_read_batch_size": KeyRule(1, _INT, "records"),
    "perseus_client_write_batch_size": KeyRule(1, _INT, "records"),
    "perseus_client_read_hit_ratio": _SHARE,
    "perseus_client_normal_time_range": KeyRule(1, _INT, "records"),
    "perseus_client_max_time_range": KeyRule(1, _INT, "records"),
    "perseus_client_max_time_range_chance": _SHARE,
    "perseus_client_port": _PORT,
    "perseus_client_cluster_timeout": _SECONDS,
    "perseus_client_build_timeout": _SECONDS,
    "perseus_client_ready_rows": KeyRule(1, 60, "rows"),
    "perseus_client_ready_timeout": _SECONDS,
    "perseus_client_restart": _RUN,
    "perseus_client_threads_prove": _RUN,
    # monitoring
    "grafana_prometheus_grafana_version": _matching(r"\d+(\.\d+)+", "an exact version, such as 12.4.3"),
    "grafana_prometheus_prometheus_version": _matching(
        r"|\d+(\.(\d+|\*))+([+~-][\w.+~-]*)?", "a version that the distribution has, such as 2.42.0, or nothing"
    ),
    "grafana_prometheus_exporter_version": _matching(r"latest|\d+(\.(\d+|\*))+", "a version, such as 1.34.0"),
    "grafana_prometheus_scrape_interval": _matching(_PROMETHEUS_DURATION, "a Prometheus duration, such as 5s"),
    "grafana_prometheus_retention": _matching(_PROMETHEUS_DURATION, "a Prometheus duration, such as 15d"),
    "grafana_prometheus_admin_user": _matching(r"[^\s:]+", "a name without blanks or colons"),
    "grafana_prometheus_admin_password": _matching(r".{4,}", "at least 4 characters"),
    "grafana_prometheus_ready_timeout": _SECONDS,
    # faults
    "chaos_port": _PORT,
    "chaos_timeout": _SECONDS,
    "chaos_action": _RUN,
    "chaos_nodes": _RUN,
    "chaos_force": _RUN,
}
