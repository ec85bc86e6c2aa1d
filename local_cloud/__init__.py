"""The local cloud: an EC2 endpoint on this machine whose instances are containers. The API is in cloud.py."""

from __future__ import annotations

import pegasus_driver  # noqa: F401  makes the collection importable


class LocalCloudError(Exception):
    """Something that the user can act on: message says what was found and expected, next_step what to do."""

    def __init__(self, message: str, next_step: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.next_step = next_step
