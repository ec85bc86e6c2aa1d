"""Shell completion. The shells' scripts ask `pegasus-driver _complete WORD...`; all that is known is here.

It never fails and never waits long: a user who pressed TAB wants neither an error nor a pause.
"""

from __future__ import annotations

import argparse
import itertools
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pegasus_driver.arguments import Argument
    from pegasus_driver.world import World

SHELLS = ("bash", "zsh", "fish")
# Seconds that a list of hosts counts as fresh, and that EC2 has to give a new one.
FRESH = 60.0
PATIENCE = 1.0
# Tells the shell's script to complete file names.
FILES = "<files>"


def complete(words: Sequence[str], parser: argparse.ArgumentParser, world: World) -> list[str]:
    """Candidates for the last of the words, which follow the program's name; it may be empty."""
    *before, part = _apart(words) or [""]
    chosen: argparse.ArgumentParser = parser
    position = 0
    arguments: Sequence[Argument] = ()
    skip = False
    for word in before:
        sub = subcommands(chosen).get(word)
        if skip:
            skip = False
        elif word == "--":
            return []
        elif word.startswith("-"):
            skip = _takes_value(chosen, word)
        elif sub:
            chosen, position = sub, 0
            entry = sub.get_default("action") or sub.get_default("run_command")
            arguments = entry.arguments if entry else ()
        else:
            position += 1
    if skip:
        found = _values(chosen, before[-1])
    elif part.startswith("-"):
        found = [flag for action in chosen._actions for flag in action.option_strings if flag.startswith("--")]
    elif subs := subcommands(chosen):
        found = list(subs)
    else:
        found = _of_argument(arguments, position, before, world)
    fits = [one for one in found if one.startswith(part) or one == FILES]
    # A shell that takes "--output=js" for one word wants the whole word back.
    joined = words[-1].removesuffix(part) if words and words[-1].startswith("--") and not part.startswith("-") else ""
    return [one if one == FILES else joined + one for one in fits]


def _apart(words: Sequence[str]) -> list[str]:
    """--output=js as two words. bash makes three of it: --output, =, js."""
    found: list[str] = []
    for word in words:
        flag, equals, value = word.partition("=")
        if word == "=":
            continue
        found += [flag, value] if equals and word.startswith("--") else [word]
    return [*found, ""] if list(words[-1:]) == ["="] else found


def subcommands(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    """Return the parsers of all actions, or of an action's verbs, by name."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            return dict(action.choices)
    return {}


def _option(parser: argparse.ArgumentParser, flag: str) -> argparse.Action | None:
    return next((action for action in parser._actions if flag in action.option_strings), None)


def _takes_value(parser: argparse.ArgumentParser, flag: str) -> bool:
    action = _option(parser, flag)
    return action is not None and action.nargs != 0


def _values(parser: argparse.ArgumentParser, flag: str) -> list[str]:
    action = _option(parser, flag)
    return [str(choice) for choice in action.choices] if action and action.choices else [FILES]


def _of_argument(arguments: Sequence[Argument], position: int, before: Sequence[str], world: World) -> list[str]:
    if not arguments:
        return []
    argument = arguments[min(position, len(arguments) - 1)]
    if position >= len(arguments) and argument.nargs not in ("*", "+"):
        return []
    if argument.complete == "file":
        return [FILES]
    if argument.complete == "shell":
        return list(SHELLS)
    if argument.complete in ("server", "client"):
        taken = set(before) if argument.nargs in ("*", "+") else set()
        return [index for index in _indexes(argument.complete, before, world) if index not in taken]
    return []


def _indexes(kind: str, before: Sequence[str], world: World) -> list[str]:
    """The indexes of one kind: from a fresh list, from EC2, or from whatever list there is."""
    from pegasus_driver import config as configuration
    from pegasus_driver import environment
    from pegasus_driver.errors import DriverError

    environ = dict(world.environ)
    for flag, value in itertools.pairwise(before):
        if flag == "--config":
            environ[configuration.CONFIG_VARIABLE] = value
    config = configuration.load(world.root, environ, world.folder)
    access = environment.access(world.root, config)
    hosts, at = environment.kept(access)
    if time.time() - at > FRESH and access.state_dir.is_dir():
        try:
            hosts = environment.find(access, PATIENCE)
        except DriverError:
            environment.keep(access, hosts)  # not again with the next TAB
    return [str(one.index) for one in environment.of_kind(hosts, kind)]


def script(shell: str) -> str:
    """What `pegasus-driver completion SHELL` prints."""
    return (Path(__file__).parent / "completions" / f"pegasus-driver.{shell}").read_text(encoding="utf-8")
