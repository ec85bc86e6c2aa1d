"""Kill the driver with SIGKILL at random moments of `setup`: the next `setup` converges, or `destroy` leaves nothing.

The moments are spread over the duration of an undisturbed setup: each is a random moment of its own part of it.
PEGASUS_INTERRUPT_MOMENTS sets their number (5), PEGASUS_INTERRUPT_SEED repeats a run. The environment is the smallest:
one server, one client, no monitor. `make test-interrupt` tests 25 moments and prints the outcome of each.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.aerospike.info import info_value

from tests.e2e.checkout import Checkout, instances, records_of

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
# No monitor, because the servers and clients prove their own readiness.
PART = ["-e", json.dumps({"pegasus_groups": ["servers", "clients"]})]


@dataclass
class Killed:
    """Setups that are killed in a checkout. `length` is the duration of an undisturbed setup in seconds."""

    checkout: Checkout
    length: float = 0.0
    outcomes: list[str] = field(default_factory=list)

    def setup(self, share: float) -> tuple[float, str]:
        """Kill the driver of a setup after a share of its duration. Return the seconds and the stage.

        If the setup ends before, because the machine has become faster, its duration is updated and a new setup starts.
        """
        for _ in range(5):
            after, began = share * self.length, time.monotonic()
            where = self._start_and_kill(after)
            if where:
                return after, where
            self.length = time.monotonic() - began
            run = self.checkout.driver("destroy")
            assert run.code == 0, run.why()
        pytest.fail(f"five setups in a row ended before {share:.0%} of the duration of the previous setup")

    def _start_and_kill(self, after: float) -> str:
        """Return the stage in which the driver was killed, or "" if it had exited."""
        log = self.checkout.path / "killed.log"
        with log.open("w") as written:
            process = subprocess.Popen(
                self.checkout.command("setup", *PART), cwd=self.checkout.path, stdin=subprocess.DEVNULL, stdout=written,
                stderr=written,
            )  # fmt: skip
            try:
                code = process.wait(timeout=after)
                assert code == 0, log.read_text()[-6000:]
                return ""
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGKILL)
                process.wait(timeout=30)
        records = records_of(log.read_text())
        stages = [record["name"] for record in records if record.get("type") == "play_started"]
        tasks = [record["task"] for record in records if record.get("type") == "host_result"]
        return f"in '{stages[-1] if stages else 'the start'}'" + (f", after '{tasks[-1]}'" if tasks else "")


@pytest.fixture(scope="module")
def killed(checkout: Checkout) -> Iterator[Killed]:
    """A checkout after an undisturbed setup and destroy."""
    file = checkout.path / "killed.yml"
    file.write_text(CONFIG)
    # Builds the virtual environment, the image and the packages, so that later runs don't.
    prepared = subprocess.run(
        [checkout.path / "pegasus-driver", "local", "start"], cwd=checkout.path, check=False, timeout=LONGEST
    )
    assert prepared.returncode == 0
    disturbed = Killed(Checkout(checkout.path, ["--config", str(file)], LONGEST))
    run = disturbed.checkout.driver("setup", *PART)
    assert run.code == 0, run.why()
    disturbed.length = run.seconds
    run = disturbed.checkout.driver("destroy")
    assert run.code == 0, run.why()
    disturbed.outcomes.append(f"seed {SEED}; an undisturbed setup takes {disturbed.length:.0f} s")
    yield disturbed
    print("\n".join(["", *disturbed.outcomes]))
    if report := os.environ.get("PEGASUS_INTERRUPT_REPORT"):
        Path(report).write_text("\n".join(disturbed.outcomes) + "\n", encoding="utf-8")


@pytest.mark.parametrize("number", range(MOMENTS))
def test_a_killed_setup_is_completed_or_destroyed(killed: Killed, number: int) -> None:
    chance = random.Random(f"{SEED} {number}")
    share = (number + chance.random()) / MOMENTS
    # Every second environment is destroyed, so both happen early and late.
    action = "destroy" if number % 2 else "setup"
    after, where = killed.setup(share)
    line = f"{number + 1:>3} of {MOMENTS}: killed after {after:5.1f} s ({share:.0%}) {where}; {action}: "
    killed.outcomes.append(line + "FAILED")
    checkout = killed.checkout
    run = checkout.driver(action, *(PART if action == "setup" else []))
    why = f"{line}\n{run.why()}"
    assert run.code == 0, why
    if action == "setup":
        assert sorted(instances()) == ["Killed-1", "KilledClient-1"], why
        report = run.end["report"]
        server = next(node["address"] for node in report["nodes"] if node["kind"] == "server")
        assert info_value(server, "cluster-stable:size=1") == report["cluster"]["key"], why
        assert [client["rate"] > 0 for client in report["clients"]] == [True], why
        destroyed = checkout.driver("destroy")
        assert destroyed.code == 0, destroyed.why()
    assert checkout.traces() == [], why
    killed.outcomes[-1] = line + f"{'converged' if action == 'setup' else 'destroyed'} in {run.seconds:.0f} s"
    print(killed.outcomes[-1])
