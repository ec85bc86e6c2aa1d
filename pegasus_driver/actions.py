"""The table of actions. An action is a playbook, tags and variables of one run, and what has to be there before it.

A new action is one entry in ACTIONS; a step before or after its playbook is a function of Session.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pegasus_driver.config import Config
from pegasus_driver.errors import CloudError
from pegasus_driver.local_cloud import LocalCloudError

Say = Callable[[str], None]


@dataclass(frozen=True)
class Session:
    """What a step may use. cloud() imports the local cloud's module; begin(name) shows a stage."""

    root: Path
    config: Config
    arguments: argparse.Namespace
    cloud: Callable[[], Any]
    say: Say
    begin: Callable[[str], None]

    @property
    def local(self) -> bool:
        return self.config.backend == "local"


@dataclass(frozen=True)
class Argument:
    """A positional argument, as argparse takes it."""

    name: str
    type: Callable[[str], Any]
    help: str


@dataclass(frozen=True)
class Action:
    """prepare returns what to say instead of running the playbook, or None to run it; conclude runs after success.

    locks: no other action on the same environment at the same time.
    launches: needs threads.yaml and the licence, so they are checked with the configuration.
    """

    name: str
    help: str
    playbook: str
    tags: Sequence[str] = ()
    arguments: Sequence[Argument] = ()
    variables: Callable[[argparse.Namespace], Mapping[str, Any]] = field(default=lambda arguments: {})
    locks: bool = True
    launches: bool = False
    needs_hosts: bool = False  # a play that matches no host is a mistake, not a success
    prepare: Callable[[Session], str | None] = field(default=lambda session: None)
    conclude: Callable[[Session], None] = field(default=lambda session: None)


@contextmanager
def cloud_errors() -> Iterator[None]:
    """Gives the local cloud's own errors the driver's form."""
    try:
        yield
    except LocalCloudError as error:
        raise CloudError(error.message, error.next_step) from error


def start_cloud(session: Session) -> None:
    """Starts the local cloud, or finds it running."""
    if session.local:
        session.begin("Start the local cloud")
        cloud = session.cloud()
        with cloud_errors():
            cloud.start(session.root, session.say)


def before_setup(session: Session) -> None:
    start_cloud(session)


def before_destroy(session: Session) -> str | None:
    """A local cloud that isn't running has to be: it adopts what a crash left, so that destroy finds it in EC2."""
    if not session.local:
        return None
    cloud = session.cloud()
    with cloud_errors():
        if not cloud.status(session.root).running and not cloud.leftovers(session.root):
            return "nothing to destroy"
    start_cloud(session)
    return None


def after_destroy(session: Session) -> None:
    """Stops the local cloud unless another environment lives in it."""
    if not session.local:
        return
    session.begin("Stop the local cloud")
    cloud = session.cloud()
    with cloud_errors():
        cloud.stop(session.root, session.say, if_empty=True)


def before_status(session: Session) -> str | None:
    if not session.local:
        return None
    cloud = session.cloud()
    with cloud_errors():
        if cloud.status(session.root).running:
            return None
        left = cloud.leftovers(session.root)
    if not left:
        return "nothing runs (./pegasus-driver setup builds it)"
    advice = "./pegasus-driver setup takes it up again, ./pegasus-driver destroy removes it"
    return "\n".join(["the local cloud isn't running, but it left:", *(f"  {item}" for item in left), advice])


def need_cloud(session: Session) -> None:
    if not session.local:
        return
    cloud = session.cloud()
    with cloud_errors():
        if not cloud.status(session.root).running:
            raise CloudError("the local cloud isn't running, so there is no node", "Build it: ./pegasus-driver setup")


def node_index(text: str) -> int:
    """The N of stop-node N. argparse turns the ValueError into a usage error."""
    if not text.isascii() or not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"found {text!r}, expected a node's index: 1, 2, ... (status lists them)")
    return int(text)


NODE = Argument("node", node_index, "the server node's index, as status shows it")

ACTIONS: tuple[Action, ...] = (
    Action("setup", "build the environment, or go on with it; changes only what differs", "setup.yml",
           launches=True, prepare=before_setup),
    Action("destroy", "remove everything that carries the environment's tag, and nothing else", "destroy.yml",
           prepare=before_destroy, conclude=after_destroy),
    Action("status", "show the environment: nodes, cluster, load, monitoring", "status.yml",
           locks=False, prepare=before_status),
    Action("copy-threads", "bring threads.yaml to every client", "setup.yml",
           tags=("threads",), launches=True, prepare=need_cloud),
    Action("stop-node", "stop the database on a node", "stop-node.yml",
           arguments=(NODE,), variables=lambda arguments: {"chaos_nodes": [arguments.node]}, prepare=need_cloud,
           needs_hosts=True),
    Action("restart-node", "restart the database on a node, or start it again", "restart-node.yml",
           arguments=(NODE,), variables=lambda arguments: {"chaos_nodes": [arguments.node]}, prepare=need_cloud,
           needs_hosts=True),
)  # fmt: skip
