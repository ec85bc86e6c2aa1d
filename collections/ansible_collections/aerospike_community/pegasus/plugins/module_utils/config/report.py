# Copyright (c) Pegasus authors. SPDX-License-Identifier: Apache-2.0
"""The result of a configuration check: problems with the file and line of each, and the effective values."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from .file import ConfigFile


@dataclass(frozen=True, order=True)
class Problem:
    """One mistake. `file` is a path, "-e" or "-e @path"; `line` is 0 if unknown; `message` is "found, expected"."""

    file: str
    line: int
    key: str
    message: str
    nearest: str = ""

    @property
    def text(self) -> str:
        """The problem as one line."""
        where = f"{self.file}:{self.line}" if self.line else self.file
        message = f"{self.key}: {self.message}" if self.key else self.message
        return " ".join(f"{where}: {message}".splitlines())

    def record(self) -> dict[str, Any]:
        """The problem as a JSON object."""
        return asdict(self) | {"text": self.text}


@dataclass
class Report:
    """The result of a check.

    `values` are the valid effective values. `unknown` are keys whose value isn't known yet. value(key) renders
    the value of any variable and raises LookupError if it can't.
    """

    problems: list[Problem] = field(default_factory=list)
    values: dict[str, Any] = field(default_factory=dict)
    unknown: list[str] = field(default_factory=list)
    value: Callable[[str], Any] = field(default=lambda key: {}[key])
    files: list[ConfigFile] = field(default_factory=list)
    places: Places | None = None

    def add(self, key: str, message: str, near: str = "") -> None:
        """Add a problem of a key, with the place where its value is set."""
        assert self.places is not None
        self.problems.append(self.places.problem(key, message, near))


@dataclass(frozen=True)
class Places:
    """Where the value of a key is set."""

    root: Path
    files: Sequence[ConfigFile]  # later files win
    preset: str
    preset_keys: frozenset[str] = frozenset()

    def name(self, path: Path) -> str:
        """A file's path relative to the project's folder."""
        return str(path.relative_to(self.root)) if path.is_relative_to(self.root) else str(path)

    def problem(self, key: str, message: str, near: str = "") -> Problem:
        for file in reversed(self.files):
            if key in file.lines:
                return Problem(self.name(file.path), file.lines[key], key, message, near)
        if key in self.preset_keys:
            return Problem(self.preset, 0, key, message, near)
        return Problem(self.name(self.files[0].path), 0, key, message, near)
