"""The local cloud: EC2 on this machine, with containers as instances. cloud.py is its API."""

from collections.abc import Callable

import pegasus_driver  # noqa: F401 - makes the collection importable

# Prints a line about the progress.
Say = Callable[[str], None]


class LocalCloudError(Exception):
    """A problem that the user can solve. `message` has what was found and expected, `next_step` what to do."""

    def __init__(self, message: str, next_step: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.next_step = next_step
