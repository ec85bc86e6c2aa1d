"""Counts the calls to EC2 that `setup` makes for 3, 20, 60 and 200 server nodes; times the inventory of the largest.

    .venv/bin/python -m benchmarks.ec2_calls [--nodes 3 20 60 200] [--json FILE]

The playbook is the real one, as far as EC2 is concerned (tag ec2_provision); EC2 is moto on a port of this machine,
whose request log is what is counted: SIMULATED, so the times are not those of AWS. Beside the servers there are one
client and one monitoring host. Each environment starts from nothing. The inventory's floor is ansible-inventory with a
file that names the same hosts with the same variables, in which nothing is asked.
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

import pegasus_driver  # noqa: F401  puts the collection into the path
from benchmarks.common import BenchmarkError, Figure, publish, report_errors
from tests.aws.checkout import Checkout
from tests.aws.ec2_server import Ec2Server, serving

NODES = (3, 20, 60, 200)
INVENTORY_RUNS = 3


@dataclass
class Result:
    """`calls` are requests by name; `seconds` is the playbook's time."""

    nodes: int
    instances: int
    seconds: float
    calls: dict[str, int] = field(default_factory=dict)
    again: dict[str, int] = field(default_factory=dict)  # of a second run, which finds everything
    inventory_seconds: list[float] = field(default_factory=list)
    floor_seconds: list[float] = field(default_factory=list)
    inventory_calls: dict[str, int] | None = None

    @property
    def polls(self) -> int:
        """Descriptions of instances: how many a wait takes depends on the clock, not on the nodes."""
        return self.calls.get("ec2:DescribeInstances", 0)

    @property
    def fixed(self) -> int:
        """All other calls but those that tag."""
        return sum(self.calls.values()) - self.polls - self.calls.get("ec2:CreateTags", 0)


def measure(nodes: int, folder: Path, inventory: bool) -> Result:
    """One environment from nothing, in an EC2 of its own. Raises BenchmarkError with Ansible's output if it fails."""
    with serving() as server:
        checkout = Checkout(folder / str(nodes), server.url, pegasus_cluster_nodes=nodes)
        began = time.monotonic()
        _provision(checkout)
        result = Result(nodes, len(_instances(server)), time.monotonic() - began, _taken(server))
        _provision(checkout)
        result.again = _taken(server)
        if inventory:
            _measure_inventory(checkout, result)
            result.inventory_calls = {key: value // INVENTORY_RUNS for key, value in _taken(server).items()}
        return result


def _provision(checkout: Checkout) -> None:
    done = checkout.provision(timeout=600)
    if done.returncode:
        raise BenchmarkError(done.stdout + done.stderr)


def _taken(server: Ec2Server) -> dict[str, int]:
    """The requests since the last time."""
    count = server.count()
    server.calls.clear()
    return dict(sorted(count.items()))


def _instances(server: Ec2Server) -> list[Any]:
    pages = server.client().get_paginator("describe_instances").paginate()
    return [one for page in pages for reservation in page["Reservations"] for one in reservation["Instances"]]


def _measure_inventory(checkout: Checkout, result: Result) -> None:
    """The inventory and its floor, by turns."""
    static = checkout.path / "static.json"
    for _ in range(INVENTORY_RUNS):
        seconds, found = _read_inventory(checkout, checkout.path / "inventories" / "aws", result.instances)
        result.inventory_seconds.append(seconds)
        static.write_text(json.dumps({"all": {"hosts": found["_meta"]["hostvars"]}}))
        result.floor_seconds.append(_read_inventory(checkout, static, result.instances)[0])


def _read_inventory(checkout: Checkout, source: Path, expected: int) -> tuple[float, dict[str, Any]]:
    """Seconds that ansible-inventory takes, and what it printed."""
    program = Path(sys.executable).with_name("ansible-inventory")
    enabled = "aerospike_community.pegasus.ec2,ansible.builtin.yaml"
    began = time.monotonic()
    done = subprocess.run(
        [program, "-i", source, "--list"], cwd=checkout.path,
        env={**checkout.environ, "ANSIBLE_INVENTORY_ENABLED": enabled}, capture_output=True, text=True, check=True,
        timeout=300,
    )  # fmt: skip
    seconds = time.monotonic() - began
    found: dict[str, Any] = json.loads(done.stdout)
    if len(found["_meta"]["hostvars"]) != expected:
        raise BenchmarkError(
            f"{source} has {len(found['_meta']['hostvars'])} hosts, expected {expected}: {done.stderr}"
        )
    return seconds, found


def rows(results: Sequence[Result]) -> list[list[str]]:
    """The counts, a column for each size."""
    names = sorted({name for result in results for name in result.calls})
    return [
        ["call", *(f"{result.nodes} nodes" for result in results)],
        *([name, *(str(result.calls.get(name, 0)) for result in results)] for name in names),
        ["all but tagging and DescribeInstances", *(str(result.fixed) for result in results)],
        ["all", *(str(sum(result.calls.values())) for result in results)],
        ["all, of a second run", *(str(sum(result.again.values())) for result in results)],
        ["seconds of the first run", *(f"{result.seconds:.1f}" for result in results)],
    ]


def inventory_line(result: Result) -> str:
    """What the inventory took, and its floor."""
    figure, floor = Figure(result.inventory_seconds), Figure(result.floor_seconds)
    calls = sum((result.inventory_calls or {}).values())
    return (
        f"inventory of {result.instances} hosts: {figure} s with {calls} call{'s' if calls != 1 else ''} to EC2; "
        f"a file of the same hosts: {floor} s; ratio {figure.over(floor):.2f}"
    )


def main(arguments: Sequence[str]) -> int:
    """Measure, print, write. Returns an exit code: 1 when the calls grow with the nodes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nodes", type=int, nargs="+", default=list(NODES), help="numbers of server nodes")
    parser.add_argument("--json", type=Path, help="where to write the counts", metavar="FILE")
    asked = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        largest = max(asked.nodes)
        results = [measure(nodes, Path(folder), inventory=nodes == largest) for nodes in sorted(asked.nodes)]
    publish(
        "calls to EC2 of setup (SIMULATED: moto stands for EC2)",
        rows(results),
        asked.json,
        {"benchmark": "ec2_calls", "simulated": True, "results": [asdict(one) for one in results]},
    )
    for result in results:
        if result.inventory_seconds:
            print(inventory_line(result))
    if len({result.fixed for result in results}) > 1:
        print("The calls grow with the nodes; expected them to grow with the groups only.", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(report_errors(main))
