"""The filters of the role perseus_client: Java's heap, and the programs that go to a client."""

from __future__ import annotations

import ast
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
def test_what_is_neither_is_refused(heap: object) -> None:
    with pytest.raises(AnsibleFilterError, match=r"perseus_client_heap: found .*; expected a size"):
        java_heap(heap)


def test_the_programs_are_complete_and_need_nothing_else() -> None:
    """Each import of a copied module is of the standard library or of another copied one."""
    files = {Path(item["path"]).stem: item for item in perseus_programs("/usr/lib/pegasus")}
    assert files["perseus_exporter"]["path"] == f"/usr/lib/pegasus/{MODULE_UTILS.replace('.', '/')}/perseus_exporter.py"
    standard = {"__future__", "argparse", "collections", "concurrent", "dataclasses", "difflib", "functools", "http",
                "json", "os", "pathlib", "re", "signal", "socket", "struct", "subprocess", "sys", "syslog", "tempfile",
                "threading", "time", "typing"}  # fmt: skip
    for item in files.values():
        for node in ast.walk(ast.parse(item["content"])):
            if isinstance(node, ast.Import):
                assert {name.name.partition(".")[0] for name in node.names} <= standard, item["path"]
            elif isinstance(node, ast.ImportFrom) and node.module == MODULE_UTILS:
                assert {name.name for name in node.names} <= files.keys(), item["path"]
            elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith(MODULE_UTILS):
                assert (node.module or "").rpartition(".")[2] in files, item["path"]
            elif isinstance(node, ast.ImportFrom):
                assert (node.module or "").partition(".")[0] in standard, item["path"]


def test_only_the_exporters_own_modules_restart_it() -> None:
    effects = {Path(item["path"]).stem: item["effect"] for item in perseus_programs("/x")}
    assert {name for name, effect in effects.items() if effect == "restart"} == {
        "perseus_exporter", "perseus_meter", "perseus_rows", "threads_file",
    }  # fmt: skip
