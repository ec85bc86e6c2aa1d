"""Entry points of Ansible roles are named without a file extension, as in their specifications."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
ROLES = ROOT / "collections/ansible_collections/aerospike_community/pegasus/roles"


def test_every_entry_point_is_named_without_an_extension() -> None:
    """`tasks_from: drain.yml` runs the same tasks as `tasks_from: drain`, but Ansible finds no specification for it."""
    files = [path for folder in (ROOT / "playbooks", ROOT / "molecule", ROLES) for path in folder.rglob("*.yml")]
    entries = [(path, entry) for path in files for entry in re.findall(r"tasks_from: *(.+)", path.read_text())]
    assert len(entries) > 30
    assert [(str(path), entry) for path, entry in entries if ".y" in entry] == []
