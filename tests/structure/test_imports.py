"""Who imports whom: no circles, packages for shared code, one place that changes sys.path."""

from __future__ import annotations

from pathlib import Path

from tests.structure.sources import COLLECTION, ROOT, circles, import_graph, python_files, tracked

# What every package may use and what belongs to none of them.
OUTSIDE_PACKAGES = {"durations.py", "results.py"}
PATH_CHANGE = "pegasus_driver/__init__.py"


def test_no_modules_import_each_other() -> None:
    assert circles(import_graph(python_files())) == []


def test_a_circle_is_found_through_relative_and_nested_imports(tmp_path: Path) -> None:
    files = {
        "p/__init__.py": "",
        "p/a.py": "from . import b\n",
        "p/b.py": "from p.c import thing\n",
        "p/c.py": "def thing():\n    from .a import other\n",
        "p/d.py": "import p.a\n",
    }
    for name, source in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(source)
    graph = import_graph([Path(name) for name in files], tmp_path)
    assert graph["p.d"] == {"p.a"}
    assert circles(graph) == [["p.a", "p.b", "p.c"]]


def test_module_utils_has_packages_only() -> None:
    folder = COLLECTION / "plugins/module_utils"
    loose = {path.name for path in tracked() if path.parent == folder} - OUTSIDE_PACKAGES
    assert not loose, f"expected these in one of the packages below {folder}: {sorted(loose)}"


def test_only_one_file_changes_the_import_path() -> None:
    changing = [
        str(path) for path in tracked()
        if path.suffix == ".py" and "sys.path." + "insert" in (ROOT / path).read_text(encoding="utf-8")
    ]  # fmt: skip
    assert changing == [PATH_CHANGE]
