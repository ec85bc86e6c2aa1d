"""An EC2 server for the tests, and a project that uses it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.aws.checkout import Checkout
from tests.aws.ec2_server import Ec2Server, serving


@pytest.fixture
def server() -> Iterator[Ec2Server]:
    with serving() as running:
        yield running


@pytest.fixture
def checkout(tmp_path: Path, server: Ec2Server) -> Callable[..., Checkout]:
    """A copy of the project that uses this server as AWS."""
    return lambda **settings: Checkout(tmp_path / "pegasus", server.url, **settings)


@pytest.fixture
def live(server: Ec2Server) -> Callable[[], dict[str, Any]]:
    """Name -> instance of all live instances."""
    from ansible_collections.aerospike_community.pegasus.plugins.module_utils.ec2.instances import Instance

    def describe() -> dict[str, Any]:
        instances = [
            Instance.from_description(description)
            for reservation in server.client().describe_instances()["Reservations"]
            for description in reservation["Instances"]
        ]
        return {instance.label: instance for instance in instances if instance.live}

    return describe
