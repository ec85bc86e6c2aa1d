"""Time the driver while it streams the events of a setup of 100 hosts, in each output format.

    .venv/bin/python -m benchmarks.replay_events [--hosts 100] [--seconds 30] [--repeat 3] [--json FILE]

The events were recorded from a real setup in the local cloud (recorded_setup.ndjson: a server, the client, the monitor
and this machine) and are repeated for --hosts hosts. One host in ten is a client. A stand-in for ansible-playbook
(replayed_playbook.py) writes them in the format of ansible-runner's callback. The benchmark therefore measures the
complete driver: ansible-runner, the typed events, the run folder and the view.
Each format is replayed at full speed (events per second), and paced over --seconds (processor time of a run of that
length, including the redraws of the live view). Processor time and memory are measured for the driver's process only.

    .venv/bin/python -m benchmarks.replay_events --record .pegasus/runs/<time>-setup     record the sample again
"""

from __future__ import annotations

import argparse
import json
import os
import pty
import resource
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.common import ROOT, TIMEOUT, BenchmarkError, Figure, publish, report_errors

SAMPLE = Path(__file__).with_name("recorded_setup.ndjson")
PLAYBOOK = Path(__file__).with_name("replayed_playbook.py")
FORMS = ("live", "plain", "json")
# Longer strings are cut in the sample: otherwise Grafana's dashboards would make up most of it.
MAX_STRING = 400
SERVER, CLIENT, MONITOR = "Benchmark-1", "BenchmarkClient-1", "BenchmarkGrafana-1"
CONFIG = {"pegasus_backend": "aws", "pegasus_region": "us-east-1", "pegasus_cluster_name": "Replayed"}


@dataclass(frozen=True)
class Replay:
    """A replay: seconds, peak memory of the process in MiB, output in bytes."""

    events: int
    wall: float
    processor: float
    memory: float
    output: int


# --- Events -----------------------------------------------------------------------------------------------------------


def recorded() -> list[dict[str, Any]]:
    return [json.loads(line) for line in SAMPLE.read_text(encoding="utf-8").splitlines()]


def multiplied(sample: Sequence[Mapping[str, Any]], hosts: int) -> Iterator[dict[str, Any]]:
    """Yield the events of ``hosts`` hosts: each repeats, in parallel, the events of the recorded host of its kind."""
    clients = max(1, hosts // 10)
    servers = hosts - clients - 1
    others = {
        SERVER: [f"Benchmark-{number}" for number in range(1, servers + 1)],
        CLIENT: [f"BenchmarkClient-{number}" for number in range(1, clients + 1)],
    }
    for event in sample:
        host = event["event_data"].get("host", "")
        if event["event"] == "playbook_on_stats":
            yield with_stats(event, others)
        elif host in others:
            text = json.dumps(event)
            for name in others[host]:
                yield json.loads(text.replace(host, name))
        else:
            yield dict(event)


def with_stats(event: Mapping[str, Any], others: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    """Return the final statistics for all hosts."""
    data = dict(event["event_data"])
    for kind, counts in data.items():
        if isinstance(counts, dict):
            more = {name: counts[host] for host, names in others.items() if host in counts for name in names}
            data[kind] = counts | more
    return {**event, "event_data": data}


def record(run: Path) -> list[dict[str, Any]]:
    """Return the sample of a run's folder: a host of each kind, without paths of this machine."""
    paths = sorted((run / "artifacts/run/job_events").glob("*.json"), key=lambda path: int(path.name.split("-")[0]))
    kept = []
    for path in paths:
        event = json.loads(path.read_text(encoding="utf-8").replace(str(ROOT), "/pegasus"))
        if event["event_data"].get("host", "localhost") in ("localhost", SERVER, CLIENT, MONITOR):
            kept.append(shortened({key: event[key] for key in ("event", "created", "stdout", "event_data")}))
    return kept


def shortened(value: Any) -> Any:
    """Return a value with its long strings cut."""
    if isinstance(value, dict):
        return {key: shortened(item) for key, item in value.items()}
    if isinstance(value, list):
        return [shortened(item) for item in value]
    return value[:MAX_STRING] if isinstance(value, str) else value


# --- A replay in a separate process -----------------------------------------------------------------------------------


def replay(form: str, hosts: int, seconds: float) -> Replay:
    """Run the driver in a separate process, with a terminal for the live view.

    :raises BenchmarkError: the driver failed
    """
    with tempfile.TemporaryDirectory() as folder:
        root = project(Path(folder))
        events = root / ".pegasus" / "events.ndjson"
        events.parent.mkdir()
        count = 0
        with events.open("w", encoding="utf-8") as stream:
            for event in multiplied(recorded(), hosts):
                stream.write(json.dumps(event) + "\n")
                count += 1
        figures = Path(folder) / "figures.json"
        code = (
            "import sys; from pathlib import Path; from benchmarks.replay_events import drive; "
            f"drive({form!r}, Path({str(root)!r}), Path({str(figures)!r}))"
        )
        environ = {
            **os.environ, "TERM": "xterm-256color", "COLUMNS": "120", "LINES": "40", "LC_ALL": "C.UTF-8",
            "PYTHONPATH": f"{ROOT}", "PEGASUS_REPLAYED": str(events), "PEGASUS_REPLAYED_SECONDS": str(seconds),
        }  # fmt: skip
        environ.pop("PEGASUS_CONFIG", None)
        output, text = on_terminal([str(Path(folder) / "venv/bin/python"), "-c", code], environ, form == "live")
        if not figures.exists():
            raise BenchmarkError(f"the driver failed while replaying ({form}):\n{text[-3000:]}")
        found = json.loads(figures.read_text())
        if found["code"]:
            raise BenchmarkError(f"the driver exited with {found['code']} while replaying ({form}):\n{text[-3000:]}")
        return Replay(count, found["wall"], found["processor"], found["memory"], output)


def project(folder: Path) -> Path:
    """Create a project folder with links to this checkout, and a virtual environment with the stand-in beside it.

    The project is configured for AWS, which needs no local cloud.
    """
    root = folder / "project"
    root.mkdir()
    for path in ROOT.iterdir():
        if not path.name.startswith(".") and path.name != "group_vars":
            (root / path.name).symlink_to(path)
    shutil.copytree(ROOT / "group_vars", root / "group_vars")
    with (root / "group_vars/all/config.yml").open("a", encoding="utf-8") as stream:
        stream.write("\n")
    text = (root / "group_vars/all/config.yml").read_text(encoding="utf-8")
    for key, value in CONFIG.items():
        text = "\n".join(f"{key}: {value}" if line.startswith(f"{key}:") else line for line in text.splitlines())
    (root / "group_vars/all/config.yml").write_text(text + "\n", encoding="utf-8")
    binaries = folder / "venv/bin"
    binaries.mkdir(parents=True)
    ours = Path(sys.prefix)
    (binaries / "python").symlink_to(Path(sys.executable).resolve())
    (folder / "venv/lib").symlink_to(ours / "lib")
    shutil.copy2(ours / "pyvenv.cfg", folder / "venv/pyvenv.cfg")
    program = binaries / "ansible-playbook"
    program.write_text(f"#!{sys.executable}\n{PLAYBOOK.read_text(encoding='utf-8')}", encoding="utf-8")
    program.chmod(0o755)
    return root


def on_terminal(command: Sequence[str], environ: Mapping[str, str], terminal: bool) -> tuple[int, str]:
    """Run a command with its output to a terminal or a pipe. Return the size and the end of its output."""
    ours, theirs = pty.openpty() if terminal else os.pipe()
    process = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=theirs, stderr=subprocess.PIPE, env=dict(environ), cwd=ROOT
    )
    os.close(theirs)
    count, last = 0, b""

    def read() -> None:
        nonlocal count, last
        while True:
            try:
                chunk = os.read(ours, 65536)
            except OSError:  # reading from a closed terminal fails
                chunk = b""
            if not chunk:
                return
            count, last = count + len(chunk), (last + chunk)[-3000:]

    reader = threading.Thread(target=read)
    reader.start()
    try:
        _, error = process.communicate(timeout=TIMEOUT)
    finally:
        process.kill()
        reader.join(5)
        os.close(ours)
    return count, (last + error).decode(errors="replace")


def drive(form: str, root: Path, figures: Path) -> None:
    """Run `pegasus-driver setup` and write its figures. This runs in the measured process."""
    from pegasus_driver.cli import main
    from pegasus_driver.world import World

    began = time.monotonic()
    code = main(["setup", "--no-open", "--output", "json" if form == "json" else "auto"], World(root=root, folder=root))
    wall = time.monotonic() - began
    used = resource.getrusage(resource.RUSAGE_SELF)
    figures.write_text(
        json.dumps({"code": code, "wall": wall, "processor": used.ru_utime + used.ru_stime,
                    "memory": used.ru_maxrss / 1024})
    )  # fmt: skip


# --- The command ------------------------------------------------------------------------------------------------------


def rows(fast: Mapping[str, Sequence[Replay]], paced: Mapping[str, Sequence[Replay]], idle: Replay) -> list[list[str]]:
    """Return the table. A run with few events measures the driver's startup, which is part of all figures."""
    head = ["format", "events", "events/s", "processor (s)", "processor, paced (s)", "memory (MiB)", "output (KiB)"]
    lines = [head]
    for form in fast:
        first = fast[form][0]
        lines.append(
            [
                form,
                str(first.events),
                f"{Figure([run.events / run.wall for run in fast[form]]).median:.0f}",
                str(Figure([run.processor for run in fast[form]])),
                str(Figure([run.processor for run in paced[form]])),
                f"{max(run.memory for run in (*fast[form], *paced[form])):.0f}",
                f"{first.output / 1024:.0f}",
            ]
        )
    lines.append(["plain, 3 hosts", str(idle.events), "", f"{idle.processor:.2f}", "", f"{idle.memory:.0f}", ""])
    return lines


def main(arguments: Sequence[str]) -> int:
    """Measure the driver, print the table and write the JSON; or record a sample."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hosts", type=int, default=100, help="hosts of the replayed run")
    parser.add_argument("--seconds", type=float, default=30.0, help="duration of the paced replay")
    parser.add_argument("--repeat", type=int, default=3, help="measurements of each format; the median counts")
    parser.add_argument("--json", type=Path, help="write the figures to this file", metavar="FILE")
    parser.add_argument("--record", type=Path, help="record the sample from this run's folder", metavar="FOLDER")
    options = parser.parse_args(arguments)
    if options.record:
        lines = [json.dumps(event, separators=(",", ":")) for event in record(options.record)]
        SAMPLE.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
        return 0
    idle = replay("plain", 3, 0)
    fast = {form: [replay(form, options.hosts, 0) for _ in range(options.repeat)] for form in FORMS}
    paced = {form: [replay(form, options.hosts, options.seconds) for _ in range(options.repeat)] for form in FORMS}
    publish(
        f"the driver, streaming the events of {options.hosts} hosts; paced: over {options.seconds:g} s",
        rows(fast, paced, idle),
        options.json,
        {
            "benchmark": "replay_events", "hosts": options.hosts, "seconds": options.seconds,
            "three_hosts": asdict(idle),
            "fast": {form: [asdict(run) for run in fast[form]] for form in FORMS},
            "paced": {form: [asdict(run) for run in paced[form]] for form in FORMS},
        },
    )  # fmt: skip
    return 0


if __name__ == "__main__":
    sys.exit(report_errors(main))
