"""The commands connect-cluster, connect-client and open, which need the hosts of an environment."""

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
    """Return how to reach the environment, and its hosts.

    :raises ConfigurationError: a value is wrong, or only Ansible can render it
    :raises CloudError: EC2 refuses or doesn't answer
    """
    config = configuration.load(world.root, configuration.configured(arguments, world.environ), world.folder)
    found = environment.access(world.root, config)
    return found, world.find_hosts(found)


def check_private_key(access: Access) -> None:
    """Raise UsageError without the private key that ssh needs."""
    if not access.private_key.is_file():
        raise UsageError(
            f"found no {access.private_key}, expected the environment's private key",
            "Copy it from the machine that built the environment, mode 0600.",
        )


def connect(kind: str, arguments: argparse.Namespace, world: World) -> ExitCode:
    """Replace this process by ssh, whose exit status is that of the session."""
    access, hosts = reach(arguments, world)
    target = environment.pick(hosts, kind, arguments.node)
    check_private_key(access)
    command = environment.ssh_command(access, target, ["LogLevel=ERROR", "ServerAliveInterval=15"])
    if arguments.rest:
        # ssh joins the words with blanks for the remote shell, as for a plain `ssh host ...`.
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
