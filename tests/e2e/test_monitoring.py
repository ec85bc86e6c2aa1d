"""The monitoring of a real load: exporters, Prometheus, alerts, dashboards, annotations.

The tests have an environment of their own with two clients, so that one can be killed. They run in order, because the
last tests break things.
"""

from __future__ import annotations

import contextlib
import subprocess
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.e2e import panels
from tests.e2e.checkout import Checkout, get, on_host, until

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1500)]
CLIENTS = 2
LIVE = "/var/lib/perseus/threads.yaml"


class Monitored:
    """The environment in Prometheus and Grafana."""

    def __init__(self, clone: Checkout, report: dict[str, Any]) -> None:
        self.clone, self.report = clone, report
        nodes = {(node["kind"], node["index"]): node for node in report["nodes"]}
        self.clients = [nodes["client", index] for index in range(1, CLIENTS + 1)]
        self.servers = [nodes["server", index]["address"] for index in (1, 2)]
        self.monitor = nodes["monitor", 1]["address"]
        self.prometheus, self.grafana = f"http://{self.monitor}:9090", f"http://{self.monitor}:3000"

    def value(self, query: str) -> float:
        """Return the single sample of a query."""
        (sample,) = panels.samples_of(self.prometheus, query)
        return float(sample["value"][1])

    def firing(self, alert: str, **labels: str) -> list[dict[str, str]]:
        """Return the labels of an alert that fires now with these labels."""
        found = panels.samples_of(self.prometheus, f'ALERTS{{alertname="{alert}",alertstate="firing"}}')
        return [sample["metric"] for sample in found if labels.items() <= sample["metric"].items()]

    def grafana_answers(self) -> bool:
        try:
            return bool(get(f"{self.grafana}/api/health"))
        except OSError:
            return False

    def annotations(self) -> list[dict[str, Any]]:
        return get(f"{self.grafana}/api/annotations?tags=pegasus", "admin")

    def on(self, client: int, *command: str) -> str:
        return on_host(self.clone, self.clients[client]["address"], *command)

    def ask_servers(self, question: str) -> list[str]:
        """Return the answer of every server node to an info command."""
        return [on_host(self.clone, server, "asinfo", "-v", f"'{question}'").strip() for server in self.servers]

    def set_threads(self, **threads: int) -> None:
        """Change the threads of some workloads, and run copy-threads."""
        path = self.clone.path / "threads.yaml"
        lines = path.read_text().splitlines()
        for name, count in threads.items():
            lines = [f"{name}: {count}" if line.startswith(f"{name}:") else line for line in lines]
        path.write_text("\n".join(lines) + "\n")
        run = self.clone.driver("copy-threads")
        assert run.code == 0, run.why()


def repair(checkout: Checkout) -> str:
    """Repair the environment after a failed test. Return why it can't be repaired, or ""."""
    run = checkout.driver("setup")
    return "" if run.code == 0 else f"setup failed: {run.why()}"


@pytest.fixture(scope="module")
def monitored(checkout: Checkout) -> Iterator[Monitored]:
    config = checkout.path / "group_vars/all/config.yml"
    text = config.read_text()
    for old, new in (
        ("pegasus_client_nodes: 1 ", f"pegasus_client_nodes: {CLIENTS} "),
        ("pegasus_cluster_nodes: 3 ", "pegasus_cluster_nodes: 2 "),
        # Small enough that a test can fill a percent of it.
        ("# pegasus_data_storage: disk ", "pegasus_data_storage: memory "),
        ('aerospike_server_data_size: "" ', "aerospike_server_data_size: 512M "),
    ):
        assert old in text
        text = text.replace(old, new)
    config.write_text(text)
    run = checkout.driver("setup")
    assert run.code == 0, run.why()
    yield Monitored(checkout, run.end["report"])
    run = checkout.driver("destroy")
    assert run.code == 0, run.why()
    assert checkout.traces() == []


def test_every_host_has_its_targets_and_labels(monitored: Monitored) -> None:
    targets = get(f"{monitored.prometheus}/api/v1/targets?state=active")["data"]["activeTargets"]
    assert {target["health"] for target in targets} == {"up"}
    found = sorted((item["labels"]["job"], item["labels"]["kind"], item["labels"]["index"]) for item in targets)
    assert found == [
        ("aerospike", "server", "1"), ("aerospike", "server", "2"),
        ("hosts", "client", "1"), ("hosts", "client", "2"), ("hosts", "monitor", "1"),
        ("hosts", "server", "1"), ("hosts", "server", "2"),
        ("perseus", "client", "1"), ("perseus", "client", "2"),
    ]  # fmt: skip
    assert {target["labels"]["cluster"] for target in targets} == {"Benchmark"}


def test_every_query_of_every_panel_has_data(monitored: Monitored) -> None:
    """Reads the dashboards from Grafana and queries the Prometheus of this environment."""
    uids = {entry["uid"] for entry in get(f"{monitored.grafana}/api/search?type=dash-db", "admin")}
    assert {"pegasus-environment", "pegasus-cluster", "pegasus-chaos"} <= uids
    for uid in ("pegasus-environment", "pegasus-cluster", "pegasus-chaos"):
        dashboard = get(f"{monitored.grafana}/api/dashboards/uid/{uid}", "admin")["dashboard"]
        assert len(list(panels.queries_of(dashboard))) >= 30
        until(lambda board=dashboard: not panels.without_data(monitored.prometheus, board), 90, f"data for {uid}: "
              + "\n".join(panels.without_data(monitored.prometheus, dashboard)))  # fmt: skip


def test_every_rule_is_evaluated_and_no_critical_alert_fires(monitored: Monitored) -> None:
    rules = [
        rule
        for group in get(f"{monitored.prometheus}/api/v1/rules")["data"]["groups"]
        for rule in group["rules"]
    ]  # fmt: skip
    assert len(rules) > 15
    assert [(rule["name"], rule.get("lastError")) for rule in rules if rule["health"] != "ok"] == []
    until(lambda: not panels.samples_of(monitored.prometheus, 'ALERTS{alertstate="firing",severity="critical"}'), 60,
          "no critical alert in a healthy environment")  # fmt: skip


def test_the_exporter_reports_what_perseus_logs(monitored: Monitored) -> None:
    for client in monitored.clients:
        where = f'instance="{client["name"]}"'
        before = monitored.value(f"perseus_rows_total{{{where}}}")
        until(lambda w=where, b=before: monitored.value(f"perseus_rows_total{{{w}}}") > b + 3, 30, "rows are counted")
        assert monitored.value(f"perseus_seconds_since_last_row{{{where}}}") < 5
        assert monitored.value(f'perseus_threads_running{{{where},workload="write"}}') == 1
    claimed, answered = (monitored.value(f"pegasus:records_{kind}:rate") for kind in ("claimed", "answered"))
    assert claimed > 0 and answered > claimed * 0.75, (claimed, answered)


def test_clients_have_their_own_ids_and_the_same_program(monitored: Monitored) -> None:
    configurations = [monitored.on(number, "cat", "/var/lib/perseus/configuration.yaml") for number in range(CLIENTS)]
    assert ["perseusId: 0\n" in configurations[0], "perseusId: 1\n" in configurations[1]] == [True, True]
    sums = {monitored.on(number, "sha256sum", "/opt/perseus/perseus.jar") for number in range(CLIENTS)}
    assert len(sums) == 1
    locale = monitored.on(0, "sh", "-c", "'tr \\\\0 \\\\n < /proc/$(systemctl show -P MainPID perseus)/environ'")
    assert "LC_ALL=C\n" in locale


def test_log_rotation_loses_no_rows(monitored: Monitored) -> None:
    where = f'instance="{monitored.clients[0]["name"]}"'
    before = monitored.value(f"perseus_rows_total{{{where}}}")
    monitored.on(0, "logrotate", "--force", "/etc/logrotate.d/perseus")
    assert "perseus.log.1.gz" in monitored.on(0, "ls", "/var/log/perseus")
    until(lambda: monitored.value(f"perseus_rows_total{{{where}}}") > before + 5, 30, "rows are counted")
    assert monitored.value(f"resets(perseus_rows_total{{{where}}}[5m])") == 0


def test_an_alert_fires_an_hour_before_the_expiry(monitored: Monitored) -> None:
    """For one group, whose instance reports its own expiry. After `extend`, the alert ends."""
    where = {"instance": "BenchmarkGrafana-1"}
    assert len(panels.samples_of(monitored.prometheus, "pegasus_expires_seconds")) == 2 + CLIENTS + 1
    assert not monitored.firing("ExpirySoon")
    run = monitored.clone.driver("extend", "30m", "--group", "monitors")
    assert run.code == 0, run.why()
    until(lambda: monitored.firing("ExpirySoon", **where), 60, "ExpirySoon fires")
    assert len(monitored.firing("ExpirySoon")) == 1
    (warning,) = monitored.clone.driver("status").end["report"]["expiry_warnings"]
    assert warning.startswith("BenchmarkGrafana-1 expires in ")
    assert monitored.clone.driver("extend", "4h").code == 0
    until(lambda: not monitored.firing("ExpirySoon"), 60, "ExpirySoon ends")
    assert monitored.clone.driver("status").end["report"]["expiry_warnings"] == []


def test_an_alert_fires_when_the_threads_stop(monitored: Monitored) -> None:
    began = time.time()
    monitored.set_threads(write=0, read=0, update=0, batchRead=0)
    until(lambda: len(monitored.firing("PerseusIdle")) == CLIENTS, 90, "PerseusIdle fires for each client")
    monitored.set_threads(write=1, read=1, update=1, batchRead=1)
    until(lambda: not monitored.firing("PerseusIdle"), 60, "PerseusIdle ends")
    spans = [span for span in monitored.annotations() if span["time"] / 1000 > began - 5]
    texts = [span["text"] for span in sorted(spans, key=lambda span: span["time"])]
    assert len(texts) == 2 and "write 1 -> 0" in texts[0] and "write 0 -> 1" in texts[1], texts
    assert all(span["timeEnd"] > span["time"] for span in spans)


def test_an_alert_fires_when_the_servers_refuse_what_perseus_counts(monitored: Monitored) -> None:
    """A full namespace refuses updates. Perseus ignores the failure of an update and counts it at its full rate."""

    def refuse_when_full(percent: int) -> None:
        limit = f"set-config:context=namespace;id=Test;stop-writes-used-pct={percent}"
        assert monitored.ask_servers(limit) == ["ok", "ok"]

    monitored.set_threads(read=0, batchRead=0, batchWrite=3)
    until(lambda: all("data_used_pct=0;" not in answer for answer in monitored.ask_servers("namespace/Test")), 180,
          "a percent of the namespace is used")  # fmt: skip
    monitored.set_threads(write=0, batchWrite=0, update=3)
    until(lambda: monitored.value("pegasus:records_unanswered:share") < 0.25, 90, "updates are answered")
    assert not monitored.firing("PerseusCountsUnanswered")
    refuse_when_full(1)
    until(lambda: monitored.firing("PerseusCountsUnanswered"), 90, "PerseusCountsUnanswered fires")
    assert monitored.firing("AerospikeStopWrites")
    assert monitored.value("pegasus:records_failed:rate") > 10, "the servers counted what they refused"
    assert monitored.value("sum(perseus_operations_per_second)") > 10, "Perseus reports its full rate"
    refuse_when_full(70)
    monitored.set_threads(write=1, read=1, update=1, batchRead=1)
    until(lambda: not monitored.firing("PerseusCountsUnanswered"), 90, "PerseusCountsUnanswered ends")


def test_an_alert_fires_when_perseus_stops_reading_its_threads(monitored: Monitored) -> None:
    """After a value of the wrong type, Perseus never reads the file again. A later valid edit has no effect."""
    where = {"instance": monitored.clients[1]["name"]}
    monitored.on(1, "sh", "-c", f"'sed s/^write:.*/write:\\ true/ {LIVE} > {LIVE}.new; mv {LIVE}.new {LIVE}'")
    until(lambda: monitored.firing("PerseusThreadsFile", **where), 60, "PerseusThreadsFile fires")
    monitored.on(1, "sh", "-c", f"'sed s/^write:.*/write:\\ 3/ {LIVE} > {LIVE}.new; mv {LIVE}.new {LIVE}'")
    until(lambda: monitored.firing("PerseusThreadsDiffer", workload="write", **where), 90, "PerseusThreadsDiffer fires")
    assert not monitored.firing("PerseusThreadsFile", **where)
    monitored.on(1, "systemctl", "restart", "perseus")
    until(lambda: not monitored.firing("PerseusThreadsDiffer", **where), 60, "a restart fixes it")
    assert "write: 3\n" in monitored.on(1, "cat", LIVE), "the restart kept the requested load"
    assert monitored.value(f'perseus_restarts_total{{instance="{where["instance"]}"}}') >= 1


def test_perseus_does_not_start_with_an_incomplete_configuration(monitored: Monitored) -> None:
    path, where = "/var/lib/perseus/configuration.yaml", {"instance": monitored.clients[1]["name"]}
    monitored.on(1, "sh", "-c", f"'cp {path} {path}.complete; head -n 12 {path}.complete > {path}'")
    with pytest.raises(subprocess.CalledProcessError):
        monitored.on(1, "systemctl", "restart", "perseus")
    assert "Perseus is not started" in monitored.on(1, "tail", "-n", "30", "/var/log/perseus/errors.log")
    until(lambda: monitored.firing("PerseusDown", **where), 60, "PerseusDown fires")
    monitored.on(1, "mv", f"{path}.complete", path)
    monitored.on(1, "systemctl", "reset-failed", "perseus")
    monitored.on(1, "systemctl", "restart", "perseus")
    until(lambda: not monitored.firing("PerseusDown", **where), 60, "PerseusDown ends")


def test_annotations_are_posted_when_grafana_answers_again(monitored: Monitored) -> None:
    spool = monitored.clone.kept("Benchmark") / "annotations.ndjson"
    on_host(monitored.clone, monitored.monitor, "systemctl", "stop", "grafana-server")
    monitored.set_threads(write=2)
    assert "write" in spool.read_text()
    on_host(monitored.clone, monitored.monitor, "systemctl", "start", "grafana-server")
    until(monitored.grafana_answers, 60, "Grafana answers")
    assert monitored.clone.driver("status").code == 0
    assert spool.read_text() == ""
    assert any("-> 2" in span["text"] for span in monitored.annotations())


def test_an_alert_fires_when_a_client_is_killed_and_ends_without_its_target(monitored: Monitored) -> None:
    def started() -> str:
        return get(f"{monitored.prometheus}/api/v1/status/runtimeinfo")["data"]["startTime"]

    before, victim = started(), monitored.clients[1]
    where = {"instance": victim["name"]}
    # EC2 terminates an instance that powers off, because of its shutdown behaviour. The ssh connection breaks.
    with contextlib.suppress(subprocess.CalledProcessError, subprocess.TimeoutExpired):
        monitored.on(1, "systemctl", "poweroff")
    until(lambda: monitored.firing("PerseusClientLost", **where), 90, "PerseusClientLost fires")
    until(lambda: monitored.firing("HostLost", **where), 60, "HostLost fires")
    done = monitored.clone.playbook("playbooks/update-targets.yml", "-e", "grafana_prometheus_ready_timeout=60")
    assert done.returncode == 0, done.stdout[-4000:]
    until(lambda: not monitored.firing("HostLost", **where), 60, "HostLost ends")
    assert not panels.samples_of(monitored.prometheus, f'up{{instance="{victim["name"]}"}}')
    assert started() == before, "Prometheus reads changed target files without a restart"
