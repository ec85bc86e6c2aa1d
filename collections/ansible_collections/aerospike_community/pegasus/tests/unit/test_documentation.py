"""What ansible-doc shows of the modules: it can be read, and it has the name and the options of the module."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
import yaml

PLUGINS = Path(__file__).parents[2] / "plugins"
MODULES = sorted(PLUGINS.glob("modules/*.py"))


def documentation(path: Path) -> dict:
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "DOCUMENTATION":
            return yaml.safe_load(ast.literal_eval(node.value))
    pytest.fail(f"{path.name} has no DOCUMENTATION")


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.stem)
def test_a_module_is_documented(path):
    found = documentation(path)
    assert found["module"] == path.stem
    assert found["short_description"] and found["description"]
    for name, option in (found.get("options") or {}).items():
        assert option.get("description"), name
