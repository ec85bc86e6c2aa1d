"""The exit status of pegasus-driver. Scripts may rely on it; `pegasus-driver --help` lists it."""

from __future__ import annotations

from enum import IntEnum


class ExitCode(IntEnum):
    """What the exit status says. When several things failed, the lowest number wins: it is nearest to the cause
    (a host that failed, 5, makes the database not ready, 6).

    0    OK: the action is done and verified.
    1    INTERNAL: a defect of Pegasus, or Ansible itself couldn't run.
    2    CONFIGURATION: usage, config.yml, the Python environment, or another action runs on the same environment.
    3    EC2: AWS (credentials, quota, capacity, permission, endpoint) or the local cloud (engine,
         port, network, disk space) refused.
    4    SSH: a host can't be reached.
    5    HOST: a step failed on a host.
    6    DATABASE: everything is installed, but the cluster, the load or the monitoring isn't ready.
    130  INTERRUPTED: Ctrl-C or SIGTERM; what exists stays, and the action can be run again.
    """

    OK = 0
    INTERNAL = 1
    CONFIGURATION = 2
    EC2 = 3
    SSH = 4
    HOST = 5
    DATABASE = 6
    INTERRUPTED = 130


MEANINGS: dict[ExitCode, str] = {
    ExitCode.OK: "done and verified",
    ExitCode.INTERNAL: "internal error, or Ansible itself couldn't run",
    ExitCode.CONFIGURATION: "usage, configuration, the Python environment, or another action is running",
    ExitCode.EC2: "EC2 (credentials, quota, capacity, permission) or the local cloud (engine, port, network, space)",
    ExitCode.SSH: "a host can't be reached by ssh",
    ExitCode.HOST: "a step failed on a host",
    ExitCode.DATABASE: "the cluster, the load or the monitoring isn't ready",
    ExitCode.INTERRUPTED: "interrupted by Ctrl-C or SIGTERM",
}


def epilog() -> str:
    """The table of exit codes for --help."""
    return "exit codes:\n" + "\n".join(f"  {code.value:<4} {MEANINGS[code]}" for code in ExitCode)
