"""Reads config.yml and checks what the driver itself needs before anything starts."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pegasus_driver.errors import ConfigurationError

# Folders of .pegasus/ that aren't environments: an environment's state folder is named after the cluster.
RESERVED_NAMES = ("locks", "runs", "local-cloud")
# Read from the file by the inventory, before Ansible looks at -e.
FILE_ONLY_KEYS = ("pegasus_backend", "pegasus_cluster_name", "pegasus_region")

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}")


@dataclass(frozen=True)
class Config:
    """config.yml, checked. Values are as YAML gives them."""

    path: Path
    values: Mapping[str, Any]
    explicit: bool = False  # named by PEGASUS_CONFIG: Ansible has to be told to read it

    @property
    def environment(self) -> str:
        return str(self.values["pegasus_cluster_name"])

    @property
    def backend(self) -> str:
        return str(self.values["pegasus_backend"])


@dataclass(frozen=True)
class Rule:
    """One key's check: passes(value) says whether `expected` holds."""

    key: str
    expected: str
    passes: Callable[[Any], bool]


def _whole(low: int, high: int) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, int) and not isinstance(value, bool) and low <= value <= high


def _name(value: Any) -> bool:
    return isinstance(value, str) and _NAME.fullmatch(value) is not None


NAME_RULE = "letters, digits, '-', '_' and '.', at most 63, starting with a letter or a digit"

# What the driver and the inventory use themselves. The roles' argument_specs hold the rest: `check` is the place where
# they will be read.
RULES = (
    Rule("pegasus_backend", "local or aws", lambda value: value in ("local", "aws")),
    Rule("pegasus_region", "the name of an EC2 region", lambda value: isinstance(value, str) and bool(value)),
    Rule(
        "pegasus_cluster_name",
        f"{NAME_RULE}; not {', '.join(RESERVED_NAMES)}",
        lambda value: _name(value) and value not in RESERVED_NAMES,
    ),
    Rule("pegasus_client_name", NAME_RULE, _name),
    Rule("pegasus_monitoring_name", NAME_RULE, _name),
    Rule(
        "pegasus_namespace",
        "a name of 1 to 31 characters",
        lambda value: isinstance(value, str) and 1 <= len(value) <= 31,
    ),
    Rule("pegasus_cluster_nodes", "a whole number, 1 to 256", _whole(1, 256)),
    Rule("pegasus_client_nodes", "a whole number, 0 to 1000", _whole(0, 1000)),
    Rule("pegasus_replication_factor", "a whole number, 1 to 8", _whole(1, 8)),
)


def load(root: Path, environ: Mapping[str, str], folder: Path) -> Config:
    """Reads and checks group_vars/all/config.yml, or the file that PEGASUS_CONFIG names (from `folder`).

    Raises ConfigurationError with every error at once; a YAML error names its line.
    """
    named = environ.get("PEGASUS_CONFIG", "")
    path = folder / named if named else root / "group_vars" / "all" / "config.yml"
    values = _read(path)
    errors = check(values)
    if errors:
        raise ConfigurationError(
            "\n".join([f"{path} has {len(errors)} error{'s' if len(errors) > 1 else ''}:", *errors]),
            "Correct the file and run the command again. Nothing was started.",
        )
    return Config(path, values, explicit=bool(named))


def check(values: Mapping[str, Any]) -> list[str]:
    """All errors in the configuration: "key: found X, expected Y"."""
    errors = []
    for rule in RULES:
        if rule.key not in values:
            errors.append(f"  {rule.key}: not there, expected {rule.expected}")
        elif not rule.passes(values[rule.key]):
            errors.append(f"  {rule.key}: found {_show(values[rule.key])}, expected {rule.expected}")
    names = [values.get(key) for key in ("pegasus_cluster_name", "pegasus_client_name", "pegasus_monitoring_name")]
    if len(set(map(str, names))) < len(names):
        errors.append(
            "  pegasus_cluster_name, pegasus_client_name, pegasus_monitoring_name: found "
            f"{', '.join(_show(name) for name in names)}, expected three different names (hosts are called after them)"
        )
    return errors


def _show(value: Any) -> str:
    """A value as it would stand in YAML, short enough for a line."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return "true" if value else "false"
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _read(path: Path) -> dict[str, Any]:
    import yaml  # not needed for --help

    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigurationError(f"{path} isn't there", "Restore it: git checkout group_vars/all/config.yml") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path} can't be read: {error}", "Correct the file or its permissions.") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        problem = getattr(error, "problem", None) or str(error)
        raise ConfigurationError(
            f"{path} isn't valid YAML: {where}{problem}",
            "Each line is `key: value`, with spaces for indentation and quotes around text that holds ': ' or '#'.",
        ) from None
    if not isinstance(values, dict):
        raise ConfigurationError(f"{path}: found {_show(values)}, expected lines of `key: value`", "Correct the file.")
    return values
