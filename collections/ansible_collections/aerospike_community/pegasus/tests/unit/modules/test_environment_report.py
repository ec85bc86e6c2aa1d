"""environment_report fails with the class readiness, unless the caller doesn't require readiness."""

from __future__ import annotations

import json
from typing import Any

import pytest
from ansible.module_utils.testing import patch_module_args
from ansible_collections.aerospike_community.pegasus.plugins.modules import environment_report

MONITOR = {"name": "BenchGrafana-1", "kind": "monitor", "index": 1, "address": "10.0.0.1", "state": "running"}


@pytest.mark.parametrize("required", [True, False])
def test_a_missing_result_fails_only_if_readiness_is_required(
    capsys: pytest.CaptureFixture[str], required: bool
) -> None:
    arguments: dict[str, Any] = {
        "environment": "Bench", "backend": "local", "hosts": [MONITOR], "require_ready": required,
    }  # fmt: skip
    with patch_module_args(arguments), pytest.raises(SystemExit):
        environment_report.main()
    result = json.loads(capsys.readouterr().out)
    assert result["problems"] == [
        "BenchGrafana-1: monitoring: expected all targets up, all dashboards, found no answer"
    ]
    assert result["report"]["nodes"][0]["name"] == "BenchGrafana-1" and result["lines"]
    assert result.get("error_class") == ("readiness" if required else None)
