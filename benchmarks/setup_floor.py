"""Time `pegasus-driver setup`, compared to the floor: one shell script per host over plain ssh, to the same end state.

    .venv/bin/python -m benchmarks.setup_floor [--nodes 3 8 24] [--repeat 3] [--json FILE]

Both sides begin with new, booted instances of the local cloud: the servers, a client and a monitor. The first part of
setup (tag ec2_provision) launches them before the measurement. So the measured setup finds all instances in EC2. It
includes the start of the driver and all its checks.

The floor (benchmarks/floor/*.sh) runs on all hosts in parallel, each script as root in one ssh connection. It installs
the same packages from the same addresses, extracts the files that Pegasus rendered in this run (so rendering costs the
floor nothing), builds Perseus, starts the same services and waits for the same state: each node in a stable cluster of
the requested size, rows with counts on the client, every target up, every dashboard present. It ends with the last
script.

Then the benchmark compares the end states: packages, units, and files with their modes, owners and contents. It fails
on a difference, because then the two sides did different work. The sides alternate in going first. Processor seconds
are those of the controlling programs and of the hosts, without the process of the local cloud.
Data is in memory, so that the benchmark runs on machines that can't attach disks.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import shlex
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.common import (
    ROOT,
    TIMEOUT,
    BenchmarkError,
    Cost,
    Environment,
    Figure,
    environment,
    publish,
    report_errors,
)
from benchmarks.end_states import archiving, compare, keyed, readdressed_tar, replacements, state
from pegasus_driver.environment import EnvironmentHost

NODES = (3, 8, 24)
GOAL = 1.5
SCRIPTS = Path(__file__).resolve().parent / "floor"
NAME = "PegasusSetupFloor"

# The files that Pegasus writes and the floor gets, as patterns for the host's shell.
RENDERED = {
    "server": [
        "/etc/aerospike/aerospike.conf",
        "/etc/systemd/system/aerospike.service.d",
        "/etc/sysctl.d/90-aerospike.conf",
        "/etc/tmpfiles.d/aerospike.conf",
        "/etc/aerospike-prometheus-exporter/ape.toml",
        "/etc/systemd/system/aerospike-prometheus-exporter.service.d",
    ],
    "client": [
        "/var/lib/perseus/*.yaml",
        "/etc/systemd/system/perseus*.service",
        "/etc/logrotate.d/perseus",
        "/etc/systemd/system/logrotate.timer.d",
        "/usr/lib/pegasus",
        "/opt/perseus/perseus.jar.json",
    ],
    "monitor": [
        "/etc/prometheus/prometheus.yml",
        "/etc/prometheus/rules",
        "/etc/prometheus/targets",
        "/etc/default/prometheus",
        "/etc/grafana/grafana.ini",
        "/etc/grafana/dashboards",
        "/etc/grafana/provisioning/*/pegasus.yaml",
    ],
}


@dataclass
class Result:
    """The costs of both sides at one size, and the seconds of the floor's slowest host of each kind."""

    nodes: int
    pegasus: list[Cost] = field(default_factory=list)
    floor: list[Cost] = field(default_factory=list)
    floor_by_kind: list[dict[str, float]] = field(default_factory=list)

    def figure(self, side: str, what: str) -> Figure:
        return Figure([getattr(cost, what) for cost in getattr(self, side)])

    def ratio(self, what: str = "seconds") -> float:
        return self.figure("pegasus", what).over(self.figure("floor", what))

    def as_dict(self) -> dict[str, Any]:
        return {
            "nodes": self.nodes,
            "ratio": self.ratio(),
            "processor_ratio": self.ratio("processor"),
            "pegasus": [asdict(cost) for cost in self.pegasus],
            "floor": [asdict(cost) for cost in self.floor],
            "floor_by_kind": self.floor_by_kind,
        }


@dataclass
class Reference:
    """The result of one setup: files by host, addresses of packages, and the end state."""

    hosts: dict[tuple[str, int], EnvironmentHost]
    archives: dict[tuple[str, int], bytes]
    packages: dict[str, str]
    state: dict[tuple[str, int], dict[str, str]]


# --- A measurement ----------------------------------------------------------------------------------------------------


def measure(nodes: int, repeat: int, report: Any = print) -> Result:
    """Measure both sides at one size, ``repeat`` times.

    :raises BenchmarkError: a side failed, or the end states differ
    """
    result = Result(nodes)
    settings = {
        "pegasus_cluster_nodes": nodes,
        "pegasus_client_nodes": 1,
        "pegasus_client_name": f"{NAME}Client",
        "pegasus_monitoring_name": f"{NAME}Monitor",
        "pegasus_data_storage": "memory",
    }
    reference: Reference | None = None
    with environment(f"{NAME}{nodes}", **settings) as env:
        for turn in range(repeat):
            for side in ("pegasus", "floor") if turn % 2 == 0 else ("floor", "pegasus"):
                env.destroy()
                env.launch()
                if side == "pegasus":
                    with env.measured() as cost:
                        env.driver("setup", "--no-open")
                    reference = reference or reference_of(env)
                    result.pegasus.append(cost)
                else:
                    assert reference is not None  # Pegasus goes first in the first turn
                    commands, files = prepare_floor(env, reference)
                    with env.measured() as cost:
                        by_kind = run_floor(commands, files)
                    compare(reference.state, env)
                    result.floor.append(cost)
                    result.floor_by_kind.append(by_kind)
                report(
                    f"{nodes} nodes, turn {turn + 1} of {repeat}: {side} {cost.seconds:.1f} s "
                    f"({cost.controller:.0f} + {cost.hosts:.0f} processor seconds)",
                    flush=True,
                )
    return result


def reference_of(env: Environment) -> Reference:
    """Read the result of a setup from its hosts."""
    hosts = keyed(env.hosts())
    files = env.on_all(lambda host: archiving(RENDERED[host.kind]))
    archives = {key: files[host.name] for key, host in hosts.items()}
    return Reference(hosts, archives, package_addresses(), state(env))


def prepare_floor(
    env: Environment, reference: Reference
) -> tuple[dict[tuple[str, int], list[str]], dict[tuple[str, int], bytes]]:
    """Return the floor's command and the rendered files for each host."""
    hosts = keyed(env.hosts())
    replaced = replacements(reference.hosts, hosts)
    commands = {
        key: [*env.ssh(host), "sudo bash -c " + shlex.quote(script(env, reference, host.kind))]
        for key, host in hosts.items()
    }
    return commands, {key: readdressed_tar(reference.archives[key], replaced) for key in hosts}


def run_floor(
    commands: Mapping[tuple[str, int], Sequence[str]], files: Mapping[tuple[str, int], bytes]
) -> dict[str, float]:
    """Run the floor's scripts on all hosts in parallel. Return the seconds until the last host of each kind is done."""
    with contextlib.ExitStack() as stack:
        streams = {key: stack.enter_context(tempfile.TemporaryFile()) for key in commands}
        for key, stream in streams.items():
            stream.write(files[key])
            stream.seek(0)
        began = time.monotonic()
        running = {
            key: subprocess.Popen(
                command, stdin=streams[key], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
            )
            for key, command in commands.items()
        }
        try:
            return wait_for(running, began)
        finally:
            for process in running.values():
                process.kill()
                process.wait()


def wait_for(running: Mapping[tuple[str, int], subprocess.Popen[str]], began: float) -> dict[str, float]:
    """Wait for all scripts and return their seconds by kind.

    :raises BenchmarkError: a script failed or timed out; the text has its error output
    """
    seconds: dict[str, float] = {}
    waiting = dict(running)
    while waiting:
        for key, process in list(waiting.items()):
            if process.poll() is None:
                continue
            del waiting[key]
            seconds[key[0]] = time.monotonic() - began
            if process.returncode:
                assert process.stderr is not None
                error = process.stderr.read().strip()[-2000:]
                raise BenchmarkError(f"the floor's script on {' '.join(map(str, key))} failed with exit code "
                                     f"{process.returncode}: {error}")  # fmt: skip
        if time.monotonic() - began > TIMEOUT:
            raise BenchmarkError(f"the floor isn't done after {TIMEOUT} s on {', '.join(map(str, waiting))}")
        time.sleep(0.02)
    return seconds


def script(env: Environment, reference: Reference, kind: str) -> str:
    """Return the script of a kind, preceded by its variables."""
    values, hosts = env.values, env.hosts()
    stamp = stamp_of(reference)
    mirror, plugin = values["pegasus_artifact_source"], next(iter(values["grafana_prometheus_plugins"].items()))
    servers = [host for host in hosts if host.kind == "server"]
    variables = {
        "servers": " ".join(host.address for host in servers),
        "size": len(servers),
        "namespace": values["pegasus_namespace"],
        # The node exporter of each host, and the exporter of each server and client.
        "targets": 2 * len(hosts) - 1,
        "server_archive": reference.packages[f"aerospike-server-{values['aerospike_server_edition']}"],
        "exporter_package": reference.packages["aerospike-prometheus-exporter"],
        "grafana_package": reference.packages["grafana"],
        "stack_archive": f"{mirror}/github.com/aerospike/aerospike-monitoring/archive/refs/tags/"
        f"{values['grafana_prometheus_stack_version']}.tar.gz",
        "plugin_archive": f"{mirror}/grafana.com/api/plugins/{plugin[0]}/versions/{plugin[1]}/download",
        "dashboards": " ".join(f"pegasus-{name}" for name in values["grafana_prometheus_dashboards"]),
        "grafana_login": f"{values['grafana_prometheus_admin_user']}:{values['grafana_prometheus_admin_password']}",
        "repository": stamp["repository"],
        "commit": stamp["commit"],
        "build_command": stamp["command"],
        "artifact": values["perseus_client_artifact"],
        "ready_rows": values["perseus_client_ready_rows"],
    }
    lines = [f"{name}={shlex.quote(str(value))}" for name, value in variables.items()]
    return "\n".join([*lines, (SCRIPTS / "every.sh").read_text(), (SCRIPTS / f"{kind}.sh").read_text()])


# --- Facts of a setup -------------------------------------------------------------------------------------------------


def package_addresses() -> dict[str, str]:
    """Return the addresses of the newest setup's packages by name, from its events."""
    run = sorted((ROOT / ".pegasus" / "runs").glob("*-setup"))[-1]
    found = {}
    for path in (run / "artifacts" / "run" / "job_events").glob("*.json"):
        event = json.loads(path.read_text(encoding="utf-8"))
        result = (event.get("event_data") or {}).get("res") or {}
        if event.get("event") == "runner_on_ok" and result.get("url") and result.get("package"):
            found[str(result["package"])] = str(result["url"])
    return found


def stamp_of(reference: Reference) -> dict[str, str]:
    """Return the repository, commit and command that Pegasus built Perseus from."""
    with tarfile.open(fileobj=io.BytesIO(reference.archives["client", 1])) as archive:
        stream = archive.extractfile("opt/perseus/perseus.jar.json")
        assert stream is not None
        stamp: dict[str, str] = json.loads(stream.read())
    return stamp


# --- The command ------------------------------------------------------------------------------------------------------


def rows(results: Sequence[Result]) -> list[list[str]]:
    """Return the table."""
    head = ["server nodes", "floor (s)", "pegasus-driver setup (s)", "ratio", f"at most {GOAL}"]
    head += ["floor, processor (s)", "Pegasus, processor (s)", "ratio"]
    return [head] + [
        [str(result.nodes), str(result.figure("floor", "seconds")), str(result.figure("pegasus", "seconds")),
         f"{result.ratio():.2f}", "yes" if result.ratio() <= GOAL else "no", str(result.figure("floor", "processor")),
         str(result.figure("pegasus", "processor")), f"{result.ratio('processor'):.2f}"]
        for result in results
    ]  # fmt: skip


def main(arguments: Sequence[str]) -> int:
    """Measure each size, print the table and write the JSON after each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nodes", type=int, nargs="+", default=list(NODES), help="numbers of server nodes")
    parser.add_argument("--repeat", type=int, default=3, help="measurements of each side; the median counts")
    parser.add_argument("--json", type=Path, help="write the figures to this file", metavar="FILE")
    options = parser.parse_args(arguments)
    results: list[Result] = []
    for nodes in options.nodes:
        results.append(measure(nodes, options.repeat))
        publish(
            "setup against the floor, in the local cloud (SIMULATED products)",
            rows(results),
            options.json,
            {
                "benchmark": "setup_floor",
                "simulated": True,
                "goal": GOAL,
                "results": [result.as_dict() for result in results],
            },
        )
    return 0


if __name__ == "__main__":
    sys.exit(report_errors(main))
