"""What actions do with the local cloud before and after their playbook. On AWS most of these do nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from local_cloud import LocalCloudError

from .errors import CloudError

if TYPE_CHECKING:
    from .config import Config
    from .world import World


@dataclass(frozen=True)
class Session:
    """What a step may use. say(text) reports progress, begin(name) begins a stage of the view."""

    world: World
    config: Config
    say: Callable[[str], None]
    begin: Callable[[str], None]

    @property
    def local(self) -> bool:
        return self.config.backend == "local"

    @property
    def cloud_running(self) -> bool:
        """Whether the local cloud is running. Cheap: it doesn't import the container engine's client."""
        with cloud_errors():
            return bool(self.world.cloud_status(self.world.root).running)

    def leftovers(self) -> list[str]:
        """What a local cloud that crashed left behind, as lines."""
        with cloud_errors():
            return [f"  {item}" for item in self.world.cloud().leftovers(self.world.root)]


@contextmanager
def cloud_errors() -> Iterator[None]:
    """Give the local cloud's errors the driver's form."""
    try:
        yield
    except LocalCloudError as error:
        raise CloudError(error.message, error.next_step) from error


def start_cloud(session: Session, *, to_remove: bool = False) -> None:
    """Start the local cloud unless it is running; with to_remove only what terminating instances needs."""
    if session.local:
        session.begin("Start the local cloud")
        with cloud_errors():
            session.world.cloud().start(session.world.root, session.say, to_remove=to_remove)


def stop_cloud(session: Session) -> None:
    """Stop the local cloud unless it has instances, which may be another environment's."""
    if session.local:
        session.begin("Stop the local cloud")
        with cloud_errors():
            session.world.cloud().stop(session.world.root, session.say, if_empty=True)


# The steps below are an action's `prepare`: they return a message instead of running the playbook, or None to run it.


def before_dry_run(session: Session) -> str | None:
    """Leave the containers of a local cloud that crashed as they are: starting it would adopt them."""
    if not session.local or session.cloud_running:
        return None
    if leftovers := session.leftovers():
        found = "the local cloud isn't running; starting it would first adopt what it left behind:"
        return "\n".join([found, *leftovers])
    return None


def before_destroy(session: Session) -> str | None:
    """Start a local cloud that isn't running: it adopts what a crash left, so that destroy finds it in EC2."""
    if not session.local:
        return None
    if not session.cloud_running and not session.leftovers():
        with cloud_errors():
            session.world.cloud().stop(session.world.root, session.say, if_empty=True)  # keys without an instance
        return "nothing to destroy"
    start_cloud(session, to_remove=True)
    return None


def before_status(session: Session) -> str | None:
    if not session.local or session.cloud_running:
        return None
    leftovers = session.leftovers()
    if not leftovers:
        return "nothing is running (./pegasus-driver setup builds it)"
    advice = "./pegasus-driver setup adopts it, ./pegasus-driver destroy removes it"
    return "\n".join(["the local cloud isn't running, but it left behind:", *leftovers, advice])


def need_cloud(session: Session) -> None:
    """:raises CloudError: the local cloud isn't running, so the environment has no instance"""
    if session.local and not session.cloud_running:
        raise CloudError("the local cloud isn't running, so there is no node", "Build it: ./pegasus-driver setup")
