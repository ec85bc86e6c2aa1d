"""What tests share: moto as EC2, the module ec2_environment run as Ansible runs it, and a run's folder for actions."""

from __future__ import annotations

import json
import threading

import boto3
import botocore.client
import pytest
from ansible import constants
from ansible.module_utils.testing import patch_module_args
from ansible.plugins.action import ActionBase
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.host import packages as host_packages
from ansible_collections.aerospike_community.pegasus.plugins.modules import ec2_environment
from moto import mock_aws
from moto.ec2.models import amis
from moto.ec2.models.subnets import Subnet

from local_cloud.ec2 import placement_groups

REGION = "us-east-1"
IMAGE_OWNER = "136693071363"  # the default: Debian
GROUPS = [
    {"kind": "server", "name": "Bench", "nodes": 3, "instance_type": "i4i.large"},
    {"kind": "client", "name": "BenchClient", "nodes": 1, "instance_type": "c6i.large"},
    {"kind": "monitor", "name": "BenchGrafana", "nodes": 1, "instance_type": "t3.medium"},
]


@pytest.fixture(autouse=True)
def turn(tmp_path, monkeypatch):
    """Calls that install packages take turns among themselves, not with those of another test."""
    monkeypatch.setattr(host_packages, "TURN", tmp_path / "pegasus-packages.lock")


def image(architecture, word):
    """An image as moto's own list has them."""
    return {
        "ami_id": f"ami-{word}",
        "name": f"debian-12-{word}-test",
        "owner_id": IMAGE_OWNER,
        "architecture": architecture,
        "root_device_name": "/dev/xvda",
        "public": True,
        "creation_date": "2026-01-01T00:00:00.000Z",
    }


@pytest.fixture
def ec2(monkeypatch):
    """A client of an empty EC2 that has an image for each architecture."""
    # moto reads this file once, at its import: the content is put in place here, the variable keeps its own list out.
    monkeypatch.setenv("MOTO_AMIS_PATH", "unused")
    monkeypatch.setattr(amis, "AMIS", [image("x86_64", "amd64"), image("arm64", "arm64")])
    # moto gives out addresses with a generator that two launches at the same time can't share.
    lock, give_address = threading.Lock(), Subnet.get_available_subnet_ip

    def one_at_a_time(subnet, instance):
        with lock:
            return give_address(subnet, instance)

    monkeypatch.setattr(Subnet, "get_available_subnet_ip", one_at_a_time)
    for name in ("AWS_PROFILE", "AWS_ENDPOINT_URL", "AWS_REGION", "AWS_DEFAULT_REGION"):
        monkeypatch.delenv(name, raising=False)
    placement_groups.install()
    with mock_aws():
        yield boto3.client("ec2", region_name=REGION)


@pytest.fixture
def run_module(tmp_path, capsys):
    """Run an EC2 module for the environment Bench: returns its result, failed or not."""

    def run(module, check=False, **parameters):
        arguments = {
            "environment": "Bench",
            "region": REGION,
            "access_key": "testing",
            "secret_key": "testing",
            "_ansible_check_mode": check,
            "_ansible_remote_tmp": str(tmp_path),
            **parameters,
        }
        capsys.readouterr()
        with patch_module_args(arguments), pytest.raises(SystemExit):
            module.main()
        return json.loads(capsys.readouterr().out)

    return run


@pytest.fixture
def run(tmp_path, capsys):
    """Run the module: returns its result, failed or not."""

    def run_module(check=False, **changed):
        arguments = {
            "environment": "Bench",
            "region": REGION,
            "groups": GROUPS,
            "owner": "me",
            "private_key_file": str(tmp_path / "state" / "id_ed25519"),
            "allowed_cidrs": ["203.0.113.7"],
            "access_key": "testing",
            "secret_key": "testing",
            "_ansible_check_mode": check,
            "_ansible_remote_tmp": str(tmp_path),
            **changed,
        }
        capsys.readouterr()
        with patch_module_args(arguments), pytest.raises(SystemExit):
            ec2_environment.main()
        return json.loads(capsys.readouterr().out)

    return run_module


@pytest.fixture
def inject(monkeypatch):
    """Put a function in the way of an API call: it gets the parameters and a function that makes the real call."""

    def put(operation, function):
        real = botocore.client.BaseClient._make_api_call

        def in_the_way(self, name, parameters):
            if name == operation and not parameters.get("DryRun"):
                return function(parameters, lambda: real(self, name, parameters))
            return real(self, name, parameters)

        monkeypatch.setattr(botocore.client.BaseClient, "_make_api_call", in_the_way)

    return put


@pytest.fixture
def run_folder(tmp_path, monkeypatch):
    """The folder of an Ansible run, for action plugins that a test makes without a task of a playbook."""
    monkeypatch.setattr(constants, "DEFAULT_LOCAL_TMP", str(tmp_path))
    monkeypatch.setattr(ActionBase, "run", lambda *_: {})
