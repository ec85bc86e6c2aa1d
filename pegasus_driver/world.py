"""Everything outside the driver that a test replaces: streams, clock, processes, EC2, the local cloud, the user."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from . import ROOT, environment
from .environment import Access, EnvironmentHost
from .errors import UsageError
from .run.runner import PlaybookRun, Request

if TYPE_CHECKING:
    from local_cloud.status import CloudStatus


def _cloud() -> Any:
    from local_cloud import cloud  # imports docker and moto, which takes a second

    return cloud


def _cloud_status(root: Path) -> CloudStatus:
    from local_cloud.status import status

    return status(root)


def _execute(command: Sequence[str]) -> None:
    """Replace this process.

    :raises UsageError: the program isn't installed
    """
    try:
        os.execvpe(command[0], list(command), dict(os.environ))
    except FileNotFoundError:
        raise UsageError(
            f"found no program {command[0]!r}, expected it in PATH",
            "Install it (Debian and Ubuntu: apt-get install openssh-client).",
        ) from None


def _ask(question: str) -> str:
    """Return the line that the user types, "" at the end of the input."""
    sys.stdout.write(f"{question} ")
    sys.stdout.flush()
    return sys.stdin.readline()


def _on_terminal() -> bool:
    return sys.stdin.isatty() and sys.stdout.isatty()


def _browse(url: str) -> bool:
    import webbrowser

    return webbrowser.open(url)


@dataclass
class World:
    """The real dependencies by default. monotonic() returns seconds, now() a time with a time zone."""

    stdout: TextIO = field(default_factory=lambda: sys.stdout)
    stderr: TextIO = field(default_factory=lambda: sys.stderr)
    root: Path = ROOT  # the project's folder
    environ: Mapping[str, str] = field(default_factory=lambda: dict(os.environ))
    folder: Path = field(default_factory=Path.cwd)  # the user's working folder
    monotonic: Callable[[], float] = time.monotonic
    now: Callable[[], datetime] = lambda: datetime.now(UTC)
    run_playbook: Callable[[Request], PlaybookRun] = PlaybookRun
    cloud: Callable[[], Any] = _cloud  # the module local_cloud.cloud
    cloud_status: Callable[[Path], CloudStatus] = _cloud_status
    find_hosts: Callable[[Access], list[EnvironmentHost]] = environment.find
    execute: Callable[[Sequence[str]], None] = _execute  # doesn't return
    browse: Callable[[str], bool] = _browse
    ask: Callable[[str], str] = _ask
    on_terminal: Callable[[], bool] = _on_terminal  # whether a user can answer questions
