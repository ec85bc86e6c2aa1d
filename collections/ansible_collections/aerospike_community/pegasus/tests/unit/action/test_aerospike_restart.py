"""The nodes of a cluster restart one by one, and none after a failure."""

from __future__ import annotations

import threading
import time
from types import SimpleNamespace
from typing import Any

import pytest
from ansible.errors import AnsibleConnectionFailure
from ansible_collections.aerospike_community.pegasus.plugins.action import aerospike_restart as subject

pytestmark = pytest.mark.usefixtures("run_folder")

CLUSTER = ["10.0.0.1", "10.0.0.2", "10.0.0.3"]
WAITING = {"purpose": "x", "left": 9, "unit": "things"}


class Nodes:
    """Run the action on several hosts in parallel. Each waits until ``together`` of them are running."""

    def __init__(self, fails: str = "", together: int = 1) -> None:
        self.fails = fails
        self.meeting = threading.Barrier(together)
        self.running = self.most_running = 0
        self.results: dict[str, dict[str, Any]] = {}
        self.shown: list[str] = []

    def action(self, host: str, cluster: list[str], check: bool = False, play: str = "one") -> None:
        action = object.__new__(subject.ActionModule)
        action._task = SimpleNamespace(args={"cluster": cluster, "timeout": "60"}, check_mode=check)
        action._display = SimpleNamespace(display=self.shown.append)
        results = [] if check else [{"waiting": WAITING}]

        def execute(task_vars: dict[str, Any], module_args: Any = None) -> dict[str, Any]:
            if results:
                return results.pop()
            self.running += 1
            self.most_running = max(self.most_running, self.running)
            self.meeting.wait(timeout=60)
            time.sleep(0.05)  # time for a host that ignores the lock
            self.running -= 1
            if host == self.fails == "unreachable":
                raise AnsibleConnectionFailure("the connection was lost")
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


def test_no_node_is_verified_while_another_restarts(monkeypatch: pytest.MonkeyPatch) -> None:
    """The task after this one requires a complete cluster within two minutes, and a server may load for longer."""
    nodes, queued, order = Nodes(), threading.Semaphore(0), []
    flock = subject.fcntl.flock

    def count(file: Any, how: int) -> None:
        flock(file, how)
        if how == subject.fcntl.LOCK_SH:
            queued.release()

    def restart(self: subject.ActionModule, *_: Any) -> dict[str, Any]:
        if not order:
            for _ in range(3):
                assert queued.acquire(timeout=60)
        order.append("restarted")
        return {"failed": False}

    monkeypatch.setattr(subject.fcntl, "flock", count)
    monkeypatch.setattr(subject.ActionModule, "take_turn", restart)

    def act(host: str) -> None:
        nodes.action(host, CLUSTER)
        order.append("verified")

    threads = [threading.Thread(target=act, args=(host,)) for host in "abc"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert order == ["restarted"] * 3 + ["verified"] * 3


def test_the_lines_of_progress_count_the_nodes() -> None:
    nodes = Nodes()
    for host in "abc":
        nodes.action(host, CLUSTER)
    assert nodes.shown == [
        f"progress: {host}: restart {number} of at most 3: 9 things left; waiting 0 s for x"
        for number, host in enumerate("abc", 1)
    ]


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
        assert nodes.results[host]["not_waited_for"] == ["a"], "it isn't the cause"


def test_no_node_is_restarted_after_a_connection_was_lost() -> None:
    """Nobody knows how the node is now."""
    nodes = Nodes(fails="unreachable")
    with pytest.raises(AnsibleConnectionFailure):
        nodes.action("unreachable", CLUSTER)
    nodes.action("b", CLUSTER)
    assert "the restart of unreachable failed" in nodes.results["b"]["msg"]


def test_a_later_play_of_the_same_run_may_try_again() -> None:
    nodes = Nodes(fails="a")
    nodes.action("a", CLUSTER)
    nodes.action("b", CLUSTER, play="the repair")
    assert not nodes.results["b"]["failed"]


def test_check_mode_does_not_wait() -> None:
    nodes = Nodes(together=3)
    nodes.in_parallel(dict.fromkeys("abc", CLUSTER), check=True)
    assert nodes.most_running == 3
