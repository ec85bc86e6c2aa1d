# Copyright (c) Pegasus authors. SPDX-License-Identifier: Apache-2.0
"""Read the values of ``-e`` as ansible-playbook does. Only for the control machine."""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from pathlib import Path

from .file import ConfigFile, parse_config, read_config
from .schema import show

EXTRA = "-e"


def extra_values(arguments: Iterable[str], folder: Path) -> list[ConfigFile]:
    """Read the values of ``-e``: ``key=value key2=value``, JSON or YAML in braces, or ``@file``. Later values win.

    :param folder: the base folder for relative paths
    """
    extra = []
    for argument in arguments:
        if argument.startswith("@"):
            source = read_config(folder / argument[1:])
            source.path = Path(f"{EXTRA} {argument}")
        else:
            if argument[:1] in ("{", "["):
                source = parse_config(argument.encode(errors="surrogateescape"), ConfigFile(Path(EXTRA)))
            else:
                source = _assignments(argument)
            source.problems = [(key, 0, f"{text} ({EXTRA} {argument[:60]})") for key, _, text in source.problems]
            source.lines = dict.fromkeys(source.lines, 0)
        extra.append(source)
    return extra


def _assignments(argument: str) -> ConfigFile:
    source = ConfigFile(Path(EXTRA))
    try:
        words = shlex.split(argument)
    except ValueError as error:
        source.problems.append(("", 0, f"found {error}, expected KEY=VALUE"))
        return source
    for word in words:
        key, separator, value = word.partition("=")
        if separator and key:
            source.values[key], source.lines[key] = value, 0
        else:
            source.problems.append(("", 0, f"found no '=' in {show(word)}, expected KEY=VALUE"))
    return source
