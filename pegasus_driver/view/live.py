"""Shows a run: a live view on a terminal, plain lines in a pipe, one JSON object per line for programs.

The three share an interface (Renderer), so the driver doesn't know which one it has.
"""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import io
import json
import os
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TextIO

from pegasus_driver.exit_codes import ExitCode
from pegasus_driver.run.events import (
    Event,
    HostResult,
    HostRetry,
    HostStarted,
    HostStats,
    NoHosts,
    Note,
    Output,
    PlayStarted,
    Problem,
    Question,
    Report,
    Stats,
    TaskStarted,
    Warning,
)
from pegasus_driver.run.outcome import Change, Failure
from pegasus_driver.run.progress import Progress, RoleProgress, Stage

from .report import duration, failure_lines, how_to, plan_lines, report_lines

if TYPE_CHECKING:
    from rich.text import Text

# The event stream in a run's folder.
EVENTS = "events.ndjson"
# Plain output says that it is alive after so many silent seconds.
HEARTBEAT = 30.0
# A task is called slow in the live view after so many seconds.
SLOW = 3.0


@dataclass(frozen=True)
class Beginning:
    """What is about to be done."""

    action: str
    environment: str
    backend: str
    dry_run: bool = False

    @property
    def title(self) -> str:
        dry = " (dry run: changes nothing)" if self.dry_run else ""
        return f"Pegasus {self.action}: {self.environment} on {self.backend}{dry}"


@dataclass(frozen=True)
class Ending:
    """All that is said at the end of an action."""

    code: ExitCode
    action: str
    environment: str
    elapsed: float  # seconds
    changed: int = 0
    failures: Sequence[Failure] = ()
    problems: Sequence[str] = ()
    report: Mapping[str, Any] | None = None
    not_ready: Sequence[str] = ()  # what the report complains of, where that isn't a failure
    message: str = ""  # instead of "done", when there was nothing to do
    existing: Sequence[str] = ()  # what exists, after an interruption
    next_steps: Sequence[str] = field(default_factory=tuple)
    plan: Sequence[Change] | None = None  # what a dry run found
    stages: Sequence[Stage] = ()
    run_folder: str = ""  # where log, event stream and summary are
    options: str = ""  # what further commands need to be about the same environment: " --config FILE"

    @property
    def headline(self) -> str:
        what = f"{self.action} of {self.environment}"
        if self.message:
            return f"{what}: {self.message}"
        if self.code is ExitCode.OK and self.plan is not None:
            found = f"{len(self.plan)} change{'s' if len(self.plan) != 1 else ''}" if self.plan else "no change"
            return f"{what}: dry run, {found} found in {duration(self.elapsed)}; nothing was changed"
        if self.code is ExitCode.OK:
            return f"{what}: done in {duration(self.elapsed)}, changed={self.changed}"
        if self.code is ExitCode.INTERRUPTED:
            return f"{what}: interrupted after {duration(self.elapsed)}"
        return f"{what}: failed after {duration(self.elapsed)} (exit code {self.code.value})"


class Renderer(Protocol):
    """now is in seconds of one clock, the same for all calls."""

    def start(self, beginning: Beginning, now: float) -> None: ...
    def say(self, text: str, now: float) -> None: ...
    def handle(self, event: Event, now: float) -> None: ...
    def ask(self, question: Question, now: float) -> None:
        """Show what a question is about, and leave the terminal to whoever asks it, until the next call."""

    def tick(self, now: float) -> None: ...
    def finish(self, ending: Ending, now: float) -> None: ...


def ending_blocks(ending: Ending) -> tuple[list[str], list[str]]:
    """(for stdout, for stderr): the environment and how to use it; failures and how to go on."""
    out: list[str] = []
    if ending.plan:
        out += ["", *plan_lines(ending.plan)]
    if ending.report is not None:
        out += ["", *report_lines(ending.report)]
        if ending.not_ready and not ending.failures:
            out += ["", "NOT READY", *(f"  {problem}" for problem in ending.not_ready)]
        if ending.code is ExitCode.OK and ending.plan is None:
            out += ["", *(f"  {line}" for line in how_to(ending.report, ending.options))]
    error: list[str] = []
    if ending.failures:
        error += ["", *failure_lines(ending.failures)]
    if ending.problems and not ending.failures:
        error += ["", *(f"ERROR  {problem}" for problem in ending.problems)]
    if ending.existing:
        error += ["", *ending.existing]
    if ending.next_steps:
        error += ["", *ending.next_steps]
    if ending.code is ExitCode.OK:
        out += ["", ending.headline]
    else:
        error += ["", ending.headline]
    return out, error


class PlainRenderer:
    """Lines for a pipe or a log: what begins, what ends, what changes, what fails; never rewritten."""

    def __init__(self, stdout: TextIO, stderr: TextIO, verbose: bool = False) -> None:
        self._out = _Stream(stdout)
        self._err = _Stream(stderr)
        self._verbose = verbose
        self._progress = Progress()
        self._started = 0.0
        self._last = 0.0
        self._lines_of_report: tuple[str, ...] = ()
        self._seen_warnings: set[str] = set()
        self._told_roles: set[tuple[int, str]] = set()

    def start(self, beginning: Beginning, now: float) -> None:
        self._started = self._last = now
        self._out.line(beginning.title)

    def say(self, text: str, now: float) -> None:
        for line in text.splitlines():
            self._line(line, now)

    def handle(self, event: Event, now: float) -> None:
        before = self._progress.current
        self._progress.handle(event, now)
        if isinstance(event, Output):
            if self._verbose:
                self._out.line(event.text)
                self._last = now
            return
        if isinstance(event, PlayStarted | Stats):
            self._end_of(before, now)
        self._tell_roles(now)
        match event:
            case PlayStarted():
                self._line(event.name, now)
            case HostResult(status="failed" | "unreachable", ignored=False):
                word = "unreachable" if event.status == "unreachable" else "failed"
                self._line(f"  {word}: {event.host}: {f'{event.role}: ' if event.role else ''}{event.task}", now)
                for line in event.message.splitlines()[:1]:
                    self._line(f"    {line}", now)  # the rest is told at the end
            case Warning(deprecation=False) if event.text not in self._seen_warnings:
                self._seen_warnings.add(event.text)
                self._line(f"  warning: {event.text}", now)
            case Report():
                self._lines_of_report = event.lines
            case Note() if event.lines != self._lines_of_report:
                for line in event.lines:
                    self._line(f"  {line}", now)

    def ask(self, question: Question, now: float) -> None:
        for line in question.lines:
            self._line(f"  {line}", now)

    def tick(self, now: float) -> None:
        stage = self._progress.current
        if now - self._last < HEARTBEAT:
            return
        slowest = stage.slowest() if stage else None
        if slowest:
            name, host = slowest
            self._line(f"  still at work: {name}: {host.task}, {duration(now - host.since)}", now)
        else:
            self._line("  still at work", now)

    def finish(self, ending: Ending, now: float) -> None:
        out, error = ending_blocks(ending)
        for line in out:
            self._out.line(line)
        for line in error:
            self._err.line(line)

    def _line(self, text: str, now: float) -> None:
        self._last = now
        minutes, seconds = divmod(int(now - self._started), 60)
        self._out.line(f"[{minutes:2}:{seconds:02}] {text}")

    def _tell_roles(self, now: float) -> None:
        """A line for each role that all its hosts have left."""
        number = len(self._progress.stages) - 1
        stage = self._progress.current
        for name, role in stage.roles.items() if stage else ():
            if role.ended is None:
                self._told_roles.discard((number, name))  # entered again: what was told isn't its end
            elif (number, name) not in self._told_roles:
                self._told_roles.add((number, name))
                self._line(f"  {name}: {_hosts(role)}{_changed(role.changed)}", now)

    def _end_of(self, stage: Stage | None, now: float) -> None:
        if stage is None:
            return
        number = self._progress.stages.index(stage)
        for name, role in stage.roles.items():
            if (number, name) not in self._told_roles:
                self._told_roles.add((number, name))
                self._line(f"  {name}: {_hosts(role)}{_changed(role.changed)}", now)
        if stage.empty:
            self._line("  no hosts", now)


def _hosts(role: RoleProgress, idle: int = 0) -> str:
    failed = f", {len(role.failed)} failed" if role.failed else ""
    return f"{len(role.left) + idle} of {len(role.entered)} host{'s' if len(role.entered) != 1 else ''}{failed}"


def _changed(count: int) -> str:
    return f", changed {count}" if count else ""


class JsonRenderer:
    """One JSON object per line, as docs/events.md describes them: {"time", "type", ...}.

    The last one has the type "end": result, timings, report. wall tells the time of what carries none itself.
    """

    def __init__(self, stdout: TextIO, wall: Callable[[], datetime], verbose: bool = False) -> None:
        self._out = _Stream(stdout)
        self._wall = wall
        self._verbose = verbose

    def start(self, beginning: Beginning, now: float) -> None:
        self._write({"type": "start", **dataclasses.asdict(beginning)})

    def say(self, text: str, now: float) -> None:
        self._write({"type": "message", "text": text})

    def handle(self, event: Event, now: float) -> None:
        if isinstance(event, Output | HostStarted | TaskStarted) and not self._verbose:
            return
        data = {name: getattr(event, name) for name in SHOWN_FIELDS[type(event)]}
        self._write({"time": event.time, "type": RECORD_TYPES[type(event)], **data})

    def ask(self, question: Question, now: float) -> None:
        pass  # nobody is asked

    def tick(self, now: float) -> None:
        pass

    def finish(self, ending: Ending, now: float) -> None:
        self._write(end_record(ending, now))

    def _write(self, record: Mapping[str, Any]) -> None:
        time = record.get("time") or self._wall().astimezone(UTC).isoformat()
        fields = {"time": time, **{key: record[key] for key in record if key != "time"}}
        self._out.line(json.dumps(fields, default=_as_json))


def _as_json(value: object) -> object:
    """What JSON doesn't know: a host's counts, and whatever else stands in a module's report."""
    return dataclasses.asdict(value) if isinstance(value, HostStats) else str(value)


def end_record(ending: Ending, now: float) -> dict[str, Any]:
    """The last record of a run, which is its summary too."""
    return {
        "type": "end",
        "action": ending.action,
        "environment": ending.environment,
        "exit_code": ending.code.value,
        "result": ending.code.name.lower(),
        "elapsed": round(ending.elapsed, 1),
        "changed": ending.changed,
        "stages": [_stage_record(stage, now) for stage in ending.stages],
        "failures": [{**dataclasses.asdict(failure), "code": failure.code.value} for failure in ending.failures],
        "message": ending.message,
        "not_ready": list(ending.not_ready),
        "problems": list(ending.problems),
        "existing": list(ending.existing),
        "next_steps": list(ending.next_steps),
        "plan": None if ending.plan is None else [dataclasses.asdict(change) for change in ending.plan],
        "report": ending.report,
        "run_folder": ending.run_folder,
    }


def _stage_record(stage: Stage, now: float) -> dict[str, Any]:
    """Timings of a stage and its roles: seconds from the first host's start to the last one's end."""

    def seconds(started: float, ended: float | None) -> float:
        return round((now if ended is None else ended) - started, 1)

    return {
        "name": stage.name,
        "seconds": seconds(stage.started, stage.ended),
        "hosts": len(stage.hosts),
        "changed": stage.changed,
        "failed": sum(host.failed for host in stage.hosts.values()),
        "roles": [
            {
                "name": name,
                "seconds": seconds(role.started, role.ended),
                "hosts": len(role.entered),
                "changed": role.changed,
                "failed": len(role.failed),
            }
            for name, role in stage.roles.items()
        ],
    }


RECORD_TYPES: dict[type[Event], str] = {
    PlayStarted: "play_started",
    TaskStarted: "task_started",
    HostStarted: "host_started",
    HostResult: "host_result",
    HostRetry: "host_retry",
    NoHosts: "no_hosts",
    Warning: "warning",
    Problem: "problem",
    Note: "note",
    Question: "question",
    Report: "report",
    Stats: "stats",
    Output: "output",
}
# What a record shows beside time and type.
SHOWN_FIELDS: dict[type[Event], tuple[str, ...]] = {
    kind: tuple(
        one.name for one in dataclasses.fields(kind) if one.name != "time" and (kind, one.name) != (Report, "lines")
    )
    for kind in RECORD_TYPES
}


class LiveRenderer:
    """A view that is redrawn: stages, hosts done of all, elapsed, what is slow. Warnings scroll above it."""

    def __init__(self, stdout: TextIO, stderr: TextIO, verbose: bool = False) -> None:
        from rich.console import Console  # 0.1 s: not for --help or pipes
        from rich.live import Live

        self._console = Console(file=stdout, highlight=False, emoji=False, markup=False)
        self._errors = Console(file=stderr, highlight=False, emoji=False, markup=False, soft_wrap=True)
        # We redraw ourselves, in tick: no second thread draws while events are handled.
        self._live = Live(console=self._console, auto_refresh=False, redirect_stdout=False, redirect_stderr=False)
        self._verbose = verbose
        self._progress = Progress()
        self._title = ""
        self._message = ""
        self._started = self._drawn = 0.0
        self._lines_of_report: tuple[str, ...] = ()
        self._seen_warnings: set[str] = set()
        unicode = (getattr(stdout, "encoding", "") or "").lower().replace("-", "") == "utf8"
        self._done, self._fail, self._dash = ("✔", "✘", "─") if unicode else ("+", "x", "-")
        self._spin = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏" if unicode else "|/-\\"

    def start(self, beginning: Beginning, now: float) -> None:
        self._title, self._started = beginning.title, now
        self._live.start()
        self._draw(now)

    def say(self, text: str, now: float) -> None:
        self._message = text.strip().splitlines()[-1] if text.strip() else ""
        self._draw(now)

    def handle(self, event: Event, now: float) -> None:
        self._progress.handle(event, now)
        match event:
            case PlayStarted():
                self._message = ""
            case Output() if self._verbose:
                self._above(event.text)
            case Warning(deprecation=False) if event.text not in self._seen_warnings:
                self._seen_warnings.add(event.text)
                self._above(f"warning: {event.text}", "yellow")
            case HostResult(status="failed" | "unreachable", ignored=False):
                word = "unreachable" if event.status == "unreachable" else "failed"
                where = f"{event.role}: " if event.role else ""
                self._above(f"{word}: {event.host}: {where}{event.task}", "red")
                for line in event.message.splitlines()[:1]:
                    self._above(f"  {line}", "red")  # the rest is told at the end
            case Report():
                self._lines_of_report = event.lines
            case Note() if event.lines != self._lines_of_report:
                for line in event.lines:
                    self._above(line)

    def ask(self, question: Question, now: float) -> None:
        self._live.stop()
        for line in question.lines:
            self._console.print(f"  {line}", soft_wrap=True)

    def tick(self, now: float) -> None:
        if now - self._drawn >= 0.1:
            self._draw(now)

    def finish(self, ending: Ending, now: float) -> None:
        self._message = ""
        if ending.code is ExitCode.OK:
            self._progress.handle(Stats({}), now)  # ends a stage that isn't a play
        self._progress.interrupt(now)
        self._draw(now)
        self._live.stop()
        out, error = ending_blocks(ending)
        for line in out:
            style = "bold yellow" if "SIMULATED" in line else "bold green" if line == ending.headline else None
            self._console.print(line, style=style, soft_wrap=True)
        for line in error:
            bold = line.startswith(("FAILED", "ERROR")) or line == ending.headline
            self._errors.print(line, style="bold red" if bold else None)

    def _above(self, text: str, style: str | None = None) -> None:
        self._live.console.print(text, style=style, soft_wrap=True)

    def _draw(self, now: float) -> None:
        self._drawn = now
        if not self._live.is_started:  # a question was asked
            self._live.start()
        self._live.update(self.view(now), refresh=True)

    def view(self, now: float) -> Text:
        """The picture, as wide as the terminal at most and as high at most: the newest stages win."""
        from rich.text import Text

        width = max(40, self._console.width - 4)  # room for the ^C that a terminal echoes
        rows: list[tuple[str, str]] = []
        for stage in self._progress.stages:
            rows += self._stage(stage, now, width)
        if self._message:
            rows.append((f"{self._tick(now)} {self._message}", "cyan"))
        room = max(3, self._console.height - 4)
        rows = rows[-room:]
        head = _columns(self._title, duration(now - self._started), width)
        text = Text(no_wrap=True, overflow="ellipsis")
        text.append(head + "\n", style="bold")
        text.append(self._dash * width + "\n", style="dim")
        for index, (row, style) in enumerate(rows):
            text.append(row[:width] + ("" if index == len(rows) - 1 else "\n"), style=style)
        return text

    def _tick(self, now: float) -> str:
        return self._spin[int(now * 8) % len(self._spin)]

    def _stage(self, stage: Stage, now: float, width: int) -> list[tuple[str, str]]:
        over = stage.ended is not None
        if stage.failed:
            mark, style = self._fail, "red"
        elif stage.interrupted:
            mark, style = self._dash, "yellow"
        elif over:
            mark, style = self._done, "green"
        else:
            mark, style = self._tick(now), "cyan"
        took = duration((stage.ended if stage.ended is not None else now) - stage.started)
        counts = [f"{stage.done(now)} of {len(stage.hosts)} hosts"] if len(stage.hosts) > 1 else []
        counts += [f"changed {stage.changed}"] if stage.changed else []
        detail = "no hosts" if stage.empty else "  ".join(counts)
        rows = [(_columns(f"{mark} {stage.name}", f"{detail}  {took:>9}", width), style)]
        if over and not stage.failed and stage is not self._progress.stages[-1] and len(stage.hosts) < 2:
            return rows
        for name, role in stage.roles.items():
            idle = stage.idle_in(name, now)
            finished = role.ended is not None or len(role.left | role.failed) + idle == len(role.entered)
            running = self._dash if stage.interrupted else self._tick(now)
            mark = self._fail if role.failed else self._done if finished else running
            slow = "" if finished else _slow(stage.slowest_in(name), now)
            left = f"    {mark} {name:<18} {_hosts(role, idle):<14} {slow}"
            ended = role.ended if role.ended is not None else role.active if finished else now
            took = duration(ended - role.started)
            rows.append(
                (
                    _columns(left, f"{_changed(role.changed).lstrip(', ')}  {took:>9}", width),
                    "red" if role.failed else "green" if finished else "",
                )
            )
        if not over:
            outside = stage.slowest_in("")
            if outside:
                rows.append((_columns(f"    {self._tick(now)} {_slow(outside, now, always=True)}", "", width), ""))
        return rows


def _slow(item: tuple[str, Any] | None, now: float, always: bool = False) -> str:
    """ "Benchmark-2 12 s: Start the service", once it takes long enough to be of interest.

    The name of the task is last, because a narrow terminal cuts it.
    """
    if item is None or (not always and now - item[1].since < SLOW):
        return ""
    name, host = item
    retry = f" ({host.retry})" if host.retry else ""
    return f"{name} {duration(now - host.since)}{retry}: {host.task}"


def _columns(left: str, right: str, width: int) -> str:
    """left and right at the two ends of a line; left is cut when both don't fit."""
    room = width - len(right) - 1
    if len(left) > room:
        left = left[: max(0, room - 1)] + "~"
    return f"{left:<{room}} {right}" if right else left


class SynchronizedRenderer:
    """Lets two threads use one renderer: the action's, and one that only ticks while the action's is busy.

    A terminal that goes away silences it; the action goes on, or ends by the SIGHUP that comes with that.
    """

    def __init__(self, renderer: Renderer) -> None:
        self._renderer = renderer
        self._lock = threading.RLock()
        self._gone = False

    def start(self, beginning: Beginning, now: float) -> None:
        self._call(self._renderer.start, beginning, now)

    def say(self, text: str, now: float) -> None:
        self._call(self._renderer.say, text, now)

    def handle(self, event: Event, now: float) -> None:
        self._call(self._renderer.handle, event, now)

    def ask(self, question: Question, now: float) -> None:
        self._call(self._renderer.ask, question, now)

    def tick(self, now: float) -> None:
        self._call(self._renderer.tick, now)

    def finish(self, ending: Ending, now: float) -> None:
        self._call(self._renderer.finish, ending, now)

    def _call(self, method: Callable[..., None], *arguments: Any) -> None:
        with self._lock:
            if self._gone:
                return
            try:
                method(*arguments)
            except OSError:
                self._gone = True


class _Stream:
    """Writes lines; a reader that went away (`| head`) silences it, and the action goes on."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._broken = False

    def line(self, text: str) -> None:
        if self._broken:
            return
        try:
            self._stream.write(text + "\n")
            self._stream.flush()
        except (BrokenPipeError, OSError, ValueError):
            self._broken = True


class Recorder:
    """Keeps a run's event stream and its summary in the run's private folder, whatever the user sees.

    What comes before there is a folder is kept for it.
    """

    def __init__(self, wall: Callable[[], datetime]) -> None:
        self._file: TextIO = io.StringIO()
        self._folder: Path | None = None
        self._json = JsonRenderer(self, wall)  # type: ignore[arg-type]  # it needs write() and flush()

    def open(self, folder: Path) -> None:
        """Raises OSError."""
        kept = self._file
        self._folder, self._file = folder, private_file(folder / EVENTS)
        fcntl.flock(self._file, fcntl.LOCK_SH)  # until it is closed: who tidies up leaves the folder alone
        if isinstance(kept, io.StringIO):
            self._file.write(kept.getvalue())

    def write(self, text: str) -> None:
        self._file.write(text)

    def flush(self) -> None:
        self._file.flush()

    def start(self, beginning: Beginning, now: float) -> None:
        self._json.start(beginning, now)

    def say(self, text: str, now: float) -> None:
        self._json.say(text, now)

    def handle(self, event: Event, now: float) -> None:
        self._json.handle(event, now)

    def ask(self, question: Question, now: float) -> None: ...

    def tick(self, now: float) -> None: ...

    def finish(self, ending: Ending, now: float) -> None:
        self._json.finish(ending, now)
        self._file.close()
        if self._folder:
            with contextlib.suppress(OSError), private_file(self._folder / "summary.json") as file:
                file.write(json.dumps(end_record(ending, now), default=str, indent=1) + "\n")


class Both:
    """Two renderers as one; the first one's failure doesn't keep the second from its part."""

    def __init__(self, view: Renderer, recorder: Recorder) -> None:
        self.recorder = recorder
        self._view = view

    def start(self, beginning: Beginning, now: float) -> None:
        self.recorder.start(beginning, now)
        self._view.start(beginning, now)

    def say(self, text: str, now: float) -> None:
        self.recorder.say(text, now)
        self._view.say(text, now)

    def handle(self, event: Event, now: float) -> None:
        self.recorder.handle(event, now)
        self._view.handle(event, now)

    def ask(self, question: Question, now: float) -> None:
        self._view.ask(question, now)

    def tick(self, now: float) -> None:
        self._view.tick(now)

    def finish(self, ending: Ending, now: float) -> None:
        self.recorder.finish(ending, now)
        self._view.finish(ending, now)


def private_file(path: Path) -> TextIO:
    """A new file that only its owner can read. Raises OSError."""
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8")


def make(
    style: str, stdout: TextIO, stderr: TextIO, verbose: bool, terminal: str, wall: Callable[[], datetime]
) -> Renderer:
    """style: json, plain, or auto (live on a terminal). terminal: the variable TERM. wall: the time of day."""
    if style == "json":
        return JsonRenderer(stdout, wall, verbose)
    if style == "auto" and stdout.isatty() and terminal not in ("dumb", "unknown", "") and not verbose:
        return LiveRenderer(stdout, stderr, verbose)
    return PlainRenderer(stdout, stderr, verbose)
