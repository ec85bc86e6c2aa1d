"""The table of commands that run no playbook: they look at hosts, or help at the shell. Actions are in actions.py."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pegasus_driver.arguments import Argument, Option, node_index
from pegasus_driver.exit_codes import ExitCode

from .completion import SHELLS, script

if TYPE_CHECKING:
    from pegasus_driver.world import World


@dataclass(frozen=True)
class Command:
    """run does all of it and returns the exit code; it may raise DriverError.

    takes: options shared with others: "output", "config" (another environment's file), "settings" (that and -e).
    rest: what may follow "--", as a usage line shows it; in arguments.rest.
    """

    name: str
    help: str
    run: Callable[[argparse.Namespace, World], ExitCode]
    arguments: Sequence[Argument] = ()
    options: Sequence[Option] = ()
    example: str = ""
    details: str = ""
    takes: Sequence[str] = ()
    rest: str = ""

    @property
    def usage_example(self) -> str:
        return self.example or " ".join([self.name, *(one.example for one in self.arguments if one.example)])


def _connect(kind: str) -> Callable[[argparse.Namespace, World], ExitCode]:
    def run(arguments: argparse.Namespace, world: World) -> ExitCode:
        from .connect import connect

        return connect(kind, arguments, world)

    return run


def _open(arguments: argparse.Namespace, world: World) -> ExitCode:
    from .connect import open_grafana

    return open_grafana(arguments, world)


def _tail(arguments: argparse.Namespace, world: World) -> ExitCode:
    from .tail import run_tail

    return run_tail(arguments, world)


def _validate(arguments: argparse.Namespace, world: World) -> ExitCode:
    from .validate import run_validate

    return run_validate(arguments, world)


def _import_config(arguments: argparse.Namespace, world: World) -> ExitCode:
    from .import_config import run_import

    return run_import(arguments, world)


def _completion(arguments: argparse.Namespace, world: World) -> ExitCode:
    world.stdout.write(script(arguments.shell, world.root / "pegasus-driver"))
    return ExitCode.OK


def shell(text: str) -> str:
    if text not in SHELLS:
        raise argparse.ArgumentTypeError(f"found {text!r}, expected {', '.join(SHELLS)}")
    return text


COMMANDS: tuple[Command, ...] = (
    Command("tail", "show the rows of all clients side by side, as Perseus prints them", _tail,
            arguments=(Argument("clients", node_index, "the clients' indexes; all clients if none is given", nargs="*",
                                example="1 2", complete="client"),),
            takes=("output", "config"),
            details="A pane per client on a terminal, lines that begin with the client's name in a pipe. A lost "
                    "connection is taken up again. Ctrl-C ends it."),
    Command("connect-cluster", "log in to a server node, or run a command there", _connect("server"),
            arguments=(Argument("node", node_index, "the server node's index, as status shows it", example="1",
                                complete="server"),),
            takes=("config",), example="connect-cluster 1 -- journalctl -u aerospike -n 20", rest="COMMAND ...",
            details="Becomes ssh, with the environment's own key and known hosts. The exit status is that of the "
                    "session or of the command."),
    Command("connect-client", "log in to a client, or run a command there", _connect("client"),
            arguments=(Argument("node", node_index, "the client's index, as status shows it", example="1",
                                complete="client"),),
            takes=("config",), example="connect-client 1", rest="COMMAND ...",
            details="Becomes ssh, with the environment's own key and known hosts. The exit status is that of the "
                    "session or of the command."),
    Command("open", "open Grafana in the browser (or what BROWSER names); without a desktop, print its address", _open,
            takes=("config",)),
    Command("validate", "find every mistake in the configuration; starts nothing", _validate,
            takes=("output", "settings"),
            details="Checks config.yml, -e, threads.yaml and the licence, and what EC2 and the artifact source say to "
                    "it, where they can be asked."),
    Command("import-config", "make a config.yml of the original tool's configure.sh", _import_config,
            arguments=(Argument("path", str, "the original's configure.sh", example="configure.sh", complete="file"),),
            options=(Option("--to", "where to write it; default: to the output", type=str, default="",
                            metavar="FILE"),),
            example="import-config configure.sh --to other.yml", details="Reads the file, and never runs it."),
    Command("completion", "print the completion script of a shell", _completion,
            arguments=(Argument("shell", shell, "bash, zsh or fish", example="bash", complete="shell"),),
            details="bash: source <(./pegasus-driver completion bash)\n"
                    "zsh:  source <(./pegasus-driver completion zsh), after compinit\n"
                    "fish: ./pegasus-driver completion fish | source\n"
                    "Put that line into ~/.bashrc, ~/.zshrc or ~/.config/fish/config.fish."),
)  # fmt: skip
