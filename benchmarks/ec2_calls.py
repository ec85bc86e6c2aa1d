"""Count the calls to EC2 that `setup` makes for 3, 20, 60 and 200 server nodes, and time the largest inventory.

    .venv/bin/python -m benchmarks.ec2_calls [--nodes 3 20 60 200] [--json FILE]

It runs the EC2 part of the real playbook (tag ec2_provision) against moto on a port of this machine and counts the
requests in its log: SIMULATED, so the times are not those of AWS. Each environment also has a client and a monitoring
host, and starts from nothing. The inventory's floor is ansible-inventory with a static file of the same hosts and
variables.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import pegasus_driver  # noqa: F401  puts the collection on the import path
from benchmarks.common import BenchmarkError, Figure, publish, report_errors
from tests.aws.checkout import Checkout
from tests.aws.ec2_server import Ec2Server, serving

NODES = (3, 20, 60, 200)
INVENTORY_RUNS = 3


@dataclass
class Result:
    """The requests by name, and the times in seconds."""

    nodes: int
    instances: int
    seconds: float
    calls: dict[str, int] = field(default_factory=dict)
    again: dict[str, int] = field(default_factory=dict)  # the calls of a second run, which changes nothing
    inventory_seconds: list[float] = field(default_factory=list)
    floor_seconds: list[float] = field(default_factory=list)
    inventory_calls: dict[str, int] | None = None

    @property
    def polls(self) -> int:
        """The calls of DescribeInstances: their number depends on how long a wait takes, not on the nodes."""
        return self.calls.get("ec2:DescribeInstances", 0)

    @property
    def fixed(self) -> int:
        """All calls except tagging and polling."""
        return sum(self.calls.values()) - self.polls - self.calls.get("ec2:CreateTags", 0)


def measure(nodes: int, folder: Path, inventory: bool) -> Result:
    """Create an environment in an empty EC2.

    :raises BenchmarkError: with Ansible's output
    """
    with serving() as server:
        checkout = Checkout(folder / str(nodes), server.url, pegasus_cluster_nodes=nodes)
        start = time.monotonic()
        _provision(checkout)
        result = Result(nodes, len(_instances(server)), time.monotonic() - start, _requests(server))
        _provision(checkout)
        result.again = _requests(server)
        if inventory:
            _measure_inventory(checkout, result)
            result.inventory_calls = {key: value // INVENTORY_RUNS for key, value in _requests(server).items()}
        return result


def _provision(checkout: Checkout) -> None:
    done = checkout.provision(timeout=600)
    if done.returncode:
        raise BenchmarkError(done.stdout + done.stderr)


def _requests(server: Ec2Server) -> dict[str, int]:
    """The requests since the last call, by name."""
    count = server.count()
    server.calls.clear()
    return dict(sorted(count.items()))


def _instances(server: Ec2Server) -> list[Any]:
    pages = server.client().get_paginator("describe_instances").paginate()
    return [instance for page in pages for reservation in page["Reservations"] for instance in reservation["Instances"]]


def _measure_inventory(checkout: Checkout, result: Result) -> None:
    """Time the inventory and its floor alternately."""
    static = checkout.path / "static.json"
    for _ in range(INVENTORY_RUNS):
        seconds, found = _read_inventory(checkout, checkout.path / "inventories" / "aws", result.instances)
        result.inventory_seconds.append(seconds)
        static.write_text(json.dumps({"all": {"hosts": found["_meta"]["hostvars"]}}))
        result.floor_seconds.append(_read_inventory(checkout, static, result.instances)[0])


def _read_inventory(checkout: Checkout, source: Path, expected: int) -> tuple[float, dict[str, Any]]:
    """The time of ansible-inventory in seconds, and its output."""
    program = Path(sys.executable).with_name("ansible-inventory")
    enabled = "aerospike_community.pegasus.ec2,ansible.builtin.yaml"
    start = time.monotonic()
    done = subprocess.run(
        [program, "-i", source, "--list"], cwd=checkout.path,
        env={**checkout.environ, "ANSIBLE_INVENTORY_ENABLED": enabled}, capture_output=True, text=True, check=True,
        timeout=300,
    )  # fmt: skip
    seconds = time.monotonic() - start
    found: dict[str, Any] = json.loads(done.stdout)
    if len(found["_meta"]["hostvars"]) != expected:
        raise BenchmarkError(
            f"{source} has {len(found['_meta']['hostvars'])} hosts, expected {expected}: {done.stderr}"
        )
    return seconds, found


def rows(results: Sequence[Result]) -> list[list[str]]:
    """The table of the counts, with a column for each size."""
    names = sorted({name for result in results for name in result.calls})
    return [
        ["call", *(f"{result.nodes} nodes" for result in results)],
        *([name, *(str(result.calls.get(name, 0)) for result in results)] for name in names),
        ["all but tagging and DescribeInstances", *(str(result.fixed) for result in results)],
        ["all", *(str(sum(result.calls.values())) for result in results)],
        ["all, second run", *(str(sum(result.again.values())) for result in results)],
        ["seconds of the first run", *(f"{result.seconds:.1f}" for result in results)],
    ]


def inventory_line(result: Result) -> str:
    """Return the times of the inventory and of its floor as text."""
    figure, floor = Figure(result.inventory_seconds), Figure(result.floor_seconds)
    calls = sum((result.inventory_calls or {}).values())
    return (
        f"inventory of {result.instances} hosts: {figure} s with {calls} call{'s' if calls != 1 else ''} to EC2; "
        f"a file of the same hosts: {floor} s; ratio {figure.over(floor):.2f}"
    )


def main(arguments: Sequence[str]) -> int:
    """Measure, print and write. Return an exit code: 1 if the number of calls grows with the nodes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nodes", type=int, nargs="+", default=list(NODES), help="numbers of server nodes")
    parser.add_argument("--json", type=Path, help="where to write the counts", metavar="FILE")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        largest = max(options.nodes)
        results = [measure(nodes, Path(folder), inventory=nodes == largest) for nodes in sorted(options.nodes)]
    publish(
        "EC2 calls made by setup (SIMULATED: moto stands in for EC2)",
        rows(results),
        options.json,
        {"benchmark": "ec2_calls", "simulated": True, "results": [asdict(item) for item in results]},
    )
    for result in results:
        if result.inventory_seconds:
            print(inventory_line(result))
    if len({result.fixed for result in results}) > 1:
        print("The number of calls grows with the nodes; expected it to grow only with the groups.", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(report_errors(main))
