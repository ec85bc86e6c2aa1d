"""Builds the collection's archive in dist/, if the version is the same everywhere and the changelog has it.

Usage: .venv/bin/python .ci/release.py        (make release)
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[1]
COLLECTION = Path("collections/ansible_collections/aerospike_community/pegasus")


def versions(root: Path) -> dict[str, str]:
    """Return the version that each file declares."""
    galaxy = yaml.safe_load((root / COLLECTION / "galaxy.yml").read_text(encoding="utf-8"))
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))
    assigned = re.search(r"^__version__ = (.+)$", (root / "pegasus_driver/__init__.py").read_text(), re.MULTILINE)
    return {
        str(COLLECTION / "galaxy.yml"): str(galaxy["version"]),
        "pyproject.toml": project["project"]["version"],
        "pegasus_driver/__init__.py": ast.literal_eval(assigned[1]) if assigned else "none",
    }


def problems(root: Path) -> list[str]:
    """Return what prevents a release, as "found ..., expected ..."."""
    found = versions(root)
    if len(set(found.values())) > 1:
        return [f"found the versions {', '.join(f'{text} in {path}' for path, text in found.items())}, expected one"]
    (version,) = set(found.values())
    heading = rf"^## {re.escape(version)} - \d{{4}}-\d\d-\d\d$"
    if not re.search(heading, (root / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE):
        return [f"CHANGELOG.md: found no section of {version}, expected '## {version} - YYYY-MM-DD'"]
    return []


def main(root: Path = ROOT) -> int:
    """Build the archive. Returns an exit code."""
    found = problems(root)
    if found:
        print("\n".join(found), file=sys.stderr)
        return 1
    galaxy = Path(sys.executable).with_name("ansible-galaxy")
    command = [
        str(galaxy),
        "collection",
        "build",
        "--force",
        "--output-path",
        str(root / "dist"),
        str(root / COLLECTION),
    ]
    return subprocess.run(command, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
