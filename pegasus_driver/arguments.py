"""Arguments and options of actions and commands, and the types of their values."""

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

GROUPS = ("servers", "clients", "monitors")


@dataclass(frozen=True)
class Argument:
    """A positional argument, as argparse takes it. nargs "?" makes it optional; example is a value for help texts."""

    name: str
    type: Callable[[str], Any]
    help: str
    nargs: str | None = None
    default: Any = None
    example: str = ""
    complete: str = ""  # what the shell completes: "server" or "client" for an index of that kind, "file", "shell"


@dataclass(frozen=True)
class Option:
    """An option of one action: a switch, or with `type` an option with a value."""

    flag: str  # "--force"
    help: str
    type: Callable[[str], Any] | None = None
    default: Any = None
    metavar: str | None = None

    @property
    def attribute(self) -> str:
        """Its name in argparse's namespace: "--keep-data" -> "keep_data"."""
        return self.flag.lstrip("-").replace("-", "_")


# Types of values. argparse turns their errors into usage errors.


def node_index(text: str) -> int:
    return _positive(text, "a node's index: 1, 2, ... (status lists them)")


def node_count(text: str) -> int:
    return _positive(text, "how many nodes to add: 1, 2, ...")


def _positive(text: str, expected: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"found {text!r}, expected {expected}")
    return int(text)


def duration(text: str) -> str:
    from ansible_collections.aerospike_community.pegasus.plugins.module_utils.durations import parse_duration

    try:
        parse_duration(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    return text


def group_name(text: str) -> str:
    if text not in GROUPS:
        raise argparse.ArgumentTypeError(f"found {text!r}, expected one of {', '.join(GROUPS)}")
    return text
