# Copyright (c) Pegasus authors. SPDX-License-Identifier: Apache-2.0
"""A lock between calls on one host. Standard library only."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

POLL_SECONDS = 0.1


@contextmanager
def held(path: Path, timeout: float, refusal: Exception) -> Iterator[None]:
    """Hold a lock against other calls on this host. The end of the process releases it.

    :param path: a file, which is created if it is missing, or an existing folder
    :raises refusal: another call holds the lock for more than ``timeout`` seconds
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    deadline = time.monotonic() + timeout
    descriptor = os.open(path, os.O_RDONLY if path.is_dir() else os.O_WRONLY | os.O_CREAT, 0o644)
    try:
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise refusal from None
                time.sleep(POLL_SECONDS)
        yield
    finally:
        os.close(descriptor)
