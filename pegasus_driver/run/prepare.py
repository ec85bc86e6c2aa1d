"""The first step of a run: check what it needs, and get the local cloud ready."""

import argparse
import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

from pegasus_driver import config as configuration
from pegasus_driver.actions import OWN, Action
from pegasus_driver.errors import DriverError, UsageError
from pegasus_driver.steps import before_dry_run, stop_cloud
from pegasus_driver.world import World

from .lock import lock_path
from .processes import LOCK_VARIABLE, kill_carriers
from .run import Run
from .state import RunState
from .view import View


def make_run(action: Action, arguments: argparse.Namespace, world: World, make_view: Callable[[RunState], View]) -> Run:
    """Check the configuration and the command line, and return a run that hasn't started.

    :raises DriverError: one of them is wrong
    """
    extra = configuration.extra_arguments(arguments.extra_vars, world.folder)
    # The variables of a user's own playbook may be unknown to Pegasus.
    checked = arguments.extra_vars if action.playbook != OWN else ()
    environ = configuration.configured(arguments, world.environ)
    config = configuration.load(world.root, environ, world.folder, checked, launching=action.launches)
    return Run(action, arguments, config, _playbook(action, arguments, world), extra, world, make_view)


def _playbook(action: Action, arguments: argparse.Namespace, world: World) -> Path:
    if action.playbook == OWN:
        playbook: Path = world.folder / arguments.playbook
        if not playbook.is_file():
            raise UsageError(
                f"{playbook} isn't a file, expected a playbook", "Give the path of a playbook, from this folder."
            )
        return playbook
    playbook = world.root / "playbooks" / action.playbook
    if not playbook.is_file():
        raise DriverError(f"found no {playbook}, expected the action's playbook", "Restore it: git checkout playbooks")
    return playbook


def prepare(run: Run) -> bool:
    """Do what must be done before the playbook.

    :returns: whether to run the playbook; if not, the state's message says why
    :raises DriverError: it can't be run
    """
    # Only the holder of the lock may do this: every other process with the lock's mark has lost its driver.
    if run.action.locks and kill_carriers(f"{LOCK_VARIABLE}={lock_path(run.world.root, run.config.place)}"):
        run.say("stopped processes of an earlier action whose driver was killed")
    with run.ticking():
        reason = (before_dry_run(run.session) if run.state.dry_run else None) or run.action.prepare(run.session)
    run.state.message = reason or ""
    return not reason


@contextlib.contextmanager
def cloud_restored(run: Run) -> Iterator[None]:
    """After a dry run, stop the local cloud again if it was started only for EC2's answers."""
    session = run.session
    restore = run.state.dry_run and session.local and not session.cloud_running
    try:
        yield
    finally:
        if restore:
            run.signals.raising = False
        if restore and session.cloud_running:
            with run.ticking():
                stop_cloud(session)
