"""Turns ansible-runner's raw events into typed records. Pure: no Ansible import, no clock, no output."""

import difflib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from pegasus_driver.exit_codes import OF_ERROR_CLASS

Status = Literal["ok", "changed", "failed", "unreachable", "skipped"]


@dataclass(frozen=True)
class Event:
    """time is Ansible's, ISO 8601 in UTC; "" if there is none."""

    time: str = field(default="", kw_only=True)


@dataclass(frozen=True)
class PlayStarted(Event):
    name: str


@dataclass(frozen=True)
class TaskStarted(Event):
    name: str
    role: str  # "" outside roles


@dataclass(frozen=True)
class HostEvent(Event):
    """A task on one host."""

    host: str
    task: str
    role: str  # "" outside roles


@dataclass(frozen=True)
class HostStarted(HostEvent):
    action: str  # the module's last name part: `command`, `aerospike_ready`


@dataclass(frozen=True)
class HostResult(HostEvent):
    action: str
    status: Status
    message: str = ""  # of a failure
    error_class: str = ""  # of a failure, if it has one (module_utils/results.py)
    next_step: str = ""  # of a failure: the module's advice
    changes: tuple[str, ...] = ()  # of a change: the module's lines, and differences of files
    ignored: bool = False  # a failure after which the playbook continues
    duration: float = 0.0  # seconds


@dataclass(frozen=True)
class HostRetry(HostEvent):
    attempt: int
    retries: int


@dataclass(frozen=True)
class Warning(Event):
    """text is one line. A deprecation interests only the developers of Pegasus."""

    text: str
    deprecation: bool = False


@dataclass(frozen=True)
class Problem(Event):
    """An error of Ansible itself: a playbook or an inventory that it can't use."""

    text: str


@dataclass(frozen=True)
class Note(Event):
    """Lines for the user: a debug task's message, or a module's note."""

    lines: tuple[str, ...]


@dataclass(frozen=True)
class Question(Event):
    """A task needs a confirmation before the play continues. lines: what it is about."""

    text: str
    lines: tuple[str, ...]


@dataclass(frozen=True)
class Report(Event):
    """The environment's report; the documentation of the module environment_report has its shape.

    lines is the same as text; problems are why the environment isn't ready.
    """

    report: Mapping[str, Any]
    lines: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()


@dataclass(frozen=True)
class NoHosts(Event):
    """A play matched no host."""

    play: str


@dataclass(frozen=True)
class HostStats:
    """Counts of task results of one host."""

    ok: int = 0
    changed: int = 0
    failed: int = 0
    unreachable: int = 0
    skipped: int = 0
    rescued: int = 0
    ignored: int = 0


@dataclass(frozen=True)
class Stats(Event):
    hosts: Mapping[str, HostStats]


@dataclass(frozen=True)
class Output(Event):
    """Text that Ansible printed, for --verbose."""

    text: str


_RESULTS: dict[str, Status] = {
    "runner_on_ok": "ok",
    "runner_on_failed": "failed",
    "runner_on_unreachable": "unreachable",
    "runner_on_skipped": "skipped",
}
# The diff of a file is cut after so many lines.
DIFF_LINES = 60
# Modules of this collection, whose results have the keys of module_utils/results.py.
_OURS = "aerospike_community.pegasus."
# Ansible's own modules don't return an error_class. These fail for one reason only, as far as Pegasus uses them.
GENERIC_ERROR_CLASSES = {
    "wait_for_connection": "ssh",
    "validate_argument_spec": "configuration",
    "assert": "usage",  # checks what a command names; modules of this collection check states
}


def parse(raw: Mapping[str, Any]) -> Iterator[Event]:
    """Parse one raw event: usually into one or two typed events, none for kinds that the driver doesn't need."""
    kind = str(raw.get("event", ""))
    data = raw.get("event_data") or {}
    time = str(raw.get("created", ""))
    text = str(raw.get("stdout") or "")
    if text.strip():
        yield Output(text, time=time)
    if kind == "playbook_on_play_start":
        yield PlayStarted(str(data.get("name", "")), time=time)
    elif kind == "playbook_on_task_start":
        yield TaskStarted(_task(data), _role(data), time=time)
    elif kind == "playbook_on_no_hosts_matched":
        yield NoHosts(str(data.get("play", "")), time=time)
    elif kind == "runner_on_start":
        yield HostStarted(*_where(data), _action(data), time=time)
    elif kind == "runner_retry":
        result = _mapping(data.get("res"))
        yield HostRetry(*_where(data), int(result.get("attempts", 0)), int(result.get("retries", 0)), time=time)
    elif kind in _RESULTS:
        yield from _host_result(kind, data, time)
    elif kind in ("warning", "system_warning", "deprecated"):
        yield Warning(_strip_label(text), deprecation=kind == "deprecated", time=time)
    elif kind == "error" or (kind == "verbose" and text.startswith(("ERROR", "[ERROR]", "usage: "))):
        yield Problem(_strip_label(text), time=time)
    elif kind == "playbook_on_stats":
        yield Stats(_stats(data), time=time)


def _host_result(kind: str, data: Mapping[str, Any], time: str) -> Iterator[Event]:
    result = _mapping(data.get("res"))
    status = _RESULTS[kind]
    if status == "ok" and result.get("changed"):
        status = "changed"
    failed = status in ("failed", "unreachable")
    ours = _full_action(data).startswith(_OURS)
    if ours and isinstance(result.get("report"), Mapping):
        lines, problems = tuple(_lines(result.get("lines"))), tuple(_lines(result.get("problems")))
        yield Report(result["report"], lines, problems, time=time)
    if ours and result.get("question") and not failed:
        yield Question(str(result["question"]), tuple(_lines(result.get("message"))), time=time)
    for warning in _lines(result.get("warnings")):  # of the module; Ansible has no event for it
        yield Warning(warning, time=time)
    key = "note" if ours else "msg" if _action(data) == "debug" else ""
    if key and status in ("ok", "changed"):
        items = result.get("results") or [result]  # a loop has a note for each item
        if note := tuple(line for item in items for line in _lines(_mapping(item).get(key))):
            yield Note(note, time=time)
    yield HostResult(
        *_where(data),
        _action(data),
        status,
        message=failure_message(result) if failed else "",
        error_class=_error_class(result, _action(data), ours=ours) if failed else "",
        next_step=str(result.get("next_step") or "") if failed and ours else "",
        changes=tuple(change_lines(result, ours=ours)) if status == "changed" else (),
        ignored=bool(data.get("ignore_errors")),
        duration=float(data.get("duration") or 0.0),
        time=time,
    )


def _error_class(result: Mapping[str, Any], action: str, *, ours: bool) -> str:
    if ours:
        return str(result.get("error_class") or "")
    command = result.get("cmd")
    if isinstance(command, list) and command and str(command[0]).endswith("pegasus-driver"):
        # A play that runs the driver itself (local start): its exit code has a class.
        return next((name for name, code in OF_ERROR_CLASS.items() if code == result.get("rc")), "")
    return GENERIC_ERROR_CLASSES.get(action, "")


def change_lines(result: Mapping[str, Any], *, ours: bool) -> list[str]:
    """What a task changed, or would change in check mode: the module's lines, then differences (--diff)."""
    lines = _lines(result.get("changes") or result.get("message")) if ours else []
    diffs = result.get("diff") or []
    for diff in diffs if isinstance(diffs, list | tuple) else [diffs]:
        lines += _difference(_mapping(diff))
    for item in result.get("results") or []:
        if isinstance(item, Mapping) and item.get("changed"):
            lines += change_lines(item, ours=ours)
    return lines


def _difference(diff: Mapping[str, Any]) -> list[str]:
    """Render one of Ansible's diffs as a unified diff, cut after DIFF_LINES."""
    if "prepared" in diff:
        lines = str(diff["prepared"]).splitlines()
    else:
        # Some modules return a mapping instead of text.
        before, after = (_diff_text(diff.get(side)) for side in ("before", "after"))
        names = (str(diff.get("before_header") or "before"), str(diff.get("after_header") or "after"))
        lines = [line.rstrip("\n") for line in difflib.unified_diff(before, after, *names, n=1)]
    return lines if len(lines) <= DIFF_LINES else [*lines[:DIFF_LINES], f"... and {len(lines) - DIFF_LINES} more lines"]


def _diff_text(value: Any) -> Sequence[str]:
    if isinstance(value, Mapping):
        return [f"{key}: {value[key]}" for key in sorted(value)]
    return str(value or "").splitlines()


def failure_message(result: Mapping[str, Any]) -> str:
    """Return why a task failed.

    A module's msg is kept verbatim. Ansible's generic modules return more than their msg, which is added: a command's
    return code and last lines, an assertion's condition, a loop's failed items, a specification's errors.
    """
    if "censored" in result:
        return str(result["censored"])
    parts = _lines(result.get("msg"))
    if "assertion" in result and "\n".join(parts) in ("", "Assertion failed"):
        parts.append(f"not true: {result['assertion']}")
    parts += [f"  {error}" for error in _lines(result.get("argument_errors")) if error not in "\n".join(parts)]
    for item in result.get("results") or []:
        if isinstance(item, Mapping) and (item.get("failed") or item.get("unreachable")):
            label = item.get("_ansible_item_label", item.get("item", "item"))
            parts.append(f"{label}: {failure_message(item)}")
    if "rc" in result and not str(result.get("msg") or "").count("\n"):
        command = result.get("cmd")
        if command:
            parts.append(f"command: {' '.join(map(str, command)) if isinstance(command, list) else command}")
        parts.append(f"exit code: {result['rc']}")
        for stream in ("stderr", "module_stderr", "stdout", "module_stdout"):
            tail = str(result.get(stream) or "").strip().splitlines()[-10:]
            if tail:
                parts += [f"last lines of {stream.removeprefix('module_')}:", *(f"  {line}" for line in tail)]
                break
    return "\n".join(parts) or "the module returned no message"


def _task(data: Mapping[str, Any]) -> str:
    # playbook_on_task_start has the name with the role in front; `task` is the name alone.
    return str(data.get("task") or data.get("name") or "")


def _role(data: Mapping[str, Any]) -> str:
    return str(data.get("role") or "").rpartition(".")[2]


def _where(data: Mapping[str, Any]) -> tuple[str, str, str]:
    return str(data.get("host", "")), _task(data), _role(data)


def _action(data: Mapping[str, Any]) -> str:
    return _full_action(data).rpartition(".")[2]


def _full_action(data: Mapping[str, Any]) -> str:
    return str(data.get("resolved_action") or data.get("task_action") or "")


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _lines(value: Any) -> list[str]:
    if value is None:
        return []
    if isinstance(value, str):
        return value.rstrip().splitlines()
    if isinstance(value, list | tuple):
        return [line for item in value for line in _lines(item)]
    return [str(value)]


def _strip_label(text: str) -> str:
    """ "[WARNING]: text wrapped\\nby Ansible" -> "text wrapped by Ansible"."""
    joined = " ".join(line.strip() for line in text.strip().splitlines())
    for label in ("[WARNING]:", "[DEPRECATION WARNING]:", "[ERROR]:", "ERROR!", "ERROR:"):
        joined = joined.removeprefix(label)
    return joined.strip()


def _stats(data: Mapping[str, Any]) -> dict[str, HostStats]:
    keys = {"ok": "ok", "changed": "changed", "failed": "failures", "unreachable": "dark", "skipped": "skipped",
            "rescued": "rescued", "ignored": "ignored"}  # fmt: skip
    counts = {ours: _mapping(data.get(theirs)) for ours, theirs in keys.items()}
    hosts = sorted({host for count in counts.values() for host in count})
    return {host: HostStats(**{key: int(count.get(host, 0)) for key, count in counts.items()}) for host in hosts}
