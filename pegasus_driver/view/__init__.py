"""How a run is shown: a live view on a terminal, plain lines in a pipe, JSON for programs."""

from pegasus_driver.run.records import RecordView
from pegasus_driver.run.state import RunState
from pegasus_driver.run.view import View
from pegasus_driver.world import World

from .live import LiveView
from .plain import PlainView


def make_view(state: RunState, world: World, output: str, *, verbose: bool) -> View:
    """:param output: json, plain, or auto: live on a terminal, else plain"""
    if output == "json":
        return RecordView(state, world.stdout, world.now, verbose=verbose)
    terminal = world.environ.get("TERM", "")
    if output == "auto" and world.stdout.isatty() and terminal not in ("dumb", "unknown", "") and not verbose:
        return LiveView(state, world.stdout, world.stderr)
    return PlainView(state, world.stdout, world.stderr, verbose)
