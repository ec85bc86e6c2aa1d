# Copyright (c) Pegasus authors. SPDX-License-Identifier: Apache-2.0
"""All checks of a configuration that need no network, for the driver and for the first play of each playbook.

Later layers override earlier layers: specifications' defaults, the backend's preset, group_vars/all/config.yml, the
file that --config or PEGASUS_CONFIG names, wiring.yml, -e. Only for the control machine.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

from . import rules
from .file import ConfigFile, read_config
from .key_rules import FILE_ONLY, RUN_ONLY
from .local_files import file_problems
from .report import Places, Problem, Report
from .schema import Option, Template, from_text, is_template, load_schema, nearest, show, value_problems

CONFIG = Path("group_vars/all/config.yml")
WIRING = Path("group_vars/all/wiring.yml")

# Renders templates: gets all layers' values, returns a function from a key to its value, which may raise LookupError.
Resolve = Callable[[Mapping[str, Any]], Callable[[str], Any]]


def examine(
    root: Path,
    config: Path | None,
    extra: Sequence[ConfigFile],
    resolve: Resolve,
    *,
    schema: Mapping[str, Option] | None = None,
    launching: bool = False,
    merged: Mapping[str, Any] | None = None,
    today: date | None = None,
) -> Report:
    """Check everything that can be checked on this machine.

    :param root: the project's folder
    :param config: the file that --config names, None for config.yml alone
    :param extra: the values of -e
    :param launching: check threads.yaml and the licence too, which an action that only removes hosts doesn't need
    :param merged: the variables as Ansible has merged them, if Ansible runs
    """
    schema = load_schema() if schema is None else schema
    files = [read_config(root / CONFIG)]
    if config is not None and config != root / CONFIG:
        files.append(read_config(config))
    wiring = _plain_file(root / WIRING)
    backend = _backend(files)
    preset_path = Path("inventories") / backend / "group_vars" / "all.yml"
    preset = _plain_file(root / preset_path) if backend else {}
    places = Places(root, [*files, *extra], str(preset_path), frozenset(preset) | frozenset(wiring))
    report = Report(files=files, places=places)

    _check_keys(report, files, extra, schema, wiring)
    if not all(file.readable for file in files):
        return report
    raw = {name: option.default for name, option in schema.items() if option.default is not None}
    raw |= preset
    for file in files:
        raw |= {key: _as_given(value) for key, value in file.values.items()}
    raw |= wiring
    raw |= {key: merged[key] for key in schema if merged and key in merged}
    overrides = {key: value for source in extra for key, value in source.values.items()}
    for key, value in overrides.items():
        raw[key] = _as_given(from_text(schema[key], value) if key in schema else value)
    report.value = resolve(raw)
    given = set(preset).union(overrides, *(file.values for file in files)) - (set(wiring) - set(overrides))
    _check_values(report, raw, given, schema)
    for key, message in rules.problems(report.values):
        report.add(key, message)
    if launching:
        report.problems += file_problems(report, root, today or datetime.now(UTC).date())
    report.problems = sorted(set(report.problems))
    return report


def _as_given(value: Any) -> Any:
    """Return a user's value; templates are marked, because only Ansible may render them."""
    return Template("") if is_template(value) else value


def _backend(files: Sequence[ConfigFile]) -> str:
    value = next((file.values["pegasus_backend"] for file in reversed(files) if "pegasus_backend" in file.values), "")
    return value if isinstance(value, str) and re.fullmatch(r"[a-z]+", value) else ""


def _plain_file(path: Path) -> dict[str, Any]:
    """Return the keys of one of Pegasus's own files, {} if it doesn't exist (the collection works without them)."""
    return read_config(path).values if path.is_file() else {}


def _check_keys(
    report: Report,
    files: Sequence[ConfigFile],
    extra: Sequence[ConfigFile],
    schema: Mapping[str, Option],
    wiring: Mapping[str, Any],
) -> None:
    """Add the problems of the files themselves: syntax, unknown keys, keys that don't belong there."""
    assert report.places is not None
    places = report.places

    def add(file: ConfigFile, key: str, message: str, near: str = "") -> None:
        report.problems.append(Problem(places.name(file.path), file.lines.get(key, 0), key, message, near))

    def add_unknown(file: ConfigFile, key: str) -> None:
        near = nearest(key, [name for name in schema if name not in wiring])
        hint = f": did you mean {near}?" if near else "; docs/configuration.md lists all keys"
        add(file, key, f"found an unknown key, expected a known key{hint}", near)

    for file in [*files, *extra]:
        report.problems += [Problem(places.name(file.path), line, key, text) for key, line, text in file.problems]
    for file in files:
        for key in file.values:
            if key not in schema:
                add_unknown(file, key)
            elif key in wiring:
                add(file, key, "found a value that Pegasus derives, expected none: remove the line")
            elif schema[key].rule.scope == RUN_ONLY:
                add(file, key, f"found in a file, expected for one run only: -e {key}=...")
    for source in extra:
        for key, value in source.values.items():
            if key in schema and schema[key].rule.scope == FILE_ONLY:
                reason = "the inventory reads the file and doesn't see -e. Name another file: --config other.yml"
                add(source, key, f"found {show(value)}, expected it in a file: {reason}")
            elif not (key in schema or key in wiring or key.startswith("ansible_") or _in_playbooks(places.root, key)):
                add_unknown(source, key)
    last = files[-1]
    for key, option in schema.items():
        if option.rule.scope != FILE_ONLY or not last.readable:
            continue
        if key not in last.lines:
            add(last, key, f"found no such key, expected {option.expected} in this file")
        elif is_template(last.values.get(key)):
            add(last, key, "found a template, expected a plain value: the inventory can't render templates")


def _in_playbooks(root: Path, key: str) -> bool:
    """Whether a playbook reads an optional variable of this name: `key | default(...)`."""
    word = re.compile(rf"\b{re.escape(key)} *\| *default\(")
    files = (root / "playbooks").glob("**/*.yml")
    return bool(re.fullmatch(r"\w+", key)) and any(word.search(path.read_text(encoding="utf-8")) for path in files)


def _check_values(report: Report, raw: Mapping[str, Any], given: set[str], schema: Mapping[str, Option]) -> None:
    """Check each value on its own and keep the valid values."""
    assert report.places is not None
    reported = {problem.key for problem in report.problems}
    for key, option in schema.items():
        if key not in raw:
            if option.required and key not in reported:
                report.add(key, f"found no such key, expected {option.expected}")
            continue
        value = raw[key]
        if is_template(value):
            if key not in given:
                continue  # a role or the wiring derives it
            try:
                value = report.value(key)
            except LookupError:
                report.unknown.append(key)
                continue
        messages = list(value_problems(option, value))
        if messages:
            for message in messages:
                near = message.rpartition("did you mean ")[2].rstrip("?") if "did you mean " in message else ""
                report.add(key, message, near)
        else:
            report.values[key] = value
