"""A clean clone of this tree, driven from outside, and what all tests of an environment ask it and its hosts."""

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
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.ec2.plan import Instance

ROOT = Path(__file__).resolve().parents[2]


@dataclass
class Run:
    """One finished command of the driver with --output json."""

    code: int
    seconds: float
    records: list[dict[str, Any]]
    stderr: str
    end: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.end = next((record for record in reversed(self.records) if record.get("type") == "end"), {})

    def why(self) -> str:
        """What to print when the run isn't what a test expected."""
        return json.dumps(self.end.get("failures") or self.end, indent=1)[:6000] + "\n" + self.stderr[-3000:]


@dataclass
class Checkout:
    """What a newcomer has after `git clone`, and how the driver is called there.

    `arguments` are given to each command; `patience` is the longest that one may take, in seconds.
    """

    path: Path
    arguments: list[str] = field(default_factory=list)
    patience: float = 900

    def renew(self) -> None:
        """Put every file as this tree has it: what git tracks, and what a commit of the tree would track."""
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
            self.command(*arguments), cwd=self.path, capture_output=True, text=True, timeout=self.patience, check=False,
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
        """The folder with an environment's keys."""
        return self.path / ".pegasus/local/us-east-1" / environment

    def traces(self) -> list[str]:
        """All that the local cloud of this checkout has on this machine, apart from the image and the caches."""
        label = f"label=pegasus.local-cloud={self.state}"
        listings = (["docker", "ps", "--all", "--filter", label], ["docker", "network", "ls", "--filter", label])
        found = [line for argv in listings for line in output([*argv, "--format", "{{.ID}}"]).splitlines()]
        if Path("/dev/loop-control").exists() and os.geteuid() == 0:
            loops = output(["losetup", "--list", "--noheadings", "--output", "NAME,BACK-FILE"]).splitlines()
            found += [line for line in loops if str(self.state) in line]
        # ssh's shared connections end by themselves.
        found += [command for command in processes() if str(self.path) in command and "[mux]" not in command]
        keys = self.path / ".pegasus/local"
        return found + [str(path) for path in (self.state, *(keys.iterdir() if keys.exists() else [])) if path.exists()]


def records_of(text: str) -> list[dict[str, Any]]:
    """The records among the lines of --output json."""
    return [json.loads(line) for line in text.splitlines() if line.startswith("{")]


def output(argv: list[str]) -> str:
    return subprocess.run(argv, capture_output=True, text=True, check=True, timeout=120).stdout


def processes() -> list[str]:
    """The command lines of all processes but this one."""
    found = []
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        if file.parent.name == str(os.getpid()):
            continue
        try:
            found.append(file.read_bytes().replace(b"\0", b" ").decode(errors="replace"))
        except OSError:
            continue
    return found


def until(condition: Callable[[], Any], seconds: float, what: str) -> Any:
    """Wait for a condition and return what it returned; fail with `what` after so many seconds."""
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < deadline, f"not within {seconds:.0f} s: {what}"
        time.sleep(0.2)


def get(url: str, password: str = "") -> Any:
    request_ = urllib.request.Request(url)
    if password:
        request_.add_header("Authorization", "Basic " + b64encode(f"admin:{password}".encode()).decode())
    with urllib.request.urlopen(request_, timeout=10) as answer:
        return json.load(answer)


def on_host(checkout: Checkout, address: str, *command: str) -> str:
    """Runs a command over ssh with the environment's key, without Ansible."""
    key = checkout.kept("Benchmark") / "id_ed25519"
    options = ["UserKnownHostsFile=/dev/null", "StrictHostKeyChecking=no", "LogLevel=ERROR"]
    flags = [flag for option in options for flag in ("-o", option)]
    return output(["ssh", "-i", str(key), *flags, f"admin@{address}", "sudo", *command])


def ec2() -> Any:
    """EC2 itself, as the local cloud's endpoint answers."""
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
    """All instances that aren't terminated, by name, as EC2 describes them."""
    found = {}
    for reservation in ec2().describe_instances()["Reservations"]:
        for one in reservation["Instances"]:
            seen = Instance.from_description(one)
            if seen.state != "terminated":
                expires = seen.tags.get("pegasus:expires", "")
                found[seen.name] = Ec2Instance(seen.id, seen.name, seen.state, seen.private_ip, expires)
    return found
