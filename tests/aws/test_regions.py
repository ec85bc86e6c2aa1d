"""Environments of the same name in two regions are two environments, also on this machine."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.aws.ec2_server import Ec2Server

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]


def test_the_end_of_one_leaves_the_key_of_the_other(server: Ec2Server, checkout: Any) -> None:
    project = checkout()
    keys = []
    for region in ("us-east-1", "us-west-2"):
        project.configure(pegasus_region=region)
        done = project.provision()
        assert done.returncode == 0, done.stdout
        keys.append(project.path / ".pegasus" / "aws" / region / "Bench" / "id_ed25519")
    assert keys[0].read_bytes() != keys[1].read_bytes()
    assert project.driver("destroy", "--yes").code == 0
    assert server.count()["ec2:DescribeInstanceAttribute"] == 5, "each instance's protection is asked for once"
    assert not keys[1].exists() and keys[0].is_file()
    project.configure(pegasus_region="us-east-1")
    assert project.driver("status").end["report"]["nodes"], "the first one is still there"


def test_a_connection_that_stays_open_belongs_to_one_instance(server: Ec2Server, checkout: Any) -> None:
    """Another environment's host may have the same private address, behind another bastion."""
    project = checkout()
    assert project.provision().returncode == 0
    program = Path(sys.executable).with_name("ansible")
    asked = [program, "-i", "inventories/aws", "Bench-1", "-vvv", "--playbook-dir", "playbooks", "-m", "ping"]
    done = subprocess.run(asked, cwd=project.path, env=project.environ, capture_output=True, text=True, timeout=120)
    told = re.search(r"ControlPath=\S*?([^/\"']+)[\"']", done.stdout)
    instance = re.search(r"HostKeyAlias=(i-[0-9a-f]+)", done.stdout)
    assert told and instance and told[1] == instance[1], done.stdout
