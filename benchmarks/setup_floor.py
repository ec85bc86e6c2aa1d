"""Times `pegasus-driver setup` against the floor: the same end state by one shell script per host over plain ssh.

    .venv/bin/python -m benchmarks.setup_floor [--nodes 3 8 24] [--repeat 3] [--json FILE]

Both sides begin with new instances of the local cloud that have booted, one client and one monitoring host beside the
servers. They are launched by setup's own first part (tag ec2_provision), which isn't measured; so what Pegasus does in
EC2 is a look that finds everything there, and it is measured, as are the driver's start and all its checks.

The floor (benchmarks/floor/*.sh) runs on all hosts at once, each as root in one ssh connection. It installs the same
packages from the same addresses, puts in place the files that Pegasus rendered in this run (their rendering is free for
it), builds Perseus, starts the same services and waits for the same: the node in a stable cluster of the asked size,
rows with counts on the client, every target up, every dashboard there. It is over when the last script is.

Afterwards the end states are compared: packages, units, and files with their modes, owners and contents. A difference
is an error, because then the two didn't do the same work. The sides take turns in going first. Processor seconds are
those of the controlling programs and of the hosts; the local cloud's own process isn't among them.
Data is in memory, so that it runs where no disks can be attached.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import io
import json
import re
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
    PATIENCE,
    ROOT,
    BenchmarkError,
    Cost,
    Environment,
    Figure,
    environment,
    publish,
    report_errors,
)
from pegasus_driver.environment import EnvironmentHost

NODES = (3, 8, 24)
GOAL = 1.5
SCRIPTS = Path(__file__).resolve().parent / "floor"
NAME = "PegasusSetupFloor"

# What Pegasus writes and the floor is given, as the host's shell finds it.
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
# Beside those: what both sides make by themselves, or what packages bring. Links in /etc/systemd/system enable units.
COMPARED = [
    "/etc/aerospike",
    "/etc/aerospike-prometheus-exporter",
    "/etc/default",
    "/etc/grafana",
    "/etc/logrotate.d",
    "/etc/prometheus",
    "/etc/sysctl.d",
    "/etc/systemd/system",
    "/etc/tmpfiles.d",
    "/opt/perseus/perseus.jar",
    "/usr/lib/pegasus",
    "/var/lib/grafana/plugins",
    "/var/lib/perseus/*.yaml",
]
# Their contents say when they were made.
DATED = ("/etc/systemd/system/pegasus-expiry.", "/opt/perseus/perseus.jar")
STATE = r"""
dpkg-query -W -f 'package ${db:Status-Abbrev} ${Package} ${Version}\n'
systemctl list-units --all --no-legend --plain --type=service,timer 'aerospike*' 'prometheus*' 'perseus*' 'grafana*' \
    'logrotate.timer' | awk '{print "unit " $1 " " $3 "/" $4}'
"""


@dataclass
class Result:
    """What both sides took at one size; and seconds of the floor's slowest hosts by kind."""

    nodes: int
    pegasus: list[Cost] = field(default_factory=list)
    floor: list[Cost] = field(default_factory=list)
    floor_by_role: list[dict[str, float]] = field(default_factory=list)

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
            "floor_by_role": self.floor_by_role,
        }


@dataclass
class Reference:
    """What one setup of Pegasus left: files by host, addresses of packages, and the end state."""

    hosts: dict[tuple[str, int], EnvironmentHost]
    archives: dict[tuple[str, int], bytes]
    packages: dict[str, str]
    state: dict[tuple[str, int], dict[str, str]]


# --- One measurement --------------------------------------------------------------------------------------------------


def measure(nodes: int, repeat: int, say: Any = print) -> Result:
    """Both sides at one size, so many times. Raises BenchmarkError."""
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
                    reference = reference or look(env)
                    result.pegasus.append(cost)
                else:
                    assert reference is not None  # Pegasus goes first in the first turn
                    commands, files = prepare_floor(env, reference)
                    with env.measured() as cost:
                        by_role = run_floor(commands, files)
                    compare(reference, env)
                    result.floor.append(cost)
                    result.floor_by_role.append(by_role)
                say(
                    f"{nodes} nodes, turn {turn + 1} of {repeat}: {side} {cost.seconds:.1f} s "
                    f"({cost.controller:.0f} + {cost.hosts:.0f} processor seconds)",
                    flush=True,
                )
    return result


def look(env: Environment) -> Reference:
    """What Pegasus has just made."""
    hosts = keyed(env.hosts())
    files = env.on_all(lambda host: archiving(RENDERED[host.kind]))
    archives = {key: files[host.name] for key, host in hosts.items()}
    return Reference(hosts, archives, package_addresses(), state(env))


def prepare_floor(
    env: Environment, reference: Reference
) -> tuple[dict[tuple[str, int], list[str]], dict[tuple[str, int], bytes]]:
    """The floor's command and files for each host, as they were rendered beforehand."""
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
    """The floor's scripts on all hosts at once; seconds until the last host of each kind was done."""
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
            return ended(running, began)
        finally:
            for process in running.values():
                process.kill()
                process.wait()


def ended(running: Mapping[tuple[str, int], subprocess.Popen[str]], began: float) -> dict[str, float]:
    """Wait for all scripts; seconds by kind. Raises BenchmarkError with what the first failed one complained of."""
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
                said = process.stderr.read().strip()[-2000:]
                raise BenchmarkError(f"the floor's script on {' '.join(map(str, key))} ended with "
                                     f"{process.returncode}: {said}")  # fmt: skip
        if time.monotonic() - began > PATIENCE:
            raise BenchmarkError(f"the floor isn't through after {PATIENCE} s on {', '.join(map(str, waiting))}")
        time.sleep(0.02)
    return seconds


def script(env: Environment, reference: Reference, kind: str) -> str:
    """The script of a kind, with what is asked for as variables in front."""
    values, hosts = env.values, env.hosts()
    stamp = stamp_of(reference)
    mirror, plugin = values["pegasus_artifact_source"], next(iter(values["grafana_prometheus_plugins"].items()))
    servers = [host for host in hosts if host.kind == "server"]
    variables = {
        "servers": " ".join(host.address for host in servers),
        "size": len(servers),
        "namespace": values["pegasus_namespace"],
        # The machine of every host, each server's exporter, each client's.
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


# --- Files and end states --------------------------------------------------------------------------------------------


def keyed(hosts: Sequence[EnvironmentHost]) -> dict[tuple[str, int], EnvironmentHost]:
    """Hosts by kind and index, which are the same in each environment."""
    return {(host.kind, host.index): host for host in hosts}


def archiving(paths: Sequence[str]) -> str:
    """The command that writes those files that are there as a tar, with their owners and modes."""
    return f"cd / && tar -cf - $(ls -d {' '.join(paths)} 2>/dev/null)"


def replacements(
    old: Mapping[tuple[str, int], EnvironmentHost], new: Mapping[tuple[str, int], EnvironmentHost]
) -> dict[bytes, bytes]:
    """What stands for a host in files, in another environment of the same shape."""
    found = {old[key].address: new[key].address for key in old}
    found |= {old[key].instance_id: new[key].instance_id for key in old}
    return {one.encode(): other.encode() for one, other in found.items()}


def readdress(content: bytes, replaced: Mapping[bytes, bytes]) -> bytes:
    """Replace addresses and instances, each as a whole and all at the same time."""
    pattern = b"|".join(re.escape(one) for one in sorted(replaced, key=len, reverse=True))
    return re.sub(rb"(?<![\w.])(" + pattern + rb")(?![\w]|\.\d)", lambda found: replaced[found[1]], content)


def readdressed_tar(archive: bytes, replaced: Mapping[bytes, bytes]) -> bytes:
    """The same files for another environment."""
    target = io.BytesIO()
    with tarfile.open(fileobj=io.BytesIO(archive)) as source, tarfile.open(fileobj=target, mode="w") as made:
        for member in source:
            stream = source.extractfile(member) if member.isfile() else None
            content = readdress(stream.read(), replaced) if stream else b""
            member.size = len(content)
            made.addfile(member, io.BytesIO(content))
    return target.getvalue()


def state(env: Environment) -> dict[tuple[str, int], dict[str, str]]:
    """What is on each host: packages, units, files."""
    said = env.on_all(lambda host: STATE)
    files = env.on_all(lambda host: archiving(COMPARED))
    hosts = keyed(env.hosts())
    names = {host.address.encode(): f"<{kind} {index}>".encode() for (kind, index), host in hosts.items()}
    names |= {host.instance_id.encode(): f"<{kind} {index}>".encode() for (kind, index), host in hosts.items()}
    found = {}
    for key, host in hosts.items():
        lines = (line.rpartition(" ") for line in said[host.name].decode().splitlines())
        facts = {name: value for name, _, value in lines}
        with tarfile.open(fileobj=io.BytesIO(files[host.name])) as archive:
            for member in archive:
                facts[f"file /{member.name}"] = described(archive, member, names)
        found[key] = facts
    return found


def described(archive: tarfile.TarFile, member: tarfile.TarInfo, names: Mapping[bytes, bytes]) -> str:
    """Kind, mode, owner and content of a file."""
    kind = "folder" if member.isdir() else f"link to {member.linkname}" if member.issym() else "file"
    text = f"{kind} {member.mode:o} {member.uname}:{member.gname}"
    stream = archive.extractfile(member) if member.isfile() else None
    if stream is None or f"/{member.name}".startswith(DATED):
        return text
    return f"{text} {hashlib.sha256(readdress(stream.read(), names)).hexdigest()}"


def compare(reference: Reference, env: Environment) -> None:
    """Raises BenchmarkError when the floor has left something else than Pegasus."""
    differences = differing(reference.state, state(env))
    if differences:
        shown = "\n".join(f"  {line}" for line in differences[:30])
        raise BenchmarkError(f"{len(differences)} differences between the end states:\n{shown}")


def differing(
    pegasus: Mapping[tuple[str, int], Mapping[str, str]], floor: Mapping[tuple[str, int], Mapping[str, str]]
) -> list[str]:
    """What differs between two end states, a line each."""
    return [
        f"{kind} {index}: {name}: Pegasus {pegasus[kind, index].get(name, '-')}, floor {facts.get(name, '-')}"
        for (kind, index), facts in sorted(floor.items())
        for name in sorted({*pegasus[kind, index], *facts})
        if pegasus[kind, index].get(name) != facts.get(name)
    ]


def package_addresses() -> dict[str, str]:
    """Where the newest setup got its packages from, by their names, as its events say."""
    run = sorted((ROOT / ".pegasus" / "runs").glob("*-setup"))[-1]
    found = {}
    for path in (run / "artifacts" / "run" / "job_events").glob("*.json"):
        event = json.loads(path.read_text(encoding="utf-8"))
        result = (event.get("event_data") or {}).get("res") or {}
        if event.get("event") == "runner_on_ok" and result.get("url") and result.get("package"):
            found[str(result["package"])] = str(result["url"])
    return found


def stamp_of(reference: Reference) -> dict[str, str]:
    """What Pegasus built Perseus from."""
    with tarfile.open(fileobj=io.BytesIO(reference.archives["client", 1])) as archive:
        stream = archive.extractfile("opt/perseus/perseus.jar.json")
        assert stream is not None
        stamp: dict[str, str] = json.loads(stream.read())
    return stamp


# --- The command ------------------------------------------------------------------------------------------------------


def rows(results: Sequence[Result]) -> list[list[str]]:
    """The table."""
    head = ["server nodes", "floor (s)", "pegasus-driver setup (s)", "ratio", f"at most {GOAL}"]
    head += ["floor, processor (s)", "Pegasus, processor (s)", "ratio"]
    return [head] + [
        [str(one.nodes), str(one.figure("floor", "seconds")), str(one.figure("pegasus", "seconds")),
         f"{one.ratio():.2f}", "yes" if one.ratio() <= GOAL else "no", str(one.figure("floor", "processor")),
         str(one.figure("pegasus", "processor")), f"{one.ratio('processor'):.2f}"]
        for one in results
    ]  # fmt: skip


def main(arguments: Sequence[str]) -> int:
    """Measure, print, write. Each size is printed when it is there."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nodes", type=int, nargs="+", default=list(NODES), help="numbers of server nodes")
    parser.add_argument("--repeat", type=int, default=3, help="how often each side is measured; medians count")
    parser.add_argument("--json", type=Path, help="where to write the figures", metavar="FILE")
    asked = parser.parse_args(arguments)
    results: list[Result] = []
    for nodes in asked.nodes:
        results.append(measure(nodes, asked.repeat))
        publish(
            "setup against the floor, in the local cloud (SIMULATED products)",
            rows(results),
            asked.json,
            {
                "benchmark": "setup_floor",
                "simulated": True,
                "goal": GOAL,
                "results": [one.as_dict() for one in results],
            },
        )
    return 0


if __name__ == "__main__":
    sys.exit(report_errors(main))
