"""Shared parts of the benchmarks: an environment in the local cloud, figures, tables, JSON."""

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
TIMEOUT = 1800  # seconds, for each command of a benchmark


class BenchmarkError(Exception):
    """A measured command failed, so there is no figure."""


# --- Figures ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Figure:
    """Repeated measurements of one quantity, in seconds unless stated otherwise."""

    values: Sequence[float]

    @property
    def median(self) -> float:
        return statistics.median(self.values)

    def __str__(self) -> str:
        """The median, with the range if there are several values."""
        if len(self.values) == 1:
            return f"{self.median:.2f}"
        return f"{self.median:.2f} ({min(self.values):.2f}-{max(self.values):.2f})"

    def over(self, floor: Figure) -> float:
        """Return the ratio of the medians."""
        return self.median / floor.median

    def as_dict(self) -> dict[str, Any]:
        return {"median": self.median, "values": list(self.values)}


def timed(function: Callable[[], Any]) -> float:
    """Return the seconds that a call takes."""
    began = time.monotonic()
    function()
    return time.monotonic() - began


def table(rows: Sequence[Sequence[str]]) -> str:
    """Return rows as an aligned table. The first row is the header; all columns but the first are right-aligned."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = [
        "  ".join(cell.ljust(width) if column == 0 else cell.rjust(width) for column, (cell, width) in enumerate(pairs))
        for pairs in (list(zip(row, widths, strict=True)) for row in rows)
    ]
    lines.insert(1, "  ".join("-" * width for width in widths))
    return "\n".join(line.rstrip() for line in lines)


def machine() -> dict[str, Any]:
    """Return where and when the benchmark ran. The one-minute load average shows whether the machine was idle."""
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
    """Print a table, and write its JSON to ``path`` if given."""
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
    """An environment of this checkout's local cloud. Use `environment` to create it."""

    name: str
    settings: dict[str, Any]
    last_output: str = field(default="", repr=False)

    @property
    def config(self) -> Path:
        """The file for --config, which overrides config.yml."""
        return ROOT / ".pegasus" / "benchmarks" / f"{self.name}.yml"

    def change(self, **settings: Any) -> None:
        """Change settings, and look up the hosts again."""
        self.settings |= settings
        self.config.parent.mkdir(parents=True, exist_ok=True)
        values = {"pegasus_backend": "local", "pegasus_region": "us-east-1", "pegasus_cluster_name": self.name}
        self.config.write_text(yaml.safe_dump(values | self.settings), encoding="utf-8")
        self.forget()

    def forget(self) -> None:
        """Clear the cached hosts."""
        for name in ("_access", "_hosts"):
            self.__dict__.pop(name, None)

    @property
    def environ(self) -> dict[str, str]:
        return {**os.environ, "PEGASUS_CONFIG": str(self.config)}

    def driver(self, *arguments: str, **options: Any) -> float:
        """Run the driver as a user does, and return the seconds from start to end.

        :raises BenchmarkError: it failed
        """
        return self.run([str(DRIVER), *arguments], **options)

    def run(self, command: Sequence[str], **options: Any) -> float:
        """Run a command in the project's folder, and return the seconds.

        :raises BenchmarkError: it failed; the message has the last lines of its output
        """
        began = time.monotonic()
        options = {"cwd": ROOT, "env": self.environ, "timeout": TIMEOUT, **options}
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
        """Launch the instances as setup does, and wait until they have booted. Install nothing on them.

        The measured run must not reuse ssh connections of this step.
        """
        program = Path(sys.executable).with_name("ansible-playbook")
        command = [str(program), "-i", "inventories/local", "playbooks/setup.yml", "--tags", "ec2_provision"]
        environ = {**self.environ, "ANSIBLE_SSH_ARGS": "-o ControlMaster=no -o PreferredAuthentications=publickey"}
        self.run([*command, "-e", f"@{self.config}"], env=environ)
        self.on_all(lambda host: "systemctl is-system-running --wait || systemctl --failed", strict=False)

    def on_all(self, command: Callable[[hosts_of.EnvironmentHost], str], strict: bool = True) -> dict[str, bytes]:
        """Run a shell command on all hosts in parallel, as root, and return their output by name."""

        def run(host: hosts_of.EnvironmentHost) -> bytes:
            done = subprocess.run(
                [*self.ssh(host), "sudo bash -c " + shlex.quote(command(host))],
                stdin=subprocess.DEVNULL, capture_output=True, timeout=TIMEOUT, check=False,
            )  # fmt: skip
            if done.returncode and strict:
                output = (done.stderr or done.stdout).decode(errors="replace").strip()[-2000:]
                raise BenchmarkError(f"{host.name}: exit code {done.returncode}: {output}")
            return done.stdout

        hosts = self.hosts()
        with ThreadPoolExecutor(max_workers=len(hosts)) as pool:
            return dict(zip((host.name for host in hosts), pool.map(run, hosts), strict=True))

    @property
    def values(self) -> Mapping[str, Any]:
        """The effective configuration, including the values of the local cloud."""
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
        """Return the hosts of a kind, or all. They are cached until settings change or `forget` is called."""
        return [host for host in self._hosts if kind in ("", host.kind)]

    def ssh(self, host: hosts_of.EnvironmentHost) -> list[str]:
        """Return the command for ssh to a host over a new connection, without the user's settings."""
        return hosts_of.ssh_command(self._access, host, ["BatchMode=yes", "LogLevel=ERROR"])

    def host_seconds(self) -> float:
        """Return the processor seconds of all hosts since their launch."""
        outputs = self.on_all(lambda host: "cat /proc/[0-9]*/stat 2>/dev/null; true")
        return sum(processor_seconds(text.decode(errors="replace")) for text in outputs.values())

    @contextlib.contextmanager
    def measured(self) -> Iterator[Cost]:
        """Measure the duration and the processor time of the block."""
        hosts, controller, began = self.host_seconds(), _children_seconds(), time.monotonic()
        cost = Cost(0.0, 0.0, 0.0)
        yield cost
        cost.seconds = time.monotonic() - began
        cost.controller = _children_seconds() - controller
        cost.hosts = self.host_seconds() - hosts

    def destroy(self) -> None:
        """Destroy the environment. Ctrl-C doesn't reach the command, so an interrupt leaves nothing behind."""
        self.forget()
        self.driver("destroy", start_new_session=True)


@dataclass
class Cost:
    """Seconds on the clock, and processor seconds of the controller and of the hosts.

    On a busy machine, processor seconds vary less.
    """

    seconds: float
    controller: float
    hosts: float

    @property
    def processor(self) -> float:
        return self.controller + self.hosts


def processor_seconds(stat: str) -> float:
    """Return the processor seconds of all processes of a host. Exited processes count in the parent that reaped them.

    :param stat: the files /proc/<pid>/stat of the running processes, one per line
    """
    after_name = (line.rpartition(")")[2].split() for line in stat.splitlines())
    return sum(sum(map(int, fields[11:15])) for fields in after_name if len(fields) > 14) / os.sysconf("SC_CLK_TCK")


def _children_seconds() -> float:
    """Return the processor seconds of all child processes that exited."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def settle(idle: float = 0.6, timeout: float = 120) -> None:
    """Wait until this machine is idle: a setup leaves work behind, such as first scrapes and migrations.

    :param idle: required idle share of two seconds, 0 to 1
    :raises BenchmarkError: the machine is still busy after ``timeout`` seconds
    """
    end = time.monotonic() + timeout
    while True:
        before = _processor_ticks()
        time.sleep(2)
        spent = [now - then for now, then in zip(_processor_ticks(), before, strict=True)]
        share = (spent[3] + spent[4]) / max(1, sum(spent))
        if share >= idle:
            return
        if time.monotonic() > end:
            raise BenchmarkError(
                f"expected this machine to be idle for {idle:.0%} of the time, found {share:.0%}: stop other programs, "
                "then measure again"
            )


def _processor_ticks() -> list[int]:
    """Return the ticks of all processors since boot: user, nice, system, idle, iowait, ... (proc(5), /proc/stat)."""
    with Path("/proc/stat").open(encoding="ascii") as stream:
        return [int(field) for field in stream.readline().split()[1:9]]


@contextlib.contextmanager
def environment(name: str, **settings: Any) -> Iterator[Environment]:
    """An environment with this name. It is destroyed before and after the block, even if the block fails."""
    found = Environment(name, settings)
    found.change()
    found.destroy()
    try:
        yield found
    finally:
        handlers = {number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            found.destroy()
            found.config.unlink(missing_ok=True)
        finally:
            for number, handler in handlers.items():
                signal.signal(number, handler)


def report_errors(main: Callable[[Sequence[str]], int]) -> int:
    """Run a benchmark's main. Return exit code 1 with a message if a measurement failed, 130 after Ctrl-C.

    `kill` works like Ctrl-C: the environment is destroyed first.
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
