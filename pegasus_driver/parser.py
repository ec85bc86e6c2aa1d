"""The command line, parsed. Imports nothing heavy: --help must be quick."""

import argparse
import difflib
from collections.abc import Sequence
from typing import Any, NoReturn, TextIO

from . import __version__
from .actions import ACTIONS, Action
from .commands.completion import subcommands
from .commands.registry import COMMANDS, Command
from .errors import UsageError
from .exit_codes import epilog
from .mirror import arguments as mirror_arguments
from .world import World

DESCRIPTION = "Launches, loads, breaks and tears down complete Aerospike test environments."
EXAMPLES = """\
examples:
  ./pegasus-driver setup                 build what group_vars/all/config.yml describes
  ./pegasus-driver status --output json  show the status as JSON
  ./pegasus-driver stop-node 2           stop the database on server node 2
  ./pegasus-driver destroy               remove everything
"""
RAW = argparse.RawDescriptionHelpFormatter


class _Parser(argparse.ArgumentParser):
    """Raises UsageError instead of exiting, and prints help to the stream of the world."""

    stdout: TextIO

    def error(self, message: str) -> NoReturn:
        raise UsageError(message, f"See {self.prog} --help")

    def _print_message(self, message: str, file: Any = None) -> None:
        self.stdout.write(message)


class _Once(argparse.Action):
    """An option that must not be given twice: the second value would silently replace the first."""

    def __call__(
        self, parser: Any, namespace: argparse.Namespace, values: Any, option_string: str | None = None
    ) -> None:
        if getattr(namespace, self.dest):
            parser.error(f"{option_string} is given twice ({getattr(namespace, self.dest)}, {values}), expected once")
        setattr(namespace, self.dest, values)


def parse(argv: Sequence[str], world: World) -> argparse.Namespace:
    """Parse the words that follow the program's name.

    The result has `command`, and `action` (an Action), `run_command` (a Command) or `verb` (of local and mirror).
    Its `folder` is the user's working folder. `rest` has the words after "--", the command for a host.

    :raises UsageError:
    :raises SystemExit: after --help and --version
    """
    words, rest = split_rest(argv)
    parser = build_parser(world.stdout)
    _check_action(words, list(subcommands(parser)))
    arguments, unknown = parser.parse_known_args(words)
    arguments.rest, arguments.folder = rest, world.folder
    command = getattr(arguments, "run_command", None)
    takes_rest = bool(command and command.rest)
    advice = f"See ./pegasus-driver {arguments.command} --help"
    if unknown:
        advice += ". Put the command for the host after '--'" if takes_rest else ""
        raise UsageError(f"found {' '.join(unknown)!r}, expected no further arguments", advice)
    if rest and not takes_rest:
        raise UsageError(f"found {' '.join(rest)!r} after '--', expected nothing", advice)
    return arguments


def build_parser(stdout: TextIO) -> argparse.ArgumentParser:
    """Build the parser of the whole command line from the tables of actions and commands."""

    class Parser(_Parser):
        pass

    Parser.stdout = stdout
    output, config, verbose, dry_run = (Parser(add_help=False) for _ in range(4))
    output.add_argument("--output", choices=("auto", "plain", "json"), default="auto",
                        help="auto: a live view on a terminal, plain lines in a pipe; json: one object per line"
    )  # fmt: skip
    config.add_argument("--config", metavar="FILE", default="", action=_Once,
                        help="settings of another environment, which override config.yml (or set PEGASUS_CONFIG)"
    )  # fmt: skip
    settings = Parser(add_help=False, parents=[config])
    settings.add_argument("-e", "--extra-vars", metavar="KEY=VALUE", action="append", default=[],
                          help="a setting for this run only, as in ansible-playbook; may be repeated")  # fmt: skip
    verbose.add_argument("-v", "--verbose", action="store_true", help="show Ansible's own output")
    dry_run.add_argument(
        "--dry-run", action="store_true", help="show what would be launched and changed; change nothing"
    )

    parser = Parser(
        prog="pegasus-driver", description=DESCRIPTION, epilog=f"{EXAMPLES}\n{epilog()}", formatter_class=RAW
    )
    parser.add_argument("--version", action="version", version=f"pegasus-driver {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="ACTION", required=True)
    for action in ACTIONS:
        sub = commands.add_parser(action.name, help=action.help, description=action.help, formatter_class=RAW,
                                  parents=[output, settings, verbose, *([dry_run] if action.locks else [])],
                                  epilog=f"{_example(action.usage_example)}\n\n{epilog()}")  # fmt: skip
        _add_own(sub, action)
        sub.set_defaults(action=action)
    parents = {"output": output, "config": config, "settings": settings}
    for command in COMMANDS:
        sub = commands.add_parser(command.name, help=command.help, formatter_class=RAW,
                                  parents=[parents[name] for name in command.shared],
                                  description="\n".join(filter(None, (command.help, command.details))),
                                  epilog=_example(command.usage_example))  # fmt: skip
        _add_own(sub, command)
        sub.set_defaults(run_command=command)
        if command.rest:
            sub.usage = f"pegasus-driver {command.name} [-h] [--config FILE] NODE [-- {command.rest}]"
    _add_local(commands, output)
    mirror = commands.add_parser("mirror", help="a mirror of all packages: fetch, list, serve",
                                 description="A mirror of the download sites, for networks that can't reach them.",
                                 epilog=f"{_example('mirror list')}\n\n{epilog()}", formatter_class=RAW)  # fmt: skip
    mirror_arguments.declare(mirror, output, settings, _example)
    return parser


def _add_local(commands: Any, output: argparse.ArgumentParser) -> None:
    local = commands.add_parser("local", help="the local cloud: start, stop, status, image",
                                description="The local cloud: EC2 on this machine, with containers as instances.",
                                epilog=f"{_example('local status')}\n\n{epilog()}", formatter_class=RAW)  # fmt: skip
    verbs = local.add_subparsers(dest="verb", metavar="VERB", required=True)

    def verb(name: str, help: str) -> argparse.ArgumentParser:
        return verbs.add_parser(name, parents=[output], help=help, description=help,  # type: ignore[no-any-return]
                                epilog=_example(f"local {name}"), formatter_class=RAW)  # fmt: skip

    start = verb("start", "start it; setup does this automatically")
    start.add_argument("--to-remove", action="store_true", help="start only the parts that terminate its instances")
    stop = verb("stop", "stop it and remove everything that it created")
    stop.add_argument("--if-empty", action="store_true", help="only if it has no instance")
    verb("status", "show its state, and leftovers of a crash")
    verb("image", "build the image of its instances and print the image's tag")


def _example(line: str) -> str:
    return f"example:\n  ./pegasus-driver {line}"


def _add_own(parser: argparse.ArgumentParser, entry: Action | Command) -> None:
    """Add the arguments and options that only this action or command has."""
    for argument in entry.arguments:
        parser.add_argument(argument.name, type=argument.type, help=argument.help, metavar=argument.name.upper(),
                            nargs=argument.nargs, default=argument.default)  # fmt: skip
    for option in entry.options:
        if option.type is None:
            parser.add_argument(option.flag, action="store_true", help=option.help)
        else:
            parser.add_argument(option.flag, type=option.type, default=option.default, metavar=option.metavar,
                                help=option.help)  # fmt: skip


def split_rest(argv: Sequence[str]) -> tuple[list[str], list[str]]:
    """Split the command line at the first "--": the words after it are a command for a host."""
    words = list(argv)
    if "--" not in words:
        return words, []
    at = words.index("--")
    return words[:at], words[at + 1 :]


def _check_action(words: Sequence[str], names: Sequence[str]) -> None:
    """Raise UsageError if the first word isn't an action; argparse's own message would list all actions."""
    first = words[0] if words else ""
    if not first or first in (*names, "-h", "--help", "--version"):
        return
    near = difflib.get_close_matches(first, names, 1)
    found = f"found {first!r}, expected an action" + (f"; the nearest is {near[0]}" if near else "")
    if first.startswith("-"):
        found += ": options follow the action"
    raise UsageError(found, "See ./pegasus-driver --help")
