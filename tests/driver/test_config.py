"""config.yml: what the driver checks before anything starts."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from pegasus_driver import config
from pegasus_driver.errors import ConfigurationError
from tests.driver.fakes import CONFIG

GOOD = yaml.safe_load(CONFIG)


def test_the_shipped_configuration_is_right() -> None:
    loaded = config.load(Path(__file__).parents[2], {}, Path.cwd())
    assert loaded.environment and loaded.backend in ("local", "aws")


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("pegasus_backend", "gcp", "found 'gcp', expected local or aws"),
        ("pegasus_backend", None, "found nothing, expected local or aws"),
        ("pegasus_cluster_name", "a/b", "found 'a/b'"),
        ("pegasus_cluster_name", "runs", "not locks, runs, local-cloud"),
        ("pegasus_cluster_name", 7, "found 7"),
        ("pegasus_cluster_nodes", "3", "found '3', expected a whole number"),
        ("pegasus_cluster_nodes", True, "found true, expected a whole number"),
        ("pegasus_cluster_nodes", 0, "found 0"),
        ("pegasus_namespace", "x" * 32, "1 to 31 characters"),
        ("pegasus_replication_factor", 9, "1 to 8"),
        ("pegasus_client_name", "Bench", "three different names"),
    ],
)
def test_wrong_values(key: str, value: object, expected: str) -> None:
    (error,) = config.check({**GOOD, key: value})
    assert key in error and expected in error


def test_all_errors_at_once(project: Path) -> None:
    path = project / "group_vars/all/config.yml"
    path.write_text(
        CONFIG.replace("nodes: 3", "nodes: many").replace("factor: 2", "factor: 0").replace("us-east-1", "")
    )
    with pytest.raises(ConfigurationError) as caught:
        config.load(project, {}, project)
    assert "has 3 errors" in caught.value.message


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("a: 1\nb: [2\nc: 3\n", "line 3"),
        ("just text", "expected lines of `key: value`"),
        ("a: 1\n\tb: 2\n", "line 2"),
    ],
)
def test_files_that_are_not_a_mapping(project: Path, content: str, expected: str) -> None:
    (project / "group_vars/all/config.yml").write_text(content)
    with pytest.raises(ConfigurationError, match=expected):
        config.load(project, {}, project)


def test_a_missing_file(project: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"nowhere\.yml isn't there"):
        config.load(project, {"PEGASUS_CONFIG": "nowhere.yml"}, project)
