"""The check that Perseus doesn't start with incomplete files or without a cluster."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.aerospike.info import InfoError
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.perseus import configuration as perseus_config
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.perseus import preflight as perseus_preflight
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.perseus import threads as threads_file
from ansible_collections.aerospike_community.pegasus.tests.unit.role_templates import perseus_configuration

CONFIGURATION = perseus_configuration(hosts=["10.0.0.1", "10.0.0.2"])
THREADS = threads_file.render(dict.fromkeys(threads_file.WORKLOADS, 1))


def folder(tmp_path: Path, configuration: str | None = CONFIGURATION, threads: str | None = THREADS) -> Path:
    for name, text in (("configuration.yaml", configuration), ("threads.yaml", threads)):
        if text is not None:
            (tmp_path / name).write_text(text)
    return tmp_path


def test_a_rendered_configuration_is_read_back() -> None:
    settings: dict[str, Any] = {"hosts": ["10.0.0.1"], "namespace": 'a"b#', "read_hit_ratio": 0.5}
    expected = perseus_config.configuration(perseus_config.PerseusSettings(**settings))
    assert perseus_config.read(perseus_configuration(**settings)) == expected


def test_valid_files_are_accepted(tmp_path: Path) -> None:
    found = perseus_preflight.check_files(folder(tmp_path))
    assert [host["ip"] for host in found["aerospikeConfiguration"]["hosts"]] == ["10.0.0.1", "10.0.0.2"]


def test_a_truncated_configuration_is_refused(tmp_path: Path) -> None:
    """Wherever it is truncated."""
    for end in range(len(CONFIGURATION)):
        with pytest.raises(perseus_preflight.NotReadyError, match=r"configuration\.yaml is missing, incomplete"):
            perseus_preflight.check_files(folder(tmp_path, CONFIGURATION[:end]))


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        ("  set:", "  sett:", "sett: unknown"),
        ("truncateSet: false", "truncateSet: 0", "truncateSet: found 0, expected bool"),
        ("columnWidth: 11\n", "columnWidth: 1", "missing"),
        ("recordSize: 300", "recordSize: ~", "line 16"),
        ("testConfiguration:", "testConfiguration", "expected 'name: value'"),
    ],
)
def test_an_invalid_configuration_is_refused(tmp_path: Path, old: str, new: str, why: str) -> None:
    assert old in CONFIGURATION
    with pytest.raises(perseus_preflight.NotReadyError, match=why):
        perseus_preflight.check_files(folder(tmp_path, CONFIGURATION.replace(old, new, 1)))


@pytest.mark.parametrize("what", [{"configuration": None}, {"threads": None}, {"threads": 'write: "1"\n'}])
def test_a_missing_or_invalid_file_is_refused(tmp_path: Path, what: dict) -> None:
    with pytest.raises(perseus_preflight.NotReadyError, match="to write it again"):
        perseus_preflight.check_files(folder(tmp_path, **what))


class Nodes:
    """The nodes' answers: a key for a cluster size, or none."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, **keys: tuple[str, int]) -> None:
        self.keys = keys
        monkeypatch.setattr(perseus_preflight, "answering", lambda hosts, port: [h for h in hosts if h in self.keys])
        monkeypatch.setattr(perseus_preflight, "cluster_stable", self.stable)
        monkeypatch.setattr(perseus_preflight, "POLL_SECONDS", 0.01)

    def stable(self, host: str, size: int, *, port: int) -> str:
        key, found = self.keys[host]
        if found != size:
            raise InfoError(f"{host}: cluster-not-specified-size")
        return key


def test_nodes_that_do_not_answer_are_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    Nodes(monkeypatch, a=("K", 2), b=("K", 2))
    assert perseus_preflight.wait_for_cluster(["a", "b", "c"], 3000, 0) == 2


@pytest.mark.parametrize(
    ("keys", "found"),
    [
        ({}, "found 0 such nodes: none"),
        ({"a": ("K", 1), "b": ("L", 1)}, "not-specified-size"),
        ({"a": ("K", 2), "b": ("L", 2)}, "found 2 such nodes: 2 clusters"),
    ],
)
def test_no_cluster_and_several_clusters_are_refused(monkeypatch: pytest.MonkeyPatch, keys: dict, found: str) -> None:
    Nodes(monkeypatch, **keys)
    with pytest.raises(perseus_preflight.NotReadyError, match=found):
        perseus_preflight.wait_for_cluster(["a", "b"], 3000, 0.05)


def test_the_program_prints_the_problem_and_exits_with_1(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    logged: list[str] = []
    monkeypatch.setattr(perseus_preflight.syslog, "syslog", lambda priority, text: logged.append(text))
    monkeypatch.setattr("sys.argv", ["perseus-preflight", "--folder", str(tmp_path)])
    assert perseus_preflight.main() == 1
    assert "Perseus is not started" in capsys.readouterr().err
    assert "Perseus is not started" in logged[0]
    folder(tmp_path)
    Nodes(monkeypatch, **{"10.0.0.1": ("K", 1)})
    assert perseus_preflight.main() == 0
