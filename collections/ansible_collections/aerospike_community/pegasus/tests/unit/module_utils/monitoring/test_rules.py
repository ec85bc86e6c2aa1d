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
        'sum by (cluster) (label_replace(rate(aerospike_namespace_a{}[30s]), "counter", "a", "", "") or '
        'label_replace(rate(aerospike_namespace_b{}[30s]), "counter", "b", "", ""))'
    )


def test_every_alert_names_its_host_and_severity() -> None:
    for name, rule in ALERTS.items():
        assert rule["labels"]["severity"] in ("critical", "warning", "info"), name
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


def test_no_rate_is_taken_of_latency_buckets() -> None:
    for name in grafana_dashboards.DASHBOARDS:
        assert not re.search(r"rate\(aerospike_latencies", json.dumps(grafana_dashboards.build(name)))


@pytest.mark.parametrize(("interval", "window"), [("1s", "[30s]"), ("3s", "[30s]"), ("15s", "[75s]"), ("1m", "[300s]")])
def test_a_rate_spans_at_least_five_scrapes(interval: str, window: str) -> None:
    assert window in prometheus_rules_of(interval, "Test")["groups"][0]["rules"][0]["expr"]


def test_an_invalid_interval_is_refused() -> None:
    with pytest.raises(AnsibleFilterError, match="grafana_prometheus_scrape_interval"):
        prometheus_rules_of("often")
