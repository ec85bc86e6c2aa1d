"""The nodes of a cluster restart one after the other, and none after one that failed."""

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
    """Runs the action for several hosts at the same time. Each waits until `together` of them are at work."""

    def __init__(self, fails: str = "", together: int = 1) -> None:
        self.fails = fails
        self.meeting = threading.Barrier(together)
        self.at_work = self.most_at_work = 0
        self.results: dict[str, dict[str, Any]] = {}

    def action(self, host: str, cluster: list[str], check: bool = False, play: str = "one") -> None:
        action = object.__new__(subject.ActionModule)
        action._task = SimpleNamespace(args={"cluster": cluster}, check_mode=check)

        def execute(task_vars: dict[str, Any]) -> dict[str, Any]:
            self.at_work += 1
            self.most_at_work = max(self.most_at_work, self.at_work)
            self.meeting.wait(timeout=60)
            time.sleep(0.05)  # for one that doesn't wait its turn
            self.at_work -= 1
            return {"failed": host == self.fails, "changed": True}

        action._execute_module = execute  # type: ignore[method-assign]
        self.results[host] = action.run(task_vars={"inventory_hostname": host, "ansible_play_name": play})

    def all_at_once(self, hosts: dict[str, list[str]], check: bool = False) -> None:
        threads = [threading.Thread(target=self.action, args=(host, group, check)) for host, group in hosts.items()]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()


def test_one_at_a_time() -> None:
    nodes = Nodes()
    nodes.all_at_once({"a": CLUSTER, "b": CLUSTER[::-1], "c": CLUSTER})
    assert nodes.most_at_work == 1
    assert [result["failed"] for result in nodes.results.values()] == [False] * 3


def test_another_cluster_has_its_own_turns() -> None:
    nodes = Nodes(together=2)
    nodes.all_at_once({"a": CLUSTER, "b": ["10.1.0.1"]})
    assert nodes.most_at_work == 2


def test_nobody_goes_on_after_a_failure() -> None:
    nodes = Nodes(fails="a")
    nodes.action("a", CLUSTER)
    nodes.all_at_once({"b": CLUSTER, "c": CLUSTER})
    assert nodes.results["a"]["failed"]
    for host in ("b", "c"):
        assert nodes.results[host]["failed"] and not nodes.results[host]["changed"]
        assert "the restart of a failed before; this node goes on as it was" in nodes.results[host]["msg"]


def test_a_later_play_of_the_same_run_may_try_again() -> None:
    nodes = Nodes(fails="a")
    nodes.action("a", CLUSTER)
    nodes.action("b", CLUSTER, play="the repair")
    assert not nodes.results["b"]["failed"]


def test_check_mode_waits_for_nobody() -> None:
    nodes = Nodes(together=3)
    nodes.all_at_once(dict.fromkeys("abc", CLUSTER), check=True)
    assert nodes.most_at_work == 3
