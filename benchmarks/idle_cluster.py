"""Measures what an idle cluster of simulated servers costs: processor time per node, in percent of one core.

    .venv/bin/python -m benchmarks.idle_cluster [--nodes 3] [--runs 5] [--seconds 10] [--json FILE]

The servers are processes of this machine, on the loopback, without hosts and without load: SIMULATED, so the figures
say what a local cloud costs while nobody uses it, and nothing about Aerospike. Expected: at most 1.5 % on a quiet
machine.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.common import BenchmarkError, Figure, processor_seconds, publish, report_errors
from tests.contract.simulated_servers import SimulatedCluster, make_cluster

NODES = 3
RUNS = 5
SECONDS = 10.0
EXPECTED_PERCENT = 1.5


def measure(nodes: int, runs: int, seconds: float, folder: Path) -> Figure:
    """Percent of one core that a node uses, one value per run.

    :raises BenchmarkError: the cluster doesn't form.
    """
    cluster = make_cluster(folder, nodes)
    try:
        for node in cluster.nodes:
            node.start()
        try:
            cluster.wait_stable()
        except AssertionError as error:
            raise BenchmarkError(str(error)) from error
        return Figure([_percent(cluster, seconds) for _ in range(runs)])
    finally:
        cluster.stop()


def _percent(cluster: SimulatedCluster, seconds: float) -> float:
    before, begin = _used(cluster), time.monotonic()
    time.sleep(seconds)
    return 100 * (_used(cluster) - before) / (time.monotonic() - begin) / len(cluster.nodes)


def _used(cluster: SimulatedCluster) -> float:
    """Processor seconds of all nodes."""
    processes = [node.process for node in cluster.nodes if node.process is not None]
    return processor_seconds("\n".join(Path(f"/proc/{process.pid}/stat").read_text() for process in processes))


def main(arguments: Sequence[str]) -> int:
    """Measure, print, write. Exit code 1 if an idle node costs more than expected."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nodes", type=int, default=NODES, help="number of servers")
    parser.add_argument("--runs", type=int, default=RUNS, help="number of measurements")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="length of one measurement")
    parser.add_argument("--json", type=Path, help="where to write the figures", metavar="FILE")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        figure = measure(options.nodes, options.runs, options.seconds, Path(folder))
    publish(
        "an idle cluster (SIMULATED servers)",
        [["nodes", "% of a core per node"], [str(options.nodes), str(figure)]],
        options.json,
        {"benchmark": "idle_cluster", "simulated": True, "nodes": options.nodes, "percent_per_node": figure.as_dict()},
    )
    if figure.median > EXPECTED_PERCENT:
        print(
            f"An idle node uses {figure.median:.2f} % of a core, expected at most {EXPECTED_PERCENT} %. "
            "Measure again on a quiet machine, then look for what wakes the servers up.",
            file=sys.stderr,
        )
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(report_errors(main))
