"""The key pair of an environment: the module ec2_environment against moto."""

from __future__ import annotations

import pytest
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.ec2 import (
    keys,
)

from tests.ec2_moto import CLIENTS, MONITOR, SERVERS, live, live_by_name

pytestmark = pytest.mark.slow  # launches in moto, half a second each


def given_key(ec2, path, name="mine"):
    keys.create_key(path, name)
    ec2.import_key_pair(KeyName=name, PublicKeyMaterial=keys.public_key_of(path).encode())
    return {"key_name": name, "private_key_file": str(path)}


def test_a_configured_key_pair_is_used_and_kept(ec2, run, tmp_path):
    key = given_key(ec2, tmp_path / "mine")
    run(**key)
    assert {instance.key_name for instance in live(ec2)} == {"mine"}
    assert [key["KeyName"] for key in ec2.describe_key_pairs()["KeyPairs"]] == ["mine"]
    assert run(**key)["changed"] is False
    run(state="absent")
    assert [key["KeyName"] for key in ec2.describe_key_pairs()["KeyPairs"]] == ["mine"]


def test_a_configured_key_pair_must_exist_and_match(ec2, run, tmp_path):
    key = given_key(ec2, tmp_path / "mine")
    keys.create_key(tmp_path / "other", "other")
    for changed, text in (
        ({"key_name": "none"}, "ec2_provision_key_name is 'none'; us-east-1 has no such key pair"),
        ({"private_key_file": str(tmp_path / "absent")}, "does not exist"),
        ({"private_key_file": str(tmp_path / "other")}, "isn't the private key of the key pair mine"),
    ):
        result = run(**{**key, **changed})
        assert result["error_class"] == "configuration"
        assert text in result["msg"]
    run()
    assert "were launched with the key pair 'pegasus-Bench', expected 'mine'" in run(**key)["msg"]


def test_a_key_of_an_earlier_environment_is_reused(ec2, run, tmp_path):
    run()
    run(state="absent")
    before = (tmp_path / "state" / "id_ed25519").read_text()
    run()
    assert (tmp_path / "state" / "id_ed25519").read_text() == before


def test_a_second_machine_needs_the_private_key(ec2, run, tmp_path):
    run()
    elsewhere = tmp_path / "other" / "id_ed25519"
    result = run(private_key_file=str(elsewhere))
    assert result["error_class"] == "configuration"
    assert f"its private key isn't on this machine: {elsewhere} does not exist" in result["msg"]
    assert "Copy the private key of 'ssh-ed25519 " in result["next_step"]
    assert not elsewhere.exists()


def test_another_key_is_refused(ec2, run, tmp_path):
    run()
    elsewhere = tmp_path / "other" / "id_ed25519"
    keys.create_key(elsewhere, "another")
    result = run(private_key_file=str(elsewhere))
    assert result["error_class"] == "configuration"
    assert f"{elsewhere} is another key" in result["msg"]
    assert len(live_by_name(ec2)) == 5


def test_nodes_without_any_key_are_refused(ec2, run, tmp_path):
    run()
    ec2.delete_key_pair(KeyName="pegasus-Bench")
    result = run(private_key_file=str(tmp_path / "other"))
    assert "has 5 nodes, but neither a key pair in EC2 nor the private key" in result["msg"]
    assert run()["changes"] == [f"import the key pair pegasus-Bench from {tmp_path / 'state' / 'id_ed25519'}"]


def test_an_invalid_key_file_is_explained(ec2, run, tmp_path):
    run()
    wrong = tmp_path / "wrong"
    wrong.write_text("no key\n")
    result = run(private_key_file=str(wrong))
    assert result["error_class"] == "usage"
    assert f"Could not read the private key {wrong}" in result["msg"]
    result = run(private_key_file=str(wrong), groups=[SERVERS | {"nodes": 4}, CLIENTS, MONITOR], zones=["us-east-1z"])
    assert f"Could not read the private key {wrong}" in result["msg"] and "us-east-1z" in result["msg"]
    assert result["error_class"] == "configuration"
