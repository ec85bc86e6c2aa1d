"""The environment's report: when it is ready, and what it says when it isn't."""

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


def whole():
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


def test_a_whole_environment_is_ready():
    report = build_report("Benchmark", "local", whole(), "Test", 2, EXPECTED)
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
def test_the_room_for_data_is_told(counters):
    hosts = whole()
    for one in hosts:
        if one["kind"] == "server":
            one["server"]["namespace"] = counters
    data = build_report("Benchmark", "local", hosts, "Test", 2, EXPECTED).data
    assert data["cluster"]["data_bytes"] == 15 << 30
    assert "namespace Test, 2 copies, 15.0 GiB for data on all nodes" in "\n".join(report_lines(data))


def test_a_part_is_judged_alone():
    """setup-clients: nobody asked the servers, and a target that is down isn't the clients' matter."""
    hosts = whole()
    for one in hosts:
        if one["kind"] == "server":
            one["server"] = None
    hosts[0]["monitor"]["targets"][0]["health"] = "down"
    report = build_report("Benchmark", "local", hosts, "Test", 2, EXPECTED, kinds=["client"])
    assert report.problems == []
    assert len(report.data["nodes"]) == 5 and report.data["clients"][0]["rate"] == 100.0
    assert report.data["cluster"]["size"] is None, "nothing is told of what nobody asked"
    assert "cluster:" not in "\n".join(report_lines(report.data))
    hosts[1]["client"] = None
    (problem,) = build_report("Benchmark", "local", hosts, "Test", 2, EXPECTED, kinds=["client"]).problems
    assert problem.host == "client-1"


def test_a_client_that_nobody_asked_has_no_load_of_zero():
    """setup-cluster with a real Perseus under load told of 0 operations a second and 0 threads."""
    hosts = whole()
    silence("client-1")(hosts)
    report = build_report("Benchmark", "local", hosts, "Test", 2, EXPECTED, kinds=["server"])
    assert report.problems == []
    assert report.data["clients"][0]["rate"] is None
    assert report.data["cluster"]["size"] == 3
    assert "load of" not in "\n".join(report_lines(report.data))
    asked = build_report("Benchmark", "local", hosts, "Test", 2, EXPECTED)
    assert asked.data["clients"][0]["rate"] == 0.0, "one that was asked and said nothing"


@pytest.mark.parametrize(("state", "said"), [("inactive", "stopped"), ("failed", "killed or failed")])
def test_a_database_that_is_down_is_told_as_that(state, said):
    hosts = whole()
    result = {"failed": True, "msg": "expected a stable cluster, [Errno 111]", "service_state": state}
    next(one for one in hosts if one["name"] == "server-2")["server"] = result
    report = build_report("Benchmark", "local", hosts, "Test", 2, EXPECTED)
    assert next(node for node in report.data["nodes"] if node["name"] == "server-2")["service"] == said
    told = [str(problem) for problem in report.problems if problem.host == "server-2"]
    assert told == [f"server-2: database: expected running, found {said} (./pegasus-driver restart-node 2 starts it)"]
    result["msg"] = "CRITICAL (config): line 34\nexpected a stable cluster"
    assert f"found {said} (./pegasus-driver restart-node 2 starts it): CRITICAL (config): line 34" in problems(hosts)[0]
    result |= {"service_state": "active", "msg": "[Errno 111]"}
    assert "Errno 111" in "".join(problems(hosts)), "one that runs says what it lacks"


def test_what_all_nodes_said_at_one_moment_counts_more_than_what_each_said_before():
    """A node restarted while setup ran: the nodes that were asked before it have the old key."""
    hosts = whole()
    change("server-2", cluster_key="DEF")(hosts)
    agreed = {"cluster_key": "DEF", "cluster_size": 3}
    report = build_report("Benchmark", "local", hosts, "Test", 2, EXPECTED, agreed)
    assert report.problems == []
    assert report.data["cluster"]["key"] == "DEF"


def change(name, **fields):
    def apply(hosts):
        for one in hosts:
            if one["name"] == name:
                one[one["kind"]].update(fields)

    return apply


def silence(name):
    def apply(hosts):
        for one in hosts:
            if one["name"] == name:
                one[one["kind"]] = None

    return apply


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (change("server-2", cluster_key="DEF"), "cluster: cluster key: expected the same on every node"),
        (change("server-2", cluster_size=2), "server-2: cluster size: expected 3, found 2"),
        (silence("server-3"), "server-3: cluster-stable: expected size 3 and a key, found no answer"),
        (
            change("server-3", failed=True, msg="timed out"),
            "server-3: cluster-stable: expected size 3 and a key, found timed out",
        ),
        (change("client-1", total_rate=0, server_rate=0), "client-1: Perseus's rows: expected non-zero counts"),
        (change("client-1", server_rate=10), "clients: load: expected at least about the 100"),
        (silence("client-1"), "client-1: Perseus's rows: expected non-zero counts, found no answer"),
        (silence("monitor-1"), "monitor-1: monitoring"),
        (
            change("monitor-1", targets=[{"instance": "b", "health": "down"}]),
            "monitor-1: target b: expected up, found down",
        ),
    ],
)
def test_what_is_wrong_is_named(spoil, said):
    hosts = copy.deepcopy(whole())
    spoil(hosts)
    assert any(problem.startswith(said) for problem in problems(hosts)), problems(hosts)


def test_hosts_that_ssh_does_not_reach_are_listed_as_that():
    """What Ansible registers for them has no `failed`."""
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
        [h for h in whole() if h["kind"] != "client"]
    )


def test_two_clients_share_the_servers_counters():
    hosts = whole()
    hosts.append(host("client", 2, total_rate=50.0, server_rate=150.0))
    change("client-1", server_rate=150.0)(hosts)
    report = build_report("Benchmark", "local", hosts, "Test", 2, {"client": 2})
    assert report.problems == []


def test_servers_that_counted_more_prove_nothing():
    """A real Perseus warming up on a busy machine: 33,533 operations a second in its rows, 104,834 on the servers."""
    hosts = whole()
    change("client-1", total_rate=33533.0, server_rate=104834.0)(hosts)
    assert build_report("Benchmark", "local", hosts, "Test", 2).problems == []


def test_lines_tell_how_to_go_on():
    text = "\n".join(report_lines(build_report("Benchmark", "local", whole(), "Test", 2).data))
    for part in (
        "SIMULATED",
        "size 3, key ABC",
        "100 operations a second",
        "http://10.0.0.9:3000",
        "copy-threads",
        "destroy",
    ):
        assert part in text


def test_a_failure_that_is_listed_names_what_it_lists():
    said = {"failed": True, "msg": "expected 9 targets that are up, found 1 that are not:\n  B-3:9100: down\n  more"}
    host = {"name": "B-m-1", "kind": "monitor", "index": 1, "monitor": said}
    (problem,) = build_report("B", "local", [host]).problems
    assert problem.found == "expected 9 targets that are up, found 1 that are not: B-3:9100: down"


@pytest.mark.parametrize(
    ("tags", "told"),
    [
        (["2026-11-25T02:00:00Z", "2026-11-25T01:00:00Z", "never"], "2026-11-25T01:00:00Z"),
        (["never", "never"], "never"),
        (["never", ""], "unknown"),
        ([], ""),
    ],
)
def test_the_first_end_is_told(tags, told):
    hosts = [host("client", index, failed=True) | {"expires": tag} for index, tag in enumerate(tags, 1)]
    assert build_report("B", "aws", hosts, now=NOW).data["expires"] == told


def test_an_end_is_warned_of_from_an_hour_before():
    hosts = whole()
    end = NOW
    hosts[0]["expires"], hosts[1]["expires"] = "never", "tomorrow"

    def said(minutes):
        return build_report("B", "aws", hosts, now=end - timedelta(minutes=minutes)).data["expiry_warnings"]

    assert said(60) == []
    (warning,) = said(59)
    assert warning == (
        "server-1, server-2, server-3 end in 59 min, at 2026-11-25T00:00:00Z: ./pegasus-driver extend 4h moves that"
    )
    hosts[4]["expires"] = "2026-11-24T23:30:00Z"
    over, soon = said(20)
    assert over.startswith("server-3 ends at 2026-11-24T23:30:00Z, which is over: ./pegasus-driver reap")
    assert soon.startswith("server-1, server-2 end in 20 min")


def test_cost_and_warnings_stand_in_the_lines():
    report = build_report(
        "B", "aws", whole(), cost={"text": "12.00 USD so far"}, now=datetime(2026, 11, 25, tzinfo=UTC)
    )
    lines = report_lines(report.data)
    assert "cost: 12.00 USD so far" in lines
    assert any(line.startswith("WARNING: ") and "which is over" in line for line in lines)
    assert not any(line.startswith("cost") for line in report_lines(build_report("B", "aws", whole()).data))
