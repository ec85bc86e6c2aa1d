"""The table of commands that run no playbook. The actions, which do, are in actions.py."""

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
    """One command. run() does its work and returns the exit code; it may raise DriverError.

    shared: common options: "output", "config" (another environment's file), "settings" (config and -e).
    rest: what may follow "--", for the usage line; the words are in arguments.rest.
    """

    name: str
    help: str
    run: Callable[[argparse.Namespace, World], ExitCode]
    arguments: Sequence[Argument] = ()
    options: Sequence[Option] = ()
    example: str = ""
    details: str = ""
    shared: Sequence[str] = ()
    rest: str = ""

    @property
    def usage_example(self) -> str:
        return self.example or " ".join(
            [self.name, *(argument.example for argument in self.arguments if argument.example)]
        )


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
    Command("tail", "show the rows of all clients in parallel panes, as Perseus prints them", _tail,
            arguments=(Argument("clients", node_index, "indexes of clients; default: all clients", nargs="*",
                                example="1 2", complete="client"),),
            shared=("output", "config"),
            details="On a terminal, each client has a pane; in a pipe, each line begins with the client's name. "
                    "Reconnects after a lost connection. Ctrl-C stops it."),
    Command("connect-cluster", "log in to a server node, or run a command on it", _connect("server"),
            arguments=(Argument("node", node_index, "the server node's index, as status shows it", example="1",
                                complete="server"),),
            shared=("config",), example="connect-cluster 1 -- journalctl -u aerospike -n 20", rest="COMMAND ...",
            details="Runs ssh with the environment's key and known hosts. The exit status is that of the session or of "
                    "the command."),
    Command("connect-client", "log in to a client, or run a command on it", _connect("client"),
            arguments=(Argument("node", node_index, "the client's index, as status shows it", example="1",
                                complete="client"),),
            shared=("config",), example="connect-client 1", rest="COMMAND ...",
            details="Runs ssh with the environment's key and known hosts. The exit status is that of the session or of "
                    "the command."),
    Command("open", "open Grafana in the browser (or in BROWSER); without a desktop, print its address", _open,
            shared=("config",)),
    Command("validate", "report every mistake in the configuration; start nothing", _validate,
            shared=("output", "settings"),
            details="Checks config.yml, -e, threads.yaml and the licence. Also checks against EC2 and the artifact "
                    "source if they are reachable."),
    Command("import-config", "convert the original tool's configure.sh to a config.yml", _import_config,
            arguments=(Argument("path", str, "path of configure.sh", example="configure.sh", complete="file"),),
            options=(Option("--to", "file to write; default: standard output", type=str, default="",
                            metavar="FILE"),),
            example="import-config configure.sh --to other.yml", details="Reads the file and never runs it."),
    Command("completion", "print the completion script of a shell", _completion,
            arguments=(Argument("shell", shell, "bash, zsh or fish", example="bash", complete="shell"),),
            details="bash: source <(./pegasus-driver completion bash)\n"
                    "zsh:  source <(./pegasus-driver completion zsh), after compinit\n"
                    "fish: ./pegasus-driver completion fish | source\n"
                    "Add that line to ~/.bashrc, ~/.zshrc or ~/.config/fish/config.fish."),
)  # fmt: skip
