"""One action at a time per environment: an flock, which the kernel releases however its holder ends.

The file isn't inside the environment's state folder, because destroy removes that while it holds the lock.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from pegasus_driver.errors import LockedError


def private_folder(path: Path) -> Path:
    """Makes the folder, readable by its owner only, and returns it. Raises OSError."""
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    return path


def lock_path(root: Path, place: Path) -> Path:
    """The lock of the environment at a place (Config.place)."""
    return root / ".pegasus" / "locks" / place.parent / f"{place.name}.lock"


@contextmanager
def environment_lock(root: Path, place: Path, action: str, now: datetime) -> Iterator[None]:
    """Holds the environment for one action. Raises LockedError, at once, if another process holds it.

    The descriptor isn't inherited by programs that the action starts (Python's default), so an ssh master or the
    local cloud's daemon that outlives the action doesn't keep the lock.
    """
    path = lock_path(root, place)
    private_folder(root / ".pegasus")
    private_folder(path.parent)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise LockedError(
                _describe(os.pread(descriptor, 4096, 0), place.name, now),
                "Wait until it ends, or stop it with Ctrl-C (or kill with its pid), then run this again.",
            ) from None
        holder = {"action": action, "pid": os.getpid(), "since": now.astimezone(UTC).isoformat()}
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, json.dumps(holder).encode(), 0)
        try:
            yield
        finally:
            # An empty file says nothing wrong; removing it would let two holders lock two files of the same name.
            os.ftruncate(descriptor, 0)
    finally:
        os.close(descriptor)


def holders(root: Path, backend: str, now: datetime) -> list[str]:
    """The actions that hold an environment of this backend now, a sentence each."""
    found = []
    for path in sorted((root / ".pegasus" / "locks" / backend).glob("*/*.lock")):
        with path.open("rb") as file:
            content = file.read(4096)
            if not content:
                continue  # nobody holds it; not tried, so that an action that is just starting isn't refused
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                found.append(_describe(content, path.stem, now))
    return found


def is_held(path: Path) -> bool:
    """Whether a living process has a lock on this file."""
    try:
        with path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def _describe(content: bytes, environment: str, now: datetime) -> str:
    """Who holds the lock, from the lock file's content, which may be half-written."""
    try:
        holder = json.loads(content)
        since = datetime.fromisoformat(holder["since"]).astimezone()
        today = since.date() == now.astimezone().date()
        when = since.strftime("%H:%M" if today else "%Y-%m-%d %H:%M")
        return f"{holder['action']} of {environment} has been running since {when} (pid {holder['pid']})"
    except (ValueError, KeyError, TypeError):
        return f"another action of {environment} is running"
