"""The nodes that a client knows: in its configuration, and by the connections of its process."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.perseus.configuration import (
    PerseusConfigError,
)
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.perseus.nodes import (
    connected_nodes,
    known_nodes,
    with_nodes,
)
from ansible_collections.aerospike_community.pegasus.tests.unit.role_templates import perseus_configuration

OLD, NEW = ["10.0.0.1", "10.0.0.2"], ["10.0.0.4", "10.0.0.5", "10.0.0.6"]


def test_only_the_list_of_nodes_changes() -> None:
    """The result is what setup-clients would write, so that it changes nothing afterwards."""
    before = perseus_configuration(hosts=OLD, namespace="hosts: []", record_size=500, id=3)
    after = with_nodes(before, NEW, 3000)
    assert after == perseus_configuration(hosts=NEW, namespace="hosts: []", record_size=500, id=3)
    assert (known_nodes(before), known_nodes(after)) == (OLD, NEW)


def test_a_broken_configuration_is_refused() -> None:
    with pytest.raises(PerseusConfigError):
        known_nodes(perseus_configuration(hosts=OLD)[:200])


@pytest.mark.parametrize(("family", "target"), [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::ffff:127.0.0.1")])
def test_the_connections_of_a_process(family: socket.AddressFamily, target: str) -> None:
    """Java uses IPv6 sockets for IPv4 addresses."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert connected_nodes(os.getpid(), port) == set(), "a listening socket is no connection"
        with socket.socket(family) as client:
            client.connect((target, port))
            assert connected_nodes(os.getpid(), port) == {"127.0.0.1"}
            assert connected_nodes(os.getpid(), port + 1) == set()
            assert connected_nodes(os.getppid(), port) == set(), "connections of another process"


def test_a_process_that_exited_has_no_connection(tmp_path: Path) -> None:
    assert connected_nodes(1, 3000, tmp_path) == set()
