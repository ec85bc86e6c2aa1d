"""The generated pages are current, they agree with the specifications, and config.yml has every field."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from pegasus_driver.commands.import_config import ORIGINAL
from pegasus_driver.docs import __main__ as docs
from pegasus_driver.docs import configuration

ROOT = Path(__file__).resolve().parents[3]
CONFIG = (ROOT / "group_vars/all/config.yml").read_text()
PAGE = (ROOT / "docs/configuration.md").read_text()


def test_no_page_is_stale() -> None:
    assert docs.stale(ROOT) == [], f"run {docs.COMMAND}"


def test_the_check_finds_a_change(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    assert docs.main(["--check"]) == 0
    monkeypatch.setattr(configuration, "page", lambda root: "other")
    assert docs.main(["--check"]) == 1
    assert capsys.readouterr().err == "docs/configuration.md is stale. Run: python -m pegasus_driver.docs\n"


def test_writing_makes_the_check_pass_and_each_page_names_its_generator(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pages = docs.pages(ROOT)
    monkeypatch.setattr(docs, "pages", lambda root: pages)
    (tmp_path / "docs").mkdir()
    assert docs.stale(tmp_path) == list(pages)
    assert docs.main([], tmp_path) == 0 and docs.stale(tmp_path) == []
    for path in pages:
        assert docs.COMMAND in (tmp_path / path).read_text().splitlines()[0], path


def test_the_page_has_both_names_of_every_field() -> None:
    for name, variable in ORIGINAL.items():
        row = next(line for line in PAGE.splitlines() if line.startswith(f"| `{variable.key}` |"))
        assert f"`{name}`" in row


def test_config_yml_has_every_field_with_a_comment() -> None:
    lines = {match[1]: line for line in CONFIG.splitlines() if (match := re.match(r"(?:# )?([a-z0-9_]+): ", line))}
    assert {variable.key for variable in ORIGINAL.values()} <= set(lines)
    uncommented = [key for key, line in lines.items() if " # " not in line.removeprefix("# ")]
    assert uncommented == []


def test_the_real_perseus_is_pinned() -> None:
    row = next(line for line in PAGE.splitlines() if "`perseus_client_ref`" in line)
    pinned = re.search(r"aws: `([0-9a-f]{40})`; local: `master`", row)
    role = ROOT / "collections/ansible_collections/aerospike_community/pegasus/roles/perseus_client/defaults/main.yml"
    assert pinned and yaml.safe_load(role.read_text())["perseus_client_ref"] == pinned[1]
    assert f"# perseus_client_ref: {pinned[1]} " in CONFIG


def test_fixed_keys_are_marked() -> None:
    from ansible_collections.aerospike_community.pegasus.plugins.module_utils.config.fixed_values import FIXED

    for key, _, _ in FIXED.values():
        line = next(line for line in CONFIG.splitlines() if re.match(rf"(# )?{key}:", line))
        assert "FIXED" in line


SCHEMA: dict[str, Any] = json.loads((ROOT / "docs/config.schema.json").read_text())


def test_editors_find_the_schema() -> None:
    named = re.search(r"^# yaml-language-server: \$schema=(\S+)$", CONFIG, re.MULTILINE)
    assert named and (ROOT / "group_vars/all" / named[1]).resolve() == ROOT / "docs/config.schema.json"
    jsonschema.Draft7Validator.check_schema(SCHEMA)


@pytest.mark.parametrize(
    ("changes", "right"),
    [
        ({}, True),
        ({"pegasus_namespace": "{{ name }}", "nvme_partition_data_partitions": 1}, True),
        ({"pegasus_cluster_nodes": "{{ nodes }}"}, True),
        ({"pegasus_cluster_node": 3}, False),
        ({"pegasus_cluster_nodes": 0}, False),
        ({"pegasus_cluster_nodes": "3"}, False),
        ({"pegasus_backend": "{{ backend }}"}, False),
        ({"aerospike_server_compression": "gzip"}, False),
        ({"aerospike_server_partition_tree_sprigs": 300}, False),
        ({"perseus_client_read_hit_ratio": 1.5}, False),
        ({"pegasus_client_name": "a/b"}, False),
        ({"grafana_prometheus_dashboards": ["none"]}, False),
        ({"chaos_nodes": [1]}, False),
    ],
)
def test_the_schema_agrees_with_the_checks(changes: dict[str, Any], right: bool) -> None:
    values = yaml.safe_load(CONFIG) | changes
    assert jsonschema.Draft7Validator(SCHEMA).is_valid(values) is right
