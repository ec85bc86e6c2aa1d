"""The nodes of a cluster restart one by one, and none after a failure."""

from __future__ import annotations

import threading
import time
from types import SimpleNamespace
from typing import Any

import pytest
from ansible_collections.aerospike_community.pegasus.plugins.action import aerospike_restart as subject

pytestmark = pytest.mark.usefixtures("run_folder")

CLUSTER = ["10.0.0.1", "10.0.0.2", "10.0.0.3"]


class Nodes:
    """Run the action on several hosts in parallel. Each waits until ``together`` of them are running."""

    def __init__(self, fails: str = "", together: int = 1) -> None:
        self.fails = fails
        self.meeting = threading.Barrier(together)
        self.running = self.most_running = 0
        self.results: dict[str, dict[str, Any]] = {}

    def action(self, host: str, cluster: list[str], check: bool = False, play: str = "one") -> None:
        action = object.__new__(subject.ActionModule)
        action._task = SimpleNamespace(args={"cluster": cluster}, check_mode=check)

        def execute(task_vars: dict[str, Any]) -> dict[str, Any]:
            self.running += 1
            self.most_running = max(self.most_running, self.running)
            self.meeting.wait(timeout=60)
            time.sleep(0.05)  # time for a host that ignores the lock
            self.running -= 1
            return {"failed": host == self.fails, "changed": True}

        action._execute_module = execute  # type: ignore[method-assign]
        self.results[host] = action.run(task_vars={"inventory_hostname": host, "ansible_play_name": play})

    def in_parallel(self, hosts: dict[str, list[str]], check: bool = False) -> None:
        threads = [threading.Thread(target=self.action, args=(host, group, check)) for host, group in hosts.items()]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()


def test_one_node_at_a_time() -> None:
    nodes = Nodes()
    nodes.in_parallel({"a": CLUSTER, "b": CLUSTER[::-1], "c": CLUSTER})
    assert nodes.most_running == 1
    assert [result["failed"] for result in nodes.results.values()] == [False] * 3


def test_another_cluster_has_its_own_lock() -> None:
    nodes = Nodes(together=2)
    nodes.in_parallel({"a": CLUSTER, "b": ["10.1.0.1"]})
    assert nodes.most_running == 2


def test_no_node_is_restarted_after_a_failure() -> None:
    nodes = Nodes(fails="a")
    nodes.action("a", CLUSTER)
    nodes.in_parallel({"b": CLUSTER, "c": CLUSTER})
    assert nodes.results["a"]["failed"]
    for host in ("b", "c"):
        assert nodes.results[host]["failed"] and not nodes.results[host]["changed"]
        assert "the restart of a failed; this node is still running as before" in nodes.results[host]["msg"]


def test_a_later_play_of_the_same_run_may_try_again() -> None:
    nodes = Nodes(fails="a")
    nodes.action("a", CLUSTER)
    nodes.action("b", CLUSTER, play="the repair")
    assert not nodes.results["b"]["failed"]


def test_check_mode_does_not_wait() -> None:
    nodes = Nodes(together=3)
    nodes.in_parallel(dict.fromkeys("abc", CLUSTER), check=True)
    assert nodes.most_running == 3
