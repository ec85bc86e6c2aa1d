"""Recording rules and alerts as data, and their use in dashboards."""

from __future__ import annotations

import json
import re

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.aerospike_community.pegasus.plugins.filter.monitoring import prometheus_rules_of
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.monitoring import (
    dashboards as grafana_dashboards,
)
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.monitoring import rules as prometheus_rules
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.monitoring.targets import targets_of
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.perseus.meter import Meter, Service
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.perseus.proof import (
    ANSWERED_COUNTERS,
    FAILED_COUNTERS,
)

RULES = [rule for group in prometheus_rules.rules("Test")["groups"] for rule in group["rules"]]
RECORDED = {rule["record"]: rule["expr"] for rule in RULES if "record" in rule}
ALERTS = {rule["alert"]: rule for rule in RULES if "alert" in rule}


def exported() -> set[str]:
    """The names of all metrics of the Perseus exporter."""
    meter = Meter(0.0)
    meter.read(["| Test Cases: | Write | Total TPS |", "|  |  |  |", "| Threads: | 1 |  |", "| 1 | 5 | 5 |"], 1.0)
    text = meter.render(1.0, Service(True, 0), {"write": 1}, True)
    return set(re.findall(r"^# TYPE (\w+)", text, re.MULTILINE))


def test_answered_records_are_those_of_the_namespace_under_load() -> None:
    for name, counters in (("answered", ANSWERED_COUNTERS), ("failed", FAILED_COUNTERS)):
        expression = RECORDED[f"pegasus:records_{name}:rate"]
        assert all(f'aerospike_namespace_{counter}{{ns="Test"}}[30s]' in expression for counter in counters)
    assert 'ns="' not in json.dumps(prometheus_rules.rules())
    assert "rangeQuery" in RECORDED["pegasus:records_claimed:rate"], "queries aren't compared"


def test_a_missing_counter_does_not_hide_the_others() -> None:
    """Without b, a + b is empty, but the union of both is a."""
    expression = prometheus_rules.sum_of(["a", "b"], "", "30s")
    assert expression == (
        'sum by (cluster, cluster_name) (label_replace(rate(aerospike_namespace_a{}[30s]), "counter", "a", "", "") or '
        'label_replace(rate(aerospike_namespace_b{}[30s]), "counter", "b", "", ""))'
    )


def test_every_alert_names_its_host_and_severity() -> None:
    for name, rule in ALERTS.items():
        # The severities that the dashboards of aerospike-monitoring select.
        assert rule["labels"]["severity"] in ("critical", "error", "warn", "info"), name
        assert "{{ $labels." in rule["annotations"]["summary"], name
        assert re.fullmatch(r"\d+[sm]", rule["for"]), name


@pytest.mark.parametrize("name", [*ALERTS, *RECORDED])
def test_the_metrics_and_rules_that_a_rule_uses_exist(name: str) -> None:
    expression = ALERTS[name]["expr"] if name in ALERTS else RECORDED[name]
    assert set(re.findall(r"\bperseus_\w+", expression)) <= exported()
    assert set(re.findall(r"\bpegasus:[\w:]+", expression)) <= set(RECORDED)


@pytest.mark.parametrize("name", list(grafana_dashboards.DASHBOARDS))
def test_the_metrics_and_rules_that_a_dashboard_uses_exist(name: str) -> None:
    text = json.dumps(grafana_dashboards.build(name))
    assert set(re.findall(r"\bperseus_\w+", text)) <= exported()
    assert set(re.findall(r"\bpegasus:[\w:]+", text)) <= set(RECORDED)
    marks = {item["name"]: item for item in json.loads(text)["annotations"]["list"]}
    assert marks["Pegasus actions"]["target"]["tags"] == ["pegasus"]


def test_rates_of_operations_and_of_records_have_their_own_units() -> None:
    """The names and units of the environment report. An unknown unit of Grafana would be "ops" for both."""
    for name in grafana_dashboards.DASHBOARDS:
        for panel in grafana_dashboards.build(name)["panels"]:
            unit = panel.get("fieldConfig", {}).get("defaults", {}).get("unit")
            queries = " ".join(target["expr"] for target in panel.get("targets", []))
            records = re.search(r"rate\((perseus_records|aerospike_namespace)_|pegasus:records_\w+:rate", queries)
            assert unit != "ops", panel["title"]
            if "perseus_operations_per_second" in queries:
                assert (unit, "perations" in panel["title"]) == ("count:operations/s", True)
            elif records and unit != "percentunit":
                assert (unit, "ecords" in panel["title"]) == ("count:records/s", True), panel["title"]


def test_alerts_of_servers_keep_the_labels_that_aerospikes_alerts_view_selects() -> None:
    grouped = {name: re.search(r"by \(([^)]*)\)", rule["expr"]) for name, rule in ALERTS.items() if "Aerospike" in name}
    assert len(grouped) > 5
    for name, group in grouped.items():
        if group:
            assert {"job", "cluster_name"} <= set(group[1].split(", ")), name


def test_all_targets_have_the_cluster_by_the_name_of_aerospikes_dashboards() -> None:
    hosts = [{"name": f"{kind}-1", "kind": kind, "index": 1, "address": "10.0.0.1"} for kind in ("server", "client")]
    targets = targets_of(hosts, "Benchmark")
    assert len(targets) == 4
    assert {target["labels"]["cluster_name"] for target in targets} == {"Benchmark"}


def test_no_metric_of_perseus_has_a_label_of_its_target() -> None:
    """Prometheus would rename it: `kind` of an error line was the kind of the host in alerts and panels."""
    meter = Meter(0.0)
    meter.read(["| Test Cases: | Write | Total TPS |", "|  |  |  |", "| Threads: | 1 |  |", "| 1 | 5 | 5 |"], 1.0)
    labels = set(re.findall(r"[{,](\w+)=", meter.render(1.0, Service(True, 0), {"write": 1}, True)))
    (target, *_) = targets_of([{"name": "c-1", "kind": "client", "index": 1, "address": "10.0.0.1"}], "Benchmark")
    assert labels and not labels & {*target["labels"], "job"}


def test_no_rate_is_taken_of_latency_buckets() -> None:
    for name in grafana_dashboards.DASHBOARDS:
        assert not re.search(r"rate\(aerospike_latencies", json.dumps(grafana_dashboards.build(name)))


@pytest.mark.parametrize(("interval", "window"), [("1s", "[30s]"), ("3s", "[30s]"), ("15s", "[75s]"), ("1m", "[300s]")])
def test_a_rate_spans_at_least_five_scrapes(interval: str, window: str) -> None:
    assert window in prometheus_rules_of(interval, "Test")["groups"][0]["rules"][0]["expr"]


def test_an_invalid_interval_is_refused() -> None:
    with pytest.raises(AnsibleFilterError, match="grafana_prometheus_scrape_interval"):
        prometheus_rules_of("often")
