"""Errors that the driver shows to its user: a message, a next step, an exit code. Never a traceback."""

import contextlib
import sys
import traceback
from pathlib import Path

from .exit_codes import ExitCode


class DriverError(Exception):
    """Something the user can act on.

    message has the found and the expected value, next_step what to do. Both may have several lines.
    """

    exit_code = ExitCode.INTERNAL

    def __init__(self, message: str, next_step: str = "", exit_code: ExitCode | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.next_step = next_step
        if exit_code is not None:
            self.exit_code = exit_code


class UsageError(DriverError):
    """The command line is wrong, or something that the command needs is missing."""

    exit_code = ExitCode.USAGE


class ConfigurationError(DriverError):
    """config.yml, -e or a file that they name is invalid. The message has a line for each mistake."""

    exit_code = ExitCode.CONFIGURATION


class LockedError(UsageError):
    """Another action is running on the same environment."""


class CloudError(DriverError):
    """The local cloud or EC2 failed."""

    exit_code = ExitCode.EC2


def unexpected(error: Exception, root: Path) -> DriverError:
    """Turn an unexpected error into one line, and store its traceback in a file for a bug report."""
    log = root / ".pegasus" / "internal-error.log"
    with contextlib.suppress(OSError):
        log.parent.mkdir(mode=0o700, exist_ok=True)
        log.write_text("".join(traceback.format_exception(error)), encoding="utf-8")
        log.chmod(0o600)
    if isinstance(error, ModuleNotFoundError) and not (error.name or "").startswith("pegasus_driver"):
        return DriverError(
            f"the Python module {error.name} isn't installed in {sys.prefix}",
            "Remove .venv and run ./pegasus-driver again: it reinstalls everything.",
            ExitCode.USAGE,
        )
    return DriverError(f"internal error: {type(error).__name__}: {error}", f"Report it and attach {log}")
