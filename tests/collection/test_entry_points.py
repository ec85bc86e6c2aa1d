"""Roles are entered by names without an ending, as their specifications have them: otherwise Ansible finds none."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
ROLES = ROOT / "collections/ansible_collections/aerospike_community/pegasus/roles"


def test_every_entry_is_named_without_an_ending() -> None:
    """`tasks_from: drain.yml` runs the same tasks as `tasks_from: drain`, and doesn't find its specification."""
    files = [path for folder in (ROOT / "playbooks", ROOT / "molecule", ROLES) for path in folder.rglob("*.yml")]
    entries = [(path, entry) for path in files for entry in re.findall(r"tasks_from: *(.+)", path.read_text())]
    assert len(entries) > 30
    assert [(str(path), entry) for path, entry in entries if ".y" in entry] == []
