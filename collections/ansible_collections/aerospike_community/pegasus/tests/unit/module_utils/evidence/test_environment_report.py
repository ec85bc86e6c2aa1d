"""The environment report: when the environment is ready, and what the report says if it isn't."""

import copy
from datetime import UTC, datetime, timedelta

import pytest
from ansible_collections.aerospike_community.pegasus.plugins.filter.host_results import RESULT_OF_KIND, host_results
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.evidence.environment_report import (
    build_report,
    report_lines,
)

NOW = datetime(2026, 11, 25, tzinfo=UTC)


def host(kind, index, **result):
    return {
        "name": f"{kind}-{index}",
        "kind": kind,
        "index": index,
        "address": f"10.0.0.{index}",
        "state": "running",
        "instance_id": f"i-{kind}{index}",
        "instance_type": "i4i.large",
        "expires": "2026-11-25T00:00:00Z",
        "unreachable": False,
        kind: result,
    }


def healthy_hosts():
    servers = [host("server", i, cluster_key="ABC", cluster_size=3, edition="Enterprise SIMULATED") for i in (1, 2, 3)]
    client = host("client", 1, total_rate=100.0, server_rate=98.0, rates={"write": 100.0}, threads={"write": 1})
    monitor = host(
        "monitor",
        1,
        targets=[{"instance": "a", "health": "up"}],
        dashboards=["pegasus-environment"],
        grafana_url="http://10.0.0.9:3000",
        prometheus_url="http://10.0.0.9:9090",
    )
    return [monitor, client, *servers]


EXPECTED = {"server": 3, "client": 1, "monitor": 1}


def problems(hosts):
    return [str(problem) for problem in build_report("Benchmark", "local", hosts, "Test", 2, EXPECTED).problems]


def test_a_healthy_environment_is_ready():
    report = build_report("Benchmark", "local", healthy_hosts(), "Test", 2, EXPECTED)
    assert report.problems == []
    data = report.data
    assert data["simulated"] is True
    assert [node["name"] for node in data["nodes"]] == ["server-1", "server-2", "server-3", "client-1", "monitor-1"]
    cluster = {"size": 3, "key": "ABC", "stable": True, "namespace": "Test", "replication_factor": 2, "data_bytes": 0}
    assert data["cluster"] == cluster
    assert data["clients"][0]["rate"] == 100.0
    assert (data["monitoring"]["targets_up"], data["monitoring"]["targets"]) == (1, 1)
    assert data["expires"] == "2026-11-25T00:00:00Z"


@pytest.mark.parametrize(
    "counters",
    [
        {"data_total_bytes": 5 << 30},
        {"device_total_bytes": 5 << 30, "memory-size": 9 << 30},
        {"device_total_bytes": 0, "memory-size": 5 << 30},
    ],
    ids=["7.0 and newer", "6.4 on disk", "6.4 in memory"],
)
def test_the_capacity_for_data_is_reported(counters):
    hosts = healthy_hosts()
    for item in hosts:
        if item["kind"] == "server":
            item["server"]["namespace"] = counters
    data = build_report("Benchmark", "local", hosts, "Test", 2, EXPECTED).data
    assert data["cluster"]["data_bytes"] == 15 << 30
    assert "namespace Test, 2 copies, 15.0 GiB for data on all nodes" in "\n".join(report_lines(data))


def test_one_part_is_checked_alone():
    """setup-clients doesn't check the servers, and a target that is down doesn't concern the clients."""
    hosts = healthy_hosts()
    for item in hosts:
        if item["kind"] == "server":
            item["server"] = None
    hosts[0]["monitor"]["targets"][0]["health"] = "down"
    report = build_report("Benchmark", "local", hosts, "Test", 2, EXPECTED, kinds=["client"])
    assert report.problems == []
    assert len(report.data["nodes"]) == 5 and report.data["clients"][0]["rate"] == 100.0
    assert report.data["cluster"]["size"] is None, "the report is silent about a part that the run didn't check"
    assert "cluster:" not in "\n".join(report_lines(report.data))
    hosts[1]["client"] = None
    (problem,) = build_report("Benchmark", "local", hosts, "Test", 2, EXPECTED, kinds=["client"]).problems
    assert problem.host == "client-1"


def test_a_client_that_was_not_checked_has_no_load_of_zero():
    """setup-cluster reported 0 operations per second and 0 threads for a real Perseus under load."""
    hosts = healthy_hosts()
    remove_result("client-1")(hosts)
    report = build_report("Benchmark", "local", hosts, "Test", 2, EXPECTED, kinds=["server"])
    assert report.problems == []
    assert report.data["clients"][0]["rate"] is None
    assert report.data["cluster"]["size"] == 3
    assert "load of" not in "\n".join(report_lines(report.data))
    checked = build_report("Benchmark", "local", hosts, "Test", 2, EXPECTED)
    assert checked.data["clients"][0]["rate"] == 0.0, "a client that was checked and didn't answer"


@pytest.mark.parametrize(("state", "status"), [("inactive", "stopped"), ("failed", "killed or failed")])
def test_a_database_that_is_down_has_its_own_problem(state, status):
    hosts = healthy_hosts()
    result = {"failed": True, "msg": "expected a stable cluster, [Errno 111]", "service_state": state}
    next(item for item in hosts if item["name"] == "server-2")["server"] = result
    report = build_report("Benchmark", "local", hosts, "Test", 2, EXPECTED)
    assert next(node for node in report.data["nodes"] if node["name"] == "server-2")["service"] == status
    found = [str(problem) for problem in report.problems if problem.host == "server-2"]
    assert found == [
        f"server-2: database: expected running, found {status} (./pegasus-driver restart-node 2 starts it)"
    ]
    result["msg"] = "CRITICAL (config): line 34\nexpected a stable cluster"
    assert (
        f"found {status} (./pegasus-driver restart-node 2 starts it): CRITICAL (config): line 34" in problems(hosts)[0]
    )
    result |= {"service_state": "active", "msg": "[Errno 111]"}
    assert "Errno 111" in "".join(problems(hosts)), "a running database reports its own problem"


def test_an_answer_of_all_nodes_takes_precedence_over_earlier_results():
    """A node restarted during setup. The nodes that were checked before it have the old key."""
    hosts = healthy_hosts()
    change("server-2", cluster_key="DEF")(hosts)
    agreed = {"cluster_key": "DEF", "cluster_size": 3}
    report = build_report("Benchmark", "local", hosts, "Test", 2, EXPECTED, agreed)
    assert report.problems == []
    assert report.data["cluster"]["key"] == "DEF"


def change(name, **fields):
    def apply(hosts):
        for item in hosts:
            if item["name"] == name:
                item[item["kind"]].update(fields)

    return apply


def remove_result(name):
    def apply(hosts):
        for item in hosts:
            if item["name"] == name:
                item[item["kind"]] = None

    return apply


@pytest.mark.parametrize(
    ("spoil", "problem"),
    [
        (change("server-2", cluster_key="DEF"), "cluster: cluster key: expected the same on every node"),
        (change("server-2", cluster_size=2), "server-2: cluster size: expected 3, found 2"),
        (remove_result("server-3"), "server-3: cluster-stable: expected size 3 and a key, found no answer"),
        (
            change("server-3", failed=True, msg="timed out"),
            "server-3: cluster-stable: expected size 3 and a key, found timed out",
        ),
        (change("client-1", total_rate=0, server_rate=0), "client-1: Perseus rows: expected non-zero counts"),
        (change("client-1", server_rate=10), "clients: load: expected about 100 operations per second or more"),
        (remove_result("client-1"), "client-1: Perseus rows: expected non-zero counts, found no answer"),
        (remove_result("monitor-1"), "monitor-1: monitoring"),
        (
            change("monitor-1", targets=[{"instance": "b", "health": "down"}]),
            "monitor-1: target b: expected up, found down",
        ),
    ],
)
def test_each_problem_is_named(spoil, problem):
    hosts = copy.deepcopy(healthy_hosts())
    spoil(hosts)
    assert any(text.startswith(problem) for text in problems(hosts)), problems(hosts)


def test_unreachable_hosts_are_listed_as_unreachable():
    """Ansible registers a result without `failed` for them."""
    groups = {"servers": ["Bench-1", "Bench-2"], "clients": ["BenchClient-1"], "monitors": ["BenchGrafana-1"]}
    lost = {"changed": False, "unreachable": True, "msg": "ssh: connect to host 10.0.0.1 port 22: Connection refused"}
    known = {
        "ec2_tags": {"pegasus:index": "1", "pegasus:expires": "2026-11-25T00:00:00Z"},
        "ec2_state": {"name": "running"},
        "ec2_instance_id": "i-1",
        "ec2_instance_type": "i4i.large",
    }
    hosts = host_results(
        {name: known | dict.fromkeys(RESULT_OF_KIND.values(), lost) for names in groups.values() for name in names},
        groups,
    )
    report = build_report("Bench", "aws", hosts, now=NOW)
    assert [node["service"] for node in report.data["nodes"]] == ["unreachable by ssh"] * 4
    assert report.data["cluster"]["size"] == 0 and report.data["clients"][0]["rate"] == 0
    assert sum("Connection refused" in str(problem) for problem in report.problems) == 4


def test_a_missing_host_is_named():
    assert "Benchmark: number of client instances: expected 1, found 0" in problems(
        [item for item in healthy_hosts() if item["kind"] != "client"]
    )


def test_the_servers_counters_hold_the_load_of_all_clients():
    hosts = healthy_hosts()
    hosts.append(host("client", 2, total_rate=50.0, server_rate=150.0))
    change("client-1", server_rate=150.0)(hosts)
    report = build_report("Benchmark", "local", hosts, "Test", 2, {"client": 2})
    assert report.problems == []


def test_a_higher_count_on_the_servers_is_no_problem():
    """A real Perseus that warmed up on a busy machine: 33,533 operations per second in its rows, 104,834 on servers."""
    hosts = healthy_hosts()
    change("client-1", total_rate=33533.0, server_rate=104834.0)(hosts)
    assert build_report("Benchmark", "local", hosts, "Test", 2).problems == []


def test_the_lines_name_the_next_steps():
    text = "\n".join(report_lines(build_report("Benchmark", "local", healthy_hosts(), "Test", 2).data))
    for part in (
        "SIMULATED",
        "size 3, key ABC",
        "100 operations per second",
        "http://10.0.0.9:3000",
        "copy-threads",
        "destroy",
    ):
        assert part in text


def test_a_failure_with_a_list_names_its_first_item():
    result = {"failed": True, "msg": "expected 9 targets that are up, found 1 that are not:\n  B-3:9100: down\n  more"}
    host = {"name": "B-m-1", "kind": "monitor", "index": 1, "monitor": result}
    (problem,) = build_report("B", "local", [host]).problems
    assert problem.found == "expected 9 targets that are up, found 1 that are not: B-3:9100: down"


@pytest.mark.parametrize(
    ("tags", "expires"),
    [
        (["2026-11-25T02:00:00Z", "2026-11-25T01:00:00Z", "never"], "2026-11-25T01:00:00Z"),
        (["never", "never"], "never"),
        (["never", ""], "unknown"),
        ([], ""),
    ],
)
def test_the_first_expiry_is_reported(tags, expires):
    hosts = [host("client", index, failed=True) | {"expires": tag} for index, tag in enumerate(tags, 1)]
    assert build_report("B", "aws", hosts, now=NOW).data["expires"] == expires


def test_the_warning_of_an_expiry_begins_an_hour_before():
    hosts = healthy_hosts()
    expiry = NOW
    hosts[0]["expires"], hosts[1]["expires"] = "never", "tomorrow"

    def warnings(minutes):
        return build_report("B", "aws", hosts, now=expiry - timedelta(minutes=minutes)).data["expiry_warnings"]

    assert warnings(60) == []
    (warning,) = warnings(59)
    assert warning == (
        "server-1, server-2, server-3 expire in 59 min, at 2026-11-25T00:00:00Z. "
        "To postpone it: ./pegasus-driver extend 4h"
    )
    hosts[4]["expires"] = "2026-11-24T23:30:00Z"
    expired, soon = warnings(20)
    assert expired.startswith("server-3 expired at 2026-11-24T23:30:00Z. ./pegasus-driver reap")
    assert soon.startswith("server-1, server-2 expire in 20 min")


def test_the_lines_have_cost_and_warnings():
    report = build_report(
        "B", "aws", healthy_hosts(), cost={"text": "12.00 USD so far"}, now=datetime(2026, 11, 25, tzinfo=UTC)
    )
    lines = report_lines(report.data)
    assert "cost: 12.00 USD so far" in lines
    assert any(line.startswith("WARNING: ") and " expired at " in line for line in lines)
    assert not any(line.startswith("cost") for line in report_lines(build_report("B", "aws", healthy_hosts()).data))
