"""Each alert in promtool: series for which it fires, and series for which it does not. molecule runs the same cases."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from ansible_collections.aerospike_community.pegasus.plugins.module_utils.monitoring import rules as prometheus_rules  # isort: skip

CASES = Path(__file__).with_name("alert_rules.yml")
PAGE = Path(__file__).resolve().parents[2] / "docs/monitoring.md"
RULES = prometheus_rules.rules("Test")
ALERTS = {rule["alert"] for group in RULES["groups"] for rule in group["rules"] if "alert" in rule}


def test_every_alert_has_a_case_that_fires_and_one_that_does_not() -> None:
    cases = [case for test in yaml.safe_load(CASES.read_text())["tests"] for case in test.get("alert_rule_test", [])]
    assert {case["alertname"] for case in cases if case.get("exp_alerts")} == ALERTS
    assert {case["alertname"] for case in cases if not case.get("exp_alerts")} == ALERTS


def test_every_alert_is_documented() -> None:
    table = PAGE.read_text().partition("## Alerts")[2].partition("\n## ")[0]
    rows = "\n".join(line.rpartition(" | ")[0] for line in table.splitlines() if line.startswith("| `"))
    assert set(re.findall(r"`(\w+)`", rows)) == ALERTS


@pytest.mark.skipif(not shutil.which("promtool"), reason="promtool (package prometheus) isn't installed")
def test_alerts_fire_when_they_should(tmp_path: Path) -> None:
    (tmp_path / "rules.yml").write_text(yaml.safe_dump(RULES))
    shutil.copy(CASES, tmp_path)
    done = subprocess.run(
        ["promtool", "test", "rules", CASES.name], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
