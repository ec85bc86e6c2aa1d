"""No host waits for a host that has failed. Uses a real ansible-playbook with hosts on this machine."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]

COLLECTIONS = Path(__file__).resolve().parents[6]
# The timeouts are longer than a test may take: a wait that doesn't end early fails the test.
LONG = 3600
HOSTS = {"server-1": "127.7.0.1", "server-2": "127.7.0.2", "client-1": "127.7.0.3", "monitor-1": "127.7.0.4"}
CLUSTER = {"aerospike_community.pegasus.cluster_stable": {"hosts": ["127.7.0.1", "127.7.0.2"], "timeout": LONG}}
NODE = {
    "aerospike_community.pegasus.aerospike_ready": {
        "host": "127.7.0.1", "port": 1, "size": 2, "timeout": LONG, "peers": ["127.7.0.1", "127.7.0.2"],
        "service": "pegasus-no-such-service",
    }
}  # fmt: skip
FAIL = {"ansible.builtin.fail": {"msg": "broken"}}
Results = dict[str, list[dict[str, Any]]]
Play = Callable[..., Results]


@pytest.fixture
def play(tmp_path: Path) -> Play:
    """Run tasks of hosts with the strategy free. Return the failures of each host, as Ansible's JSON callback does."""

    def run(**tasks: list[dict[str, Any]]) -> Results:
        inventory = {"all": {"hosts": {name: {"ansible_host": address} for name, address in HOSTS.items()}}}
        (tmp_path / "hosts.json").write_text(json.dumps(inventory))
        playbook = [
            {
                "hosts": "all", "gather_facts": False, "strategy": "free", "connection": "local",
                "tasks": [
                    {"when": f"inventory_hostname == '{host.replace('_', '-')}'", **task}
                    for host, own in tasks.items()
                    for task in own
                ],
            }
        ]  # fmt: skip
        (tmp_path / "play.yml").write_text(json.dumps(playbook))
        (tmp_path / "ansible.cfg").touch()
        command = [str(Path(sys.executable).with_name("ansible-playbook")), "-i", "hosts.json", "play.yml"]
        environ = {
            **os.environ, "ANSIBLE_COLLECTIONS_PATH": str(COLLECTIONS), "ANSIBLE_CONFIG": "ansible.cfg",
            "ANSIBLE_CALLBACKS_ENABLED": "aerospike_community.pegasus.failed_hosts", "ANSIBLE_NOCOLOR": "1",
            "ANSIBLE_STDOUT_CALLBACK": "ansible.posix.json", "ANSIBLE_PYTHON_INTERPRETER": sys.executable,
        }  # fmt: skip
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, env=environ)
        output = done.stdout[done.stdout.find("{\n") :]
        assert output, done.stdout + done.stderr
        results: Results = {name: [] for name in HOSTS}
        for task in json.loads(output)["plays"][0]["tasks"]:
            for host, result in task["hosts"].items():
                if result.get("failed") or result.get("unreachable"):
                    results[host].append(result)
        return results

    return run


@pytest.fixture
def prometheus() -> Iterator[str]:
    """A Prometheus without targets; its URL."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b'{"data": {"version": "2.42.0", "activeTargets": []}}')

        def log_message(self, *_: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_every_wait_ends_when_the_awaited_host_fails(play: Play, prometheus: str) -> None:
    monitoring = {
        "aerospike_community.pegasus.monitoring_ready": {
            "prometheus_url": prometheus, "grafana_password": "not-needed", "timeout": LONG,
            "targets": [{"job": "hosts", "address": f"{HOSTS['client-1']}:9100"}],
        }
    }  # fmt: skip
    failures = play(server_2=[FAIL], server_1=[NODE], client_1=[CLUSTER], monitor_1=[monitoring])
    assert failures["server-2"][0]["msg"] == "broken"
    assert {name: failures[name][0]["msg"] for name in ("server-1", "client-1")} == {
        "server-1": "not waited for: server-2 failed",
        "client-1": "not waited for: server-2 failed",
    }
    # A chain names its root.
    assert failures["monitor-1"][0]["msg"] == "not waited for: client-1 failed, because server-2 failed"
    assert {tuple(failures[name][0]["not_waited_for"]) for name in ("server-1", "client-1", "monitor-1")} == {
        ("server-2",)
    }


def test_an_unreachable_host_is_not_waited_for(play: Play) -> None:
    unreachable = {"ansible.builtin.ping": {}, "vars": {"ansible_connection": "ssh", "ansible_port": 1}}
    failures = play(server_2=[unreachable], client_1=[CLUSTER])
    assert failures["client-1"][0]["msg"] == "not waited for: server-2 failed"


def test_failures_that_the_play_handles_do_not_end_a_wait(play: Play) -> None:
    """The wait ends by the later failure of another host."""
    ignored = {**FAIL, "ignore_errors": True}
    rescued = {"block": [FAIL], "rescue": [{"ansible.builtin.debug": {"msg": "repaired"}}]}
    failed_again = {"block": [FAIL], "rescue": [FAIL]}
    failures = play(server_2=[ignored, rescued], server_1=[failed_again], client_1=[CLUSTER])
    assert failures["client-1"][0]["msg"] == "not waited for: server-1 failed"
