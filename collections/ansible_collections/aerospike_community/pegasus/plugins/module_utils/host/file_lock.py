# Copyright (c) Pegasus authors. SPDX-License-Identifier: Apache-2.0
"""A lock between calls on one host. Standard library only."""

from __future__ import annotations

import fcntl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

POLL_SECONDS = 0.1


@contextmanager
def held(path: Path, timeout: float, refusal: Exception) -> Iterator[None]:
    """Hold a lock against other calls on this host. The end of the process releases it.

    :raises refusal: another call holds the lock for more than ``timeout`` seconds
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    deadline = time.monotonic() + timeout
    with path.open("w", encoding="ascii") as stream:
        while True:
            try:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise refusal from None
                time.sleep(POLL_SECONDS)
        yield
