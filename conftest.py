"""What all tests share: how they are spread over processes, and what is read once."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Iterator
from typing import Any

import botocore.loaders
import botocore.session
import pytest
from hypothesis import HealthCheck, settings

# How long an example takes says how busy the machine is, and nothing of the code.
settings.register_profile("pegasus", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("pegasus")


@pytest.fixture(scope="session", autouse=True)
def ec2s_model_is_read_once() -> Iterator[None]:
    """Each client of EC2 looks for its model and reads it, as it has to in real life. Hundreds share it here."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(botocore.session, "create_loader", functools.cache(botocore.loaders.create_loader))
        yield


# What waits most of its time, some of it for heartbeats that must not come late: begun first, beside one worker of four
# that computes.
WAITING = ("tests/contract/test_server_cluster.py", "tests/local_cloud", "tests/contract/test_perseus.py")


def scope_of(nodeid: str) -> str:
    """What stays together: a file's tests, which share what its fixtures make, and all that share the engine.

    Each test that runs the driver against an EC2 has one of its own, and is long: these go to whoever is free.
    """
    path = nodeid.partition("::")[0]
    if path.startswith("tests/local_cloud/"):
        return "tests/local_cloud"
    return nodeid if path.startswith("tests/aws/") else path


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """With several workers: what waits, what is long, what is short. So none has much left when the others are done."""
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

    config.option.loadscopereorder = False  # ordered above

    class Scheduling(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return scope_of(nodeid)

    return Scheduling(config, log)
