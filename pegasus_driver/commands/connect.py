"""The commands that reach the hosts of an environment: connect-cluster, connect-client, open."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from pegasus_driver import config as configuration
from pegasus_driver import environment
from pegasus_driver.browser import show
from pegasus_driver.environment import Access, EnvironmentHost
from pegasus_driver.errors import CloudError, UsageError
from pegasus_driver.exit_codes import ExitCode

if TYPE_CHECKING:
    from pegasus_driver.world import World


def reach(arguments: argparse.Namespace, world: World) -> tuple[Access, list[EnvironmentHost]]:
    """The environment's access and hosts. Raises ConfigurationError, CloudError."""
    config = configuration.load(world.root, configuration.configured(arguments, world.environ), world.folder)
    found = environment.access(world.root, config)
    return found, world.find_hosts(found)


def connect(kind: str, arguments: argparse.Namespace, world: World) -> ExitCode:
    """Becomes ssh: its exit status is that of the session."""
    access, hosts = reach(arguments, world)
    target = environment.pick(hosts, kind, arguments.node)
    if not access.private_key.is_file():
        raise UsageError(
            f"{access.private_key} isn't there, expected the environment's private key",
            "Copy it from the machine that built the environment, mode 0600.",
        )
    command = environment.ssh_command(access, target, ["LogLevel=ERROR", "ServerAliveInterval=15"])
    if arguments.rest:
        # ssh joins what it gets with blanks for the shell there, so this is what a plain `ssh host ...` does.
        command += (["-t"] if world.stdout.isatty() else []) + ["--", *arguments.rest]
    world.execute(command)
    raise AssertionError("execute returned")


def open_grafana(arguments: argparse.Namespace, world: World) -> ExitCode:
    _, hosts = reach(arguments, world)
    monitors = environment.of_kind(hosts, "monitor")
    if not monitors:
        raise CloudError("the environment has no monitoring host", "Build it: ./pegasus-driver setup")
    url = f"http://{environment.pick(hosts, 'monitor', monitors[0].index).address}:3000"
    world.stdout.write(url + "\n")
    world.stdout.flush()
    show(url, world)
    return ExitCode.OK
