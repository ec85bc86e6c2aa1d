"""Counts the calls to EC2 that `setup` makes for 3, 20, 60 and 200 server nodes; times the inventory of the largest.

    .venv/bin/python -m benchmarks.ec2_calls [--nodes 3 20 60 200] [--json FILE]

The playbook is the real one, as far as EC2 is concerned (tag ec2_provision); EC2 is moto on a port of this machine,
whose request log is what is counted: SIMULATED, so the times are not those of AWS. Beside the servers there are one
client and one monitoring host. Each environment starts from nothing.
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
    inventory_seconds: float | None = None
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
    """One environment from nothing, in an EC2 of its own. Raises RuntimeError with Ansible's output if it fails."""
    with serving() as server:
        checkout = Checkout(folder / str(nodes), server.url, pegasus_cluster_nodes=nodes)
        began = time.monotonic()
        _provision(checkout)
        result = Result(nodes, len(_instances(server)), time.monotonic() - began, _taken(server))
        _provision(checkout)
        result.again = _taken(server)
        if inventory:
            result.inventory_seconds = min(_read_inventory(checkout, result.instances) for _ in range(INVENTORY_RUNS))
            result.inventory_calls = {key: value // INVENTORY_RUNS for key, value in _taken(server).items()}
        return result


def _provision(checkout: Checkout) -> None:
    done = checkout.provision(timeout=600)
    if done.returncode:
        raise RuntimeError(done.stdout + done.stderr)


def _taken(server: Ec2Server) -> dict[str, int]:
    """The requests since the last time."""
    count = server.count()
    server.calls.clear()
    return dict(sorted(count.items()))


def _instances(server: Ec2Server) -> list[Any]:
    pages = server.client().get_paginator("describe_instances").paginate()
    return [one for page in pages for reservation in page["Reservations"] for one in reservation["Instances"]]


def _read_inventory(checkout: Checkout, expected: int) -> float:
    """Seconds that ansible-inventory takes."""
    program = Path(sys.executable).with_name("ansible-inventory")
    began = time.monotonic()
    done = subprocess.run(
        [program, "-i", "inventories/aws", "--list"],
        cwd=checkout.path, env=checkout.environ, capture_output=True, text=True, check=True, timeout=300,
    )  # fmt: skip
    seconds = time.monotonic() - began
    found = len(json.loads(done.stdout)["_meta"]["hostvars"])
    if found != expected:
        raise RuntimeError(f"the inventory has {found} hosts, expected {expected}: {done.stderr}")
    return seconds


def table(results: Sequence[Result]) -> str:
    """The counts, a column for each size."""
    names = sorted({name for result in results for name in result.calls})
    rows = [["call", *(f"{result.nodes} nodes" for result in results)]]
    rows += [[name, *(str(result.calls.get(name, 0)) for result in results)] for name in names]
    rows += [
        ["all but tagging and DescribeInstances", *(str(result.fixed) for result in results)],
        ["all", *(str(sum(result.calls.values())) for result in results)],
        ["all, of a second run", *(str(sum(result.again.values())) for result in results)],
        ["seconds of the first run", *(f"{result.seconds:.1f}" for result in results)],
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = [
        "  ".join(cell.ljust(width) if column == 0 else cell.rjust(width) for column, (cell, width) in enumerate(pairs))
        for pairs in (list(zip(row, widths, strict=True)) for row in rows)
    ]
    lines.insert(1, "  ".join("-" * width for width in widths))
    lines += [
        f"inventory of {result.instances} hosts: {result.inventory_seconds:.2f} s, "
        f"{sum((result.inventory_calls or {}).values())} call"
        for result in results
        if result.inventory_seconds is not None
    ]
    return "\n".join(lines)


def main(arguments: Sequence[str]) -> int:
    """Measure, print, write. Returns an exit code: 1 when the calls grow with the nodes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nodes", type=int, nargs="+", default=list(NODES), help="numbers of server nodes")
    parser.add_argument("--json", type=Path, help="where to write the counts", metavar="FILE")
    asked = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        largest = max(asked.nodes)
        results = [measure(nodes, Path(folder), inventory=nodes == largest) for nodes in sorted(asked.nodes)]
    print("SIMULATED: moto stands for EC2.")
    print(table(results))
    if asked.json:
        asked.json.write_text(
            json.dumps({"simulated": True, "results": [asdict(one) for one in results]}, indent=1) + "\n"
        )
    if len({result.fixed for result in results}) > 1:
        print("The calls grow with the nodes; expected them to grow with the groups only.", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
