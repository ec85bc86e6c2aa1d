"""A run as JSON records, one object per line. docs/events.md describes them for programs that read them."""

import dataclasses
import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, TextIO

from . import events
from .events import Event, HostStats
from .progress import Stage
from .state import Ending, RunState
from .view import Stream, View

RECORD_TYPES: dict[type[Event], str] = {
    events.PlayStarted: "play_started",
    events.TaskStarted: "task_started",
    events.HostStarted: "host_started",
    events.HostResult: "host_result",
    events.HostRetry: "host_retry",
    events.NoHosts: "no_hosts",
    events.Warning: "warning",
    events.Problem: "problem",
    events.Note: "note",
    events.Question: "question",
    events.Report: "report",
    events.Stats: "stats",
    events.Output: "output",
}
# Records of these are only for --verbose.
VERBOSE = (events.Output, events.HostStarted, events.TaskStarted)
# The fields of a record beside time and type.
_FIELDS: dict[type[Event], tuple[str, ...]] = {
    kind: tuple(
        field.name
        for field in dataclasses.fields(kind)
        if field.name != "time" and (kind, field.name) != (events.Report, "lines")
    )
    for kind in RECORD_TYPES
}


def as_line(record: Mapping[str, Any], now: datetime) -> str:
    """Render a record, with its time first; ``now`` is for records without one."""
    time = record.get("time") or now.astimezone(UTC).isoformat()
    return json.dumps({"time": time, **{key: record[key] for key in record if key != "time"}}, default=_as_json)


def _as_json(value: object) -> object:
    """Convert what JSON doesn't know: a host's counts, and values of a module's report."""
    return dataclasses.asdict(value) if isinstance(value, HostStats) else str(value)


def event_record(event: Event) -> dict[str, Any]:
    data = {name: getattr(event, name) for name in _FIELDS[type(event)]}
    return {"time": event.time, "type": RECORD_TYPES[type(event)], **data}


def end_record(ending: Ending, now: float) -> dict[str, Any]:
    """The last record of a run, which is also its summary."""
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
    """Timings of a stage and its roles: seconds from the first host's start to the last host's end."""

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


class RecordView(View):
    """Writes the records as they come: the view for programs. It doesn't ask, because a program can't answer."""

    def __init__(self, state: RunState, stream: TextIO, wall: Callable[[], datetime], *, verbose: bool = False) -> None:
        """:param wall: the time for records whose event has none"""
        super().__init__(state)
        self._out = Stream(stream)
        self._wall = wall
        self._verbose = verbose

    def start(self, now: float) -> None:
        names = ("action", "environment", "backend", "dry_run")
        self._write({"type": "start", **{name: getattr(self.state, name) for name in names}})

    def say(self, text: str, now: float) -> None:
        self._write({"type": "message", "text": text})

    def handle(self, event: Event, now: float) -> None:
        if self._verbose or not isinstance(event, VERBOSE):
            self._write(event_record(event))

    def finish(self, ending: Ending, now: float) -> None:
        self._write(end_record(ending, now))

    def _write(self, record: Mapping[str, Any]) -> None:
        self._out.line(as_line(record, self._wall()))
