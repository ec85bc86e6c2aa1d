"""The collection without this repository: built, installed, and used by the playbooks of another project."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.ec2_endpoint import ec2_endpoint

pytestmark = pytest.mark.slow
ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "collections/ansible_collections/aerospike_community/pegasus"
ROLES = sorted(path.name for path in (SOURCE / "roles").iterdir())
# Files that only the development of the collection needs.
LEFT_OUT = ("tests/", "galaxy.yml")
USED = """
- name: Use a role
  hosts: all
  gather_facts: false
  roles: [aerospike_community.pegasus.{role}]
"""
REFUSED = """
- name: Use a role with invalid arguments
  hosts: localhost
  connection: local
  gather_facts: false
  tasks:
    - name: Run it
      block:
        - name: Run the role
          ansible.builtin.include_role:
            name: aerospike_community.pegasus.{role}
        - name: Report that it ran
          ansible.builtin.debug:
            msg: "{role}: accepted"
      rescue:
        - name: Report why it failed
          ansible.builtin.debug:
            msg: "{role}: {{{{ ansible_failed_result.msg }}}}"
"""
PROVISION = """
- name: Launch an environment
  hosts: localhost
  connection: local
  gather_facts: false
  tasks:
    - name: Run the role
      ansible.builtin.import_role:
        name: aerospike_community.pegasus.ec2_provision
    - name: Show what it launched
      ansible.builtin.debug:
        msg: "launched={{ ec2_provision_result.launched | map(attribute='name') | join(',') }}"
"""
VARIABLES = {
    "pegasus_cluster_name": "Other",
    "pegasus_cluster_nodes": 2,
    "pegasus_client_name": "OtherClient",
    "pegasus_client_nodes": 1,
    "pegasus_monitoring_name": "OtherGrafana",
    "pegasus_owner": "me",
    "ec2_provision_region": "us-east-1",
    "ec2_provision_access_key": "local",
    "ec2_provision_secret_key": "local",
    "ec2_provision_cluster_instance_type": "i4i.large",
    "ec2_provision_client_instance_type": "c6i.large",
    "ec2_provision_monitoring_instance_type": "t3.medium",
    "ec2_provision_allowed_cidrs": ["172.31.0.0/16"],
    "ec2_provision_prices": {"*": 0},
}


@dataclass
class Project:
    """A folder without this repository, with the installed collection."""

    path: Path

    @property
    def installed(self) -> Path:
        return self.path / "collections/ansible_collections/aerospike_community/pegasus"

    def run(self, program: str, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run one of Ansible's programs in this folder, with its collections and without other settings."""
        kept = {
            key: value for key, value in os.environ.items() if not key.startswith(("ANSIBLE_", "AWS_", "PYTHONPATH"))
        }
        done = subprocess.run(
            [str(Path(sys.executable).with_name(program)), *arguments],
            cwd=self.path, capture_output=True, text=True, timeout=120, check=False, stdin=subprocess.DEVNULL,
            env=kept | {
                "ANSIBLE_COLLECTIONS_PATH": str(self.path / "collections"),
                "ANSIBLE_NOCOLOR": "True",
                "ANSIBLE_HOME": str(self.path / ".ansible"),
                "ANSIBLE_LOCALHOST_WARNING": "False",
                "ANSIBLE_INVENTORY_UNPARSED_WARNING": "False",
            },
        )  # fmt: skip
        if check:
            assert done.returncode == 0, done.stdout + done.stderr
        return done

    def play(self, text: str, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        (self.path / "play.yml").write_text(text)
        return self.run("ansible-playbook", "play.yml", *arguments, check=check)


def specification(role: str) -> dict[str, Any]:
    """Return the specification of a role's entry points."""
    return yaml.safe_load((SOURCE / f"roles/{role}/meta/argument_specs.yml").read_text())["argument_specs"]


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    path = tmp_path_factory.mktemp("other-project")
    new = Project(path)
    new.run("ansible-galaxy", "collection", "build", str(SOURCE), "--output-path", str(path))
    (archive,) = path.glob("*.tar.gz")
    # The Python package `ansible` contains the dependency amazon.aws, so Galaxy isn't needed.
    new.run("ansible-galaxy", "collection", "install", "--offline", str(archive), "-p", "collections")
    return new


@pytest.fixture(scope="module")
def ec2() -> Iterator[str]:
    with ec2_endpoint() as url:
        yield url


def test_the_archive_has_all_files_of_git(project: Project) -> None:
    listed = subprocess.run(
        ["git", "-C", str(SOURCE), "ls-files", "--cached", "--others", "--exclude-standard"],
        capture_output=True, text=True, check=True,
    ).stdout.splitlines()  # fmt: skip
    expected = {name for name in listed if not name.startswith(LEFT_OUT) and (SOURCE / name).exists()}
    found = {str(path.relative_to(project.installed)) for path in project.installed.rglob("*") if path.is_file()}
    assert found - {"MANIFEST.json", "FILES.json"} == expected
    project.run("ansible-galaxy", "collection", "verify", "--offline", "aerospike_community.pegasus")


def test_every_role_passes_a_syntax_check(project: Project) -> None:
    project.play("".join(USED.format(role=role) for role in ROLES), "--syntax-check")


def test_every_role_validates_its_arguments(project: Project) -> None:
    """The first task of a role names invalid and missing arguments before the role does anything."""
    options = {role: specification(role)["main"]["options"] for role in ROLES}
    # An invalid value for each role, so that none runs more than its first task on this machine.
    wrong = {
        role: next(name for name, spec in options[role].items() if spec["type"] == "int" and name.startswith(role))
        for role in ROLES
    }
    done = project.play(
        "".join(REFUSED.format(role=role) for role in ROLES),
        "--check", "-e", json.dumps(dict.fromkeys(wrong.values(), "many")),
    )  # fmt: skip
    for role in ROLES:
        (message,) = re.findall(rf'"msg": "{role}: (.*)"', done.stdout)
        assert "Validation of arguments failed" in message, message
        named = set(re.findall(r"[a-z0-9_]+", message))
        assert named >= {wrong[role], "many"} | {name for name, spec in options[role].items() if spec.get("required")}


def test_a_role_runs_with_its_modules(project: Project, ec2: str) -> None:
    values: dict[str, Any] = VARIABLES | {
        "ec2_provision_endpoint_url": ec2,
        "pegasus_state_dir": str(project.path / "state"),
    }
    names = "launched=Other-1,Other-2,OtherClient-1,OtherGrafana-1"
    first = project.play(PROVISION, "-e", json.dumps(values))
    assert names in first.stdout and "changed=1 " in first.stdout, first.stdout
    again = project.play(PROVISION, "-e", json.dumps(values))
    assert "changed=0 " in again.stdout, again.stdout


def test_ansible_doc_shows_every_option_of_every_role(project: Project) -> None:
    names = [f"aerospike_community.pegasus.{role}" for role in ROLES]
    shown = json.loads(project.run("ansible-doc", "-t", "role", "--json", *names).stdout)
    page = set(re.findall(r"[a-z0-9_]+", project.run("ansible-doc", "-t", "role", *names).stdout))
    for role, name in zip(ROLES, names, strict=True):
        entries = shown[name]["entry_points"]
        assert {entry: set(found["options"]) for entry, found in entries.items()} == {
            entry: set(spec["options"]) for entry, spec in specification(role).items()
        }
        options = {option for found in entries.values() for option in found["options"]}
        assert set(yaml.safe_load((SOURCE / f"roles/{role}/defaults/main.yml").read_text())) <= options
        assert options - page == set()
    assert [entry for role in shown.values() for point in role["entry_points"].values()
            for entry, spec in point["options"].items() if not spec["description"]] == []  # fmt: skip
