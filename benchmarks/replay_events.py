"""Times the driver alone while it streams the events of a setup of 100 hosts, in each of its output forms.

    .venv/bin/python -m benchmarks.replay_events [--hosts 100] [--seconds 30] [--repeat 3] [--json FILE]

The events are those of a real setup in the local cloud (recorded_setup.ndjson: a server, the client, the monitor, this
machine), repeated for as many servers as it takes and one client in ten hosts. A stand-in for ansible-playbook
(replayed_playbook.py) writes them as Ansible's callback for ansible-runner does, so that what is measured is the whole
driver: ansible-runner's reading, the typed records, the record of the run in its folder, and the view.
Measured twice: as fast as they can be read (events a second), and spread over --seconds (processor time of a run of
that length, with the live view's redrawing). Processor time and memory are those of the driver's process alone.

    .venv/bin/python -m benchmarks.replay_events --record .pegasus/runs/<time>-setup     makes the recorded sample anew
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

from benchmarks.common import PATIENCE, ROOT, BenchmarkError, Figure, publish, report_errors

SAMPLE = Path(__file__).with_name("recorded_setup.ndjson")
PLAYBOOK = Path(__file__).with_name("replayed_playbook.py")
FORMS = ("live", "plain", "json")
# Characters of a string that the sample keeps: the contents of Grafana's dashboards would be most of it.
KEPT = 400
SERVER, CLIENT, MONITOR = "Benchmark-1", "BenchmarkClient-1", "BenchmarkGrafana-1"
CONFIG = {"pegasus_backend": "aws", "pegasus_region": "us-east-1", "pegasus_cluster_name": "Replayed"}


@dataclass(frozen=True)
class Replay:
    """One replay. Seconds; memory in MiB (of the process at its largest); output in bytes."""

    events: int
    wall: float
    processor: float
    memory: float
    output: int


# --- Events -----------------------------------------------------------------------------------------------------------


def recorded() -> list[dict[str, Any]]:
    return [json.loads(line) for line in SAMPLE.read_text(encoding="utf-8").splitlines()]


def multiplied(sample: Sequence[Mapping[str, Any]], hosts: int) -> Iterator[dict[str, Any]]:
    """The events of so many hosts: what one server or client did, all of them do, at the same time."""
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
    """The counts at the end, for all hosts."""
    data = dict(event["event_data"])
    for kind, counts in data.items():
        if isinstance(counts, dict):
            more = {name: counts[host] for host, names in others.items() if host in counts for name in names}
            data[kind] = counts | more
    return {**event, "event_data": data}


def record(run: Path) -> list[dict[str, Any]]:
    """What the sample keeps of a run's folder: one host of each kind, without names of this machine."""
    paths = sorted((run / "artifacts/run/job_events").glob("*.json"), key=lambda path: int(path.name.split("-")[0]))
    kept = []
    for path in paths:
        event = json.loads(path.read_text(encoding="utf-8").replace(str(ROOT), "/pegasus"))
        if event["event_data"].get("host", "localhost") in ("localhost", SERVER, CLIENT, MONITOR):
            kept.append(shortened({key: event[key] for key in ("event", "created", "stdout", "event_data")}))
    return kept


def shortened(value: Any) -> Any:
    """The same, with long strings cut."""
    if isinstance(value, dict):
        return {key: shortened(one) for key, one in value.items()}
    if isinstance(value, list):
        return [shortened(one) for one in value]
    return value[:KEPT] if isinstance(value, str) else value


# --- One replay, in a process of its own ------------------------------------------------------------------------------


def replay(form: str, hosts: int, seconds: float) -> Replay:
    """Run the driver in a process of its own, with a terminal for the live view. Raises BenchmarkError."""
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
        output, said = on_terminal([str(Path(folder) / "venv/bin/python"), "-c", code], environ, form == "live")
        if not figures.exists():
            raise BenchmarkError(f"the driver failed while replaying ({form}):\n{said[-3000:]}")
        found = json.loads(figures.read_text())
        if found["code"]:
            raise BenchmarkError(f"the driver ended with {found['code']} while replaying ({form}):\n{said[-3000:]}")
        return Replay(count, found["wall"], found["processor"], found["memory"], output)


def project(folder: Path) -> Path:
    """A project's folder of links to this one, with a configuration for AWS, which needs no local cloud; and beside it
    a virtual environment whose ansible-playbook is the stand-in."""
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
    """Run a command with a terminal or a pipe for its output; how many bytes it wrote, and the last of them."""
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
            except OSError:  # the end of a terminal
                chunk = b""
            if not chunk:
                return
            count, last = count + len(chunk), (last + chunk)[-3000:]

    reader = threading.Thread(target=read)
    reader.start()
    try:
        _, error = process.communicate(timeout=PATIENCE)
    finally:
        process.kill()
        reader.join(5)
        os.close(ours)
    return count, (last + error).decode(errors="replace")


def drive(form: str, root: Path, figures: Path) -> None:
    """In the process that is measured: `pegasus-driver setup`, and what it took."""
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
    """The table. What an empty run takes is the driver's start, and is part of all other figures."""
    head = ["form", "events", "events/s", "processor (s)", "processor, paced (s)", "memory (MiB)", "output (KiB)"]
    lines = [head]
    for form in fast:
        one = fast[form][0]
        lines.append(
            [
                form,
                str(one.events),
                f"{Figure([one.events / one.wall for one in fast[form]]).median:.0f}",
                str(Figure([one.processor for one in fast[form]])),
                str(Figure([one.processor for one in paced[form]])),
                f"{max(one.memory for one in (*fast[form], *paced[form])):.0f}",
                f"{one.output / 1024:.0f}",
            ]
        )
    lines.append(["plain, 3 hosts", str(idle.events), "", f"{idle.processor:.2f}", "", f"{idle.memory:.0f}", ""])
    return lines


def main(arguments: Sequence[str]) -> int:
    """Measure, print, write; or record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hosts", type=int, default=100, help="hosts of the replayed run")
    parser.add_argument("--seconds", type=float, default=30.0, help="how long the paced replay takes")
    parser.add_argument("--repeat", type=int, default=3, help="how often each is measured; medians count")
    parser.add_argument("--json", type=Path, help="where to write the figures", metavar="FILE")
    parser.add_argument("--record", type=Path, help="a run's folder to make the sample from", metavar="FOLDER")
    asked = parser.parse_args(arguments)
    if asked.record:
        lines = [json.dumps(event, separators=(",", ":")) for event in record(asked.record)]
        SAMPLE.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
        return 0
    idle = replay("plain", 3, 0)
    fast = {form: [replay(form, asked.hosts, 0) for _ in range(asked.repeat)] for form in FORMS}
    paced = {form: [replay(form, asked.hosts, asked.seconds) for _ in range(asked.repeat)] for form in FORMS}
    publish(
        f"the driver, streaming the events of {asked.hosts} hosts; paced: in {asked.seconds:g} s",
        rows(fast, paced, idle),
        asked.json,
        {
            "benchmark": "replay_events", "hosts": asked.hosts, "seconds": asked.seconds, "three_hosts": asdict(idle),
            "fast": {form: [asdict(one) for one in fast[form]] for form in FORMS},
            "paced": {form: [asdict(one) for one in paced[form]] for form in FORMS},
        },
    )  # fmt: skip
    return 0


if __name__ == "__main__":
    sys.exit(report_errors(main))
