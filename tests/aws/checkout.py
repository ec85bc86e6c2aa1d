"""A clean copy of the project, configured for AWS, whose driver runs against the test's EC2 server."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
SETTINGS: dict[str, Any] = {
    "pegasus_backend": "aws",
    "pegasus_region": "us-east-1",
    "pegasus_cluster_name": "Bench",
    "pegasus_client_name": "BenchClient",
    "pegasus_monitoring_name": "BenchGrafana",
    "pegasus_cluster_nodes": 3,
    "pegasus_client_nodes": 1,
    # Nothing listens there: the checks of the artifact source are skipped.
    "pegasus_artifact_source": "http://127.0.0.1:9/mirror",
    "pegasus_connect_address": "private",
    "pegasus_ssh_timeout": 1,
    "ec2_provision_allowed_cidrs": ["127.0.0.0/8"],
    "ec2_provision_public_address": "subnet",
    "ec2_provision_cluster_instance_type": "i4i.large",
    "ec2_provision_client_instance_type": "c6i.large",
    "ec2_provision_monitoring_instance_type": "t3.medium",
    "ec2_provision_timeout": 60,
    # moto has no price list.
    "ec2_provision_prices": {"*": 0},
}


@dataclass
class Run:
    """A finished command of the driver."""

    code: int
    records: list[dict[str, Any]]
    stdout: str
    stderr: str
    end: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.end = next((record for record in reversed(self.records) if record.get("type") == "end"), {})

    @property
    def text(self) -> str:
        """The last record as text."""
        return json.dumps(self.end)


class Checkout:
    """The copy. `credentials` are in the environment of its commands."""

    def __init__(self, path: Path, url: str, **settings: Any) -> None:
        self.path, self.url = path, url
        self.credentials = {"AWS_ACCESS_KEY_ID": "AKIATESTTESTTESTTEST", "AWS_SECRET_ACCESS_KEY": "x" * 40}
        listing = ["git", "-C", str(ROOT), "ls-files", "--cached", "--others", "--exclude-standard"]
        for name in subprocess.run(listing, capture_output=True, text=True, check=True).stdout.splitlines():
            source, target = ROOT / name, path / name
            if source.is_symlink() or source.exists():
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(source, target, follow_symlinks=False)
        self.configure(**(SETTINGS | settings))

    def configure(self, **settings: Any) -> None:
        """Change keys of config.yml."""
        file = self.path / "group_vars" / "all" / "config.yml"
        file.write_text(yaml.safe_dump(yaml.safe_load(file.read_text()) | settings))

    @property
    def environ(self) -> dict[str, str]:
        # No coverage for the copy.
        dropped = ("AWS_", "ANSIBLE_", "PEGASUS_", "MOTO_", "COVERAGE_")
        kept = {key: value for key, value in os.environ.items() if not key.startswith(dropped)}
        return kept | self.credentials | {"AWS_ENDPOINT_URL": self.url, "AWS_EC2_METADATA_DISABLED": "true"}

    def command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "pegasus_driver", *arguments]

    def driver(self, *arguments: str, timeout: float = 900) -> Run:
        done = subprocess.run(
            self.command(*arguments, "--output", "json"),
            cwd=self.path, env=self.environ, capture_output=True, text=True, timeout=timeout, stdin=subprocess.DEVNULL,
        )  # fmt: skip
        records = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
        return Run(done.returncode, records, done.stdout, done.stderr)

    def provision(self, timeout: float = 900) -> subprocess.CompletedProcess[str]:
        """The part of setup that calls EC2."""
        program = Path(sys.executable).with_name("ansible-playbook")
        # --limit needs an explicit localhost.
        enabled = "aerospike_community.pegasus.ec2,ansible.builtin.host_list"
        return subprocess.run(
            [program, "-i", "inventories/aws", "playbooks/setup.yml", "--tags", "ec2_provision",
             "--limit", "localhost", "-i", "localhost,",
             "-e", f"ansible_python_interpreter={sys.executable}"],
            cwd=self.path, env={**self.environ, "ANSIBLE_INVENTORY_ENABLED": enabled}, capture_output=True, text=True,
            timeout=timeout, stdin=subprocess.DEVNULL,
        )  # fmt: skip
