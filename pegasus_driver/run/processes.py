"""The processes that runs start: found in /proc by a variable in their environment, and killed."""

import contextlib
import os
import signal
import time
from pathlib import Path

# In the environment of the processes of a run that holds the environment's lock; its value is the lock's path.
LOCK_VARIABLE = "PEGASUS_LOCK"
# In the environment of the processes of one run: ansible-runner sets it to the run's artifact folder.
RUN_VARIABLE = "AWX_ISOLATED_DATA_DIR"
RUN_MARKS = (LOCK_VARIABLE, RUN_VARIABLE)


def carries(pid: int, assignment: str) -> bool:
    """Whether a process was started with this variable in its environment, as "NAME=value"."""
    try:
        environ = Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return False
    return os.fsencode(assignment) in environ.split(b"\0")


def kill_carriers(assignment: str) -> bool:
    """Kill every process with the variable except the local cloud and ssh's shared masters, which end on their own.

    Gives up after 5 s on processes that the kernel doesn't end.

    :returns: whether there were any
    """
    found = False
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        others = (pid for pid in processes() if pid != os.getpid())
        left = [pid for pid in others if carries(pid, assignment) and not _spared(pid)]
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
