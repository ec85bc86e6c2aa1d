"""Fakes that tests control: raw events, a clock, a local cloud, a playbook run, the world."""

from __future__ import annotations

import dataclasses
import io
import json
import queue
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pegasus_driver.cli import main
from pegasus_driver.environment import EnvironmentHost
from pegasus_driver.run.runner import Outcome, Request
from pegasus_driver.world import World

CONFIG = """\
pegasus_backend: local
pegasus_region: us-east-1
pegasus_cluster_name: Bench
pegasus_cluster_nodes: 3
pegasus_namespace: Test
pegasus_replication_factor: 2
pegasus_monitoring_name: BenchGrafana
pegasus_client_name: BenchClient
pegasus_client_nodes: 1
pegasus_data_storage: memory
pegasus_primary_index_storage: memory
pegasus_secondary_index_storage: memory
"""
# What the preset of a backend contains.
PRESET = """\
pegasus_artifact_source: upstream
pegasus_connect_address: public
"""
# What group_vars/all/wiring.yml contains: keys that must have a value.
WIRING = """\
pegasus_state_dir: "{{ pegasus_root }}/state"
pegasus_owner: me
pegasus_artifact_base: "https:/"
ec2_provision_region: "{{ pegasus_region }}"
ec2_provision_endpoint_url: ""
ec2_provision_access_key: ""
ec2_provision_secret_key: ""
"""

# The prefix of a module of the collection.
MODULE = "aerospike_community.pegasus."

REPORT: dict[str, Any] = {
    "environment": "Bench",
    "backend": "local",
    "simulated": True,
    "nodes": [
        {"name": "Bench-1", "index": 1, "kind": "server", "address": "172.31.0.10", "state": "running",
         "instance_id": "i-1", "instance_type": "i4i.large", "service": "active"},
        {"name": "BenchClient-1", "index": 1, "kind": "client", "address": "172.31.0.11", "state": "running",
         "instance_id": "i-2", "instance_type": "c6i.large", "service": "active"},
    ],
    "cluster": {"size": 1, "key": "A1B2", "namespace": "Test", "replication_factor": 2, "stable": True},
    "clients": [{"name": "BenchClient-1", "rate": 1234.5, "threads": {"write": 1, "read": 2, "udf": 0}}],
    "monitoring": {"grafana_url": "http://172.31.0.12:3000", "prometheus_url": "http://172.31.0.12:9090",
                   "targets_up": 4, "targets": 5, "dashboards": ["one", "two"]},
    "expires": "2026-11-25T03:00:00Z",
}  # fmt: skip

HOSTS = [
    EnvironmentHost("Bench-1", "server", 1, "172.31.0.10", "running", "i-1"),
    EnvironmentHost("Bench-2", "server", 2, "172.31.0.11", "stopped", "i-2"),
    EnvironmentHost("BenchClient-1", "client", 1, "172.31.0.12", "running", "i-3"),
    EnvironmentHost("BenchClient-2", "client", 2, "172.31.0.13", "running", "i-4"),
    EnvironmentHost("BenchGrafana-1", "monitor", 1, "172.31.0.14", "running", "i-5"),
]


def raw(event: str, stdout: str = "", **data: Any) -> dict[str, Any]:
    """A raw event of ansible-runner."""
    return {"event": event, "event_data": data, "stdout": stdout, "created": "2026-11-24T03:00:00+00:00"}


def play(name: str) -> dict[str, Any]:
    return raw("playbook_on_play_start", name=name, stdout=f"PLAY [{name}]")


def began(host: str, task: str = "task", role: str = "", action: str = "ansible.builtin.command") -> dict[str, Any]:
    return raw("runner_on_start", host=host, task=task, role=role, resolved_action=action)


def ok(host: str, task: str = "task", role: str = "", action: str = "x", **result: Any) -> dict[str, Any]:
    return raw("runner_on_ok", host=host, task=task, role=role, resolved_action=action, res=result)


def failed(
    host: str, task: str = "task", role: str = "", action: str = "x", ignored: bool = False, **result: Any
) -> dict[str, Any]:
    return raw("runner_on_failed", host=host, task=task, role=role, resolved_action=action, ignore_errors=ignored,
               res=result)  # fmt: skip


def unreachable(host: str, msg: str = "Connection refused") -> dict[str, Any]:
    return raw("runner_on_unreachable", host=host, task="Wait", resolved_action="a.b.ping", res={"msg": msg})


def stats(**counts: dict[str, int]) -> dict[str, Any]:
    """stats(ok={"h": 1}, failures={"h": 1})"""
    return raw("playbook_on_stats", **counts)


# A setup without a failure.
GOOD = [
    play("Set up the hosts"),
    began("Bench-1", "Install", "aerospike_server"),
    ok("Bench-1", "Install", "aerospike_server", changed=True),
    play("Prove that the environment is ready"),
    ok(
        "localhost",
        "Report",
        action="aerospike_community.pegasus.environment_report",
        report=REPORT,
        lines=["shown once"],
    ),
    ok("localhost", "Show", action="ansible.builtin.debug", msg=["shown once"]),
    stats(ok={"Bench-1": 1, "localhost": 2}, changed={"Bench-1": 1}),
]


@dataclasses.dataclass
class Instance:
    id: str = "i-1"
    name: str = "Bench-1"
    type: str = "i4i.large"
    state: str = "running"
    address: str = "172.31.0.10"
    container: str = "pegasus-i-1"


@dataclasses.dataclass
class CloudStatus:
    running: bool
    pid: int | None
    endpoint_url: str
    instances: list[Instance]


class FakeCloud:
    """Replaces the module local_cloud.cloud."""

    def __init__(self) -> None:
        self.running = False
        self.instances: list[Instance] = []
        self.left: list[str] = []
        self.error: Exception | None = None
        self.calls: list[str] = []

    def _called(self, name: str) -> None:
        self.calls.append(name)
        if self.error:
            raise self.error

    def start(self, root: Path, say: Callable[[str], None], to_remove: bool = False) -> CloudStatus:
        self._called("start --to-remove" if to_remove else "start")
        say("building the image")
        self.running, self.left = True, []
        return self.status(root)

    def stop(self, root: Path, say: Callable[[str], None], if_empty: bool = False) -> bool:
        self._called("stop --if-empty" if if_empty else "stop")
        if not self.running or (if_empty and self.instances):
            return False
        self.running = False
        return True

    def status(self, root: Path) -> CloudStatus:
        return CloudStatus(self.running, 42 if self.running else None, "http://127.0.0.1:4570", self.instances)

    def leftovers(self, root: Path) -> list[str]:
        return self.left

    def image(self, root: Path, say: Callable[[str], None]) -> str:
        self._called("image")
        return "pegasus-instance:abc"


class FakeRun:
    """A playbook run with given raw events."""

    def __init__(self, world: FakeWorld, request: Request) -> None:
        self.world, self.request = world, request
        self.events: queue.Queue[Any] = queue.Queue()
        self.outcome = Outcome(world.rc, world.run_error)
        self.cancelled = self.killed = False
        world.requests.append(request)
        world.runs.append(self)

    def start(self) -> None:
        for event in self.world.events:
            self.events.put(event)
        if not self.world.endless:
            self.events.put(None)

    def cancel(self) -> None:
        self.cancelled = True
        if not self.world.stubborn:
            self.events.put(None)

    def kill(self) -> None:
        self.killed = True
        self.events.put(None)

    def join(self, timeout: float | None = None) -> bool:
        return True


class FakeWorld:
    """A World whose parts a test controls and reads."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.cloud = FakeCloud()
        self.events: list[Any] = []
        self.rc: int | None = 0
        self.run_error = ""
        self.endless = self.stubborn = False
        self.requests: list[Request] = []
        self.runs: list[FakeRun] = []
        self.seconds = 0.0
        self.environ: dict[str, str] = {}
        self.hosts: list[EnvironmentHost] = []
        self.executed: list[list[str]] = []
        self.browsed: list[str] = []
        self.terminal = False
        self.answers: list[str] = []
        self.questions: list[str] = []
        self.out, self.err = io.StringIO(), io.StringIO()

    def real(self) -> World:
        return World(
            stdout=self.out,
            stderr=self.err,
            root=self.root,
            environ=self.environ,
            folder=self.root,
            monotonic=self._tick,
            now=lambda: datetime(2026, 11, 24, 3, 10, tzinfo=UTC),
            run_playbook=lambda request: FakeRun(self, request),  # type: ignore[arg-type,return-value]
            cloud=lambda: self.cloud,
            cloud_status=lambda root: self.cloud.status(root),
            find_hosts=lambda access: list(self.hosts),
            execute=self._execute,
            ask=self._ask,
            on_terminal=lambda: self.terminal,
            browse=lambda url: self.browsed.append(url) or True,  # type: ignore[func-returns-value]
        )

    def _execute(self, command: Sequence[str]) -> None:
        """End the command, as replacing the process does."""
        self.executed.append(list(command))
        raise SystemExit(0)

    def _ask(self, question: str) -> str:
        self.questions.append(question)
        answer = self.answers.pop(0)
        if answer == "^C":
            raise KeyboardInterrupt
        return answer + "\n"

    def _tick(self) -> float:
        self.seconds += 0.01
        return self.seconds

    def run(self, *argv: str) -> int:
        self.out.seek(0), self.out.truncate()
        self.err.seek(0), self.err.truncate()
        return main(list(argv), self.real())

    @property
    def records(self) -> list[dict[str, Any]]:
        """What --output json printed."""
        return [json.loads(line) for line in self.text.splitlines()]

    @property
    def text(self) -> str:
        return self.out.getvalue()

    @property
    def errors(self) -> str:
        return self.err.getvalue()
