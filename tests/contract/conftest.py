"""Fixtures of the contract tests: clusters of simulated servers."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.contract.simulated_servers import SimulatedCluster, make_cluster

ClusterFactory = Callable[..., SimulatedCluster]


@pytest.fixture(scope="module")
def simulated_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClusterFactory]:
    """Starts clusters: `simulated_cluster(nodes=3, replication_factor=2, namespace="Test", start=True, ...)`.

    Other options: cluster_name, storage and namespace_lines (text for the namespace section). Waits until the cluster
    is stable and its migrations are done. A module's clusters are stopped after its last test.
    """
    clusters: list[SimulatedCluster] = []

    def make(nodes: int = 3, start: bool = True, **options: Any) -> SimulatedCluster:
        folder: Path = tmp_path_factory.mktemp("cluster")
        cluster = make_cluster(folder, nodes, **options)
        clusters.append(cluster)
        if start:
            for node in cluster.nodes:
                node.start()
            cluster.wait_stable()
        return cluster

    yield make
    for cluster in clusters:
        cluster.stop()
