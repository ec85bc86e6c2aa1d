"""An EC2 of our own on a port of this machine, and what drives it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.aws.checkout import Checkout
from tests.aws.ec2_server import Ec2Server, serving


@pytest.fixture
def server() -> Iterator[Ec2Server]:
    with serving() as one:
        yield one


@pytest.fixture
def checkout(tmp_path: Path, server: Ec2Server) -> Callable[..., Checkout]:
    """A copy of the project that has this server for AWS."""
    return lambda **settings: Checkout(tmp_path / "pegasus", server.url, **settings)


@pytest.fixture
def live(server: Ec2Server) -> Callable[[], dict[str, Any]]:
    """Name -> instance of everything that runs, or would cost."""
    from ansible_collections.aerospike_community.pegasus.plugins.module_utils.ec2.instances import Instance

    def look() -> dict[str, Any]:
        found = [
            Instance.from_description(one)
            for reservation in server.client().describe_instances()["Reservations"]
            for one in reservation["Instances"]
        ]
        return {one.name or one.id: one for one in found if one.live}

    return look
