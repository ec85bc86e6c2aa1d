"""A module that waits in slices has an action plugin that runs all of them."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest
from ansible_collections.aerospike_community.pegasus.plugins.plugin_utils.waits import WaitingAction

PLUGINS = Path(__file__).resolve().parents[3] / "plugins"
WAITING = sorted(path.stem for path in (PLUGINS / "modules").glob("*.py") if "waiting import" in path.read_text())


def test_the_modules_are_found() -> None:
    assert {"aerospike_gate", "aerospike_recount", "chaos_node"} <= set(WAITING)


@pytest.mark.parametrize("module", WAITING)
def test_its_action_plugin_continues_the_wait(module: str) -> None:
    plugin = importlib.import_module(f"ansible_collections.aerospike_community.pegasus.plugins.action.{module}")
    assert issubclass(plugin.ActionModule, WaitingAction)
