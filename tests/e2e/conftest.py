"""What the tests of a whole environment share: a clone, the logs after a failure, a sound start for the next test.

The tests of a module live through one environment's life, in their order, because making an environment takes over a
minute. Each starts from what `setup` leaves; one that goes on from another test says so with `follows`. After a failure
the environment is healed before the next test, so that each failure tells of itself and not of the one before.
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
    """Where the local cloud of this stream of tests is: with `-n 2` they are two, which have nothing in common."""
    number = int(worker_id.removeprefix("gw")) if worker_id != "master" else 0
    first = Settings.from_environment(ROOT)
    network = int(ip_network(first.network).network_address) ^ number << 16
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PEGASUS_LOCAL_PORT", str(first.port + number))
        patch.setenv("PEGASUS_LOCAL_NETWORK", f"{ip_address(network)}/16")
        yield


@pytest.fixture(scope="session")
def clone(place: None, tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    """One clone for all modules of a stream: its virtual environment is made by the first command, and once."""
    path = tmp_path_factory.mktemp("clone") / "pegasus"
    path.mkdir()
    return Checkout(path)


@pytest.fixture(scope="module")
def checkout(clone: Checkout) -> Iterator[Checkout]:
    """The clone as it was at first, for one environment's life; nothing of that is left after it."""
    clone.renew()
    yield clone
    clone.driver("local", "stop")


@dataclass
class Life:
    """How far an environment has come."""

    failed: set[str] = field(default_factory=set)
    checkout: Any = None
    # Since the last failure nobody has set it up again.
    unsound: bool = False
    # Why there is no environment any more.
    lost: str = ""


LIFE: pytest.StashKey[Life] = pytest.StashKey()


def life_of(item: pytest.Item) -> tuple[Life, Any]:
    """The life that a test is part of, and its Python module."""
    module = item.getparent(pytest.Module)
    assert module is not None
    return module.stash.setdefault(LIFE, Life()), module.obj


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Generator[None, Any, Any]:
    report = yield
    if not report.failed:
        return report
    life, _ = life_of(item)
    life.failed.add(item.name)
    life.checkout = getattr(item, "funcargs", {}).get("checkout") or life.checkout
    if call.when == "setup":
        life.lost = f"it couldn't be made for {item.name}"
    life.unsound = True
    if life.checkout is not None:
        logs = host_logs(containers_of(f"pegasus.local-cloud={life.checkout.state}"))
        report.sections.append(("The hosts' logs", logs))
    return report


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Heal what a failed test has left; skip what can't be tested any more, and say why."""
    life, module = life_of(item)
    for mark in item.iter_markers("follows"):
        assert hasattr(module, mark.args[0]), f"{item.name} follows a test that isn't there"
        if mark.args[0] in life.failed:
            pytest.skip(f"it goes on from {mark.args[0]}, which failed")
    if not {"environment", "monitored"} & set(getattr(item, "fixturenames", ())):
        return
    if life.unsound and not life.lost:
        life.lost = module.heal(life.checkout)
        life.unsound = False
    if life.lost:
        pytest.skip(f"there is no environment: {life.lost}")
