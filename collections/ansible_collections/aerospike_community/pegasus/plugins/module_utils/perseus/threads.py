# Copyright (c) Pegasus authors. SPDX-License-Identifier: Apache-2.0
"""threads.yaml, the live load: checks its content before Perseus reads it.

Perseus reads the file every second and is strict: after a value of the wrong type it never reads the file again, it
ignores an unknown name, ``010`` is 8, and a missing name keeps its old value. So only ``workload: number`` on a line of
its own is accepted. Each problem names what Perseus would have done. Standard library only, because the driver, the
modules and the programs on clients share it.
"""

from __future__ import annotations

import difflib
import re

WORKLOADS = (
    "write",
    "read",
    "update",
    "delete",
    "expressionRead",
    "expressionWrite",
    "batchWrite",
    "batchRead",
    "numericSearch",
    "stringSearch",
    "geospatialSearch",
    "udf",
    "udfAggregation",
    "rangeQuery",
)
MAX_THREADS = 500
HEADING = "# Written by Pegasus from threads.yaml. Change that file, not this one.\n"

_LINE = re.compile(r"(?P<name>[^\s:#'\"{}\[\],&*!|>%@`?-][^\s:#]*)[ ]*:(?P<rest>.*)")
_COMMENT = re.compile(r"(?:^| )#.*$")
_NUMBER = re.compile(r"0|[1-9][0-9]*")
_SIGNED = re.compile(r"[+-][0-9]+")
_LEADING_ZERO = re.compile(r"0[0-9]+")


class ThreadsFileError(ValueError):
    """The file isn't valid for Perseus. ``problems`` has a sentence for each reason."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


def parse(text: str) -> dict[str, int]:
    """Return the threads of each workload, 0 to 500, in Perseus's order. Raises ThreadsFileError with all problems."""
    threads: dict[str, int] = {}
    problems: list[str] = []
    seen: dict[str, int] = {}
    for number, raw in enumerate(text.removeprefix("\ufeff").splitlines(), start=1):
        content = _COMMENT.sub("", raw).rstrip(" \r")
        if not content or (content == "---" and not seen):
            continue
        problem = _read_line(content, number, seen, threads)
        if problem:
            problems.append(f"line {number}: {problem}")
    if not seen and not problems:
        problems.append(
            "found no workload; expected a line 'write: 1' for each. Perseus would ignore the file and keep its threads"
        )
    elif not problems:
        problems += [
            f"found no line for {name}; Perseus would keep its last value. Add '{name}: 0' to stop it"
            for name in WORKLOADS
            if name not in seen
        ]
    if problems:
        raise ThreadsFileError(problems)
    return {name: threads[name] for name in WORKLOADS}


def render(threads: dict[str, int]) -> str:
    """Return the file's text for Perseus: exactly all workloads, so that equal loads have equal files."""
    return HEADING + "".join(f"{name}: {threads[name]}\n" for name in WORKLOADS)


def describe_change(before: dict[str, int], after: dict[str, int]) -> str:
    """Return the workloads whose threads changed: ``write 1 -> 2, read 0 -> 4``."""
    names = [name for name in after if before.get(name, 0) != after[name]]
    return ", ".join(f"{name} {before.get(name, 0)} -> {after[name]}" for name in names)


def _read_line(content: str, number: int, seen: dict[str, int], threads: dict[str, int]) -> str:
    """Read a line into ``threads``. Return its problem, or ""."""
    if content[0] in " \t":
        return f"found '{content.strip()}' with leading space; expected 'workload: threads' at the start of the line"
    match = _LINE.fullmatch(content)
    if not match:
        return f"found '{content}'; expected 'workload: threads', without quotes, lists or braces"
    name, rest = match["name"], match["rest"]
    if name not in WORKLOADS:
        near = [known for known in WORKLOADS if known.lower() == name.lower()] or difflib.get_close_matches(
            name, WORKLOADS, 1
        )
        hint = f"did you mean '{near[0]}'?" if near else f"expected one of {', '.join(WORKLOADS)}."
        return f"unknown workload '{name}'; {hint} Perseus would ignore it"
    if name in seen:
        return f"'{name}' is already on line {seen[name]}; remove one of the lines"
    seen[name] = number
    if rest and not rest.startswith(" "):
        return f"found '{content}'; expected a space after the colon: '{name}: {rest.strip() or 0}'"
    value = rest.strip(" ")
    problem = _number_problem(value)
    if problem:
        return f"{name}: {problem}"
    threads[name] = int(value)
    return ""


def _number_problem(value: str) -> str:
    """Return why a value isn't a plain whole number from 0 to 500, or ""."""
    expected = f"expected a plain whole number from 0 to {MAX_THREADS}"
    if not value:
        return f"found no number; {expected}. Perseus would never read the file again until it restarts"
    if _NUMBER.fullmatch(value):
        # The length is checked first, because int() refuses thousands of digits.
        if len(value) > len(str(MAX_THREADS)) or int(value) > MAX_THREADS:
            return f"found {value[:20]}; {expected}. Perseus would run {MAX_THREADS}, or stop reading the file"
        return ""
    if _SIGNED.fullmatch(value):
        return f"found {value}; {expected}. Perseus would take a negative number as 0"
    if _LEADING_ZERO.fullmatch(value):
        return f"found {value}; {expected}, without a leading zero. YAML would read it as octal"
    return f"found {value[:60]}; {expected}. Perseus would never read the file again until it restarts"
