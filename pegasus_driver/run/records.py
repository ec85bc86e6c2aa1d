"""A run as JSON records, one object per line. docs/events.md describes them for programs that read them."""

import dataclasses
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from .events import (
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
from .progress import Stage
from .state import Ending, RunState

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
# Records of these are only for --verbose.
VERBOSE = (Output, HostStarted, TaskStarted)
# The fields of a record beside time and type.
_FIELDS: dict[type[Event], tuple[str, ...]] = {
    kind: tuple(
        field.name
        for field in dataclasses.fields(kind)
        if field.name != "time" and (kind, field.name) != (Report, "lines")
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


def start_record(state: RunState) -> dict[str, Any]:
    return {
        "type": "start",
        "action": state.action,
        "environment": state.environment,
        "backend": state.backend,
        "dry_run": state.dry_run,
    }


def message_record(text: str) -> dict[str, Any]:
    return {"type": "message", "text": text}


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
