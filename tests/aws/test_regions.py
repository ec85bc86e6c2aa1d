"""Environments of the same name in two regions are two environments, with separate state on this machine."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.aws.ec2_server import Ec2Server

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]


def test_destroy_keeps_the_key_of_the_other_region(server: Ec2Server, checkout: Any) -> None:
    project = checkout()
    keys = []
    for region in ("us-east-1", "us-west-2"):
        project.configure(pegasus_region=region)
        done = project.provision()
        assert done.returncode == 0, done.stdout
        keys.append(project.path / ".pegasus" / "aws" / region / "Bench" / "id_ed25519")
    assert keys[0].read_bytes() != keys[1].read_bytes()
    assert project.driver("destroy", "--yes").code == 0
    assert server.count()["ec2:DescribeInstanceAttribute"] == 5, "the protection of each instance is checked once"
    assert not keys[1].exists() and keys[0].is_file()
    project.configure(pegasus_region="us-east-1")
    assert project.driver("status").end["report"]["nodes"], "the first environment still exists"


def test_a_persistent_connection_belongs_to_one_instance(server: Ec2Server, checkout: Any) -> None:
    """Another environment's host may have the same private address, behind another bastion."""
    project = checkout()
    assert project.provision().returncode == 0
    program = Path(sys.executable).with_name("ansible")
    command = [program, "-i", "inventories/aws", "Bench-1", "-vvv", "--playbook-dir", "playbooks", "-m", "ping"]
    done = subprocess.run(command, cwd=project.path, env=project.environ, capture_output=True, text=True, timeout=120)
    control_path = re.search(r"ControlPath=\S*?([^/\"']+)[\"']", done.stdout)
    instance = re.search(r"HostKeyAlias=(i-[0-9a-f]+)", done.stdout)
    assert control_path and instance and control_path[1] == instance[1], done.stdout
