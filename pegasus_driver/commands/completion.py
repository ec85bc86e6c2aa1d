"""Shell completion with argcomplete: actions and options from the parser, node indexes from a cache or from EC2.

The shell runs the wrapper with _ARGCOMPLETE set. Completion never fails and never waits long: a TAB should cause
neither an error nor a pause.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pegasus_driver.world import World

SHELLS = ("bash", "zsh", "fish")
# Seconds that a cached list of hosts is fresh, and the timeout for EC2 to return a new list.
FRESH = 60.0
TIMEOUT = 1.0


def complete(parser: argparse.ArgumentParser, world: World) -> None:
    """Write the candidates for the command line in COMP_LINE, where argcomplete's shell function reads them."""
    # On any error the shell gets no candidates.
    with contextlib.suppress(Exception, SystemExit):
        import argcomplete

        for sub in subcommands(parser).values():
            entry = sub.get_default("action") or sub.get_default("run_command")
            kinds = {argument.name: argument.complete for argument in entry.arguments} if entry else {}
            for action in sub._actions:
                argcomplete.safe_actions.add(type(action))  # or a completer wouldn't see the value of --config
                if not action.option_strings and action.choices is None:
                    setattr(action, "completer", _completer(kinds.get(action.dest, ""), world))  # noqa: B010
        argcomplete.autocomplete(parser, always_complete_options=False, exit_method=sys.exit)


def _completer(kind: str, world: World) -> Any:
    """Return argcomplete's completer for an Argument.complete."""
    from argcomplete.completers import ChoicesCompleter, FilesCompleter, SuppressCompleter

    if kind in ("server", "client"):
        return lambda parsed_args, action, **_: _indexes(kind, parsed_args, action.dest, world)
    if kind == "shell":
        return ChoicesCompleter(dict.fromkeys(SHELLS, ""))
    return FilesCompleter() if kind == "file" else SuppressCompleter()


def _indexes(kind: str, arguments: argparse.Namespace, name: str, world: World) -> Iterable[str]:
    """Return the indexes of one kind that the command line doesn't contain yet."""
    from pegasus_driver import config as configuration
    from pegasus_driver import environment
    from pegasus_driver.errors import DriverError

    config = configuration.load(world.root, configuration.configured(arguments, world.environ), world.folder)
    access = environment.access(world.root, config)
    hosts, at = environment.cached_hosts(access)
    if time.time() - at > FRESH and access.state_dir.is_dir():
        try:
            hosts = environment.find(access, TIMEOUT)
        except DriverError:
            environment.cache_hosts(access, hosts)  # don't query again at the next TAB
    used = getattr(arguments, name, None) or []
    return [str(host.index) for host in environment.of_kind(hosts, kind) if host.index not in used]


def subcommands(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    """Return the parsers of a parser's actions, or of an action's verbs, by name."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            return dict(action.choices)
    return {}


def script(shell: str, program: Path) -> str:
    """Return what `pegasus-driver completion SHELL` prints: argcomplete's shell function for this checkout."""
    import argcomplete

    # The path of the program: fish would search PATH for it, and bash doesn't expand ~.
    return argcomplete.shellcode(["pegasus-driver"], use_defaults=False, shell=shell, argcomplete_script=str(program))
