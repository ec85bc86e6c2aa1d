"""`logs` collects each file and each service that the roles install, and no licence."""

from __future__ import annotations

import re
from fnmatch import fnmatch
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[2]
COLLECTION = ROOT / "collections/ansible_collections/aerospike_community/pegasus"
WIRING = yaml.safe_load((ROOT / "group_vars/all/wiring.yml").read_text())
SERVICES = WIRING["pegasus_logs_services"]
SOURCES = [
    *COLLECTION.glob("roles/*/vars/*.yml"),
    *COLLECTION.glob("roles/*/tasks/*.yml"),
    *COLLECTION.glob("plugins/filter/*.py"),
]
TEMPLATES = {
    f"/{path.relative_to(folder).with_suffix('')}"
    for folder in COLLECTION.glob("roles/*/templates")
    for path in folder.rglob("*.j2")
}


def of_a_service(path: str) -> bool:
    """Unit files and their drop-ins are collected with the service."""
    return any(path.startswith(f"/etc/systemd/system/{service}.service") for service in SERVICES)


def test_every_file_that_a_role_writes_is_collected() -> None:
    text = "\n".join(path.read_text() for path in SOURCES)
    written = {*re.findall(r"(/etc/[\w./-]+\.(?:conf|ini|json|service|timer|toml|yaml|yml))\b", text)}
    # A template's path in the role is the file's path on the host.
    written |= TEMPLATES
    assert len(written) > 10
    collected = {path for path in written if any(fnmatch(path, pattern) for pattern in WIRING["pegasus_logs_files"])}
    assert {path for path in written - collected if not of_a_service(path)} == {"/etc/aerospike/features.conf"}


def test_every_service_that_a_role_runs_is_collected() -> None:
    text = "\n".join(path.read_text() for path in SOURCES)
    units = {*re.findall(r"/etc/systemd/system/([\w-]+)\.service", "\n".join([text, *TEMPLATES]))}
    units |= {*re.findall(r"^ +services:\n +- name: ([a-z-]+)$", text, re.MULTILINE)}
    units |= {*re.findall(r"_exporter: ([a-z-]+)$", text, re.MULTILINE)}
    assert len(units) > 4 and units <= set(SERVICES)
