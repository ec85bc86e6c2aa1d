"""The filters of the role perseus_client: Java's heap, and the programs for a client."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.aerospike_community.pegasus.plugins.filter.perseus_client import java_heap, perseus_programs

MODULE_UTILS = "ansible_collections.aerospike_community.pegasus.plugins.module_utils"


@pytest.mark.parametrize(
    ("heap", "option"),
    [("6g", "-Xmx6g"), ("800m", "-Xmx800m"), ("50%", "-XX:MaxRAMPercentage=50"), ("5%", "-XX:MaxRAMPercentage=5")],
)
def test_a_heap_is_a_size_or_a_share(heap: str, option: str) -> None:
    assert java_heap(heap) == option


@pytest.mark.parametrize("heap", ["", "6", "6 g", "100%", "0%", "50", None, "6g -Dx=y"])
def test_any_other_heap_is_refused(heap: object) -> None:
    with pytest.raises(AnsibleFilterError, match=r"perseus_client_heap: found .*; expected a size"):
        java_heap(heap)


def module_of(path: str) -> str:
    """Return the module name of a copied file."""
    return Path(path).relative_to("/usr/lib/pegasus").with_suffix("").as_posix().replace("/", ".")


def imports_of(item: dict[str, str]) -> set[str]:
    """Return the absolute names of the modules that a copied file imports."""
    parts = module_of(item["path"]).split(".")
    found: set[str] = set()
    for node in ast.walk(ast.parse(item["content"])):
        if isinstance(node, ast.Import):
            found |= {name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom):
            package = parts[: -node.level] if node.level else []
            source = ".".join([*package, *filter(None, [node.module])])
            in_collection = source.startswith(MODULE_UTILS) and source.count(".") == MODULE_UTILS.count(".") + 1
            found |= {f"{source}.{name.name}" for name in node.names} if in_collection else {source}
    return found


def test_the_programs_are_complete() -> None:
    """A copied module imports only the standard library and other copied modules."""
    files = {module_of(item["path"]): item for item in perseus_programs("/usr/lib/pegasus")}
    assert f"{MODULE_UTILS}.perseus.exporter" in files
    for item in files.values():
        for name in imports_of(item):
            assert name in files or name.partition(".")[0] in sys.stdlib_module_names, (item["path"], name)


def test_only_the_exporters_own_modules_restart_it() -> None:
    effects = {Path(item["path"]).stem: item["effect"] for item in perseus_programs("/x")}
    assert {name for name, effect in effects.items() if effect == "restart"} == {
        "exporter", "meter", "rows", "threads",
    }  # fmt: skip
