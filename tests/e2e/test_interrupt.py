"""The driver killed with SIGKILL at random moments of `setup`: the next `setup` converges, or `destroy` leaves nothing.

The moments are spread over the length of an undisturbed setup; each has its own part of it, in which chance picks the
instant. PEGASUS_INTERRUPT_MOMENTS says how many (5), PEGASUS_INTERRUPT_SEED repeats a run. The environment is the
smallest: one server, one client, no monitor. `make test-interrupt` takes 25 moments and prints what came of each.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import boto3
import pytest
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.ec2_plan import Instance
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.info_protocol import info_value

ROOT = Path(__file__).resolve().parents[2]
MOMENTS = int(os.environ.get("PEGASUS_INTERRUPT_MOMENTS") or 5)
SEED = int(os.environ.get("PEGASUS_INTERRUPT_SEED") or random.SystemRandom().randrange(10**6))
# An undisturbed setup takes about a minute on an idle machine of two cores, and several on a busy one.
LONGEST = 1800.0
pytestmark = [pytest.mark.e2e, pytest.mark.timeout(LONGEST * 2)]

CONFIG = """\
pegasus_backend: local
pegasus_region: us-east-1
pegasus_cluster_name: Killed
pegasus_client_name: KilledClient
pegasus_monitoring_name: KilledGrafana
pegasus_cluster_nodes: 1
pegasus_replication_factor: 1
pegasus_client_nodes: 1
"""
# No monitor: everything that it would watch is proven by the hosts' own roles.
PART = ["-e", json.dumps({"pegasus_groups": ["cluster", "clients"]})]


@dataclass
class Checkout:
    """A clone in which setups are killed. `length` is how long an undisturbed setup took, in seconds."""

    path: Path
    length: float = 0.0
    told: list[str] = field(default_factory=list)

    @property
    def state(self) -> Path:
        return self.path / ".pegasus" / "local-cloud"

    def command(self, action: str, *arguments: str) -> list[str]:
        return [str(self.path / "pegasus-driver"), action, "--config", str(self.path / "killed.yml"), *arguments,
                "--output", "json"]  # fmt: skip

    def driver(self, action: str, *arguments: str) -> tuple[int, list[dict[str, Any]], str]:
        done = subprocess.run(
            self.command(action, *arguments), cwd=self.path, capture_output=True, text=True, timeout=LONGEST,
            check=False, stdin=subprocess.DEVNULL,
        )  # fmt: skip
        records = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
        return done.returncode, records, done.stderr

    def killed_setup(self, after: float) -> str:
        """Begin a setup, kill the driver so many seconds later, and say in which stage that was."""
        log = self.path / "killed.log"
        with log.open("w") as output:
            process = subprocess.Popen(
                self.command("setup", *PART), cwd=self.path, stdin=subprocess.DEVNULL, stdout=output, stderr=output
            )
            try:
                process.wait(timeout=after)
                ended = f"had ended with {process.returncode}"
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGKILL)
                process.wait(timeout=30)
                ended = ""
        records = [json.loads(line) for line in log.read_text().splitlines() if line.startswith("{")]
        stages = [record["name"] for record in records if record.get("type") == "play_started"]
        tasks = [record["task"] for record in records if record.get("type") == "host_result"]
        where = f"in '{stages[-1] if stages else 'the beginning'}'" + (f", after '{tasks[-1]}'" if tasks else "")
        return ended or where

    def instances(self) -> list[str]:
        """The names of all instances of this environment that aren't terminated, as EC2 has them."""
        port = os.environ.get("PEGASUS_LOCAL_PORT") or "4570"
        ec2 = boto3.client(
            "ec2", endpoint_url=f"http://127.0.0.1:{port}", region_name="us-east-1",
            aws_access_key_id="local", aws_secret_access_key="not-a-secret",
        )  # fmt: skip
        found = [
            Instance.from_description(one)
            for reservation in ec2.describe_instances()["Reservations"]
            for one in reservation["Instances"]
        ]
        return sorted(instance.name for instance in found if instance.state != "terminated")

    def traces(self) -> list[str]:
        """All that is left of the environment and of its local cloud on this machine."""
        label = f"label=pegasus.local-cloud={self.state}"
        listings = (["docker", "ps", "--all", "--filter", label], ["docker", "network", "ls", "--filter", label])
        found = [line for argv in listings for line in output([*argv, "--format", "{{.ID}}"]).splitlines()]
        if Path("/dev/loop-control").exists() and os.geteuid() == 0:
            loops = output(["losetup", "--list", "--noheadings", "--output", "NAME,BACK-FILE"]).splitlines()
            found += [line for line in loops if str(self.state) in line]
        found += [command for command in processes() if str(self.path) in command and "[mux]" not in command]
        found += [str(path) for path in (self.state, self.path / ".pegasus/local/Killed") if path.exists()]
        return found


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


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Checkout]:
    """What a commit of this tree would have, with an undisturbed setup and destroy behind it."""
    path = tmp_path_factory.mktemp("interrupt") / "pegasus"
    names = output(["git", "-C", str(ROOT), "ls-files", "--cached", "--others", "--exclude-standard"]).splitlines()
    for name in names:
        source, target = ROOT / name, path / name
        if source.is_symlink() or source.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, target, follow_symlinks=False)
    (path / "killed.yml").write_text(CONFIG)
    clone = Checkout(path)
    try:
        # Makes the virtual environment, the image and the packages, which no later run has to.
        prepared = subprocess.run([path / "pegasus-driver", "local", "start"], cwd=path, check=False, timeout=LONGEST)
        assert prepared.returncode == 0
        began = time.monotonic()
        code, records, errors = clone.driver("setup", *PART)
        clone.length = time.monotonic() - began
        assert code == 0, [*records[-1:], errors[-3000:]]
        assert clone.driver("destroy")[0] == 0
        clone.told.append(f"seed {SEED}; an undisturbed setup takes {clone.length:.0f} s")
        yield clone
    finally:
        subprocess.run([path / "pegasus-driver", "local", "stop"], cwd=path, check=False, timeout=300)
        print("\n".join(["", *clone.told]))
        if report := os.environ.get("PEGASUS_INTERRUPT_REPORT"):
            Path(report).write_text("\n".join(clone.told) + "\n", encoding="utf-8")


@pytest.mark.parametrize("number", range(MOMENTS))
def test_a_setup_that_is_killed_is_completed_or_taken_down(checkout: Checkout, number: int) -> None:
    chance = random.Random(f"{SEED} {number}")
    share = (number + chance.random()) / MOMENTS
    after = share * checkout.length
    # Every second one is destroyed; over all moments, both happen early and late.
    action = "destroy" if number % 2 else "setup"
    where = checkout.killed_setup(after)
    line = f"{number + 1:>3} of {MOMENTS}: killed after {after:5.1f} s ({share:.0%}) {where}; {action}: "
    checkout.told.append(line + "FAILED")
    began = time.monotonic()
    code, records, errors = checkout.driver(action, *(PART if action == "setup" else []))
    end = next((record for record in reversed(records) if record.get("type") == "end"), {})
    why = f"{line}\n{json.dumps(end, indent=1)[:6000]}\n{errors[-3000:]}"
    assert code == 0, why
    seconds = time.monotonic() - began
    if action == "setup":
        assert checkout.instances() == ["Killed-1", "KilledClient-1"], why
        report = end["report"]
        server = next(node["address"] for node in report["nodes"] if node["role"] == "server")
        assert info_value(server, "cluster-stable:size=1") == report["cluster"]["key"], why
        assert [client["rate"] > 0 for client in report["clients"]] == [True], why
        code, records, errors = checkout.driver("destroy")
        assert code == 0, [*records[-1:], errors[-3000:]]
    assert checkout.traces() == [], why
    checkout.told[-1] = line + (f"converged in {seconds:.0f} s" if action == "setup" else f"gone in {seconds:.0f} s")
    print(checkout.told[-1])
