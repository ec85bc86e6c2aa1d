"""Renders docs/actions.md from the tables of actions and commands."""

from __future__ import annotations

import argparse
import io
import json
import re
import shlex
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path

from pegasus_driver.actions import ACTIONS, OWN, Action
from pegasus_driver.commands.completion import subcommands
from pegasus_driver.commands.registry import COMMANDS, Command
from pegasus_driver.exit_codes import BY_CAUSE, MEANINGS, ExitCode
from pegasus_driver.parser import build_parser

# Action -> the original tool's script that it replaces.
ORIGINALS = {
    "setup": "setup.sh",
    "destroy": "destroy.sh",
    "setup-cluster": "cluster_setup.sh",
    "destroy-cluster": "cluster_destroy.sh",
    "connect-cluster": "cluster_connect.sh",
    "add-nodes": "cluster_add_node.sh",
    "stop-node": "cluster_stop_node.sh",
    "restart-node": "cluster_restart_node.sh",
    "setup-clients": "client_setup.sh",
    "destroy-clients": "client_destroy.sh",
    "connect-client": "client_connect.sh",
    "rebuild-clients": "client_rebuild.sh",
    "build-clients": "client_build_perseus.sh",
    "rerun-clients": "client_rerun.sh",
    "copy-threads": "copyThreads.sh",
    "setup-grafana": "grafana_setup.sh",
    "destroy-grafana": "grafana_destroy.sh",
}
WITH_VERBS = ("local", "mirror")
HEAD = """\
# Actions

[events.md](events.md) describes the records that an action emits with `--output json`.
"""


def page() -> str:
    """Render docs/actions.md."""
    entries: list[Action | Command] = [*ACTIONS, *COMMANDS]
    parts = [HEAD, _overview(entries), _common(), *(_entry(entry) for entry in entries), *map(_with_verbs, WITH_VERBS)]
    return "\n".join([*parts, _exit_codes()])


@cache
def _command_line() -> argparse.ArgumentParser:
    return build_parser(io.StringIO())


def _overview(entries: Sequence[Action | Command]) -> str:
    rows = ["| command | what it does | the original tool's script |", "|---|---|---|"]
    rows += [
        f"| [`{entry.name}`](#{entry.name}) | {entry.help} | {_code(ORIGINALS.get(entry.name, ''))} |"
        for entry in entries
    ]
    parsers = subcommands(_command_line())
    rows += [f"| [`{name}`](#{name}) | {parsers[name].description} | |" for name in WITH_VERBS]
    return "\n".join(rows) + "\n"


def _common_flags() -> set[str]:
    """Return the options that all actions have: those of setup that aren't its own."""
    setup = next(action for action in ACTIONS if action.name == "setup")
    own = {option.flag for option in setup.options}
    parser = subcommands(_command_line())["setup"]
    return {flag for action in parser._actions for flag in action.option_strings} - own


def _common() -> str:
    parser = subcommands(_command_line())["setup"]
    lines = ["## Options of all actions", "", *_parameters(parser, lambda flag: flag in _common_flags())]
    return "\n".join([*lines, "`--dry-run` exists only for actions that change something.", ""])


def _entry(entry: Action | Command) -> str:
    """Render the section of one action."""
    parser = subcommands(_command_line())[entry.name]
    lines = [f"## {entry.name}", "", f"{entry.help[0].upper()}{entry.help[1:]}.", ""]
    if isinstance(entry, Command) and entry.details:
        indent = "    " if "\n" in entry.details else ""
        lines += [*(f"{indent}{line}" for line in entry.details.splitlines()), ""]
    lines += [f"    ./pegasus-driver {entry.usage_example}", ""]
    common = _common_flags() if isinstance(entry, Action) else set()
    lines += _parameters(parser, lambda flag: flag not in common)
    if isinstance(entry, Action):
        lines += [f"Without the driver: {_playbook(entry)}.", ""]
        if not entry.locks:
            lines += ["It changes nothing, so it may run in parallel with another action and has no `--dry-run`.", ""]
    return "\n".join(lines)


def _playbook(action: Action) -> str:
    """Return the ansible-playbook command of the action's example."""
    arguments = _command_line().parse_args(action.usage_example.split())
    arguments.folder = Path()
    if action.playbook == OWN:
        return (
            "`ansible-playbook -i inventories/local -i inventories/variables PLAYBOOK` with "
            "`ANSIBLE_INVENTORY_ENABLED=aerospike_community.pegasus.ec2,ansible.builtin.yaml`"
        )
    words = ["ansible-playbook", f"playbooks/{action.playbook}"]
    words += ["--tags", ",".join(action.tags)] if action.tags else []
    variables = dict(action.variables(arguments))
    words += ["-e", json.dumps(variables)] if variables else []
    return _code(shlex.join(words))


def _parameters(parser: argparse.ArgumentParser, wanted: Callable[[str], bool]) -> list[str]:
    """Render a table of a parser's parameters that `wanted` accepts by flag, or by name for arguments."""
    rows = []
    for parameter in parser._actions:
        if parameter.dest == "help" or not wanted((parameter.option_strings or [parameter.dest])[0]):
            continue
        name = ", ".join(parameter.option_strings) or str(parameter.metavar or parameter.dest)
        if parameter.option_strings and parameter.nargs != 0:
            choices = "/".join(map(str, parameter.choices or []))
            name += f" {parameter.metavar or choices or parameter.dest.upper()}"
        optional = " (optional)" if not parameter.option_strings and parameter.nargs in ("?", "*") else ""
        rows.append(f"| {_code(name)} | {parameter.help}{optional} |")
    if not rows:
        return []
    return ["| argument, option | |", "|---|---|", *rows, ""]


def _with_verbs(name: str) -> str:
    """Render the section of an action that has verbs."""
    parser = subcommands(_command_line())[name]
    lines = [f"## {name}", "", str(parser.description), ""]
    for verb, verb_parser in subcommands(parser).items():
        help = str(verb_parser.description)
        (example,) = re.findall(r"^  (\./pegasus-driver .+)$", str(verb_parser.epilog), re.MULTILINE)
        lines += [f"### {name} {verb}", "", f"{help[0].upper()}{help[1:]}.", "", f"    {example}", ""]
        lines += _parameters(verb_parser, lambda flag: True)
    return "\n".join(lines)


def _exit_codes() -> str:
    order = ", ".join(str(code.value) for code in BY_CAUSE if code is not ExitCode.INTERRUPTED)
    lines = ["## Exit codes", "", "| code | class | meaning |", "|---|---|---|"]
    lines += [f"| {code.value} | {code.name.lower()} | {MEANINGS[code]} |" for code in ExitCode]
    lines += ["", f"If failures of several classes occur, the first class in this order decides: {order}."]
    return "\n".join([*lines, "`connect-cluster` and `connect-client` exit with the status of ssh.", ""])


def _code(text: str) -> str:
    return f"`{text}`" if text else ""
