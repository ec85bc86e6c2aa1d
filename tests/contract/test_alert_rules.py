"""Each alert, fed with series by promtool: when it fires, when it does not. molecule runs it on the monitor too."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from ansible_collections.aerospike_community.pegasus.plugins.module_utils.monitoring import rules as prometheus_rules  # isort: skip

CASES = Path(__file__).with_name("alert_rules.yml")
RULES = prometheus_rules.rules("Test")


def test_every_alert_has_a_case_that_fires_and_one_that_does_not() -> None:
    cases = [case for test in yaml.safe_load(CASES.read_text())["tests"] for case in test.get("alert_rule_test", [])]
    alerts = {rule["alert"] for group in RULES["groups"] for rule in group["rules"] if "alert" in rule}
    assert {case["alertname"] for case in cases if case.get("exp_alerts")} == alerts
    assert {case["alertname"] for case in cases if not case.get("exp_alerts")} == alerts


@pytest.mark.skipif(not shutil.which("promtool"), reason="promtool (package prometheus) isn't installed")
def test_the_alerts_fire_when_they_should(tmp_path: Path) -> None:
    (tmp_path / "rules.yml").write_text(yaml.safe_dump(RULES))
    shutil.copy(CASES, tmp_path)
    done = subprocess.run(
        ["promtool", "test", "rules", CASES.name], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
