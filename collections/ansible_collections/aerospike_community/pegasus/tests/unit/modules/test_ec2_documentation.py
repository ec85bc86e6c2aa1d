"""The EC2 modules document their parameters, with the doc fragment for the connection, and share an action group."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

import pytest
import yaml
from ansible_collections.aerospike_community.pegasus.plugins.doc_fragments.ec2 import ModuleDocFragment
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.ec2.module import CONNECTION_ARGUMENTS

COLLECTION = Path(__file__).parents[3]
MODULES = sorted(path.stem for path in (COLLECTION / "plugins" / "modules").glob("ec2_*.py"))


def compared(option):
    """What documentation and argument spec must agree on."""
    nested = option.get("suboptions") or option.get("options") or {}
    return {
        "type": option.get("type", "str"),
        "required": option.get("required", False),
        "default": option.get("default"),
        "choices": option.get("choices"),
        "elements": option.get("elements"),
        "options": {name: compared(suboption) for name, suboption in nested.items()},
    }


@pytest.mark.parametrize("name", MODULES)
def test_the_documentation_matches_the_argument_spec(name):
    module = import_module(f"ansible_collections.aerospike_community.pegasus.plugins.modules.{name}")
    documentation = yaml.safe_load(module.DOCUMENTATION)
    assert documentation["extends_documentation_fragment"] == [
        "aerospike_community.pegasus.ec2",
        "aerospike_community.pegasus.ec2.module",
    ]
    texts = [module.DOCUMENTATION, ModuleDocFragment.DOCUMENTATION, ModuleDocFragment.MODULE]
    documented = {key: option for text in texts for key, option in yaml.safe_load(text).get("options", {}).items()}
    spec = CONNECTION_ARGUMENTS | module.ARGUMENTS
    assert {key: compared(option) for key, option in documented.items()} == {
        key: compared(option) for key, option in spec.items()
    }


def test_the_action_group_has_all_ec2_modules():
    runtime = yaml.safe_load((COLLECTION / "meta" / "runtime.yml").read_text())
    assert sorted(runtime["action_groups"]["ec2"]) == MODULES
