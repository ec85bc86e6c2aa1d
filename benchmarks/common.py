"""What the benchmarks share: an environment in the local cloud that doesn't outlive them, figures, tables, JSON."""

from __future__ import annotations

import contextlib
import json
import os
import platform
import resource
import shlex
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

from pegasus_driver import config as configuration
from pegasus_driver import environment as hosts_of

ROOT = Path(__file__).resolve().parents[1]
DRIVER = ROOT / "pegasus-driver"
# Seconds: no single command of a benchmark takes longer.
PATIENCE = 1800


class BenchmarkError(Exception):
    """Something that was to be measured failed, so there is no figure."""


# --- Figures ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Figure:
    """What was measured, each time; in seconds where nothing else is said."""

    values: Sequence[float]

    @property
    def median(self) -> float:
        return statistics.median(self.values)

    def __str__(self) -> str:
        """The median, with the range where there is one."""
        if len(self.values) == 1:
            return f"{self.median:.2f}"
        return f"{self.median:.2f} ({min(self.values):.2f}-{max(self.values):.2f})"

    def over(self, floor: Figure) -> float:
        """How many times the floor it takes, by the medians."""
        return self.median / floor.median

    def as_dict(self) -> dict[str, Any]:
        return {"median": self.median, "values": list(self.values)}


def timed(function: Callable[[], Any]) -> float:
    """Seconds that a call takes."""
    began = time.monotonic()
    function()
    return time.monotonic() - began


def table(rows: Sequence[Sequence[str]]) -> str:
    """Rows as text: the first is the head, the first column stands on the left, the others on the right."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = [
        "  ".join(cell.ljust(width) if column == 0 else cell.rjust(width) for column, (cell, width) in enumerate(pairs))
        for pairs in (list(zip(row, widths, strict=True)) for row in rows)
    ]
    lines.insert(1, "  ".join("-" * width for width in widths))
    return "\n".join(line.rstrip() for line in lines)


def machine() -> dict[str, Any]:
    """Where and when it was measured. The load (of one minute) tells whether the machine was quiet."""
    commit = subprocess.run(
        ["git", "-C", str(ROOT), "describe", "--always", "--dirty"], capture_output=True, text=True, check=False
    ).stdout.strip()
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1024**3
    return {
        "date": f"{datetime.now(UTC):%Y-%m-%d %H:%M}Z",
        "commit": commit,
        "architecture": platform.machine(),
        "cores": os.cpu_count(),
        "memory_gib": round(memory, 1),
        "python": platform.python_version(),
        "load": round(os.getloadavg()[0], 2),
    }


def publish(title: str, rows: Sequence[Sequence[str]], path: Path | None, document: Mapping[str, Any]) -> None:
    """Print a table and write its JSON, where a file is asked for."""
    found = machine()
    print(
        f"{title}\n{found['cores']} cores, load {found['load']} at the end, {found['date']}, commit {found['commit']}"
    )
    print(table(rows), flush=True)
    if path:
        path.write_text(json.dumps({"machine": found, **document}, indent=1) + "\n", encoding="utf-8")


# --- An environment in the local cloud ----------------------------------------------------------------------------


@dataclass
class Environment:
    """One environment of this checkout's local cloud, under a name of its own. Made by `environment`."""

    name: str
    settings: dict[str, Any]
    last_output: str = field(default="", repr=False)

    @property
    def config(self) -> Path:
        """The file for --config, over config.yml."""
        return ROOT / ".pegasus" / "benchmarks" / f"{self.name}.yml"

    def change(self, **settings: Any) -> None:
        """Other settings from now on; the hosts are looked up anew."""
        self.settings |= settings
        self.config.parent.mkdir(parents=True, exist_ok=True)
        values = {"pegasus_backend": "local", "pegasus_region": "us-east-1", "pegasus_cluster_name": self.name}
        self.config.write_text(yaml.safe_dump(values | self.settings), encoding="utf-8")
        self.forget()

    def forget(self) -> None:
        """What was looked up is asked for anew."""
        for found in ("_access", "_hosts"):
            self.__dict__.pop(found, None)

    @property
    def environ(self) -> dict[str, str]:
        return {**os.environ, "PEGASUS_CONFIG": str(self.config)}

    def driver(self, *arguments: str, **options: Any) -> float:
        """Run the driver as a user does; seconds from start to end. Raises BenchmarkError."""
        return self.run([str(DRIVER), *arguments], **options)

    def run(self, command: Sequence[str], **options: Any) -> float:
        """Run a command in the project's folder; seconds. Raises BenchmarkError with its last lines."""
        began = time.monotonic()
        options = {"cwd": ROOT, "env": self.environ, "timeout": PATIENCE, **options}
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            check=False, **options,
        )  # fmt: skip
        seconds = time.monotonic() - began
        self.last_output = done.stdout
        if done.returncode:
            end = "\n".join(done.stdout.splitlines()[-40:])
            raise BenchmarkError(f"{' '.join(command)}: exit code {done.returncode}\n{end}")
        return seconds

    def launch(self) -> None:
        """The instances alone, as setup launches them, booted to the end. Nothing is installed on them.

        ssh's shared connections of this step are not those of the run that is measured.
        """
        program = Path(sys.executable).with_name("ansible-playbook")
        command = [str(program), "-i", "inventories/local", "playbooks/setup.yml", "--tags", "ec2_provision"]
        environ = {**self.environ, "ANSIBLE_SSH_ARGS": "-o ControlMaster=no -o PreferredAuthentications=publickey"}
        self.run([*command, "-e", f"@{self.config}"], env=environ)
        self.on_all(lambda host: "systemctl is-system-running --wait || systemctl --failed", strict=False)

    def on_all(self, command: Callable[[hosts_of.EnvironmentHost], str], strict: bool = True) -> dict[str, bytes]:
        """Run a shell command of each host there, as root, on all at once; what they printed, by name."""

        def run(host: hosts_of.EnvironmentHost) -> bytes:
            done = subprocess.run(
                [*self.ssh(host), "sudo bash -c " + shlex.quote(command(host))],
                stdin=subprocess.DEVNULL, capture_output=True, timeout=PATIENCE, check=False,
            )  # fmt: skip
            if done.returncode and strict:
                said = (done.stderr or done.stdout).decode(errors="replace").strip()[-2000:]
                raise BenchmarkError(f"{host.name}: exit code {done.returncode}: {said}")
            return done.stdout

        hosts = self.hosts()
        with ThreadPoolExecutor(max_workers=len(hosts)) as pool:
            return dict(zip((host.name for host in hosts), pool.map(run, hosts), strict=True))

    @property
    def values(self) -> Mapping[str, Any]:
        """The configuration that counts, with what the local cloud told of itself."""
        return self._loaded().values

    def _loaded(self) -> configuration.Config:
        return configuration.load(ROOT, self.environ, ROOT)

    @cached_property
    def _access(self) -> hosts_of.Access:
        return hosts_of.access(ROOT, self._loaded())

    @cached_property
    def _hosts(self) -> list[hosts_of.EnvironmentHost]:
        return hosts_of.find(self._access)

    def hosts(self, kind: str = "") -> list[hosts_of.EnvironmentHost]:
        """The hosts, of one kind or of all. They are looked up once, until something is launched or taken away."""
        return [host for host in self._hosts if kind in ("", host.kind)]

    def ssh(self, host: hosts_of.EnvironmentHost) -> list[str]:
        """Plain ssh to a host: a connection of its own, and nothing of the user's settings."""
        return hosts_of.ssh_command(self._access, host, ["BatchMode=yes", "LogLevel=ERROR"])

    def host_seconds(self) -> float:
        """Processor seconds that the hosts have used since they were launched, all together."""
        said = self.on_all(lambda host: "cat /proc/[0-9]*/stat 2>/dev/null; true")
        return sum(processor_seconds(text.decode(errors="replace")) for text in said.values())

    @contextlib.contextmanager
    def measured(self) -> Iterator[Cost]:
        """What happens in here is timed, on this machine's clock and in processor seconds."""
        hosts, controller, began = self.host_seconds(), _children_seconds(), time.monotonic()
        cost = Cost(0.0, 0.0, 0.0)
        yield cost
        cost.seconds = time.monotonic() - began
        cost.controller = _children_seconds() - controller
        cost.hosts = self.host_seconds() - hosts

    def destroy(self) -> None:
        """Take everything down. Ctrl-C doesn't reach it, so nothing is left of a benchmark that is ended."""
        self.forget()
        self.driver("destroy", start_new_session=True)


@dataclass
class Cost:
    """What something took: seconds on the clock, and processor seconds on the controlling side and on the hosts.

    On a machine that does other things at the same time, processor seconds are the steadier figure.
    """

    seconds: float
    controller: float
    hosts: float

    @property
    def processor(self) -> float:
        return self.controller + self.hosts


def processor_seconds(stat: str) -> float:
    """What all processes of a host have used, dead ones too: these are in the account of who has waited for them.

    :param stat: the files /proc/<pid>/stat of those that live, a line each
    """
    after_name = (line.rpartition(")")[2].split() for line in stat.splitlines())
    return sum(sum(map(int, fields[11:15])) for fields in after_name if len(fields) > 14) / os.sysconf("SC_CLK_TCK")


def _children_seconds() -> float:
    """Processor seconds of all programs that were run from here and have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def settle(idle: float = 0.6, patience: float = 120) -> None:
    """Wait until this machine is idle for that share of two seconds: a setup leaves work behind, such as first scrapes
    and migrations, which isn't the next action's. Raises BenchmarkError where the machine has other work.
    """
    end = time.monotonic() + patience
    while True:
        before = _processor_ticks()
        time.sleep(2)
        spent = [now - then for now, then in zip(_processor_ticks(), before, strict=True)]
        share = (spent[3] + spent[4]) / max(1, sum(spent))
        if share >= idle:
            return
        if time.monotonic() > end:
            raise BenchmarkError(
                f"this machine is idle for {share:.0%} of its time, expected {idle:.0%}: end what else it does, then "
                "measure again"
            )


def _processor_ticks() -> list[int]:
    """What all processors did since the boot, in ticks: user, nice, system, idle, iowait, ... (proc(5), /proc/stat)."""
    with Path("/proc/stat").open(encoding="ascii") as stream:
        return [int(field) for field in stream.readline().split()[1:9]]


@contextlib.contextmanager
def environment(name: str, **settings: Any) -> Iterator[Environment]:
    """An environment under this name, which is destroyed before and after, whatever happens in between."""
    found = Environment(name, settings)
    found.change()
    found.destroy()
    try:
        yield found
    finally:
        before = {one: signal.signal(one, signal.SIG_IGN) for one in (signal.SIGINT, signal.SIGTERM)}
        try:
            found.destroy()
            found.config.unlink(missing_ok=True)
        finally:
            for one, handler in before.items():
                signal.signal(one, handler)


def report_errors(main: Callable[[Sequence[str]], int]) -> int:
    """Run a benchmark's main: exit code 1 and one message for what couldn't be measured, 130 for Ctrl-C.

    `kill` ends a benchmark as Ctrl-C does: with all that it made removed.
    """
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        return main(sys.argv[1:])
    except BenchmarkError as error:
        print(f"not measured: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted; nothing is left behind", file=sys.stderr)
        return 130


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt
