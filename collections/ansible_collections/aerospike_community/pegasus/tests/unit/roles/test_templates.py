"""Templates of roles: each has the path of its file on the host, an ansible_managed comment, and valid content."""

from __future__ import annotations

import configparser
import json
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.aerospike_community.pegasus.tests.unit.role_templates import ROLES, render

TEMPLATES = sorted(path.relative_to(ROLES) for path in ROLES.glob("*/templates/**/*") if path.is_file())


def host_path(template: Path) -> str:
    """The path on the host that a template's place stands for."""
    return "/" + str(Path(*template.parts[2:])).removesuffix(".j2")


@pytest.mark.parametrize("template", TEMPLATES, ids=str)
def test_each_template_is_used_for_its_own_path(template: Path) -> None:
    role = ROLES / template.parts[0]
    text = "".join(path.read_text() for folder in ("tasks", "vars") for path in (role / folder).glob("*.yml"))
    assert f"path: {host_path(template)}\n" in text or f"'path': '{host_path(template)}'" in text or (
        f"'{Path(*template.parts[2:])}'" in text
    )  # fmt: skip


@pytest.mark.parametrize("template", [path for path in TEMPLATES if ".json" not in path.name], ids=str)
def test_each_file_with_comments_has_ansible_managed(template: Path) -> None:
    assert "{{ ansible_managed }}" in (ROLES / template).read_text()


@pytest.mark.parametrize("template", TEMPLATES, ids=str)
def test_a_template_has_no_nested_blocks(template: Path) -> None:
    depth = 0
    for word in re.findall(r"\{%-?\s*(\w+)", (ROLES / template).read_text()):
        depth += {"for": 1, "if": 1, "endfor": -1, "endif": -1}.get(word, 0)
        assert depth <= 1


def monitoring(path: str, **more: Any) -> str:
    """A file of the role grafana_prometheus with its default variables."""
    variables = yaml.safe_load((ROLES / "grafana_prometheus/defaults/main.yml").read_text())
    internal = yaml.safe_load((ROLES / "grafana_prometheus/vars/main.yml").read_text())
    return render("grafana_prometheus", path, **{**variables, **internal, **more})


def test_targets_by_job() -> None:
    targets = [{"job": "hosts", "address": "10.0.0.1:9100", "labels": {"index": "1"}}]
    assert json.loads(monitoring("/etc/prometheus/targets/hosts.json", grafana_prometheus_targets=targets)) == [
        {"labels": {"index": "1"}, "targets": ["10.0.0.1:9100"]}
    ]
    assert json.loads(monitoring("/etc/prometheus/targets/perseus.json", grafana_prometheus_targets=targets)) == []


def test_prometheus_reads_the_rules_and_each_job_from_its_file() -> None:
    data = yaml.safe_load(monitoring("/etc/prometheus/prometheus.yml"))
    assert data["global"] == {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"}
    assert data["rule_files"] == ["/etc/prometheus/rules/pegasus.yml"]
    for job in data["scrape_configs"]:
        assert job["file_sd_configs"] == [{"files": [f"/etc/prometheus/targets/{job['job_name']}.json"]}]
    rules = yaml.safe_load(monitoring("/etc/prometheus/rules/pegasus.yml", pegasus_namespace="Test"))
    assert rules["groups"][0]["name"] == "pegasus-load"


def test_grafana_finds_its_data_source_and_dashboards() -> None:
    (source,) = yaml.safe_load(monitoring("/etc/grafana/provisioning/datasources/pegasus.yaml"))["datasources"]
    assert (source["uid"], source["jsonData"]) == ("pegasus-prometheus", {"timeInterval": "1s"})
    providers = yaml.safe_load(monitoring("/etc/grafana/provisioning/dashboards/pegasus.yaml"))["providers"]
    assert [item["options"]["path"] for item in providers] == ["/etc/grafana/dashboards", "/etc/grafana/aerospike"]
    for name in ("environment", "cluster", "chaos"):
        assert json.loads(monitoring(f"/etc/grafana/dashboards/{name}.json"))["uid"] == f"pegasus-{name}"


def test_a_password_may_contain_comment_characters() -> None:
    text = monitoring("/etc/grafana/grafana.ini", grafana_prometheus_admin_password="a#b;c")
    parser = configparser.ConfigParser(interpolation=None)
    parser.read_string(text)
    assert parser["security"]["admin_password"] == '"""a#b;c"""'


def test_the_exporters_configuration_is_toml() -> None:
    data = tomllib.loads(monitoring("/etc/aerospike-prometheus-exporter/ape.toml"))
    assert data["Aerospike"]["db_host"] == "127.0.0.1"


def test_kernel_settings_for_the_next_boot() -> None:
    settings = {"vm.swappiness": 0, "vm.min_free_kbytes": 1150976}
    sysctl = render("aerospike_server", "/etc/sysctl.d/90-aerospike.conf", __aerospike_server_sysctl=settings)
    assert sysctl.splitlines()[1:] == ["vm.swappiness = 0", "vm.min_free_kbytes = 1150976"]
    sysfs = {"kernel/mm/transparent_hugepage/enabled": "never"}
    tmpfiles = render("aerospike_server", "/etc/tmpfiles.d/aerospike.conf", aerospike_server_sysfs=sysfs)
    assert tmpfiles.splitlines()[1:] == ["w /sys/kernel/mm/transparent_hugepage/enabled - - - - never"]
