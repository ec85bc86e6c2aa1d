"""The exit status of pegasus-driver. Scripts may rely on it; `pegasus-driver --help` lists it."""

from __future__ import annotations

from enum import IntEnum


class ExitCode(IntEnum):
    """What the exit status says.

    0    OK: the action is done and verified.
    1    INTERNAL: a defect of Pegasus, or Ansible itself couldn't run.
    2    USAGE: the command line, the Python environment, another action that runs on the same environment, or a node, a
         key or a file that a command needs and that isn't there. As argparse has it.
    3    EC2: AWS (credentials, quota, capacity, permission, endpoint) or the local cloud (engine,
         port, network, disk space) refused.
    4    SSH: a host can't be reached.
    5    HOST: a step failed on a host.
    6    DATABASE: everything is installed, but the cluster, the load or the monitoring isn't ready.
    7    CONFIGURATION: config.yml, a file of --config, a value of -e, threads.yaml or the licence is wrong, by itself
         or for what is there. Whoever finds it, the driver or a play.
    130  INTERRUPTED: Ctrl-C or SIGTERM, or a question that wasn't answered with yes; what exists stays, and the action
         can be run again.
    """

    OK = 0
    INTERNAL = 1
    USAGE = 2
    EC2 = 3
    SSH = 4
    HOST = 5
    DATABASE = 6
    CONFIGURATION = 7
    INTERRUPTED = 130


# Of several failures the first of these counts: it is nearest to the cause (a host that failed makes the database not
# ready).
BY_CAUSE = (
    ExitCode.INTERNAL,
    ExitCode.USAGE,
    ExitCode.CONFIGURATION,
    ExitCode.EC2,
    ExitCode.SSH,
    ExitCode.HOST,
    ExitCode.DATABASE,
    ExitCode.INTERRUPTED,
)

# Of a failed task's `error_class` (module_utils/results.py). A class that isn't here counts as the host's.
OF_ERROR_CLASS: dict[str, ExitCode] = {
    "usage": ExitCode.USAGE,
    "configuration": ExitCode.CONFIGURATION,
    "other": ExitCode.EC2,
    "credentials": ExitCode.EC2,
    "quota": ExitCode.EC2,
    "capacity": ExitCode.EC2,
    "permission": ExitCode.EC2,
    "endpoint": ExitCode.EC2,
    "ssh": ExitCode.SSH,
    "host": ExitCode.HOST,
    "readiness": ExitCode.DATABASE,
}

MEANINGS: dict[ExitCode, str] = {
    ExitCode.OK: "done and verified",
    ExitCode.INTERNAL: "internal error, or Ansible itself couldn't run",
    ExitCode.USAGE: "usage, the Python environment, another action is running, or what the command needs isn't there",
    ExitCode.EC2: "EC2 (credentials, quota, capacity, permission) or the local cloud (engine, port, network, space)",
    ExitCode.SSH: "a host can't be reached by ssh",
    ExitCode.HOST: "a step failed on a host",
    ExitCode.DATABASE: "the cluster, the load or the monitoring isn't ready",
    ExitCode.CONFIGURATION: "config.yml, --config, -e, threads.yaml or the licence is wrong",
    ExitCode.INTERRUPTED: "interrupted by Ctrl-C or SIGTERM, or a question wasn't answered with yes",
}


def epilog() -> str:
    """The table of exit codes for --help."""
    return "exit codes:\n" + "\n".join(f"  {code.value:<4} {MEANINGS[code]}" for code in ExitCode)
