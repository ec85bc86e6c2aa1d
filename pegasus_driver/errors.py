"""Errors that the driver shows to its user: a message, a next step, an exit code. Never a traceback."""

from __future__ import annotations

from .exit_codes import ExitCode


class DriverError(Exception):
    """Something the user can act on.

    message says what was found and what was expected; next_step what to do. Both may have several lines.
    """

    exit_code = ExitCode.INTERNAL

    def __init__(self, message: str, next_step: str = "", exit_code: ExitCode | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.next_step = next_step
        if exit_code is not None:
            self.exit_code = exit_code


class UsageError(DriverError):
    """The command line isn't understood, or what it needs isn't there."""

    exit_code = ExitCode.USAGE


class ConfigurationError(DriverError):
    """config.yml, -e, or a file that they name, is wrong. The message holds one line per error."""

    exit_code = ExitCode.CONFIGURATION


class LockedError(DriverError):
    """Another action runs on the same environment."""

    exit_code = ExitCode.USAGE


class CloudError(DriverError):
    """The local cloud, or EC2, refused."""

    exit_code = ExitCode.EC2
