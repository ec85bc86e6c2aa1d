# Copyright (c) Pegasus authors. SPDX-License-Identifier: Apache-2.0
"""configuration.yaml, which Perseus reads once at its start: checks the settings and renders the file.

After an unknown name, a missing block or a wrong type, Perseus exits without a reason or hangs forever, because nothing
waits for the thread of the exception. So the file is rendered from data, complete and with exactly the names that
Perseus knows.
Source of the names and limits: Perseus's public source, and runs of it. Standard library only.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from dataclasses import dataclass, field, fields
from typing import Any

MIN_RECORD_SIZE = 178
# Not configurable: 0 seconds hangs Perseus, 0 lines print no rows, 1 line prints no header, and a column must fit its
# title. The header is frequent because it has the number of running threads.
PRINT_INTERVAL_SECONDS = 1
LINES_PER_HEADER = 10
COLUMN_WIDTH = 11
LARGEST_INT = 2**31 - 1


class PerseusConfigError(ValueError):
    """The settings aren't valid for Perseus. ``problems`` has a sentence for each reason."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


@dataclass(frozen=True)
class PerseusSettings:
    """The settings that differ between clients."""

    hosts: list[str] = field(default_factory=list)  # addresses of server nodes
    port: int = 3000
    namespace: str = "test"
    set: str = "test"
    truncate_set: bool = False  # empties the set at each start
    id: int = 0  # distinct for each Perseus that runs at the same time
    record_size: int = 300  # bytes
    read_batch_size: int = 200  # records
    write_batch_size: int = 100  # records
    read_hit_ratio: float = 1.0  # 0.0 to 1.0
    string_index: bool = False
    numeric_index: bool = False
    geo_spatial_index: bool = False
    udf_aggregation: bool = False
    range_query: bool = False
    normal_time_range: int = 10  # records, although Perseus calls it a time
    max_time_range: int = 100  # records
    max_time_range_chance: float = 0.01  # 0.0 to 1.0


def settings_from(values: dict[str, Any]) -> PerseusSettings:
    """Return settings from plain values. Raises PerseusConfigError with all problems at once.

    Numbers and booleans may be text, as from ``ansible-playbook -e x=5``.
    """
    problems: list[str] = []
    known = {item.name: item for item in fields(PerseusSettings)}
    unknown = sorted(set(values) - set(known))
    if unknown:
        problems.append(f"unknown: {', '.join(unknown)}; expected names among {', '.join(known)}")
    converted: dict[str, Any] = {}
    readers = {"int": _whole, "float": _fraction, "bool": _boolean, "str": _text}
    for name, value in values.items():
        if name not in known:
            continue
        try:
            converted[name] = _addresses(value) if name == "hosts" else readers[str(known[name].type)](value)
        except ValueError as error:
            problems.append(f"{name}: {error}")
    settings = PerseusSettings(**converted)
    problems += [text for text in _limits(settings) if text.partition(":")[0] in converted]
    if "hosts" not in values:
        problems.append("hosts: found none; expected the address of at least one server node")
    if problems:
        raise PerseusConfigError(problems)
    return settings


def configuration(settings: PerseusSettings) -> dict[str, Any]:
    """Return the complete configuration with Perseus's names in Perseus's order."""
    return {
        "aerospikeConfiguration": {
            "hosts": [{"ip": host, "port": settings.port} for host in settings.hosts],
            "username": "",
            "password": "",
            "namespace": settings.namespace,
            "set": settings.set,
            "truncateSet": settings.truncate_set,
        },
        "outputWindowConfiguration": {
            "printIntervalSec": PRINT_INTERVAL_SECONDS,
            "numberOfLinesBeforeReprintingTheHeader": LINES_PER_HEADER,
            "columnWidth": COLUMN_WIDTH,
        },
        "testConfiguration": {
            "perseusId": settings.id,
            "recordSize": settings.record_size,
            "readBatchSize": settings.read_batch_size,
            "writeBatchSize": settings.write_batch_size,
            "readHitRatio": settings.read_hit_ratio,
            "stringIndex": settings.string_index,
            "numericIndex": settings.numeric_index,
            "geoSpatialIndex": settings.geo_spatial_index,
            "udfAggregation": settings.udf_aggregation,
            "rangeQuery": settings.range_query,
            "rangeQueryConfiguration": {
                "maxTimeRangeChance": settings.max_time_range_chance,
                "maxTimeRange": settings.max_time_range,
                "normalTimeRange": settings.normal_time_range,
            },
        },
    }


def read(text: str) -> dict[str, Any]:
    """Read the file as the role's template writes it: one line per name, values in JSON. Raises PerseusConfigError."""
    if not text.endswith("\n"):
        raise PerseusConfigError(["its last line is incomplete: the file is truncated"])
    root: dict[str, Any] = {}
    path = [root]
    for number, line in enumerate(text.splitlines(), start=1):
        if not line or line.startswith("#"):
            continue
        name, colon, value = line.strip().partition(":")
        depth = (len(line) - len(line.lstrip(" "))) // 2
        if not colon or depth >= len(path):
            raise PerseusConfigError([f"line {number}: found '{line}'; expected 'name: value' as Pegasus writes it"])
        del path[depth + 1 :]
        if not value.strip():
            path[depth][name] = {}
            path.append(path[depth][name])
            continue
        try:
            path[depth][name] = json.loads(value)
        except ValueError:
            raise PerseusConfigError([f"line {number}: found '{line}'; expected a number, a text or true"]) from None
    problems = list(_differences(configuration(PerseusSettings()), root, ""))
    if problems:
        raise PerseusConfigError(problems)
    return root


def _differences(expected: dict[str, Any], found: dict[str, Any], where: str) -> Iterable[str]:
    """Yield a problem for each key that is missing, unknown, or of another type."""
    for name, value in expected.items():
        if name not in found:
            yield f"{where}{name}: missing; Perseus would hang or use its own default"
        elif isinstance(value, dict) and isinstance(found[name], dict):
            yield from _differences(value, found[name], f"{where}{name}.")
        elif type(value) is not type(found[name]):
            yield f"{where}{name}: found {found[name]!r}, expected {type(value).__name__}"
    for name in found.keys() - expected.keys():
        yield f"{where}{name}: unknown; Perseus would exit without a reason"


def _limits(settings: PerseusSettings) -> Iterable[str]:
    """Yield a problem for each value that Perseus can't use."""
    if not settings.hosts:
        yield "hosts: found none; expected the address of at least one server node"
    if not settings.namespace:
        yield "namespace: found an empty name; expected the cluster's namespace"
    if not settings.set:
        yield "set: found an empty name; expected the name of a set"
    if not 1 <= settings.port <= 65535:
        yield f"port: found {settings.port}; expected 1 to 65535"
    if settings.record_size < MIN_RECORD_SIZE:
        yield f"record_size: found {settings.record_size}; expected at least {MIN_RECORD_SIZE} bytes"
    for name in ("read_batch_size", "write_batch_size", "normal_time_range", "max_time_range"):
        if getattr(settings, name) < 1:
            yield f"{name}: found {getattr(settings, name)}; expected a whole number above 0"
    for name in ("read_hit_ratio", "max_time_range_chance"):
        if not 0.0 <= getattr(settings, name) <= 1.0:
            yield f"{name}: found {getattr(settings, name)}; expected 0.0 to 1.0"
    if settings.id < 0:
        yield f"id: found {settings.id}; expected 0 or more"


def _whole(value: Any) -> int:
    """Convert to a whole number. Raises ValueError."""
    try:
        if isinstance(value, bool) or (isinstance(value, float) and not value.is_integer()):
            raise ValueError
        number = int(value)
    except (TypeError, ValueError, OverflowError):
        raise ValueError(f"found {value!r}; expected a whole number") from None
    if abs(number) > LARGEST_INT:
        raise ValueError(f"found {number}; expected at most {LARGEST_INT}")
    return number


def _fraction(value: Any) -> float:
    """Convert to a finite number. Raises ValueError."""
    try:
        number = float(value)
        if isinstance(value, bool) or not math.isfinite(number):
            raise ValueError
    except (TypeError, ValueError):
        raise ValueError(f"found {value!r}; expected a number") from None
    return number


def _boolean(value: Any) -> bool:
    """Convert to a boolean. Raises ValueError."""
    if isinstance(value, bool):
        return value
    values = {"true": True, "yes": True, "on": True, "1": True, "false": False, "no": False, "off": False, "0": False}
    if str(value).lower() not in values:
        raise ValueError(f"found {value!r}; expected true or false")
    return values[str(value).lower()]


def _text(value: Any) -> str:
    """Convert to a name. A number is valid, because a namespace may be named 1. Raises ValueError."""
    if value is None or isinstance(value, (bool, dict, list)):
        raise ValueError(f"found {value!r}; expected text")
    text = str(value)
    if not (text.isascii() and text.isprintable()):
        raise ValueError(f"found {text!r}; expected printable ASCII characters only")
    return text


def _addresses(value: Any) -> list[str]:
    """Convert to a list of addresses. Raises ValueError."""
    if isinstance(value, (str, dict)) or not isinstance(value, Iterable):
        raise ValueError(f"found {value!r}; expected a list of addresses")
    addresses = [_text(item) for item in value]
    if not all(address.strip() for address in addresses):
        raise ValueError("found an empty address in the list; expected an address for each server node")
    return addresses
