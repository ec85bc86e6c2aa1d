"""A clean clone of this tree, used from outside, and the queries that all tests of an environment share."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
import urllib.request
from base64 import b64encode
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import boto3
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.ec2.instances import Instance

ROOT = Path(__file__).resolve().parents[2]


@dataclass
class Run:
    """A finished command of the driver with --output json."""

    code: int
    seconds: float
    records: list[dict[str, Any]]
    stderr: str
    end: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.end = next((record for record in reversed(self.records) if record.get("type") == "end"), {})

    def why(self) -> str:
        """Return the failures and error output of a run, for the message of a failed assertion."""
        return json.dumps(self.end.get("failures") or self.end, indent=1)[:6000] + "\n" + self.stderr[-3000:]


@dataclass
class Checkout:
    """A clone as a newcomer has it, and the driver in it.

    :param arguments: for every command
    :param timeout: seconds for every command
    """

    path: Path
    arguments: list[str] = field(default_factory=list)
    timeout: float = 900

    def renew(self) -> None:
        """Copy all tracked and new files of this tree, without ignored files."""
        names = output(["git", "-C", str(ROOT), "ls-files", "--cached", "--others", "--exclude-standard"]).splitlines()
        for name in names:
            source, target = ROOT / name, self.path / name
            if not source.is_symlink() and not source.exists():
                continue  # deleted in the work tree
            target.parent.mkdir(parents=True, exist_ok=True)
            target.unlink(missing_ok=True)
            shutil.copy2(source, target, follow_symlinks=False)

    def command(self, *arguments: str) -> list[str]:
        return [str(self.path / "pegasus-driver"), *arguments, *self.arguments, "--output", "json"]

    def driver(self, *arguments: str) -> Run:
        began = time.monotonic()
        done = subprocess.run(
            self.command(*arguments), cwd=self.path, capture_output=True, text=True, timeout=self.timeout, check=False,
            stdin=subprocess.DEVNULL,
        )  # fmt: skip
        seconds = time.monotonic() - began
        print(f"pegasus-driver {' '.join(arguments)}: exit {done.returncode}, {seconds:.1f} s")
        return Run(done.returncode, seconds, records_of(done.stdout), done.stderr)

    def playbook(self, *arguments: str, timeout: float = 300) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [self.path / ".venv/bin/ansible-playbook", *arguments],
            cwd=self.path, capture_output=True, text=True, timeout=timeout, check=False, stdin=subprocess.DEVNULL,
        )  # fmt: skip

    @property
    def state(self) -> Path:
        return self.path / ".pegasus" / "local-cloud"

    def kept(self, environment: str) -> Path:
        """Return the folder with an environment's keys."""
        return self.path / ".pegasus/local/us-east-1" / environment

    def traces(self) -> list[str]:
        """Return everything that the local cloud of this checkout left on this machine, except image and caches."""
        label = f"label=pegasus.local-cloud={self.state}"
        listings = (["docker", "ps", "--all", "--filter", label], ["docker", "network", "ls", "--filter", label])
        found = [line for argv in listings for line in output([*argv, "--format", "{{.ID}}"]).splitlines()]
        if Path("/dev/loop-control").exists() and os.geteuid() == 0:
            loops = output(["losetup", "--list", "--noheadings", "--output", "NAME,BACK-FILE"]).splitlines()
            found += [line for line in loops if str(self.state) in line]
        # ssh's shared connections end on their own.
        found += [command for command in processes() if str(self.path) in command and "[mux]" not in command]
        keys = self.path / ".pegasus/local"
        return found + [str(path) for path in (self.state, *(keys.iterdir() if keys.exists() else [])) if path.exists()]


def records_of(text: str) -> list[dict[str, Any]]:
    """Return the records of --output json."""
    return [json.loads(line) for line in text.splitlines() if line.startswith("{")]


def output(argv: list[str]) -> str:
    return subprocess.run(argv, capture_output=True, text=True, check=True, timeout=120).stdout


def processes() -> list[str]:
    """Return the command lines of all other processes."""
    found = []
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        if file.parent.name == str(os.getpid()):
            continue
        try:
            found.append(file.read_bytes().replace(b"\0", b" ").decode(errors="replace"))
        except OSError:
            continue
    return found


def until(condition: Callable[[], Any], seconds: float, expected: str) -> Any:
    """Wait until a condition is true and return its value. Fail with ``expected`` after ``seconds``."""
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < deadline, f"expected within {seconds:.0f} s: {expected}"
        time.sleep(0.2)


def get(url: str, password: str = "") -> Any:
    request = urllib.request.Request(url)
    if password:
        request.add_header("Authorization", "Basic " + b64encode(f"admin:{password}".encode()).decode())
    with urllib.request.urlopen(request, timeout=10) as answer:
        return json.load(answer)


def on_host(checkout: Checkout, address: str, *command: str) -> str:
    """Run a command over ssh with the environment's key, without Ansible."""
    key = checkout.kept("Benchmark") / "id_ed25519"
    options = ["UserKnownHostsFile=/dev/null", "StrictHostKeyChecking=no", "LogLevel=ERROR"]
    flags = [flag for option in options for flag in ("-o", option)]
    return output(["ssh", "-i", str(key), *flags, f"admin@{address}", "sudo", *command])


def ec2() -> Any:
    """Return a client of the local cloud's EC2 endpoint."""
    port = os.environ.get("PEGASUS_LOCAL_PORT") or "4570"
    return boto3.client(
        "ec2", endpoint_url=f"http://127.0.0.1:{port}", region_name="us-east-1",
        aws_access_key_id="local", aws_secret_access_key="not-a-secret",
    )  # fmt: skip


@dataclass(frozen=True)
class Ec2Instance:
    id: str
    name: str
    state: str
    address: str
    expires: str


def instances() -> dict[str, Ec2Instance]:
    """Return all instances that aren't terminated, by name, as EC2 describes them."""
    found = {}
    for reservation in ec2().describe_instances()["Reservations"]:
        for description in reservation["Instances"]:
            instance = Instance.from_description(description)
            if instance.state != "terminated":
                expires = instance.tags.get("pegasus:expires", "")
                found[instance.name] = Ec2Instance(
                    instance.id, instance.name, instance.state, instance.private_ip, expires
                )
    return found
