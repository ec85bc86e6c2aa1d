"""The wait for other hosts: its slices, and its end when an awaited host fails."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from ansible_collections.aerospike_community.pegasus.plugins.action import (
    aerospike_ready,
    cluster_stable,
    monitoring_ready,
    perseus_build,
)
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.aerospike.slices import LOOK, Slice
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.aerospike.waiting import (
    SLICE_SECONDS,
    Waiting,
)
from ansible_collections.aerospike_community.pegasus.plugins.plugin_utils.awaited import AwaitingAction
from ansible_collections.aerospike_community.pegasus.plugins.plugin_utils.failures import (
    FailedHost,
    failed_hosts,
    not_waited_for,
    record,
)

pytestmark = pytest.mark.usefixtures("run_folder")
SERVER = FailedHost("Benchmark-2", ["10.0.0.2"])


class Module:
    """A module with prepared results. `calls` has its arguments."""

    def __init__(self, *results: dict[str, Any] | None, fails_meanwhile: FailedHost | None = None) -> None:
        """None is a slice that wasn't enough; `fails_meanwhile`: a host that fails during the first call."""
        self.results, self.fails_meanwhile = list(results), fails_meanwhile
        self.calls: list[dict[str, Any]] = []

    def execute(self, module_args: dict[str, Any], task_vars: dict[str, Any]) -> dict[str, Any]:
        self.calls.append(module_args)
        if self.fails_meanwhile and len(self.calls) == 1:
            record(self.fails_meanwhile)
        state = {"members": len(self.calls)}
        return self.results.pop(0) or Waiting("a stable cluster", 1, "nodes", resume=state).result()

    def run(self, action: type[AwaitingAction], **arguments: Any) -> dict[str, Any]:
        plugin = object.__new__(action)
        plugin._task = SimpleNamespace(args=arguments)
        plugin._display = SimpleNamespace(display=lambda text: None)
        plugin._execute_module = self.execute  # type: ignore[method-assign]
        return plugin.run(task_vars={"inventory_hostname": "Client-1"})


HOSTS = {"hosts": ["10.0.0.1", "10.0.0.2"]}


def test_a_wait_continues_where_its_last_slice_ended() -> None:
    module = Module(None, None, {"cluster_key": "A"})
    assert module.run(cluster_stable.ActionModule, **HOSTS)["cluster_key"] == "A"
    assert module.calls[0] == HOSTS
    assert [call["resume"]["members"] for call in module.calls[1:]] == [1, 2]
    assert 0 < module.calls[1]["resume"]["waited"] < module.calls[2]["resume"]["waited"]


def test_a_host_that_fails_during_a_slice_ends_the_wait() -> None:
    module = Module(None, None, fails_meanwhile=SERVER)
    result = module.run(cluster_stable.ActionModule, **HOSTS)
    assert result["failed"] and result["msg"] == "not waited for: Benchmark-2 failed"
    assert result["not_waited_for"] == ["Benchmark-2"]
    assert module.calls[-1]["resume"][LOOK] is True and module.calls[-1]["resume"]["members"] == 1


def test_what_is_ready_is_no_failure_even_if_a_host_failed() -> None:
    """It may have failed in a later step, while its server runs."""
    record(SERVER)
    assert Module({"cluster_key": "A"}).run(cluster_stable.ActionModule, **HOSTS) == {"cluster_key": "A"}


def test_a_failure_of_the_host_itself_is_its_own() -> None:
    record(SERVER)
    result = Module({"failed": True, "msg": "service aerospike is failed"}).run(cluster_stable.ActionModule, **HOSTS)
    assert result == {"failed": True, "msg": "service aerospike is failed"}


def test_a_host_that_is_not_awaited_does_not_end_the_wait() -> None:
    record(FailedHost("Other-1", ["10.0.0.9"]))
    module = Module(None, {"cluster_key": "A"})
    assert module.run(cluster_stable.ActionModule, **HOSTS)["cluster_key"] == "A"


@pytest.mark.parametrize(
    ("action", "arguments"),
    [
        (cluster_stable.ActionModule, HOSTS),
        (aerospike_ready.ActionModule, {"size": 2, "peers": ["10.0.0.1", "10.0.0.2"]}),
        (monitoring_ready.ActionModule, {"targets": [{"job": "hosts", "address": "10.0.0.2:9100"}]}),
    ],
)
def test_each_module_awaits_the_hosts_that_it_needs(action: type[AwaitingAction], arguments: dict[str, Any]) -> None:
    record(SERVER)
    assert Module(None).run(action, **arguments)["not_waited_for"] == ["Benchmark-2"]


@pytest.mark.parametrize(
    ("failed", "text", "causes"),
    [
        ([SERVER], "Benchmark-2 failed", ["Benchmark-2"]),
        ([SERVER, FailedHost("Benchmark-1", [], ["Benchmark-2"])], "Benchmark-2 failed", ["Benchmark-2"]),
        ([FailedHost("Client-1", [], ["Benchmark-2"])], "Client-1 failed, because Benchmark-2 failed", ["Benchmark-2"]),
    ],
)
def test_the_message_names_the_root(failed: list[FailedHost], text: str, causes: list[str]) -> None:
    result = not_waited_for(failed)
    assert (result["msg"], result["not_waited_for"]) == (f"not waited for: {text}", causes)


def test_failures_are_kept_in_their_order() -> None:
    assert failed_hosts() == []
    later = FailedHost("Client-1", ["10.0.0.3"], ["Benchmark-2"])
    record(SERVER)
    record(later)
    assert failed_hosts() == [SERVER, later]


@pytest.mark.parametrize(
    ("timeout", "resume", "expected"),
    [
        (300, {}, Slice(SLICE_SECONDS, False)),
        (2, {}, Slice(2, True)),
        (300, {"waited": 298}, Slice(2, True, 298)),
        (300, {"waited": 400}, Slice(0, True, 400)),
        # A look doesn't end the wait, so the module doesn't fail with its timeout.
        (300, {"waited": 10, LOOK: True}, Slice(0, False, 10)),
    ],
)
def test_slices(timeout: float, resume: dict[str, Any], expected: Slice) -> None:
    assert Slice.of(timeout, resume) == expected


# --- The build for other clients --------------------------------------------------------------------------------------


def build(module: Module, delegate_to: str | None) -> dict[str, Any]:
    plugin = object.__new__(perseus_build.ActionModule)
    plugin._task = SimpleNamespace(args={}, delegate_to=delegate_to)
    plugin._execute_module = lambda task_vars: module.execute({}, task_vars)  # type: ignore[method-assign]
    return plugin.run(task_vars={"inventory_hostname": "Client-2"})


def test_a_build_host_that_failed_does_not_build_again() -> None:
    record(FailedHost("Client-1"))
    module = Module()
    assert build(module, "Client-1")["msg"] == "not waited for: Client-1 failed"
    assert not module.calls


def test_a_failed_build_is_the_failure_of_the_build_host() -> None:
    assert build(Module({"failed": True, "msg": "m"}), "Client-1")["not_waited_for"] == ["Client-1"]
    for own in (None, "Client-2"):
        assert "not_waited_for" not in build(Module({"failed": True, "msg": "m"}), own)
    assert "not_waited_for" not in build(Module({"changed": True}), "Client-1")
