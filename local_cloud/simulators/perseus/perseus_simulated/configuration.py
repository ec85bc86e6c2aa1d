"""configuration.yaml, read once. Unknown keys and wrong types are refused, as in the real Perseus."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import yaml

DEFAULT = """\
aerospikeConfiguration:
  hosts:
    - ip: "localhost"
      port: 3000
  username: ""
  password: ""
  namespace: "test"
  set: "test"
  truncateSet: true
outputWindowConfiguration:
  printIntervalSec: 1
  numberOfLinesBeforeReprintingTheHeader: 25
  columnWidth: 11
testConfiguration:
  perseusId: 0
  recordSize: 1220
  readBatchSize: 50
  writeBatchSize: 50
  readHitRatio: 0.8
  stringIndex: false
  numericIndex: false
  geoSpatialIndex: false
  udfAggregation: false
  rangeQuery: false
  rangeQueryConfiguration:
    maxTimeRangeChance: 0.00001
    maxTimeRange: 1000
    normalTimeRange: 5
"""


class ConfigurationError(ValueError):
    """The file doesn't describe a configuration."""


@dataclass
class Host:
    ip: str | None = None
    port: int | None = None


@dataclass
class Aerospike:
    hosts: list[Host] = field(default_factory=list)
    username: str | None = None
    password: str | None = None
    namespace: str | None = None
    set: str | None = None
    truncateSet: bool | None = None


@dataclass
class OutputWindow:
    """printIntervalSec in seconds, columnWidth in characters."""

    printIntervalSec: int | None = None
    numberOfLinesBeforeReprintingTheHeader: int | None = None
    columnWidth: int | None = None


@dataclass
class RangeQuery:
    maxTimeRangeChance: float | None = None
    maxTimeRange: int | None = None
    normalTimeRange: int | None = None


@dataclass
class Test:
    """recordSize in bytes, batch sizes in records."""

    perseusId: int = 0
    recordSize: int | None = None
    readBatchSize: int | None = None
    writeBatchSize: int | None = None
    readHitRatio: float | None = None
    stringIndex: bool | None = None
    numericIndex: bool | None = None
    geoSpatialIndex: bool | None = None
    udfAggregation: bool | None = None
    rangeQuery: bool | None = None
    rangeQueryConfiguration: RangeQuery | None = None

    def missing(self) -> list[str]:
        """Keys without which the real Perseus throws after its start, and then hangs."""
        return [item.name for item in fields(self) if getattr(self, item.name) is None]


@dataclass
class Configuration:
    """A missing section is None; the consequence depends on the section."""

    aerospikeConfiguration: Aerospike | None = None
    outputWindowConfiguration: OutputWindow | None = None
    testConfiguration: Test | None = None


def load(folder: Path) -> Configuration:
    """Read configuration.yaml in `folder`; if it is missing, the default is written there and used."""
    path = folder / "configuration.yaml"
    if not path.exists():
        path.write_text(DEFAULT)
    try:
        content = yaml.safe_load(path.read_text())
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigurationError(str(error)) from error
    return _section(Configuration, content, "the file")


# The types in the annotations above
_SCALARS = {"str": str, "int": int, "float": float, "bool": bool}
_SECTIONS = {
    "Aerospike": Aerospike,
    "OutputWindow": OutputWindow,
    "Test": Test,
    "RangeQuery": RangeQuery,
}


def _section(kind: type, content: Any, where: str) -> Any:
    if not isinstance(content, dict):
        raise ConfigurationError(f"{where}: found {content!r}, expected keys and values")
    known = {item.name: str(item.type).partition(" ")[0] for item in fields(kind)}
    values = {}
    for key, value in content.items():
        if key not in known:
            raise ConfigurationError(f"{where}: unknown key {key!r}")
        values[key] = None if value is None else _value(known[key], value, f"{where}.{key}")
    # The only key with a primitive type in the real Perseus: it can't be null.
    if kind is Test and values.get("perseusId", 0) is None:
        raise ConfigurationError(f"{where}.perseusId: found nothing, expected a number")
    return kind(**values)


def _value(kind: str, value: Any, where: str) -> Any:
    if kind in _SECTIONS:
        return _section(_SECTIONS[kind], value, where)
    if kind == "list[Host]":
        if not isinstance(value, list):
            raise ConfigurationError(f"{where}: found {value!r}, expected a list")
        return [_section(Host, item, where) for item in value]
    return _scalar(_SCALARS[kind], value, where)


def _scalar(kind: type, value: Any, where: str) -> Any:
    """A scalar counts by its text, not by its quotes: "300" is a number too."""
    if isinstance(value, (dict, list)):
        raise ConfigurationError(f"{where}: found {value!r}, expected {kind.__name__}")
    if kind is str:
        return str(value).lower() if isinstance(value, bool) else str(value)
    try:
        parsed = yaml.safe_load(value) if isinstance(value, str) else value
    except yaml.YAMLError:
        parsed = None
    if kind is float and isinstance(parsed, int) and not isinstance(parsed, bool):
        parsed = float(parsed)
    if not isinstance(parsed, kind) or (kind is int and isinstance(parsed, bool)):
        raise ConfigurationError(f"{where}: found {value!r}, expected {kind.__name__}")
    return parsed
