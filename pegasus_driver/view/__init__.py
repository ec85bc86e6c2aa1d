"""How a run is shown: a live view on a terminal, plain lines in a pipe, JSON for programs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .live import LiveView
from .ndjson import JsonView
from .plain import PlainView

if TYPE_CHECKING:
    from pegasus_driver.run.state import RunState
    from pegasus_driver.world import World

    from .base import View


def make_view(state: RunState, world: World, output: str, *, verbose: bool) -> View:
    """:param output: json, plain, or auto: live on a terminal, else plain"""
    if output == "json":
        return JsonView(state, world.stdout, world.now, verbose)
    terminal = world.environ.get("TERM", "")
    if output == "auto" and world.stdout.isatty() and terminal not in ("dumb", "unknown", "") and not verbose:
        return LiveView(state, world.stdout, world.stderr)
    return PlainView(state, world.stdout, world.stderr, verbose)
