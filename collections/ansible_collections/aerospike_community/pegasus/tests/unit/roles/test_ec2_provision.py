"""The role ec2_provision, run by ansible-playbook against moto's server."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.ec2_endpoint import ec2_endpoint

ROLE = Path(__file__).resolve().parents[3] / "roles" / "ec2_provision"
COLLECTIONS = Path(__file__).resolve().parents[6]
PLAYBOOK = """
- name: Provision
  hosts: localhost
  connection: local
  gather_facts: false
  tasks:
    - name: Run the role
      ansible.builtin.include_role:
        name: aerospike_community.pegasus.ec2_provision
    - name: Keep the result
      ansible.builtin.copy:
        content: "{{ ec2_provision_result | to_json }}"
        dest: "{{ playbook_dir }}/result.json"
        mode: "0600"
      when: not ansible_check_mode
      changed_when: false
"""
VARIABLES = {
    "pegasus_cluster_name": "Bench",
    "pegasus_cluster_nodes": 2,
    "pegasus_client_name": "BenchClient",
    "pegasus_client_nodes": 1,
    "pegasus_monitoring_name": "BenchGrafana",
    "pegasus_owner": "me",
    "ec2_provision_region": "us-east-1",
    "ec2_provision_access_key": "local",
    "ec2_provision_secret_key": "local",
    "ec2_provision_cluster_instance_type": "i4i.large",
    "ec2_provision_client_instance_type": "c6i.large",
    "ec2_provision_monitoring_instance_type": "t3.medium",
    "ec2_provision_allowed_cidrs": ["172.31.0.0/16"],
}


@pytest.fixture(scope="module")
def endpoint():
    with ec2_endpoint() as url:
        yield url


@pytest.fixture
def play(tmp_path):
    """Run the role with variables; returns the finished process and the role's result."""
    book = tmp_path / "play.yml"
    book.write_text(PLAYBOOK)

    def run(*options, **variables):
        values = VARIABLES | {"pegasus_state_dir": str(tmp_path / "state")} | variables
        environment = {
            **{key: value for key, value in os.environ.items() if not key.startswith(("ANSIBLE_", "AWS_"))},
            "ANSIBLE_COLLECTIONS_PATH": str(COLLECTIONS),
            "ANSIBLE_LOCAL_TEMP": str(tmp_path / "ansible"),
            "ANSIBLE_INVENTORY_UNPARSED_WARNING": "False",
            "ANSIBLE_LOCALHOST_WARNING": "False",
        }
        program = Path(sys.executable).with_name("ansible-playbook")
        command = [program, str(book), "-e", json.dumps(values), *options]
        done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=tmp_path, timeout=300)
        result = tmp_path / "result.json"
        return done, json.loads(result.read_text()) if result.exists() else None

    return run


def recap(done, changed):
    assert f"changed={changed} " in done.stdout, done.stdout + done.stderr
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
def test_the_role_creates_keeps_and_removes_an_environment(endpoint, play, tmp_path):
    here = {"ec2_provision_endpoint_url": endpoint, "ec2_provision_prices": {"*": 3}}
    done, _ = play("--check", **here)
    recap(done, 1)
    assert not (tmp_path / "state").exists()

    done, _ = play(**here)
    assert done.returncode != 0
    assert "Nothing was launched, because 12.00 USD an hour is above the limit of 10.00" in done.stdout
    assert not (tmp_path / "state").exists()

    done, result = play(**here, ec2_provision_approved=True)
    recap(done, 1)
    assert "total 12.00 USD an hour, 288.00 USD until the expiry in 1d" in done.stdout
    names = ["Bench-1", "Bench-2", "BenchClient-1", "BenchGrafana-1"]
    assert [instance["name"] for instance in result["launched"]] == names
    assert all(instance["private_ip"].startswith("172.31.") for instance in result["instances"])

    done, result = play(**here)
    recap(done, 0)
    assert [instance["name"] for instance in result["instances"]] == names

    secret = "a-secret-of-40-characters-0123456789abcd"
    done, result = play("-vvv", **here, pegasus_cluster_nodes=1, ec2_provision_secret_key=secret)
    assert secret not in done.stdout + done.stderr
    recap(done, 0)
    assert [instance["name"] for instance in result["instances"]] == names, "a setup never terminates a node"
    assert any("Bench" in note and "2" in note for note in result["notes"])

    done, result = play(**here, ec2_provision_state="absent")
    recap(done, 1)
    assert sorted(instance["name"] for instance in result["terminated"]) == names
    assert "verified: no instance" in done.stdout
    done, result = play(**here, ec2_provision_state="absent")
    recap(done, 0)


@pytest.mark.slow
def test_the_question_comes_after_all_checks(endpoint, play, tmp_path):
    answer = tmp_path / "yes"
    here = {"ec2_provision_endpoint_url": endpoint, "ec2_provision_prices": {"*": 3}, "pegasus_cluster_name": "Asking"}
    done, _ = play(**here, ec2_provision_answer_file=str(answer), ec2_provision_image_name="none")
    assert "is named none" in done.stdout and "Wait for the confirmation" not in done.stdout
    # Without an answer file, the price is reported with the other problems.
    done, _ = play(**here, ec2_provision_image_name="none")
    assert "is named none" in done.stdout and "12.00 USD an hour is above the limit of 10.00" in done.stdout
    answer.touch()
    done, result = play("-v", **here, ec2_provision_answer_file=str(answer))
    recap(done, 1)
    _, _, checked = done.stdout.partition("Check whether the change is possible and needs confirmation")
    assert '"question": "Launch, although 12.00 USD' in checked.partition("TASK")[0]
    assert len(result["launched"]) == 4
    play(**here, ec2_provision_state="absent")


@pytest.mark.slow
def test_a_wrong_type_is_refused_before_any_call(play):
    secret = "a-secret-of-40-characters-0123456789abcd"
    done, _ = play(pegasus_cluster_nodes="many", ec2_provision_secret_key=secret)
    assert done.returncode != 0
    assert "pegasus_cluster_nodes" in done.stdout
    assert "Create, complete or remove the environment" not in done.stdout
    assert secret not in done.stdout + done.stderr


def test_the_readme_lists_every_variable():
    specs = yaml.safe_load((ROLE / "meta" / "argument_specs.yml").read_text())["argument_specs"]
    readme = (ROLE / "README.md").read_text()
    assert [name for entry in specs.values() for name in entry["options"] if name not in readme] == []
