"""Reads and checks the configuration before anything starts. The rules are the collection's (module_utils/config)."""

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ansible_collections.aerospike_community.pegasus.plugins.module_utils.config import check
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.config.extra_vars import extra_values

from .errors import ConfigurationError, UsageError
from .templates import resolver

CONFIG_VARIABLE = "PEGASUS_CONFIG"


@dataclass(frozen=True)
class Config:
    """The checked configuration. `report` is the result of the check, with the effective values."""

    path: Path
    report: check.Report
    explicit: bool = False  # named by --config or PEGASUS_CONFIG, so Ansible needs its path

    @property
    def values(self) -> Mapping[str, Any]:
        return self.report.values

    @property
    def environment(self) -> str:
        return str(self.values["pegasus_cluster_name"])

    @property
    def backend(self) -> str:
        return str(self.values["pegasus_backend"])

    @property
    def place(self) -> Path:
        """The environment's key on this machine, as a relative path: a name is unique only within a region."""
        return Path(self.backend, str(self.values["pegasus_region"]), self.environment)


def examine(
    root: Path, environ: Mapping[str, str], folder: Path, extra: Sequence[str] = (), *, launching: bool = False
) -> Config:
    """Check config.yml, overridden by the file that PEGASUS_CONFIG names and by the values of -e.

    Mistakes are in the report; with mistakes the result may have no values.

    :param folder: where relative paths start
    :param launching: whether to check threads.yaml and the licence too
    """
    named = environ.get(CONFIG_VARIABLE, "")
    path = (folder / named).resolve() if named else root / check.CONFIG
    report = check.examine(
        root, path if named else None, extra_values(extra, folder), resolver(root, environ), launching=launching
    )
    return Config(path, report, explicit=bool(named))


def load(
    root: Path, environ: Mapping[str, str], folder: Path, extra: Sequence[str] = (), *, launching: bool = False
) -> Config:
    """Do the same as examine() for a configuration that must be correct.

    :raises ConfigurationError: with all mistakes at once
    """
    config = examine(root, environ, folder, extra, launching=launching)
    if config.report.problems:
        raise ConfigurationError(
            problems_text(config.report.problems),
            "Correct what is named above and run the command again. Nothing was started.",
        )
    return config


def problems_text(problems: Sequence[Any]) -> str:
    """List all mistakes, one per line."""
    count = f"{len(problems)} mistake{'s' if len(problems) != 1 else ''}"
    return "\n".join([f"the configuration has {count}:", *(f"  {problem.text}" for problem in problems)])


def configured(arguments: argparse.Namespace, environ: Mapping[str, str]) -> dict[str, str]:
    """Return the environment variables with the file that --config names as PEGASUS_CONFIG."""
    return dict(environ) | ({CONFIG_VARIABLE: arguments.config} if arguments.config else {})


def extra_arguments(values: Sequence[str], folder: Path) -> list[str]:
    """Return -e values as arguments of ansible-playbook, with paths (@FILE) resolved from the user's folder.

    The values themselves are checked with the configuration.

    :raises UsageError: a value isn't KEY=VALUE, @FILE or JSON
    """
    result: list[str] = []
    for value in values:
        if value.startswith("@"):
            path = folder / value[1:]
            if not path.is_file():
                raise UsageError(f"-e {value}: {path} isn't a file", "Give the path of a YAML or JSON file after @.")
            value = f"@{path}"
        elif value[:1] not in "{[" and "=" not in value:
            raise UsageError(f"-e {value}: found no '=', expected KEY=VALUE", "Or give @FILE, or a JSON object.")
        result += ["-e", value]
    return result
