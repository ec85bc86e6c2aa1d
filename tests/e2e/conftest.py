"""Shared by the tests of an environment: a clone, the logs after a failure, a healthy start for the next test.

The tests of a module run in their order and share one environment, because its setup takes over a minute. Each starts
from the state after `setup`. A test that depends on another has the mark `follows`. After a failure, the environment is
repaired before the next test, so that one failure doesn't cause others.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network
from typing import Any

import pytest

from local_cloud.settings import Settings
from tests.e2e.checkout import ROOT, Checkout
from tests.host_logs import containers_of, host_logs


@pytest.fixture(scope="session")
def place(worker_id: str) -> Iterator[None]:
    """Port and network of this worker's local cloud: with `-n 2`, two independent local clouds run in parallel."""
    number = int(worker_id.removeprefix("gw")) if worker_id != "master" else 0
    first = Settings.from_environment(ROOT)
    network = int(ip_network(first.network).network_address) ^ number << 16
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PEGASUS_LOCAL_PORT", str(first.port + number))
        patch.setenv("PEGASUS_LOCAL_NETWORK", f"{ip_address(network)}/16")
        yield


@pytest.fixture(scope="session")
def clone(place: None, tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    """A clone for all modules of a worker. Its first command creates its virtual environment."""
    path = tmp_path_factory.mktemp("clone") / "pegasus"
    path.mkdir()
    return Checkout(path)


@pytest.fixture(scope="module")
def checkout(clone: Checkout) -> Iterator[Checkout]:
    """The clone in its initial state, for one environment. The local cloud stops after the module."""
    clone.renew()
    yield clone
    clone.driver("local", "stop")


@dataclass
class Progress:
    """The state of a module's environment."""

    failed: set[str] = field(default_factory=set)
    checkout: Any = None
    needs_repair: bool = False  # after a failed test
    lost: str = ""  # why the environment doesn't exist anymore


PROGRESS: pytest.StashKey[Progress] = pytest.StashKey()


def progress_of(item: pytest.Item) -> tuple[Progress, Any]:
    """Return the progress of a test's module, and that module."""
    module = item.getparent(pytest.Module)
    assert module is not None
    return module.stash.setdefault(PROGRESS, Progress()), module.obj


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Generator[None, Any, Any]:
    report = yield
    if not report.failed:
        return report
    progress, _ = progress_of(item)
    progress.failed.add(item.name)
    progress.checkout = getattr(item, "funcargs", {}).get("checkout") or progress.checkout
    if call.when == "setup":
        progress.lost = f"its setup failed for {item.name}"
    progress.needs_repair = True
    if progress.checkout is not None:
        logs = host_logs(containers_of(f"pegasus.local-cloud={progress.checkout.state}"))
        report.sections.append(("The hosts' logs", logs))
    return report


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Repair the environment after a failed test. Skip tests that depend on the failure, with the reason."""
    progress, module = progress_of(item)
    for mark in item.iter_markers("follows"):
        assert hasattr(module, mark.args[0]), f"{item.name} follows an unknown test"
        if mark.args[0] in progress.failed:
            pytest.skip(f"it depends on {mark.args[0]}, which failed")
    if not {"environment", "monitored"} & set(getattr(item, "fixturenames", ())):
        return
    if progress.needs_repair and not progress.lost:
        progress.lost = module.repair(progress.checkout)
        progress.needs_repair = False
    if progress.lost:
        pytest.skip(f"the environment doesn't exist: {progress.lost}")
