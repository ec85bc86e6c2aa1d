# Copyright (c) Pegasus authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""All checks of a configuration that need no network, for the driver and for the first play of each playbook.

The layers, the later ones win: specifications' defaults, the backend's preset, group_vars/all/config.yml, the file that
--config or PEGASUS_CONFIG names, wiring.yml, -e. Only for the control machine.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

from ansible_collections.aerospike_community.pegasus.plugins.module_utils.aerospike.licence import (
    licence_problems,
    node_limit,
)
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.aerospike.settings import MAX_COMMUNITY_NODES
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.perseus import threads as threads_file

from . import rules as config_rules
from .file import ConfigFile, parse_config, read_config
from .schema import RUN_KEYS, Option, Template, from_text, is_template, load_schema, nearest, show, value_problems

CONFIG = Path("group_vars/all/config.yml")
WIRING = Path("group_vars/all/wiring.yml")
THREADS = Path("threads.yaml")
LICENCE = "aerospike_server_features_file"
EXTRA = "-e"
# Read from the file by the inventory, which doesn't see -e.
FILE_ONLY_KEYS = ("pegasus_backend", "pegasus_cluster_name", "pegasus_region")
# A query workload of threads.yaml -> the setting without which Perseus ignores it.
WORKLOAD_NEEDS = {
    "stringSearch": "perseus_client_string_index",
    "numericSearch": "perseus_client_numeric_index",
    "geospatialSearch": "perseus_client_geo_spatial_index",
    "udfAggregation": "perseus_client_udf_aggregation",
    "rangeQuery": "perseus_client_range_query",
}

# Makes values of Jinja: takes all layers' values, returns a function: the value of a key, or LookupError.
Resolve = Callable[[Mapping[str, Any]], Callable[[str], Any]]


@dataclass(frozen=True, order=True)
class Problem:
    """One mistake. `file` is a path, "-e" or "-e @path"; line 0: none; message is "found ..., expected ..."."""

    file: str
    line: int
    key: str
    message: str
    nearest: str = ""

    @property
    def text(self) -> str:
        """The problem as one line."""
        where = f"{self.file}:{self.line}" if self.line else self.file
        said = f"{self.key}: {self.message}" if self.key else self.message
        return " ".join(f"{where}: {said}".splitlines())

    def record(self) -> dict[str, Any]:
        """The problem for a program."""
        return asdict(self) | {"text": self.text}


@dataclass
class Report:
    """What a check found.

    `values` are those that count and are right; `unknown` are keys whose value isn't known yet; value(key) makes the
    value of any variable, and raises LookupError where it can't be made.
    """

    problems: list[Problem] = field(default_factory=list)
    values: dict[str, Any] = field(default_factory=dict)
    unknown: list[str] = field(default_factory=list)
    value: Callable[[str], Any] = field(default=lambda key: {}[key])
    files: list[ConfigFile] = field(default_factory=list)
    places: Places | None = None

    def add(self, key: str, message: str, near: str = "") -> None:
        """Add a problem of a key, with the place where its value comes from."""
        assert self.places is not None
        self.problems.append(self.places.problem(key, message, near))


@dataclass(frozen=True)
class Places:
    """Where the value of a key comes from."""

    root: Path
    files: Sequence[ConfigFile]  # the later ones win
    preset: str
    preset_keys: frozenset[str] = frozenset()

    def name(self, path: Path) -> str:
        """A file as users know it: from the project's folder."""
        return str(path.relative_to(self.root)) if path.is_relative_to(self.root) else str(path)

    def problem(self, key: str, message: str, near: str = "") -> Problem:
        for file in reversed(self.files):
            if key in file.lines:
                return Problem(self.name(file.path), file.lines[key], key, message, near)
        if key in self.preset_keys:
            return Problem(self.preset, 0, key, message, near)
        return Problem(self.name(self.files[0].path), 0, key, message, near)


def extra_values(arguments: Iterable[str], folder: Path) -> list[ConfigFile]:
    """Read values of ``-e``: ``key=value key2=value``, JSON or YAML between braces, or ``@file``. The later ones win.

    :param folder: from where a file is meant
    """
    extra = []
    for argument in arguments:
        if argument.startswith("@"):
            one = read_config(folder / argument[1:])
            one.path = Path(f"{EXTRA} {argument}")
        else:
            if argument[:1] in ("{", "["):
                one = parse_config(argument.encode(errors="surrogateescape"), ConfigFile(Path(EXTRA)))
            else:
                one = _assignments(argument)
            one.problems = [(key, 0, f"{text} ({EXTRA} {argument[:60]})") for key, _, text in one.problems]
            one.lines = dict.fromkeys(one.lines, 0)
        extra.append(one)
    return extra


def _assignments(argument: str) -> ConfigFile:
    one = ConfigFile(Path(EXTRA))
    try:
        words = shlex.split(argument)
    except ValueError as error:
        one.problems.append(("", 0, f"found {error}, expected KEY=VALUE"))
        return one
    for word in words:
        key, separator, value = word.partition("=")
        if separator and key:
            one.values[key], one.lines[key] = value, 0
        else:
            one.problems.append(("", 0, f"found no '=' in {show(word)}, expected KEY=VALUE"))
    return one


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
    :param extra: what -e gives
    :param launching: check threads.yaml and the licence too, which an action that only takes down doesn't need
    :param merged: the variables as Ansible has merged them, where Ansible runs
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

    _file_problems(report, files, extra, schema, wiring)
    if not all(file.readable for file in files):
        return report
    raw = {name: option.default for name, option in schema.items() if option.default is not None}
    raw |= preset
    for file in files:
        raw |= {key: _as_given(value) for key, value in file.values.items()}
    raw |= wiring
    raw |= {key: merged[key] for key in schema if merged and key in merged}
    overrides = {key: value for one in extra for key, value in one.values.items()}
    for key, value in overrides.items():
        raw[key] = _as_given(from_text(schema[key], value) if key in schema else value)
    report.value = resolve(raw)
    given = set(preset).union(overrides, *(file.values for file in files)) - (set(wiring) - set(overrides))
    _value_problems(report, raw, given, schema)
    for key, message in config_rules.problems(report.values):
        report.add(key, message)
    if launching:
        report.problems += file_problems(report, root, today or datetime.now(UTC).date())
    report.problems = sorted(set(report.problems))
    return report


def _as_given(value: Any) -> Any:
    """What a user wrote; templates among it are marked, because only Ansible may make those."""
    return Template("") if is_template(value) else value


def _backend(files: Sequence[ConfigFile]) -> str:
    value = next((file.values["pegasus_backend"] for file in reversed(files) if "pegasus_backend" in file.values), "")
    return value if isinstance(value, str) and re.fullmatch(r"[a-z]+", value) else ""


def _plain_file(path: Path) -> dict[str, Any]:
    """The keys of one of Pegasus's own files, {} when it isn't there (the collection may be used without them)."""
    return read_config(path).values if path.is_file() else {}


def _file_problems(
    report: Report,
    files: Sequence[ConfigFile],
    extra: Sequence[ConfigFile],
    schema: Mapping[str, Option],
    wiring: Mapping[str, Any],
) -> None:
    """What is wrong with the files as such: form, unknown keys, keys that don't belong there."""
    assert report.places is not None
    for file in [*files, *extra]:
        overriding = any(file is one for one in extra)
        name = report.places.name(file.path)
        report.problems += [Problem(name, line, key, text) for key, line, text in file.problems]
        for key in file.values:
            line = file.lines.get(key, 0)
            if (
                overriding
                and key not in schema
                and (key.startswith("ansible_") or key in wiring or _in_playbooks(report, key))
            ):
                continue  # Ansible's own, or a playbook's
            if key not in schema:
                near = nearest(key, [one for one in schema if one not in wiring])
                hint = f": did you mean {near}?" if near else "; docs/configuration.md lists them all"
                report.problems.append(
                    Problem(name, line, key, f"found an unknown key, expected a known one{hint}", near)
                )
            elif overriding and key in FILE_ONLY_KEYS:
                report.problems.append(
                    Problem(
                        name,
                        line,
                        key,
                        f"found {show(file.values[key])}, expected it in a file: the inventory reads it there, and "
                        "doesn't see -e. Name another file: --config other.yml",
                    )
                )
            elif not overriding and key in wiring:
                report.problems.append(
                    Problem(
                        name, line, key, "found a value that Pegasus derives itself, expected none: remove the line"
                    )
                )
            elif not overriding and key in RUN_KEYS:
                report.problems.append(
                    Problem(name, line, key, f"found it in a file, expected it for one run only: -e {key}=...")
                )
    if files[-1].readable:
        name = report.places.name(files[-1].path)
        for key in FILE_ONLY_KEYS:
            if key not in files[-1].lines:
                report.problems.append(
                    Problem(name, 0, key, f"found no such key, expected one ({schema[key].expected}) in this file")
                )
            elif is_template(files[-1].values.get(key)):
                report.problems.append(
                    Problem(
                        name,
                        files[-1].lines[key],
                        key,
                        "found a template, expected a plain value, which the inventory can read",
                    )
                )


def _in_playbooks(report: Report, key: str) -> bool:
    """Whether a playbook reads a variable of this name that need not be given: `key | default(...)`."""
    assert report.places is not None
    word = re.compile(rf"\b{re.escape(key)} *\| *default\(")
    files = (report.places.root / "playbooks").glob("**/*.yml")
    return bool(re.fullmatch(r"\w+", key)) and any(word.search(path.read_text(encoding="utf-8")) for path in files)


def _value_problems(report: Report, raw: Mapping[str, Any], given: set[str], schema: Mapping[str, Option]) -> None:
    """Check each value by itself and keep the good ones."""
    assert report.places is not None
    told = {problem.key for problem in report.problems}
    for key, option in schema.items():
        if key not in raw:
            if option.required and key not in told:
                report.add(key, f"found no such key, expected one ({option.expected})")
            continue
        value = raw[key]
        if is_template(value):
            if key not in given:
                continue  # what a role or the wiring derives
            try:
                value = report.value(key)
            except LookupError:
                report.unknown.append(key)
                continue
        wrong = list(value_problems(option, value)) or [config_rules.limit_problem(key, value, option.type)]
        if any(wrong):
            for message in filter(None, wrong):
                near = message.rpartition("did you mean ")[2].rstrip("?") if "did you mean " in message else ""
                report.add(key, message, near)
        else:
            report.values[key] = value


def file_problems(report: Report, root: Path, today: date) -> list[Problem]:
    """What is wrong with threads.yaml and the licence."""
    assert report.places is not None
    found = list(_threads_problems(report, root / _threads_file(report)))
    path = _licence(report, root)
    if path:
        messages = licence_problems(path, report.values.get("pegasus_cluster_nodes"), today)
        found += [report.places.problem(LICENCE, message) for message in messages]
    return found


def _licence(report: Report, root: Path) -> Path | None:
    """The licence that the servers get."""
    name = report.values.get(LICENCE)
    if not name or report.values.get("aerospike_server_edition") != "enterprise":
        return None
    path = Path(str(name)).expanduser()
    return path if path.is_absolute() else root / path


def most_nodes(report: Report, root: Path) -> tuple[int, str]:
    """How many nodes the cluster may ever have, added ones included, and why; 0 for any number."""
    if report.values.get("aerospike_server_edition") == "community":
        return MAX_COMMUNITY_NODES, f"the community edition has at most {MAX_COMMUNITY_NODES}"
    path = _licence(report, root)
    if not path and report.values.get("pegasus_artifact_source") == "upstream":
        return 1, f"without a licence ({LICENCE}) the enterprise edition has at most 1"
    limit = node_limit(path) if path else 0
    return (limit, f"the licence ({LICENCE}) is for {limit}") if limit else (0, "")


def _threads_file(report: Report) -> str | Path:
    """The file of the live load: threads.yaml, unless -e names another."""
    try:
        return str(report.value("perseus_client_threads_file"))
    except LookupError:
        return THREADS


def _threads_problems(report: Report, path: Path) -> Iterator[Problem]:
    assert report.places is not None
    name = report.places.name(path)
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        yield Problem(name, 0, "", f"found a file that can't be read ({error}), expected the live load")
        return
    try:
        threads = threads_file.parse(text)
    except threads_file.ThreadsFileError as error:
        for said in error.problems:
            match = re.match(r"line (\d+): (.*)", said, re.DOTALL)
            yield Problem(name, int(match[1]) if match else 0, "", match[2] if match else said)
        return
    for workload, key in WORKLOAD_NEEDS.items():
        if threads[workload] and report.values.get(key) is False:
            line = next((n for n, at in enumerate(text.splitlines(), 1) if re.match(rf"\ufeff?{workload} *:", at)), 0)
            yield Problem(
                name,
                line,
                workload,
                f"found {threads[workload]} threads while {key} is false, expected 0: Perseus would ignore them. "
                f"Set {key}: true in config.yml, or {workload}: 0",
            )
