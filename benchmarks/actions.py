"""Time the actions on an existing environment in the local cloud, compared to a floor where one exists.

    .venv/bin/python -m benchmarks.actions [--nodes 3] [--clients 1 4 8] [--repeat 5] [--only NAME ...] [--json FILE]

    help            pegasus-driver --help
    status          pegasus-driver status
    second-setup    setup again, which changes nothing
    stop-node       until the other nodes form a stable cluster; floor: systemctl stop over ssh, and the same wait
    restart-node    until all nodes form a stable cluster; floor: systemctl start over ssh, and the same wait
    add-nodes       one more node, including the launch of its instance
    copy-threads    for each number of --clients, until every Perseus applies the change; floor: scp to all in parallel

Unlike its floor, copy-threads verifies the effect: the row with the new threads, which Perseus prints each second. Each
figure is the median of --repeat (add-nodes runs at most twice). Floors alternate with their actions. The environment is
destroyed at the end.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import yaml

from benchmarks.common import (
    DRIVER,
    ROOT,
    TIMEOUT,
    BenchmarkError,
    Environment,
    Figure,
    environment,
    publish,
    report_errors,
    settle,
    timed,
)

NAME = "PegasusActions"
MEASURES = ("help", "status", "second-setup", "stop-node", "restart-node", "add-nodes", "copy-threads")
CLIENTS = (1, 4, 8)
PORT = 3000


class Measured:
    """The figures by action: those of the driver, and those of its floor if one exists."""

    def __init__(self, report: Callable[..., None] = print) -> None:
        self.driver: dict[str, list[float]] = {}
        self.floor: dict[str, list[float]] = {}
        self._report = report

    def add(self, name: str, seconds: float) -> None:
        self.driver.setdefault(name, []).append(seconds)
        self._report(f"{name}: {seconds:.2f} s", flush=True)

    def add_floor(self, name: str, seconds: float) -> None:
        self.floor.setdefault(name, []).append(seconds)
        self._report(f"{name}, floor: {seconds:.2f} s", flush=True)

    def rows(self) -> list[list[str]]:
        lines = [["action", "times", "seconds", "floor", "ratio"]]
        for name, values in self.driver.items():
            figure, floor = Figure(values), self.floor.get(name)
            against = [str(Figure(floor)), f"{figure.over(Figure(floor)):.2f}"] if floor else ["", ""]
            lines.append([name, str(len(values)), str(figure), *against])
        return lines

    def as_dict(self) -> dict[str, Any]:
        return {
            name: {"driver": Figure(values).as_dict(),
                   "floor": Figure(self.floor[name]).as_dict() if name in self.floor else None}
            for name, values in self.driver.items()
        }  # fmt: skip


# --- Measurements ----------------------------------------------------------------------------------------------------


def nodes_down_and_up(env: Environment, measured: Measured, repeat: int) -> None:
    """Measure stop-node and restart-node, alternating with plain ssh."""
    from ansible_collections.aerospike_community.pegasus.plugins.module_utils.aerospike.cluster import wait_until_stable

    servers = env.hosts("server")
    target, others = servers[-1], [host.address for host in servers[:-1]]
    everyone = [host.address for host in servers]

    def over_ssh(verb: str, expected: Sequence[str]) -> None:
        ssh(env, target, f"sudo systemctl {verb} aerospike")
        wait_until_stable(list(expected), PORT, 120)

    for _ in range(repeat):
        measured.add("stop-node", env.driver("stop-node", str(target.index)))
        measured.add("restart-node", env.driver("restart-node", str(target.index)))
        measured.add_floor("stop-node", timed(lambda: over_ssh("stop", others)))
        measured.add_floor("restart-node", timed(lambda: over_ssh("start", everyone)))


def copy_threads(env: Environment, measured: Measured, repeat: int) -> None:
    """Measure copy-threads, each time with a change, and scp of the same file to the same hosts."""
    clients = env.hosts("client")
    name = f"copy-threads, {len(clients)} client{'s' if len(clients) > 1 else ''}"
    load = yaml.safe_load((ROOT / "threads.yaml").read_text(encoding="utf-8"))
    file = env.config.with_name("threads.yaml")  # not the file of the user
    try:
        for turn in range(repeat):
            file.write_text(yaml.safe_dump({**load, "read": 2 + turn % 2}), encoding="utf-8")
            settle()  # the hosts are still closing the sessions of the run before
            measured.add(name, env.driver("copy-threads", "-e", f"perseus_client_threads_file={file}"))
            measured.add_floor(name, timed(lambda: scp(env, file)))
    finally:
        file.unlink(missing_ok=True)


def scp(env: Environment, file: Path) -> None:
    """Copy a file to all clients in parallel.

    :raises BenchmarkError: scp failed
    """
    commands = []
    for host in env.hosts("client"):
        *options, target = env.ssh(host)
        commands.append(["scp", "-q", *options[1:], str(file), f"{target}:/var/tmp/threads.yaml"])
    running = [subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE) for command in commands]
    for process in running:
        _, error = process.communicate(timeout=TIMEOUT)
        if process.returncode:
            raise BenchmarkError(f"scp failed with exit code {process.returncode}: {error.decode(errors='replace')}")


def ssh(env: Environment, host: Any, command: str) -> None:
    """Run a command on a host.

    :raises BenchmarkError: it failed
    """
    done = subprocess.run(
        [*env.ssh(host), command], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=TIMEOUT,
        check=False,
    )  # fmt: skip
    if done.returncode:
        raise BenchmarkError(f"{host.name}: '{command}' failed with exit code {done.returncode}: {done.stderr.strip()}")


def measure(nodes: int, clients: Sequence[int], repeat: int, only: Sequence[str]) -> Measured:
    """Measure the actions ``only`` in an environment that grows.

    :raises BenchmarkError: an action failed
    """
    measured = Measured()
    if "help" in only:
        for _ in range(repeat):
            measured.add("help", timed(lambda: subprocess.run([DRIVER, "--help"], check=True, capture_output=True)))
    if not set(only) - {"help"}:
        return measured
    with environment(
        NAME,
        pegasus_cluster_nodes=nodes,
        pegasus_client_nodes=min(clients),
        pegasus_client_name=f"{NAME}Client",
        pegasus_monitoring_name=f"{NAME}Monitor",
        pegasus_data_storage="memory",
    ) as env:
        env.driver("setup", "--no-open")
        settle()
        for _ in range(repeat if "status" in only else 0):
            measured.add("status", env.driver("status"))
        for _ in range(repeat if "second-setup" in only else 0):
            measured.add("second-setup", env.driver("setup", "--no-open"))
            if "changed=0" not in env.last_output:
                raise BenchmarkError(f"a second setup changed something:\n{env.last_output[-2000:]}")
        if {"stop-node", "restart-node"} & set(only):
            nodes_down_and_up(env, measured, repeat)
        if "copy-threads" in only:
            for number in sorted(clients):
                grow(env, number)
                copy_threads(env, measured, repeat)
        for _ in range(min(repeat, 2) if "add-nodes" in only else 0):
            measured.add("add-nodes", env.driver("add-nodes", "1"))
    return measured


def grow(env: Environment, clients: int) -> None:
    """Set up clients until ``clients`` of them exist."""
    if len(env.hosts("client")) < clients:
        began = time.monotonic()
        env.change(pegasus_client_nodes=clients)
        env.driver("setup-clients")
        settle()
        print(f"(setup-clients to {clients}: {time.monotonic() - began:.1f} s)", flush=True)


# --- The command ------------------------------------------------------------------------------------------------------


def main(arguments: Sequence[str]) -> int:
    """Measure the actions, print the table and write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nodes", type=int, default=3, help="server nodes, 3 or more")
    parser.add_argument("--clients", type=int, nargs="+", default=list(CLIENTS), help="numbers of clients")
    parser.add_argument("--repeat", type=int, default=5, help="measurements of each action; the median counts")
    parser.add_argument("--only", nargs="+", choices=MEASURES, default=list(MEASURES), help="what to measure")
    parser.add_argument("--json", type=Path, help="write the figures to this file", metavar="FILE")
    options = parser.parse_args(arguments)
    measured = measure(options.nodes, options.clients, options.repeat, options.only)
    publish(
        f"actions on {options.nodes} server nodes in the local cloud (SIMULATED products)",
        measured.rows(),
        options.json,
        {"benchmark": "actions", "simulated": True, "nodes": options.nodes, "results": measured.as_dict()},
    )
    return 0


if __name__ == "__main__":
    sys.exit(report_errors(main))
