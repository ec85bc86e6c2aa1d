"""The table of commands that run no playbook: they look at hosts, or help at the shell. Actions are in actions.py."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pegasus_driver.actions import Argument, Option, node_index
from pegasus_driver.errors import CloudError, UsageError
from pegasus_driver.exit_codes import ExitCode

if TYPE_CHECKING:
    from pegasus_driver.cli import Host
    from pegasus_driver.environment import Access, EnvironmentHost

SHELLS = ("bash", "zsh", "fish")


@dataclass(frozen=True)
class Command:
    """run does all of it and returns the exit code; it may raise DriverError.

    takes: options shared with others: "output", "config" (another environment's file), "settings" (that and -e).
    rest: what may follow "--", as a usage line shows it; in arguments.rest.
    """

    name: str
    help: str
    run: Callable[[argparse.Namespace, Host], ExitCode]
    arguments: Sequence[Argument] = ()
    options: Sequence[Option] = ()
    example: str = ""
    details: str = ""
    takes: Sequence[str] = ()
    rest: str = ""

    @property
    def usage_example(self) -> str:
        return self.example or " ".join([self.name, *(one.example for one in self.arguments if one.example)])


def reach(arguments: argparse.Namespace, host: Host) -> tuple[Access, list[EnvironmentHost]]:
    """The environment's access and hosts. Raises ConfigurationError, CloudError."""
    from pegasus_driver import config as configuration
    from pegasus_driver import environment
    from pegasus_driver.cli import configured

    config = configuration.load(host.root, configured(arguments, host), host.folder)
    found = environment.access(host.root, config)
    return found, host.find_hosts(found)


def _connect(kind: str) -> Callable[[argparse.Namespace, Host], ExitCode]:
    def run(arguments: argparse.Namespace, host: Host) -> ExitCode:
        """Becomes ssh: its exit status is that of the session."""
        from pegasus_driver import environment

        access, hosts = reach(arguments, host)
        target = environment.pick(hosts, kind, arguments.node)
        if not access.private_key.is_file():
            raise UsageError(
                f"{access.private_key} isn't there, expected the environment's private key",
                "Copy it from the machine that built the environment, mode 0600.",
            )
        command = environment.ssh_command(access, target, ["LogLevel=ERROR", "ServerAliveInterval=15"])
        if arguments.rest:
            # ssh joins what it gets with blanks for the shell there, so this is what a plain `ssh host ...` does.
            command += (["-t"] if host.stdout.isatty() else []) + ["--", *arguments.rest]
        host.execute(command)
        raise AssertionError("execute returned")

    return run


def _open(arguments: argparse.Namespace, host: Host) -> ExitCode:
    from pegasus_driver import environment

    _, hosts = reach(arguments, host)
    monitors = environment.of_kind(hosts, "monitor")
    if not monitors:
        raise CloudError("the environment has no monitoring host", "Build it: ./pegasus-driver setup")
    url = f"http://{environment.pick(hosts, 'monitor', monitors[0].index).address}:3000"
    host.stdout.write(url + "\n")
    host.stdout.flush()
    show(url, host)
    return ExitCode.OK


def show(url: str, host: Host) -> None:
    """Opens an address in the browser, on a desktop only; elsewhere the printed address has to do."""
    if has_browser(host.environ) and not host.browse(url):
        host.stderr.write("found no browser that could be started: open the address yourself\n")


def has_browser(environ: Mapping[str, str]) -> bool:
    """Whether a page would appear in front of the user: in the program that BROWSER names, which is the user's own word
    (editors that work over ssh set it), or in a graphical session that isn't one over ssh."""
    graphical = environ.get("WAYLAND_DISPLAY") or environ.get("DISPLAY")
    return bool(environ.get("BROWSER") or (graphical and not environ.get("SSH_CONNECTION")))


def _tail(arguments: argparse.Namespace, host: Host) -> ExitCode:
    from .tail import run_tail

    return run_tail(arguments, host)


def _validate(arguments: argparse.Namespace, host: Host) -> ExitCode:
    from .validate import run_validate

    return run_validate(arguments, host)


def _import_config(arguments: argparse.Namespace, host: Host) -> ExitCode:
    from .import_config import run_import

    return run_import(arguments, host)


def _completion(arguments: argparse.Namespace, host: Host) -> ExitCode:
    from .completion import script

    host.stdout.write(script(arguments.shell))
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


def split_rest(argv: Sequence[str]) -> tuple[list[str], list[str]]:
    """Cuts the command line at the first "--": what follows belongs to a command on a host."""
    words = list(argv)
    if "--" not in words:
        return words, []
    at = words.index("--")
    return words[:at], words[at + 1 :]


def execute(command: Sequence[str], environ: Mapping[str, str]) -> None:
    """Replaces this process. Raises UsageError if there is no such program."""
    try:
        os.execvpe(command[0], list(command), dict(environ))
    except FileNotFoundError:
        raise UsageError(
            f"found no program {command[0]!r}, expected it in PATH",
            "Install it (Debian and Ubuntu: apt-get install openssh-client).",
        ) from None
