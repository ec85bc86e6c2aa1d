"""One action at a time per environment: an flock, which the kernel releases even if its holder is killed.

The lock file isn't in the environment's state folder, because destroy removes that folder while it holds the lock.
"""

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from pegasus_driver.errors import LockedError


def private_folder(path: Path) -> Path:
    """Create a folder that only its owner can read, and return it."""
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    return path


def lock_path(root: Path, place: Path) -> Path:
    """Return the lock file of the environment at a place (Config.place)."""
    return root / ".pegasus" / "locks" / place.parent / f"{place.name}.lock"


@contextmanager
def environment_lock(root: Path, place: Path, action: str, now: datetime) -> Iterator[None]:
    """Hold the environment for one action.

    Programs that the action starts don't inherit the descriptor (Python's default), so an ssh master or the local
    cloud's daemon that outlives the action doesn't keep the lock.

    :raises LockedError: another process holds it; doesn't wait
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
                "Wait until it ends, or stop it with Ctrl-C (or kill and its pid), then run this again.",
            ) from None
        holder = {"action": action, "pid": os.getpid(), "since": now.astimezone(UTC).isoformat()}
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, json.dumps(holder).encode(), 0)
        try:
            yield
        finally:
            # An empty file names no holder. Removing it would let two holders lock two files of the same name.
            os.ftruncate(descriptor, 0)
    finally:
        os.close(descriptor)


def holders(root: Path, backend: str, now: datetime) -> list[str]:
    """Return a sentence for each action that holds an environment of this backend now."""
    found = []
    for path in sorted((root / ".pegasus" / "locks" / backend).glob("*/*.lock")):
        with path.open("rb") as file:
            content = file.read(4096)
            if not content:
                continue  # not held; trying the lock could make an action fail that is just starting
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                found.append(_describe(content, path.stem, now))
    return found


def is_held(path: Path) -> bool:
    """Whether a process has a lock on this file."""
    try:
        with path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def _describe(content: bytes, environment: str, now: datetime) -> str:
    """Name the holder from the lock file's content, which may be incomplete."""
    try:
        holder = json.loads(content)
        since = datetime.fromisoformat(holder["since"]).astimezone()
        today = since.date() == now.astimezone().date()
        when = since.strftime("%H:%M" if today else "%Y-%m-%d %H:%M")
        return f"{holder['action']} of {environment} has been running since {when} (pid {holder['pid']})"
    except (ValueError, KeyError, TypeError):
        return f"another action of {environment} is running"
