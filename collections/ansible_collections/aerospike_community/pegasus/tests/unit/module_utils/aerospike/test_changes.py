"""Differences between two configurations, and which of them a running server accepts."""

from __future__ import annotations

import pytest
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.aerospike.changes import (
    Difference,
    commands,
    differences,
)
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.aerospike.conf import build, parse, render
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.aerospike.settings import ConfError, Settings

BASE = {
    "version": "8.0.0.15",
    "edition": "enterprise",
    "cluster_name": "c",
    "namespace": "Test",
    "data_size": "1G",
    "seeds": ["10.0.0.1", "10.0.0.2"],
}


def conf(**changes: object) -> str:
    return render(build(Settings.read({**BASE, **changes})))


def test_a_rendered_configuration_is_parsed_again() -> None:
    found = parse(conf())
    assert found["service", "cluster-name"] == ("c",)
    assert found["network", "heartbeat", "mesh-seed-address-port"] == ("10.0.0.1 3002", "10.0.0.2 3002")
    assert found["namespace Test", "storage-engine"] == ("memory",)
    assert found["namespace Test", "storage-engine", "data-size"] == ("1G",)
    assert found["logging", "console", "context"] == ("any info",)


@pytest.mark.parametrize("text", ["a {", "}", "a {\n}\n}"])
def test_unbalanced_braces_are_refused(text: str) -> None:
    with pytest.raises(ConfError):
        parse(text)


def test_order_and_comments_do_not_count() -> None:
    assert differences("service {\n a 1\n b 2 # x\n}", "# y\nservice {\nb 2\na 1\n}") == []


def test_a_difference_has_a_name_and_both_values() -> None:
    found = differences(conf(), conf(replication_factor=3, default_ttl=60))
    assert [str(difference) for difference in found] == [
        "namespace Test.replication-factor: 2 -> 3",
        "namespace Test.default-ttl: 0 -> 60",
        "namespace Test.nsup-period: nothing -> 120",
    ]
    (removed,) = differences("service {\na 1\n}", "service {\n}")
    assert str(removed) == "service.a: 1 -> nothing"


def orders(version: str = "8.0.0.15", **changes: object) -> list[list[str]]:
    return [commands(difference, version) for difference in differences(conf(), conf(**changes))]


def extra(**settings: object) -> dict[str, object]:
    return {"extra": settings}


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        (extra(service={"query-max-done": 50}), ["set-config:context=service;query-max-done=50"]),
        ({"proto_fd_max": 20000}, ["set-config:context=service;proto-fd-max=20000"]),
        ({"heartbeat_interval_ms": 250}, ["set-config:context=network;heartbeat.interval=250"]),
        ({"nsup_period": 60}, ["set-config:context=namespace;id=Test;nsup-period=60"]),
        (
            extra(namespace={"storage-engine": {"defrag-lwm-pct": 55}}),
            ["set-config:context=namespace;id=Test;defrag-lwm-pct=55"],
        ),
        # No units of size in set-config.
        (
            extra(namespace={"storage-engine": {"max-write-cache": "128M"}}),
            ["set-config:context=namespace;id=Test;max-write-cache=134217728"],
        ),
        (
            extra(namespace={"geo2dsphere-within": {"max-cells": 16}}),
            [[], ["set-config:context=namespace;id=Test;geo2dsphere-within-max-cells=16"]],
        ),
        ({"seeds": ["10.0.0.1", "10.0.0.2", "10.0.0.3"]}, ["tip:host=10.0.0.3;port=3002"]),
    ],
)
def test_a_dynamic_parameter_needs_no_restart(changes: dict[str, object], expected: list[object]) -> None:
    by_difference = expected if isinstance(expected[0], list) else [expected]
    assert orders(**changes) == by_difference


@pytest.mark.parametrize(
    "changes",
    [
        {"replication_factor": 3},
        {"cluster_name": "other"},
        {"rack_id": 2},
        {"data_size": "2G"},
        {"partition_tree_sprigs": 512},
        {"namespace": "Other"},
        extra(service={"pidfile": "/run/asd.pid"}),
        # Only a restart applies the default of a removed line.
        extra(service={"proto-fd-max": None}),
        extra(logging={"console": {"context": "any debug"}}),
    ],
)
def test_a_static_parameter_needs_a_restart(changes: dict[str, object]) -> None:
    found = orders(**changes)
    assert found and [] in found


def test_a_flash_index_can_grow_under_the_name_that_the_release_has_for_its_limit() -> None:
    def limit(name: str, value: str) -> str:
        return f"namespace Test {{\nindex-type flash {{\nmount /a\n{name} {value}\n}}\n}}"

    (new,) = differences(limit("mounts-budget", "4G"), limit("mounts-budget", "8G"))
    assert commands(new, "8.1.0.3") == ["set-config:context=namespace;id=Test;index-type.mounts-budget=8589934592"]
    (old,) = differences(limit("mounts-size-limit", "4G"), limit("mounts-size-limit", "8G"))
    assert commands(old, "6.4.0.34") == ["set-config:context=namespace;id=Test;mounts-size-limit=8589934592"]
    assert commands(old, "8.0.0.15") == []


@pytest.mark.parametrize(
    ("version", "name", "accepted"),
    [
        ("6.4.0.34", "high-water-disk-pct", True),
        ("7.1.0.23", "high-water-disk-pct", False),
        ("7.1.0.23", "active-rack", False),
        ("7.2.0.17", "active-rack", True),
        ("7.2.0.17", "mrt-duration", False),
        ("8.0.0.15", "mrt-duration", True),
        ("8.0.0.15", "apply-ttl-reductions", False),
        ("8.1.0.3", "apply-ttl-reductions", True),
    ],
)
def test_some_parameters_belong_to_some_releases_only(version: str, name: str, accepted: bool) -> None:
    difference = Difference(("namespace Test", name), ("1",), ("2",))
    assert bool(commands(difference, version)) is accepted


def test_a_set_has_its_own_parameters() -> None:
    difference = Difference(("namespace Test", "set users", "enable-index"), ("false",), ("true",))
    expected = ["set-config:context=namespace;id=Test;set=users;enable-index=true"]
    assert commands(difference, "8.0.0.15") == expected
