"""The command line: help, usage errors, JSON errors."""

from __future__ import annotations

import argparse
import io
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from pegasus_driver.actions import ACTIONS, Action
from pegasus_driver.arguments import Argument, Option
from pegasus_driver.exit_codes import MEANINGS, ExitCode
from pegasus_driver.parser import build_parser, split_rest, subcommands
from tests.driver.fakes import (
    FakeWorld,
)


def test_help_names_actions_and_exit_codes(world: FakeWorld) -> None:
    assert world.run("--help") == 0
    for action in ACTIONS:
        assert action.name in world.text
    for code, meaning in MEANINGS.items():
        assert f"{code.value:<4} {meaning}" in world.text
    assert set(MEANINGS) == set(ExitCode)


@pytest.mark.parametrize("action", ACTIONS, ids=lambda action: action.name)
def test_help_of_an_action_has_an_example_that_parses(world: FakeWorld, action: Action) -> None:
    assert world.run(action.name, "--help") == 0
    assert f"example:\n  ./pegasus-driver {action.usage_example}\n" in world.text
    assert build_parser(io.StringIO()).parse_args(action.usage_example.split()).action is action


def parsers(parser: argparse.ArgumentParser, *words: str) -> Iterator[tuple[str, ...]]:
    """Every action, and every verb of local and mirror."""
    below = subcommands(parser)
    for word, sub in below.items():
        yield from parsers(sub, *words, word)
    if words:
        yield words


@pytest.mark.parametrize("words", list(parsers(build_parser(io.StringIO()))), ids=" ".join)
def test_every_help_has_an_example(world: FakeWorld, words: tuple[str, ...]) -> None:
    assert world.run(*words, "--help") == 0
    (line,) = re.findall(r"^example:\n  \./pegasus-driver (.+)$", world.text, re.MULTILINE)
    assert line.split()[: len(words)] == list(words)
    build_parser(io.StringIO()).parse_args(split_rest(shlex.split(line))[0])


GROW = Action(
    "grow", "for the tests", "setup.yml",
    arguments=(Argument("count", int, "how many", nargs="?", default=1, example="2"),),
    options=(Option("--force", "even so"), Option("--wait-time", "seconds", type=int, metavar="SECONDS")),
    variables=lambda arguments: {
        "count": arguments.count, "force": arguments.force, "wait": arguments.wait_time,
    },
)  # fmt: skip


def test_an_action_has_optional_arguments_and_options(world: FakeWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pegasus_driver.parser.ACTIONS", (*ACTIONS, GROW))
    assert world.run("grow") == 0 and "grow 1 of Bench: done" in world.text
    assert world.requests[-1].extra_vars == {"count": 1, "force": False, "wait": None}
    assert world.run("grow", "3", "--force", "--wait-time", "5") == 0
    assert world.requests[-1].extra_vars == {"count": 3, "force": True, "wait": 5}
    assert "grow 3 --force --wait-time 5 of Bench: done" in world.text
    assert GROW.usage_example == "grow 2"


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys; from pegasus_driver.cli import main; main(['--help']); "
        "print([m for m in ('rich', 'yaml', 'ansible_runner', 'docker', 'moto', 'boto3') if m in sys.modules], "
        "file=sys.stderr)"
    )
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert done.stderr.strip() == "[]"


@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        ([], "required: ACTION"),
        (["setpu"], "found 'setpu', expected an action; the nearest is setup\nnext: See ./pegasus-driver --help"),
        (["--dry-run", "setup"], "found '--dry-run', expected an action: options follow the action"),
        (
            ["setup", "--bogus"],
            "found '--bogus', expected no further arguments\nnext: See ./pegasus-driver setup --help",
        ),
        (["connect-client", "1", "ls"], "found 'ls', expected no further arguments"),
        (["connect-client", "1", "ls"], "connect-client --help. Put the command for the host after '--'"),
        (["stop-node"], "required: NODE"),
        (["stop-node", "zero"], "expected a node's index"),
        (["stop-node", "0"], "expected a node's index"),
        (["setup", "-e", "nonsense"], "expected KEY=VALUE"),
        (["setup", "-e", "@missing.yml"], "missing.yml isn't a file"),
        (["setup", "--config", "a.yml", "--config", "b.yml"], "--config is given twice (a.yml, b.yml), expected once"),
        (["extend", "soon"], "'soon' isn't a duration. Expected 20h 30m"),
        (["extend", "99999d"], "'99999d' is more than ten years"),
        (["local"], "required: VERB"),
    ],
)
def test_usage_errors(world: FakeWorld, argv: list[str], expected: str) -> None:
    assert world.run(*argv) == ExitCode.USAGE == 2
    assert expected in world.errors
    assert "Traceback" not in world.errors and not world.requests and not world.cloud.calls


def test_a_wrong_configuration_stops_the_command_before_it_starts(world: FakeWorld) -> None:
    (world.root / "group_vars/all/config.yml").write_text("pegasus_backend: lokal\n")
    assert world.run("setup") == ExitCode.CONFIGURATION
    assert "pegasus_backend: found 'lokal', expected local or aws" in world.errors
    assert not world.cloud.calls and not world.requests


def test_json_errors_are_json(world: FakeWorld) -> None:
    (world.root / "group_vars/all/config.yml").write_text("a: [\n")
    assert world.run("setup", "--output", "json") == ExitCode.CONFIGURATION
    (end,) = world.records
    assert (
        end["type"] == "end"
        and end["exit_code"] == 7
        and end["result"] == "configuration"
        and "config.yml:2: " in end["problems"][0]
    )
    assert not world.errors
