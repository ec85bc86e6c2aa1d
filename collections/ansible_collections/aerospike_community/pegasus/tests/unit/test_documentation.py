"""The documentation of the modules, and the header of all plugin files."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
import yaml

PLUGINS = Path(__file__).parents[2] / "plugins"
MODULES = sorted(PLUGINS.glob("modules/*.py"))
HEADER = """\
# Copyright (c) Pegasus authors. SPDX-License-Identifier: Apache-2.0
"""


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
    assert found["author"] in ("Pegasus authors", ["Pegasus authors"])
    for name, option in (found.get("options") or {}).items():
        assert option.get("description"), name


def test_every_plugin_file_has_the_same_header():
    paths = [path for path in PLUGINS.rglob("*.py") if path.read_text()]
    others = [path for path in paths if not path.read_text().removeprefix("#!/usr/bin/python\n").startswith(HEADER)]
    assert [str(path.relative_to(PLUGINS)) for path in others] == []
