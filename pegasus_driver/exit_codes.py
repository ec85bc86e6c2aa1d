"""The exit status of pegasus-driver. Scripts may rely on it; `pegasus-driver --help` lists it."""

from enum import IntEnum


class ExitCode(IntEnum):
    """See MEANINGS. After INTERRUPTED, existing resources are kept, and the action can be run again."""

    OK = 0
    INTERNAL = 1
    USAGE = 2
    EC2 = 3
    SSH = 4
    HOST = 5
    DATABASE = 6
    CONFIGURATION = 7
    INTERRUPTED = 130


# If several failures occur, the first in this order counts: it is closest to the cause (because of a failed host, the
# database isn't ready).
BY_CAUSE = (
    ExitCode.INTERNAL, ExitCode.USAGE, ExitCode.CONFIGURATION, ExitCode.EC2, ExitCode.SSH, ExitCode.HOST,
    ExitCode.DATABASE, ExitCode.INTERRUPTED,
)  # fmt: skip

# By the `error_class` of a failed task (module_utils/results.py). Any other class counts as HOST.
OF_ERROR_CLASS: dict[str, ExitCode] = {
    "usage": ExitCode.USAGE,
    "configuration": ExitCode.CONFIGURATION,
    **dict.fromkeys(("other", "credentials", "quota", "capacity", "permission", "endpoint"), ExitCode.EC2),
    "ssh": ExitCode.SSH,
    "host": ExitCode.HOST,
    "readiness": ExitCode.DATABASE,
}

MEANINGS: dict[ExitCode, str] = {
    ExitCode.OK: "success: done and verified",
    ExitCode.INTERNAL: "internal error, or Ansible couldn't run",
    ExitCode.USAGE: "wrong command line or Python environment, another action is running, or a missing prerequisite",
    ExitCode.EC2: "EC2 (credentials, quota, capacity, permission) or the local cloud (engine, port, network, space)",
    ExitCode.SSH: "a host can't be reached by ssh",
    ExitCode.HOST: "a step failed on a host",
    ExitCode.DATABASE: "the cluster, the load or the monitoring isn't ready",
    ExitCode.CONFIGURATION: "config.yml, --config, -e, threads.yaml or the licence is wrong",
    ExitCode.INTERRUPTED: "interrupted by Ctrl-C or SIGTERM, or not confirmed",
}


def epilog() -> str:
    """Return the table of exit codes for --help."""
    return "exit codes:\n" + "\n".join(f"  {code.value:<4} {MEANINGS[code]}" for code in ExitCode)
