# Copyright (c) Pegasus authors. SPDX-License-Identifier: Apache-2.0
"""Read config.yml with the line of each key, and report duplicate keys, which YAML readers accept silently.

Only for the control machine: it needs PyYAML.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from .schema import Template, show

Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
MAX_DEPTH = 20  # levels of nesting; the parser is recursive
MAX_BYTES = 1_000_000
# Errors of PyYAML's constructors for a value that doesn't match its tag (2026-99-99, `!!timestamp x`, `!!bool x`).
VALUE_ERRORS = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError)
_NUMBERS = ("tag:yaml.org,2002:int", "tag:yaml.org,2002:float")
_PLAIN_NUMBER = re.compile(
    r"[-+]?((0|[1-9][0-9]*)(\.[0-9]*)?|\.[0-9]+)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF|nan|NaN|NAN)"
)
FORM = "Each line is `key: value`, with spaces for indentation and quotes around text that holds ': ' or '#'."


@dataclass
class ConfigFile:
    """A file's keys. `problems` are (key, line, text), with '' or 0 if there is none."""

    path: Path
    values: dict[str, Any] = field(default_factory=dict)
    lines: dict[str, int] = field(default_factory=dict)
    problems: list[tuple[str, int, str]] = field(default_factory=list)
    readable: bool = True


class _Loader(Loader):  # type: ignore[misc]
    """Loads YAML's plain types; a value that only Ansible can read becomes a Template."""


for _tag in ("!vault", "!vault-encrypted", "!unsafe"):
    _Loader.add_constructor(_tag, lambda loader, node: Template(getattr(node, "value", "")))


def read_config(path: Path) -> ConfigFile:
    """Read a file. Never raises: its mistakes are in the result's problems."""
    file = ConfigFile(path)
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        shipped = " (git checkout restores the shipped one)" if path.name == "config.yml" else ""
        return _unreadable(file, 0, f"found no such file, expected a configuration{shipped}")
    except (OSError, ValueError) as error:
        return _unreadable(file, 0, f"found a file that can't be read ({error}), expected text")
    return parse_config(content, file)


def parse_config(content: bytes, file: ConfigFile) -> ConfigFile:
    """Parse a file's content into `file`."""
    if len(content) > MAX_BYTES:
        return _unreadable(file, 0, f"found {len(content)} bytes, expected at most {MAX_BYTES}")
    try:
        text = content.decode("utf-8-sig")
        problem = _structure_problem(text)
        if problem:
            return _unreadable(file, *problem)
        loader = _Loader(text)
        try:
            _read_mapping(loader, loader.get_single_node(), file)
        finally:
            loader.dispose()
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
        reason = getattr(error, "problem", None) or str(error).splitlines()[0]
        where = f" at column {mark.column + 1}" if mark else ""
        return _unreadable(
            file, mark.line + 1 if mark else 0, f"found a syntax error ({reason}{where}), expected valid YAML. {FORM}"
        )
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        return _unreadable(file, line, f"found bytes that aren't UTF-8 ({error.reason}), expected UTF-8 text")
    return file


def _unreadable(file: ConfigFile, line: int, text: str) -> ConfigFile:
    file.readable = False
    file.values.clear()
    file.problems.append(("", line, text))
    return file


def _structure_problem(text: str) -> tuple[int, str] | None:
    """Find unsafe structures: aliases, which may be recursive or expand without bound, and deep nesting."""
    depth = documents = 0
    for event in yaml.parse(text, Loader=Loader):
        assert event.start_mark is not None
        line = event.start_mark.line + 1
        if isinstance(event, yaml.AliasEvent):
            return line, f"found the alias *{event.anchor}, expected the value itself"
        if isinstance(event, yaml.DocumentStartEvent):
            documents += 1
            if documents > 1:
                return line, "found a second document, expected a single document"
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > MAX_DEPTH:
                return line, f"found more than {MAX_DEPTH} levels of nesting, expected lines of `key: value`"
        if isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
    return None


def _read_mapping(loader: Any, node: Any, file: ConfigFile) -> None:
    if node is None:
        return
    if not isinstance(node, yaml.MappingNode):
        try:
            found = show(loader.construct_object(node, deep=True))
        except (yaml.YAMLError, *VALUE_ERRORS):
            found = "something else"
        _unreadable(file, node.start_mark.line + 1, f"found {found}, expected lines of `key: value`")
        return
    for key_node, value_node in node.value:
        line = key_node.start_mark.line + 1
        if not isinstance(key_node, yaml.ScalarNode) or key_node.tag != "tag:yaml.org,2002:str":
            name = show(getattr(key_node, "value", "")) if isinstance(key_node, yaml.ScalarNode) else "a structure"
            file.problems.append(("", line, f"found {name} as a key, expected a name"))
            continue
        key = key_node.value
        if key in file.lines:
            file.problems.append((key, line, f"found a duplicate (first on line {file.lines[key]}), expected it once"))
            continue
        file.lines[key] = line
        duplicates = list(_duplicates(value_node))
        file.problems += [(key, at, f"found {show(name)} twice in it, expected it once") for name, at in duplicates]
        secret = any(word in key for word in ("password", "secret"))
        file.problems += [(key, at, text) for text, at in _odd_numbers(loader, value_node, secret)]
        try:
            file.values[key] = loader.construct_object(value_node, deep=True)
        except yaml.YAMLError as error:
            problem = getattr(error, "problem", None) or error
            file.problems.append((key, line, f"found {problem}, expected a plain value"))
        except VALUE_ERRORS as error:
            file.problems.append((key, line, f"found a value that YAML can't read ({error}), expected a plain value"))


def _odd_numbers(loader: Any, node: Any, secret: bool) -> Iterator[tuple[str, int]]:
    """Find numbers that YAML reads differently than people do (010 is 8, 1:30 is 90), anywhere below a node."""
    if isinstance(node, yaml.CollectionNode):
        for child in node.value:
            for element in child if isinstance(child, tuple) else (child,):
                yield from _odd_numbers(loader, element, secret)
    elif node.tag in _NUMBERS and not _PLAIN_NUMBER.fullmatch(node.value):
        try:
            read = show(loader.construct_object(node))
        except VALUE_ERRORS:
            return  # reported as a value that YAML can't read
        found = "a number that YAML reads differently" if secret else f"{node.value}, which YAML reads as {read}"
        yield f"found {found}, expected a plain number, or quotes around text", node.start_mark.line + 1


def _duplicates(node: Any) -> Iterator[tuple[str, int]]:
    """Find duplicate keys of a mapping anywhere below a node, with the line of the second key."""
    if isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for key, value in node.value:
            if isinstance(key, yaml.ScalarNode):
                if key.value in seen:
                    yield key.value, key.start_mark.line + 1
                seen.add(key.value)
            yield from _duplicates(value)
    elif isinstance(node, yaml.SequenceNode):
        for value in node.value:
            yield from _duplicates(value)
