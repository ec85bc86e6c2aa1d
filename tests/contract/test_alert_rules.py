"""The alerts in promtool, each with series for which it fires and for which it doesn't, and their documentation."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from ansible_collections.aerospike_community.pegasus.plugins.module_utils.monitoring import rules as prometheus_rules  # isort: skip
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.perseus.meter import Meter, Service  # isort: skip

CASES = Path(__file__).with_name("alert_rules.yml")
PAGE = Path(__file__).resolve().parents[2] / "docs/monitoring.md"
RULES = prometheus_rules.rules("Test")
ALERTS = {rule["alert"] for group in RULES["groups"] for rule in group["rules"] if "alert" in rule}


def first_cells(section: str) -> str:
    """Return the first cells of the table in a section of the page."""
    lines = PAGE.read_text().partition(f"\n## {section}")[2].partition("\n## ")[0].splitlines()
    return "\n".join(line.removeprefix("| ").partition(" | ")[0] for line in lines if line.startswith("| `"))


def test_every_alert_has_a_case_that_fires_and_one_that_does_not() -> None:
    cases = [case for test in yaml.safe_load(CASES.read_text())["tests"] for case in test.get("alert_rule_test", [])]
    assert {case["alertname"] for case in cases if case.get("exp_alerts")} == ALERTS
    assert {case["alertname"] for case in cases if not case.get("exp_alerts")} == ALERTS


def test_every_metric_of_perseus_is_documented() -> None:
    meter = Meter(0.0)
    meter.read(["| Test Cases: | Write | Total TPS |", "|  |  |  |", "| Threads: | 1 |  |", "| 1 | 5 | 5 |"], 1.0)
    metrics = re.findall(r"^# TYPE (\w+)", meter.render(1.0, Service(True, 0), {"write": 1}, True), re.MULTILINE)
    assert set(re.findall(r"`(perseus_\w+)", first_cells("The load"))) == set(metrics)


def test_every_alert_is_documented() -> None:
    assert set(re.findall(r"`(\w+)`", first_cells("Alerts"))) == ALERTS


@pytest.mark.skipif(not shutil.which("promtool"), reason="promtool (package prometheus) isn't installed")
def test_alerts_fire_when_they_should(tmp_path: Path) -> None:
    (tmp_path / "rules.yml").write_text(yaml.safe_dump(RULES))
    shutil.copy(CASES, tmp_path)
    done = subprocess.run(
        ["promtool", "test", "rules", CASES.name], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
