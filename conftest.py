"""What all tests share: how they are spread over processes, and what is read once."""

from __future__ import annotations

import functools
import os
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


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """A file's tests stay together, because they share what its fixtures make. So do those that share the engine."""
    from xdist.scheduler import LoadFileScheduling

    class Scheduling(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            folder = os.path.dirname(nodeid.partition("::")[0])  # noqa: PTH120 (an id, no path)
            return folder if folder == "tests/local_cloud" else super()._split_scope(nodeid)

    return Scheduling(config, log)
