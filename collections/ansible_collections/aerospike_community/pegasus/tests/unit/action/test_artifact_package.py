"""Equal hosts install the same version in a run, even if the site publishes another one in the meantime."""

from __future__ import annotations

import threading
from types import SimpleNamespace
from typing import Any

import pytest
from ansible_collections.aerospike_community.pegasus.plugins.action import artifact_package as subject

pytestmark = pytest.mark.usefixtures("run_folder")


class Hosts:
    """Runs the action for hosts whose listing has a new version at each query."""

    def __init__(self, together: int = 1) -> None:
        self.meeting = threading.Barrier(together)
        self.published = 0
        self.installed: dict[str, str] = {}
        self.calls: dict[str, list[dict[str, Any]]] = {}
        self.results: dict[str, dict[str, Any]] = {}

    def module(self, host: str, arguments: dict[str, Any]) -> dict[str, Any]:
        """Act as the module on a host whose name is distribution-number."""
        self.calls.setdefault(host, []).append(arguments)
        if host in self.installed:
            return {"changed": False, "version": self.installed[host]}
        kind = host.partition("-")[0]
        if kind in arguments.get("chosen", {}):
            self.installed[host] = arguments["chosen"][kind]["version"]
            return {"changed": True, "version": self.installed[host]}
        self.meeting.wait(timeout=60)
        self.published += 1
        version = f"8.0.0.{self.published}"
        if arguments.get("choose"):
            return {"changed": True, "version": version, "choice": {kind: {"version": version}}}
        self.installed[host] = arguments["version"]
        return {"changed": True, "version": arguments["version"]}

    def action(self, host: str, version: str) -> None:
        action = object.__new__(subject.ActionModule)
        action._task = SimpleNamespace(args={"package": "server", "version": version})
        action._execute_module = (  # type: ignore[method-assign]
            lambda module_args, task_vars: self.module(host, module_args)
        )
        self.results[host] = action.run(task_vars={"inventory_hostname": host})

    def all_at_once(self, *hosts: str, version: str = "latest") -> None:
        threads = [threading.Thread(target=self.action, args=(host, version)) for host in hosts]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()


@pytest.mark.parametrize("version", ["latest", "8.0.*"])
def test_hosts_that_query_in_parallel_install_one_version(version: str) -> None:
    hosts = Hosts(together=3)
    hosts.all_at_once("debian12-1", "debian12-2", "debian12-3", version=version)
    assert hosts.published == 3
    assert len(set(hosts.installed.values())) == 1 and len(hosts.installed) == 3
    assert {result["version"] for result in hosts.results.values()} == set(hosts.installed.values())


def test_a_later_host_reads_no_listing() -> None:
    hosts = Hosts()
    hosts.all_at_once("debian12-1")
    hosts.all_at_once("debian12-2")
    assert hosts.published == 1 and len(hosts.calls["debian12-2"]) == 1
    assert hosts.installed["debian12-1"] == hosts.installed["debian12-2"]


def test_each_distribution_has_its_own_version() -> None:
    hosts = Hosts()
    for host in ("debian12-1", "amzn2023-1", "debian12-2", "amzn2023-2"):
        hosts.all_at_once(host)
    assert hosts.installed["debian12-1"] == hosts.installed["debian12-2"]
    assert hosts.installed["amzn2023-1"] == hosts.installed["amzn2023-2"] != hosts.installed["debian12-1"]


def test_an_installed_version_and_an_exact_version_cost_one_call() -> None:
    hosts = Hosts()
    hosts.installed["debian12-1"] = "8.0.0.4"
    hosts.all_at_once("debian12-1")
    assert len(hosts.calls["debian12-1"]) == 1 and hosts.published == 0
    hosts.all_at_once("debian12-2", version="8.0.0.4")
    assert hosts.calls["debian12-2"] == [{"package": "server", "version": "8.0.0.4"}]


def test_a_host_that_finds_nothing_fails_and_chooses_nothing() -> None:
    hosts = Hosts()
    failure = {"failed": True, "msg": "found no version '9.*'"}
    action = object.__new__(subject.ActionModule)
    action._task = SimpleNamespace(args={"version": "9.*"})
    action._execute_module = lambda module_args, task_vars: failure  # type: ignore[method-assign]
    assert action.run(task_vars={}) == failure
    hosts.all_at_once("debian12-1", version="8.0.*")
    assert hosts.installed == {"debian12-1": "8.0.0.1"}
