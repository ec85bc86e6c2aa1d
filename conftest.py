"""Shared by all tests: how they are distributed over processes, and EC2's model, which is read once."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Iterator
from typing import Any

import botocore.loaders
import botocore.session
import pytest
from hypothesis import HealthCheck, settings

# The duration of an example depends on the load of the machine, so it has no deadline.
settings.register_profile("pegasus", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("pegasus")


@pytest.fixture(scope="session", autouse=True)
def ec2s_model_is_read_once() -> Iterator[None]:
    """Every EC2 client loads botocore's model of EC2. The tests create hundreds of clients, which share one model."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(botocore.session, "create_loader", functools.cache(botocore.loaders.create_loader))
        yield


# These tests wait most of the time, some of them for heartbeats that must not be late. They start first.
WAITING = ("tests/contract/test_server_cluster.py", "tests/local_cloud", "tests/contract/test_perseus.py")


def scope_of(nodeid: str) -> str:
    """Return the scope of a test. The tests of a scope run in the same process.

    A file is a scope, because its tests share fixtures. All tests of the local cloud share the container engine. Each
    test in tests/aws is long and has an EC2 endpoint of its own, so any free process can run it.
    """
    path = nodeid.partition("::")[0]
    if path.startswith("tests/local_cloud/"):
        return "tests/local_cloud"
    return nodeid if path.startswith("tests/aws/") else path


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """With several workers, order tests by waiting, long and short, so that all workers finish about together."""
    if not hasattr(config, "workerinput"):
        return
    slow = Counter(scope_of(item.nodeid) for item in items if item.get_closest_marker("slow"))
    size = Counter(scope_of(item.nodeid) for item in items)

    def turn(item: pytest.Item) -> tuple[bool, int, int, int]:
        scope = scope_of(item.nodeid)
        return (
            scope not in WAITING,
            WAITING.index(scope) if scope in WAITING else 0,
            -slow[scope],
            -size[scope],
        )

    items.sort(key=turn)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    from xdist.scheduler import LoadFileScheduling

    config.option.loadscopereorder = False  # pytest_collection_modifyitems has ordered them

    class Scheduling(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return scope_of(nodeid)

    return Scheduling(config, log)
