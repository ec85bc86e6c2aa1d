"""The processes that runs start: found in /proc by a variable in their environment, and killed."""

import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from pegasus_driver.parts import Part

# In the environment of the processes of a run that holds parts of an environment; see lock_mark().
LOCK_VARIABLE = "PEGASUS_LOCK"
# In the environment of the processes of one run: ansible-runner sets it to the run's artifact folder.
RUN_VARIABLE = "AWX_ISOLATED_DATA_DIR"
RUN_MARKS = (LOCK_VARIABLE, RUN_VARIABLE)


def lock_mark(folder: Path, parts: Iterable[Part]) -> str:
    """Return the value of LOCK_VARIABLE: the folder of the environment's locks, and the parts that the run holds."""
    return f"{folder}:{','.join(parts)}"


def variable(pid: int, name: str) -> str | None:
    """Return a variable of the environment with which a process was started, or None."""
    try:
        environ = Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return None
    start = os.fsencode(f"{name}=")
    found = (line for line in environ.split(b"\0") if line.startswith(start))
    return next((os.fsdecode(line.removeprefix(start)) for line in found), None)


def carries(pid: int, assignment: str) -> bool:
    """Whether a process was started with this variable in its environment, as "NAME=value"."""
    name, _, value = assignment.partition("=")
    return variable(pid, name) == value


def kill_carriers(assignment: str) -> bool:
    """Kill every process with the variable, see _kill()."""
    return _kill(lambda pid: carries(pid, assignment))


def kill_leftovers(folder: Path, parts: Iterable[Part]) -> bool:
    """Kill every process of a run that held one of these parts, see _kill().

    Only for the holder of the parts: then the runs that held them before have ended. A process of a run with other
    parts may belong to a run in progress.
    """
    held = set(parts)

    def left(pid: int) -> bool:
        of, _, names = (variable(pid, LOCK_VARIABLE) or "").rpartition(":")
        return of == str(folder) and not held.isdisjoint(names.split(","))

    return bool(held) and _kill(left)


def _kill(matches: Callable[[int], bool]) -> bool:
    """Kill the matching processes except the local cloud and ssh's shared masters, which end on their own.

    Gives up after 5 s on processes that the kernel doesn't end.

    :returns: whether there were any
    """
    found = False
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        left = [pid for pid in processes() if pid != os.getpid() and matches(pid) and not _spared(pid)]
        if not left:
            break
        found = True
        for pid in left:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.02)
    return found


def processes() -> dict[int, int]:
    """Return all processes except zombies: pid -> parent's pid."""
    found = {}
    for entry in os.scandir("/proc"):
        if not entry.name.isdigit():
            continue
        try:
            state = Path(entry.path, "stat").read_text(encoding="utf-8", errors="replace")
        except OSError:
            continue
        fields = state.rpartition(")")[2].split()  # the name, in parentheses, may hold anything
        if len(fields) > 1 and fields[0] not in ("Z", "X"):
            found[int(entry.name)] = int(fields[1])
    return found


def _spared(pid: int) -> bool:
    try:
        command = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").replace("\0", " ")
    except OSError:
        return False
    return "local_cloud.daemon" in command or (command.startswith("ssh:") and "[mux]" in command)
