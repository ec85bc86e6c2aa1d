"""The locks of an environment: an flock for each part, which the kernel releases even if its holder is killed.

The lock files aren't in the environment's state folder, because destroy removes that folder while it holds the locks.
"""

import fcntl
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path

from pegasus_driver.errors import LockedError
from pegasus_driver.parts import Part

# Held for the moment in which locks are taken or examined. So two runs never refuse each other, and whoever finds a
# lock taken also finds its holder's name.
_GUARD = "guard"


def private_folder(path: Path) -> Path:
    """Create a folder that only its owner can read, and return it."""
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    return path


def lock_folder(root: Path, place: Path) -> Path:
    """Return the folder with the lock files of the environment at a place (Config.place), one for each part."""
    return root / ".pegasus" / "locks" / place


@contextmanager
def environment_lock(root: Path, place: Path, action: str, parts: Iterable[Part], now: datetime) -> Iterator[None]:
    """Hold parts of an environment for one action: all of them or none.

    Programs that the action starts don't inherit the descriptors (Python's default), so an ssh master or the local
    cloud's daemon that outlives the action doesn't keep the locks.

    :raises LockedError: another process holds one of the parts; doesn't wait
    """
    private_folder(root / ".pegasus")
    folder = private_folder(lock_folder(root, place))
    with ExitStack() as held:
        with _guarded(folder):
            _take(folder, action, [part for part in Part if part in set(parts)], now, held)
        yield


def _take(folder: Path, action: str, parts: Sequence[Part], now: datetime, held: ExitStack) -> None:
    """Take the parts' locks, which `held` releases.

    :raises LockedError: naming every other holder and what it shares with this action
    """
    taken: list[int] = []
    others: dict[bytes, list[Part]] = {}
    for part in parts:
        descriptor = os.open(folder / f"{part}.lock", os.O_RDWR | os.O_CREAT, 0o600)
        held.callback(os.close, descriptor)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            taken.append(descriptor)
        except BlockingIOError:
            others.setdefault(os.pread(descriptor, 4096, 0), []).append(part)
    if others:
        raise LockedError(
            "; ".join(
                f"{_describe(content, folder.name, now)} and changes {_listed(shared)}, which {action} changes too"
                for content, shared in others.items()
            ),
            "Wait until it ends, or stop it with Ctrl-C (or kill and its pid), then run this again.",
        )
    holder = {"action": action, "pid": os.getpid(), "since": now.astimezone(UTC).isoformat()}
    for descriptor in taken:
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, json.dumps(holder).encode(), 0)
        # An empty file names no holder. Removing it would let two holders lock two files of the same name.
        held.callback(os.ftruncate, descriptor, 0)


def holders(root: Path, backend: str, now: datetime) -> list[str]:
    """Return a sentence for each action that holds parts of an environment of this backend now."""
    found: dict[str, None] = {}
    for folder in sorted((root / ".pegasus" / "locks" / backend).glob("*/*/")):
        with _guarded(folder):
            contents = [path.read_bytes() for path in sorted(folder.glob("*.lock")) if is_held(path)]
        found.update((_describe(content, folder.name, now), None) for content in contents)
    return list(found)


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


@contextmanager
def _guarded(folder: Path) -> Iterator[None]:
    with (folder / _GUARD).open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


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


def _listed(parts: Sequence[Part]) -> str:
    """Name parts in a sentence: the servers, the clients and the monitors."""
    words = [part.words for part in parts]
    return " and ".join([*([", ".join(words[:-1])] if words[:-1] else []), words[-1]])
