"""`pegasus-driver local start|stop|status|image`."""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
from typing import TYPE_CHECKING, Any

from pegasus_driver.errors import LockedError
from pegasus_driver.exit_codes import ExitCode
from pegasus_driver.run.lock import holders
from pegasus_driver.run.processes import RUN_MARKS
from pegasus_driver.run.signals import Signals
from pegasus_driver.steps import cloud_errors
from pegasus_driver.view.text import table

if TYPE_CHECKING:
    from pegasus_driver.world import World


def run_local(arguments: argparse.Namespace, world: World) -> ExitCode:
    """Run one verb. Progress goes to stderr; stdout has the result, which playbooks read ("started", "stopped")."""
    cloud = world.cloud()

    def say(text: str) -> None:
        world.stderr.write(text.rstrip("\n") + "\n")
        world.stderr.flush()

    for mark in RUN_MARKS:  # the daemon outlives the playbook that starts it and doesn't belong to that run
        os.environ.pop(mark, None)
    with Signals(), cloud_errors():
        if arguments.verb == "start":
            before = cloud.status(world.root)
            status = cloud.start(world.root, say, to_remove=arguments.to_remove)
            fresh = not before.running or before.pid != status.pid
            word = "started" if fresh else "already running"
            _result(world, arguments, {"changed": fresh, **_as_dict(status)}, _line(word, status))
        elif arguments.verb == "stop":
            if not arguments.if_empty:
                _refuse_while_used(world)
            stopped = cloud.stop(world.root, say, if_empty=arguments.if_empty)
            line = "local cloud: stopped, everything that it created is removed" if stopped else _kept(cloud, world)
            _result(world, arguments, {"changed": bool(stopped)}, line)
        elif arguments.verb == "status":
            status = cloud.status(world.root)
            left = [] if status.running else list(cloud.leftovers(world.root))
            lines = _status_lines(status, left)
            _result(world, arguments, {**_as_dict(status), "leftovers": left}, "\n".join(lines))
        else:
            tag = cloud.image(world.root, say)
            _result(world, arguments, {"image": tag}, tag)
    return ExitCode.OK


def _refuse_while_used(world: World) -> None:
    """Raise LockedError while an action runs: it would lose its instances for no visible reason."""
    used = holders(world.root, "local", world.now())
    if used:
        raise LockedError(
            "; ".join(used),
            "Stop the action with Ctrl-C (or kill its pid), or wait for its end. Then run the command again.",
        )


def _kept(cloud: Any, world: World) -> str:
    if cloud.status(world.root).running:
        return "local cloud: still running, because it has instances"
    return "local cloud: not running"


def _status_lines(status: Any, left: list[str]) -> list[str]:
    lines = [_line("running", status) if status.running else "local cloud: not running"]
    instances = [_as_dict(instance) for instance in status.instances]
    if instances:
        keys = ("name", "id", "type", "state", "address", "container")
        lines += table([keys, *([instance.get(key) for key in keys] for instance in instances)])
    if left:
        lines += [
            "left over from a crash (local start adopts it, local stop removes it):",
            *(f"  {item}" for item in left),
        ]
    return lines


def _line(word: str, status: Any) -> str:
    return f"local cloud: {word}, EC2 endpoint {status.endpoint_url} (pid {status.pid})"


def _as_dict(value: Any) -> dict[str, Any]:
    return dataclasses.asdict(value) if dataclasses.is_dataclass(value) else dict(vars(value))  # type: ignore[arg-type]


def _result(world: World, arguments: argparse.Namespace, record: dict[str, Any], text: str) -> None:
    world.stdout.write((json.dumps(record, default=str) if arguments.output == "json" else text) + "\n")
