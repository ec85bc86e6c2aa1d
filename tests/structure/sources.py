"""The project's source files as git sees them, and the imports between them."""

from __future__ import annotations

import ast
import functools
import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
COLLECTION = Path("collections/ansible_collections/aerospike_community/pegasus")
SIMULATORS = Path("local_cloud/simulators")
# Folders from which Python imports by absolute name: the checkout, the collection's root, and each simulated product.
PRODUCTS = ("server", "perseus", "exporter", "grafana")
IMPORT_ROOTS = (*(SIMULATORS / name for name in PRODUCTS), Path("collections"), Path())


@functools.cache
def tracked() -> tuple[Path, ...]:
    """Every file of the work tree that a commit would contain, relative to the checkout."""
    listing = ["git", "-C", str(ROOT), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(listing, capture_output=True, text=True, check=True).stdout.split("\0")
    return tuple(sorted({Path(name) for name in names if name and (ROOT / name).is_file()}))


def is_test(path: Path) -> bool:
    return "tests" in path.parts or path.name == "conftest.py"


def python_files() -> list[Path]:
    """The product's Python files: everything except tests."""
    return [path for path in tracked() if path.suffix == ".py" and not is_test(path)]


def module_name(path: Path) -> str:
    """The absolute name under which a file is imported."""
    root = next(root for root in IMPORT_ROOTS if path.is_relative_to(root))
    return ".".join(path.relative_to(root).with_suffix("").parts).removesuffix(".__init__")


def imported_names(source: str, module: str, *, is_package: bool) -> set[str]:
    """Every absolute name that a module may import, at any level of nesting.

    `from a import b` gives a and a.b: only the files tell whether b is a module.
    """
    names: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = module.split(".")[: None if is_package and node.level == 1 else -(node.level - is_package) or None]
            prefix = ".".join([*base, *filter(None, [node.module])]) if node.level else node.module or ""
            names |= {prefix, *(f"{prefix}.{alias.name}" for alias in node.names)}
    return names


def import_graph(paths: Iterable[Path], root: Path = ROOT) -> dict[str, set[str]]:
    """Each module and the modules of the project that it imports. A package's empty __init__.py adds no edge."""
    modules = {module_name(path): path for path in paths}
    graph: dict[str, set[str]] = {}
    for module, path in modules.items():
        source = (root / path).read_text(encoding="utf-8")
        names = imported_names(source, module, is_package=path.name == "__init__.py")
        # `from package import module` also names the package; it counts only if no module inside it is named.
        targets = {name for name in names if name in modules and name != module}
        graph[module] = {
            name for name in targets if not any(other.startswith(f"{name}.") for other in names & modules.keys())
        }
    return graph


def circles(graph: Mapping[str, set[str]]) -> list[list[str]]:
    """The groups of modules that import each other, directly or through others (Tarjan's algorithm)."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found: list[list[str]] = []

    def visit(module: str) -> None:
        index[module] = low[module] = len(index)
        stack.append(module)
        for target in sorted(graph[module]):
            if target not in index:
                visit(target)
                low[module] = min(low[module], low[target])
            elif target in stack:
                low[module] = min(low[module], index[target])
        if low[module] == index[module]:
            members = stack[stack.index(module) :]
            del stack[stack.index(module) :]
            if len(members) > 1:
                found.append(sorted(members))

    for module in sorted(graph):
        if module not in index:
            visit(module)
    return found
