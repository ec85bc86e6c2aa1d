"""Fixtures: a small project folder and the fake world of a command."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest

from tests.driver.fakes import CONFIG, HOSTS, PRESET, WIRING, FakeWorld

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A folder with a configuration, an inventory of localhost and empty playbooks."""
    (tmp_path / "group_vars" / "all").mkdir(parents=True)
    (tmp_path / "group_vars" / "all" / "config.yml").write_text(CONFIG)
    (tmp_path / "group_vars" / "all" / "wiring.yml").write_text(WIRING)
    (tmp_path / "threads.yaml").write_text((ROOT / "threads.yaml").read_text())
    (tmp_path / "playbooks").mkdir()
    for name in ("setup", "destroy", "status", "stop-node", "restart-node"):
        (tmp_path / "playbooks" / f"{name}.yml").write_text("[]\n")
    for backend in ("local", "aws"):
        (tmp_path / "inventories" / backend / "group_vars").mkdir(parents=True)
        (tmp_path / "inventories" / backend / "group_vars" / "all.yml").write_text(PRESET)
    (tmp_path / "inventories" / "local" / "hosts.yml").write_text(
        "all:\n  hosts:\n    localhost:\n      ansible_connection: local\n"
        f"      ansible_python_interpreter: {sys.executable}\n"
    )
    (tmp_path / "ansible.cfg").write_text("[defaults]\ngathering = explicit\n")
    return tmp_path


@pytest.fixture
def world(project: Path) -> FakeWorld:
    return FakeWorld(project)


@pytest.fixture
def reachable(world: FakeWorld) -> FakeWorld:
    """A project with the real presets, and hosts that are found without EC2."""
    for backend in ("local", "aws"):
        preset = world.root / "inventories" / backend / "group_vars"
        shutil.copy(ROOT / "inventories" / backend / "group_vars" / "all.yml", preset)
    shutil.copy(ROOT / "group_vars" / "aws_ec2.yml", world.root / "group_vars")
    state = world.root / ".pegasus/local/us-east-1/Bench"
    state.mkdir(parents=True)
    (state / "id_ed25519").write_text("key")
    world.hosts = list(HOSTS)
    return world
