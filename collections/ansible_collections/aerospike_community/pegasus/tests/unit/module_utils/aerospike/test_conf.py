"""aerospike.conf: valid combinations render, others are refused, and each line is where the server expects it."""

from __future__ import annotations

import itertools
import re
from typing import Any

import pytest
from ansible_collections.aerospike_community.pegasus.plugins.filter.aerospike_conf import aerospike_conf
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.aerospike.conf import (
    Context,
    build,
    merge,
    render,
)
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.aerospike.settings import (
    GIB,
    MIB,
    ConfError,
    Settings,
    configuration_problems,
    data_bytes,
    release_of,
    size_bytes,
    size_text,
)

VERSIONS = ["6.4.0.26", "7.0.0.5", "7.2.0.1", "8.0.0.4", "8.1.0.3"]
MOUNTS = [{"path": "/mnt/a", "size_bytes": 10 * GIB}, {"path": "/mnt/b", "size_bytes": 10 * GIB}]
BASE: dict[str, Any] = {
    "version": "8.0.0.4",
    "edition": "enterprise",
    "cluster_name": "Benchmark",
    "namespace": "Test",
    "seeds": ["172.31.0.11", "172.31.0.12"],
    "memory_bytes": 16 * GIB,
    "data_devices": ["/dev/d1", "/dev/d2"],
    "primary_index_mounts": MOUNTS,
    "secondary_index_mounts": MOUNTS[:1],
}


def conf(**changes: Any) -> str:
    return render(build(Settings.read({**BASE, **changes})))


def parse(text: str) -> dict[str, list[str]]:
    """Parse a configuration as the server does: path of contexts -> values. It accepts one brace per line."""
    found: dict[str, list[str]] = {}
    path: list[str] = []
    for line in text.splitlines():
        words = line.split("#")[0].split()
        if not words:
            continue
        if words == ["}"]:
            path.pop()
        elif words[-1] == "{":
            assert "}" not in line
            found.setdefault("/".join([*path, words[0]]), []).append(" ".join(words[1:-1]))
            path.append(words[0])
        else:
            assert "{" not in line and "}" not in line
            found.setdefault("/".join([*path, words[0]]), []).append(" ".join(words[1:]))
    assert not path
    return found


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("edition", ["enterprise", "community"])
@pytest.mark.parametrize(
    ("primary", "secondary", "data"),
    list(itertools.product(["memory", "disk"], ["memory", "disk"], ["memory", "disk"])),
)
def test_every_combination_of_storage_and_edition_renders_or_is_refused(
    version: str, edition: str, primary: str, secondary: str, data: str
) -> None:
    values = {
        "version": version,
        "edition": edition,
        "primary_index_storage": primary,
        "secondary_index_storage": secondary,
        "data_storage": data,
    }
    flash = "disk" in (primary, secondary)
    if flash and (data == "memory" or edition == "community"):
        with pytest.raises(ConfError):
            conf(**values)
        return
    found = parse(conf(**values))
    old, newest = version.startswith("6"), version.startswith("8.1")
    assert found["namespace/storage-engine"] == ["device" if data == "disk" else "memory"]
    assert found.get("namespace/storage-engine/device", []) == (["/dev/d1", "/dev/d2"] if data == "disk" else [])
    assert ("namespace/storage-engine/data-size" in found) == (data == "memory" and not old)
    assert ("namespace/memory-size" in found) == old
    limit = "mounts-size-limit" if old else "mounts-budget"
    assert ("namespace/index-type" in found, "namespace/sindex-type" in found) == (
        primary == "disk",
        secondary == "disk",
    )
    if primary == "disk":
        assert found["namespace/index-type/mount"] == ["/mnt/a", "/mnt/b"]
        assert found[f"namespace/index-type/{limit}"] == ["19G"]
    if secondary == "disk":
        assert found[f"namespace/sindex-type/{limit}"] == ["9728M"]
    assert ("network/info/port" in found, "network/admin/port" in found) == (not newest, newest)
    assert found["network/heartbeat/mesh-seed-address-port"] == ["172.31.0.11 3002", "172.31.0.12 3002"]
    assert found["logging/console/context"] == ["any info"]


@pytest.mark.parametrize("edition", ["enterprise", "community"])
def test_lines_of_the_enterprise_edition_appear_only_if_needed(edition: str) -> None:
    text = conf(edition=edition)
    assert not any(word in text for word in ("compression", "index-type", "rack-id", "feature-key-file", "nsup-period"))


def test_lines_of_the_enterprise_edition() -> None:
    found = parse(
        conf(compression="zstd", rack_id=3, features_file="/etc/aerospike/features.conf", data_storage="disk")
    )
    assert found["namespace/storage-engine/compression"] == ["zstd"]
    assert found["namespace/rack-id"] == ["3"]
    assert found["service/feature-key-file"] == ["/etc/aerospike/features.conf"]
    assert "service/feature-key-file" not in parse(conf(edition="community", features_file="/x"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"edition": "federal"}, "edition: expected enterprise or community, found 'federal'"),
        ({"edition": "community", "compression": "lz4"}, "compression: 'lz4' needs the Enterprise Edition"),
        ({"edition": "community", "rack_id": 1}, "rack_id"),
        ({"edition": "community", "seeds": [str(n) for n in range(9)]}, "at most 8, found 9"),
        ({"compression": "gzip"}, "compression: expected none, lz4, snappy, zstd, found 'gzip'"),
        ({"version": "5.7.0.1"}, "expected 6.4 or newer"),
        ({"version": "new"}, "expected 8.0.0.4, 8.0.*, latest or similar"),
        ({"namespace": "a" * 32}, "namespace: expected 1 to 31"),
        ({"namespace": "a b"}, "namespace"),
        ({"namespace": ""}, "namespace"),
        ({"cluster_name": ""}, "cluster_name"),
        ({"replication_factor": 0}, "replication_factor: expected 1 to 8, found 0"),
        ({"replication_factor": 9}, "found 9"),
        ({"replication_factor": "two"}, "expected a whole number, found 'two'"),
        ({"partition_tree_sprigs": 300}, "a power of two"),
        ({"partition_tree_sprigs": 128}, "a power of two"),
        ({"default_ttl": -1}, "default_ttl"),
        ({"memory_percent": 100}, "memory_percent"),
        ({"data_size": "4Gi"}, "expected 4G, 512M or similar, found '4Gi'"),
        ({"data_size": "100M"}, "at least 256M, found 100M"),
        ({"version": "8.1.0.3", "data_size": "256M"}, "at least 512M"),
        ({"memory_bytes": 0}, "the host's memory is unknown"),
        ({"data_storage": "disk", "data_devices": []}, "no data partitions"),
        (
            {"data_storage": "disk", "primary_index_storage": "disk", "primary_index_mounts": []},
            "primary_index_partitions",
        ),
        (
            {
                "data_storage": "disk",
                "primary_index_storage": "disk",
                "primary_index_mounts": [{"path": "/m", "size_bytes": GIB}],
            },
            "the server needs file systems of at least 4G for it, found 972M on this host",
        ),
        ({"data_storage": "disk", "data_devices": [f"/dev/{n}" for n in range(129)]}, "at most 128"),
        ({"colour": "red"}, "unknown setting 'colour'"),
    ],
)
def test_a_refusal_says_what_was_expected_and_found(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfError, match=re.escape(message)):
        conf(**changes)


def test_all_problems_are_reported_at_once() -> None:
    settings = Settings.read({**BASE, "replication_factor": 9, "compression": "x", "partition_tree_sprigs": 3})
    assert len(configuration_problems(settings)) == 3


@pytest.mark.parametrize(
    ("ttl", "nsup", "expected"), [(0, 0, None), (60, 0, ["120"]), (60, 30, ["30"]), (0, 30, ["30"])]
)
def test_a_ttl_enables_the_search_for_expired_records(ttl: int, nsup: int, expected: list[str] | None) -> None:
    found = parse(conf(default_ttl=ttl, nsup_period=nsup))
    assert found.get("namespace/nsup-period") == expected
    assert found["namespace/default-ttl"] == [str(ttl)]


@pytest.mark.parametrize(
    ("memory", "percent", "size", "version", "expected"),
    [
        (16 * GIB, 60, "", "8.0.0.4", 9728 * MIB),
        (GIB, 10, "", "8.0.0.4", 256 * MIB),
        (GIB, 10, "", "8.1.0.3", 512 * MIB),
        (GIB, 10, "3G", "8.1.0.3", 3 * GIB),
    ],
)
def test_size_of_data_in_memory(memory: int, percent: int, size: str, version: str, expected: int) -> None:
    values = {**BASE, "memory_bytes": memory, "memory_percent": percent, "data_size": size, "version": version}
    assert data_bytes(Settings.read(values)) == expected


def test_sizes_and_versions() -> None:
    assert [size_bytes(text) for text in ("1", "4G", "512m", "2T")] == [1, 4 * GIB, 512 * MIB, 2048 * GIB]
    assert [size_text(size) for size in (4 * GIB, 1536 * MIB, 1024, 1000, 0)] == ["4G", "1536M", "1K", "1000", "0"]
    assert release_of("latest") > release_of("8.1.*") == (8, 1)


def test_extra_settings_go_into_their_context() -> None:
    found = parse(
        conf(
            data_storage="disk",
            extra={
                "service": {"batch-index-threads": 8},
                "namespace": {"storage-engine": {"flush-size": "128K"}, "partition-tree-sprigs": None, "set one": {}},
                "network": {"info": None, "heartbeat": {"interval": 250}},
                "xdr": {"dc aws": {"auth-mode": "none", "node-address-port": ["a 3000", "b 3000"]}},
                "mod-lua": {"cache-enabled": False},
            },
        )
    )
    assert found["service/batch-index-threads"] == ["8"]
    assert found["namespace/storage-engine/flush-size"] == ["128K"]
    assert found["namespace/storage-engine"] == ["device"]
    assert found["namespace/set"] == ["one"]
    assert found["network/heartbeat/interval"] == ["250"]
    assert found["xdr/dc/node-address-port"] == ["a 3000", "b 3000"]
    assert found["mod-lua/cache-enabled"] == ["false"]
    assert "namespace/partition-tree-sprigs" not in found
    assert "network/info/port" not in found


def test_extra_settings_turn_an_engine_into_a_context() -> None:
    found = parse(conf(version="6.4.0.1", extra={"namespace": {"storage-engine": {"x": 1}}}))
    assert found["namespace/storage-engine"] == ["memory"]
    assert found["namespace/storage-engine/x"] == ["1"]


@pytest.mark.parametrize("value", ["a\nb", "a # b", "x {", ["a", ["b"]]])
def test_a_value_that_would_break_the_file_is_refused(value: Any) -> None:
    with pytest.raises(ConfError, match="one plain value"):
        conf(extra={"service": {"x": value}})


def test_a_dictionary_in_place_of_a_value_is_refused() -> None:
    with pytest.raises(ConfError, match=r"namespace.default-ttl is a value"):
        merge(build(Settings.read(BASE)), {"namespace": {"default-ttl": {}}})


@pytest.mark.parametrize(
    "extra",
    [{"service": 5}, {"network": {"heartbeat": ["a"]}}, {"namespace": {"storage-engine": "device"}}],
)
def test_a_value_in_place_of_a_context_is_refused(extra: dict[str, Any]) -> None:
    """It would silently remove everything in the context."""
    with pytest.raises(ConfError, match="is a context, expected a dictionary, found"):
        conf(extra=extra)


@pytest.mark.parametrize("name", ["a\nb", "a # b", "x {"])
def test_a_name_that_would_break_the_file_is_refused(name: str) -> None:
    with pytest.raises(ConfError, match="expected the name of a setting"):
        conf(extra={"service": {name: 1}})


def test_an_engine_without_its_kind_is_refused() -> None:
    with pytest.raises(ConfError, match=r"namespace.index-type doesn't exist, expected a setting that enables it"):
        conf(extra={"namespace": {"index-type": {"evict-mounts-pct": 80}}})


def test_a_line_that_is_too_long_for_the_server_is_refused() -> None:
    assert render(Context(items={"x": "y" * 1000}))
    with pytest.raises(ConfError, match="at most 1023"):
        render(Context(items={"x": "y" * 1030}))


def test_the_filter_reports_problems() -> None:
    assert aerospike_conf(BASE).startswith("service {")
    with pytest.raises(Exception, match=r"aerospike.conf can't be rendered: replication_factor"):
        aerospike_conf({**BASE, "replication_factor": 0})
