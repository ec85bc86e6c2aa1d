"""make release: one version everywhere, a section in the changelog, and an archive with what the collection needs."""

from __future__ import annotations

import importlib.util
import re
import shutil
import tarfile
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
COLLECTION = Path("collections/ansible_collections/aerospike_community/pegasus")


def load() -> ModuleType:
    spec = importlib.util.spec_from_file_location("release", ROOT / ".ci/release.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


release = load()


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A copy of the files that declare the version."""
    for name in ("pyproject.toml", "CHANGELOG.md", "pegasus_driver/__init__.py", COLLECTION / "galaxy.yml"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    return tmp_path


def test_this_version_can_be_released(project: Path) -> None:
    assert release.problems(ROOT) == release.problems(project) == []


@pytest.mark.parametrize("name", ["pyproject.toml", "pegasus_driver/__init__.py", str(COLLECTION / "galaxy.yml")])
def test_a_different_version_in_one_file_is_refused(
    project: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = project / name
    path.write_text(re.sub(r"^((?:__)?version(?:__)?[ =:]+\"?)[\d.]+", r"\g<1>9.9.9", path.read_text(), flags=re.M))
    (problem,) = release.problems(project)
    assert f"9.9.9 in {name}" in problem and "expected one" in problem
    assert release.main(project) == 1 and not (project / "dist").exists()
    assert problem in capsys.readouterr().err


def test_a_version_without_a_section_in_the_changelog_is_refused(project: Path) -> None:
    changelog = project / "CHANGELOG.md"
    changelog.write_text(re.sub(r"^## (\d.*) - .*$", r"## \1", changelog.read_text(), flags=re.M))
    (problem,) = release.problems(project)
    assert problem.startswith("CHANGELOG.md: found no section of ")


@pytest.mark.slow
def test_the_archive_has_the_collection_and_nothing_else(project: Path) -> None:
    shutil.copytree(ROOT / COLLECTION, project / COLLECTION, dirs_exist_ok=True)
    assert release.main(project) == 0
    (archive,) = (project / "dist").iterdir()
    version = yaml.safe_load((ROOT / COLLECTION / "galaxy.yml").read_text())["version"]
    assert archive.name == f"aerospike_community-pegasus-{version}.tar.gz"
    with tarfile.open(archive) as tar:
        names = set(tar.getnames())
    assert {"MANIFEST.json", "README.md", "meta/argument_specs.yml", "plugins/modules/host_service.py"} <= names
    assert {name for name in names if name.startswith("tests/") or "__pycache__" in name} == set()


def test_readme_and_metadata_agree_on_the_requirements() -> None:
    """No other collection is needed: roles and playbooks use only modules of this one and of ansible.builtin."""
    readme = (ROOT / COLLECTION / "README.md").read_text()
    runtime = yaml.safe_load((ROOT / COLLECTION / "meta/runtime.yml").read_text())
    galaxy = yaml.safe_load((ROOT / COLLECTION / "galaxy.yml").read_text())
    required = runtime["requires_ansible"].removeprefix(">=").removesuffix(".0")
    assert f"ansible-core {required} or newer" in readme
    assert galaxy["dependencies"] == {} and "no other collection" in readme
    used = set()
    for path in [*(ROOT / COLLECTION / "roles").rglob("*.yml"), *(ROOT / "playbooks").rglob("*.yml")]:
        used |= set(collections_of(yaml.safe_load(path.read_text())))
    assert used == {"ansible.builtin", "aerospike_community.pegasus"}


def collections_of(node: Any) -> Iterator[str]:
    """Yield the collections of the modules in tasks, at any depth."""
    if isinstance(node, dict):
        if "name" in node:
            yield from (key.rpartition(".")[0] for key in map(str, node) if key.count(".") == 2)
        for value in node.values():
            yield from collections_of(value)
    elif isinstance(node, list):
        for value in node:
            yield from collections_of(value)
