"""The module perseus_ready and the servers' health, with the simulated Perseus and a simulated server that refuses."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.aerospike import health
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.aerospike.usage import usage
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.perseus import threads as threads_file
from ansible_collections.aerospike_community.pegasus.plugins.modules.perseus_ready import NotReadyError, Watch
from perseus_simulated import configuration

from tests.contract.simulated_servers import TIMEOUT, SimulatedNode, wait_for

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "local_cloud/simulators/perseus"
STORAGE = "storage-engine memory {\n data-size 256M\nstop-writes-used-pct 0\n}"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.version_info[:2] != (3, 11), reason="the wheel in the program is for Python 3.11"),
]


@pytest.fixture(scope="module")
def jar(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The program, built as on an instance, with the client inside."""
    from local_cloud.packages.perseus import client_wheel

    folder = tmp_path_factory.mktemp("perseus") / "source"
    shutil.copytree(SOURCE, folder)
    (folder / "lib").mkdir()
    shutil.copy(client_wheel(ROOT / ".cache", lambda _: None), folder / "lib")
    subprocess.run([sys.executable, "build"], cwd=folder, check=True, capture_output=True)
    return folder / "target/perseus-1.0-SNAPSHOT-jar-with-dependencies.jar"


@pytest.fixture
def node(simulated_cluster: Callable[..., Any]) -> SimulatedNode:
    """A server with little space, whose limit is off at first."""
    return simulated_cluster(1, replication_factor=1, storage=STORAGE).nodes[0]


@contextlib.contextmanager
def perseus(jar: Path, folder: Path, node: SimulatedNode, **threads: int) -> Iterator[Path]:
    """Run Perseus in a folder. The result is its log."""
    content = yaml.safe_load(configuration.DEFAULT)
    content["aerospikeConfiguration"].update(truncateSet=False, namespace="Test")
    content["aerospikeConfiguration"]["hosts"] = [{"ip": "127.0.0.1", "port": node.port}]
    content["testConfiguration"].update(perseusId=1, recordSize=100_000, writeBatchSize=10, readBatchSize=10)
    (folder / "configuration.yaml").write_text(yaml.safe_dump(content))
    (folder / "threads.yaml").write_text(threads_file.render(dict.fromkeys(threads_file.WORKLOADS, 0) | threads))
    (folder / "lib").mkdir()
    (folder / "lib/yaml").symlink_to(Path(yaml.__file__).parent)
    environ = {"PATH": os.environ["PATH"], "PYTHONPATH": f"{SOURCE}:{folder / 'lib'}"}
    log = folder / "perseus.log"
    with log.open("w") as rows, (folder / "errors.log").open("w") as errors:
        process = subprocess.Popen(
            [sys.executable, "-S", str(jar)], cwd=folder, env=environ, stdout=rows, stderr=errors
        )
        try:
            wait_for(lambda: "| 2 " in log.read_text(), "rows")
            yield log
        finally:
            process.kill()
            process.wait()


class Impatient(Watch):
    """Gives up after the first window in which operations failed."""

    def problems(self) -> list[health.Problem]:
        self.deadline = 0.0
        return super().problems()


def watch(log: Path, node: SimulatedNode) -> Watch:
    """The module's watch over this Perseus."""
    service = types.SimpleNamespace(loaded=True, active="active", restarts=0, describe=lambda: "active")
    systemd: Any = types.SimpleNamespace(state=lambda _: service, log_lines=lambda *_, **__: [])
    params = {
        "rows_file": str(log), "errors_file": str(log.with_name("errors.log")),
        "threads_file": str(log.with_name("threads.yaml")), "service": "perseus", "hosts": ["127.0.0.1"],
        "port": node.port, "namespace": "Test", "edition": "enterprise", "clients": 1, "rows": 3, "tolerance": 0.25,
        "timeout": TIMEOUT,
    }  # fmt: skip
    return Impatient(params, systemd)


def test_a_load_that_the_server_refuses_is_not_ready(jar: Path, tmp_path: Path, node: SimulatedNode) -> None:
    """Perseus ignores the errors of updates, so its rows stay healthy."""
    with perseus(jar, tmp_path, node, update=2, batchWrite=1, read=1) as log:
        wait_for(lambda: int(node.stats()["data_used_pct"]) >= 1, "1 % of the space to be used")
        verdict, _ = watch(log, node).run()
        assert verdict.problem == "" and verdict.failed == 0
        assert verdict.records > verdict.operations > 0, "a batch has ten records"
        assert health.problems(health.query(["127.0.0.1"], node.port)) == []

        assert node.info("set-config:context=namespace;id=Test;stop-writes-used-pct=1") == "ok"
        (problem,) = wait_for(lambda: health.problems(health.query(["127.0.0.1"], node.port)), "stopped writes")
        assert problem.check == "stop-writes" and "has reached stop-writes-used-pct 1" in problem.found
        wait_for(lambda: node.stats()["stop_writes"] == "true", "stop_writes")

        refused = watch(log, node)
        with pytest.raises(NotReadyError, match=r"expected .*update \(2 threads\) to succeed, found") as caught:
            refused.run()
        assert "stop-writes of node 127.0.0.1 (namespace Test: stop_writes because data_used_pct" in str(caught.value)
        servers: Any = refused.figures["servers"]
        assert servers["failed_records_per_second"] > 0
        assert servers["kinds"]["write"]["unanswered"] == 0, "what failed reached the server"
        assert servers["kinds"]["read"]["answered"] > 0, "reads still succeed"
        workloads: Any = refused.figures["workloads"]
        assert workloads["update"]["operations_per_second"] > 0, "Perseus prints the updates as done"
    found = usage(health.query_node("127.0.0.1", node.port))
    assert found["data_used_pct"] and found["objects"] and found["migrations"] == 0
