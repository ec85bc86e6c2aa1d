"""Why nodes refuse operations: the names and limits of each release, from its statistics to a sentence."""

from __future__ import annotations

import pytest
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.aerospike import health
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.aerospike.health import Statistics
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.aerospike.info import InfoError

# A namespace on disks as each release reports it, with room left.
RELEASES = {
    "6.4": {
        "stop_writes": "false", "hwm_breached": "false", "clock_skew_stop_writes": "false",
        "unavailable_partitions": "0", "dead_partitions": "0",
        "device_total_bytes": "1000", "device_used_bytes": "690", "device_free_pct": "31",
        "device_available_pct": "5", "memory_used_bytes": "80", "memory-size": "100", "stop-writes-pct": "90",
        "stop-writes-sys-memory-pct": "90", "storage-engine.max-used-pct": "70", "storage-engine.min-avail-pct": "5",
        "storage-engine.device[0]": "/dev/nvme1n1p1", "storage-engine.device[0].free_wblocks": "9",
    },
    "8.1": {
        "stop_writes": "false", "hwm_breached": "false", "clock_skew_stop_writes": "false",
        "unavailable_partitions": "0", "dead_partitions": "0",
        "data_total_bytes": "1000", "data_used_bytes": "690", "data_used_pct": "69", "data_avail_pct": "5",
        "indexes-memory-budget": "0", "stop-writes-sys-memory-pct": "90", "storage-engine.evict-used-pct": "0",
        "storage-engine.stop-writes-used-pct": "70", "storage-engine.stop-writes-avail-pct": "5",
        "storage-engine.device[0]": "/dev/nvme1n1p1", "storage-engine.device[0].free_wblocks": "9",
    },
}  # fmt: skip
NODE = {"system_free_mem_pct": "10", "cluster_clock_skew_ms": "3", "cluster_clock_skew_stop_writes_sec": "0"}


def problems(
    changes: dict[str, str] | None = None, release: str = "8.1", node: dict[str, str] | None = None
) -> list[health.Problem]:
    """The problems of a node whose namespace and own statistics differ from the above in ``changes`` and ``node``."""
    return health.problems({"10.0.0.1": Statistics(NODE | (node or {}), {"test": RELEASES[release] | (changes or {})})})


@pytest.mark.parametrize("release", RELEASES)
def test_a_node_just_inside_every_limit_has_no_problem(release: str) -> None:
    assert problems(release=release) == []


@pytest.mark.parametrize(
    ("release", "changes", "reason"),
    [
        ("8.1", {"data_avail_pct": "4"}, "data_avail_pct 4 is below stop-writes-avail-pct 5"),
        ("8.1", {"data_used_pct": "70"}, "data_used_pct 70 has reached stop-writes-used-pct 70"),
        ("8.1", {"system_free_mem_pct": "9"}, "91 % of the host's memory is used, above stop-writes-sys-memory-pct 90"),
        (
            "8.1",
            {"indexes_memory_used_pct": "100", "indexes-memory-budget": "7"},
            "the indexes use 100 % of indexes-memory-budget",
        ),
        ("6.4", {"device_available_pct": "4"}, "device_available_pct 4 is below min-avail-pct 5"),
        ("6.4", {"device_used_bytes": "710"}, "device_used_bytes is 71 % of device_total_bytes, above max-used-pct 70"),
        ("6.4", {"memory_used_bytes": "91"}, "memory_used_bytes is 91 % of memory-size, above stop-writes-pct 90"),
        ("8.1", {}, "the server names no reason"),
    ],
)
def test_stopped_writes_are_reported_with_their_reason(release: str, changes: dict[str, str], reason: str) -> None:
    node = {name: value for name, value in changes.items() if name.startswith("system")}
    rest = {name: value for name, value in changes.items() if name not in node}
    (problem,) = problems({"stop_writes": "true", **rest}, release, node)
    assert (problem.check, problem.stops_writes, problem.stops_reads) == ("stop-writes", True, False)
    assert problem.found == f"stop_writes because {reason}"
    sentence = str(problem)
    assert sentence.startswith(
        "node 10.0.0.1: namespace test: stop-writes: expected a namespace that accepts writes, found stop_writes"
    )
    assert "Next: lower the threads that write" in sentence
    assert problem.reason.startswith("stop-writes of node 10.0.0.1 (namespace test: stop_writes because")


def test_a_namespace_beyond_a_limit_counts_before_the_server_evaluates_it() -> None:
    """The server evaluates its limits every 10 s."""
    (problem,) = problems({"data_avail_pct": "4"})
    assert problem.found.startswith("writes that stop within 10 s because data_avail_pct 4")
    # Used memory comes and goes within the 10 s.
    assert problems(node={"system_free_mem_pct": "5"}) == []


def test_a_limit_of_zero_is_off() -> None:
    off = {"storage-engine.stop-writes-used-pct": "0", "storage-engine.stop-writes-avail-pct": "0"}
    assert problems({"data_used_pct": "99", "data_avail_pct": "0", **off}) == []


def test_a_device_is_out_of_space_although_blocks_are_available() -> None:
    """Seen on the real server: 347 MiB partitions are out of space at 18 % available, 8 of 43 blocks."""
    device = {"storage-engine.device[1]": "/dev/nvme1n1p2", "storage-engine.device[1].free_wblocks": "8"}
    values = RELEASES["8.1"] | device | {"data_avail_pct": "18"}
    (problem,) = health.problems({"a": Statistics({}, {"test": values})})
    assert problem.check == "out of space"
    assert problem.found.startswith("1 of 2 with only the blocks left") and problem.found.endswith(": /dev/nvme1n1p2")


@pytest.mark.parametrize(("backing", "free", "expected"), [({}, 2, 0), ({}, 1, 1), ({"backing_write_q": "0"}, 8, 1)])
def test_data_in_memory_reserves_one_block_unless_it_has_a_backing_file(
    backing: dict[str, str], free: int, expected: int
) -> None:
    stripe = {"free_wblocks": str(free), **backing}
    values = {f"storage-engine.stripe[0].{name}": value for name, value in stripe.items()}
    assert len(health.problems({"a": Statistics({}, {"test": values})})) == expected


def test_a_set_at_its_limit_is_a_problem_although_the_namespace_accepts_writes() -> None:
    sets = [
        {"ns": "test", "set": "KeyRanges", "objects": "1", "stop-writes-count": "0", "stop-writes-size": "0"},
        {"ns": "test", "set": "test", "objects": "5000", "stop-writes-count": "5000", "stop-writes-size": "0"},
        {"ns": "test", "set": "big", "objects": "1", "data_used_bytes": "10", "stop-writes-size": "9"},
        {"ns": "test", "set": "old", "objects": "1", "device_data_bytes": "10", "stop-writes-size": "10"},
    ]
    found = health.problems({"a": Statistics({}, {"test": RELEASES["8.1"]}, {"test": sets})})
    assert [problem.found for problem in found] == [
        "set test at its limit: 5,000 objects, stop-writes-count 5,000",
        "set big at its limit: 10 bytes, stop-writes-size 9",
    ]
    assert {problem.check for problem in found} == {"set limit"}


@pytest.mark.parametrize(
    ("statistic", "check"),
    [("unavailable_partitions", "unavailable partitions"), ("dead_partitions", "dead partitions")],
)
def test_partitions_that_no_node_serves_stop_reads_too(statistic: str, check: str) -> None:
    (problem,) = problems({statistic: "1024"})
    assert (problem.check, problem.stops_reads) == (check, True)
    assert problem.found == "1,024 partitions that refuse reads and writes"


def test_clocks_that_stopped_the_writes_are_reported_once() -> None:
    node = {"cluster_clock_skew_ms": "41000", "cluster_clock_skew_outliers": "BB9,BBA"}
    (problem,) = problems({"clock_skew_stop_writes": "true"}, node=node)
    assert (problem.check, problem.namespace, problem.stops_writes) == ("clock skew", "test", True)
    assert problem.found == "clock_skew_stop_writes: clocks that differ by 41,000 ms (nodes BB9,BBA)"


@pytest.mark.parametrize(
    ("limit", "skew", "expected"), [("0", 29_999, 0), ("0", 30_000, 1), ("20", 14_999, 0), ("20", 15_000, 1)]
)
def test_clocks_are_a_problem_before_they_stop_the_writes(limit: str, skew: int, expected: int) -> None:
    node = {"cluster_clock_skew_ms": str(skew), "cluster_clock_skew_stop_writes_sec": limit}
    found = problems(node=node)
    assert len(found) == expected
    assert all((problem.namespace, problem.stops_writes) == ("", False) for problem in found)


def test_eviction_is_a_problem_but_explains_no_failed_write() -> None:
    (problem,) = problems({"hwm_breached": "true", "storage-engine.evict-used-pct": "60"})
    assert (problem.check, problem.stops_writes) == ("eviction", False)
    assert "evict-used-pct 60) with data_used_pct 69" in problem.found


def test_all_namespaces_of_all_nodes_count() -> None:
    stopped = {"stop_writes": "true"}
    nodes = {
        "a": Statistics({}, {"one": {"stop_writes": "false"}, "two": stopped}),
        "b": Statistics({}, {"one": stopped, "two": {"hwm_breached": "true"}}),
    }
    found = health.problems(nodes)
    assert [(problem.node, problem.namespace) for problem in found] == [("a", "two"), ("b", "one"), ("b", "two")]
    assert health.short(found) == "stop-writes, eviction"


def test_a_query_reads_all_namespaces_and_sets(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = {
        "statistics": "cluster_size=2;cluster_clock_skew_ms=0",
        "namespaces": "one;two",
        "namespace/one": "stop_writes=true;objects=7",
        "namespace/two": "stop_writes=false",
        "sets/one": "ns=one:set=s:objects=7:stop-writes-count=7;ns=one:set=t:objects=0;",
        "sets/two": "ERROR::unknown",
    }

    def info(host: str, *commands: str, **_: object) -> dict[str, str]:
        if host == "down":
            raise InfoError("refused")
        return {command: answers[command] for command in commands}

    monkeypatch.setattr(health, "info", info)
    nodes = health.query(["a", "down"])
    assert list(nodes) == ["a"]
    assert nodes["a"].node["cluster_size"] == "2"
    assert nodes["a"].namespaces == {"one": {"stop_writes": "true", "objects": "7"}, "two": {"stop_writes": "false"}}
    assert [values["set"] for values in nodes["a"].sets["one"]] == ["s", "t"]
    assert nodes["a"].sets["two"] == []
    assert [problem.check for problem in health.problems(nodes)] == ["stop-writes", "set limit"]


def test_a_node_without_namespaces_is_queried_once(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, ...]] = []

    def info(_: str, *commands: str, **__: object) -> dict[str, str]:
        asked.append(commands)
        return {"statistics": "", "namespaces": ""}

    monkeypatch.setattr(health, "info", info)
    assert health.problems(health.query(["a"])) == []
    assert asked == [("statistics", "namespaces")]
