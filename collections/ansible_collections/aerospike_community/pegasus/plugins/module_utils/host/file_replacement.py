# Copyright (c) Pegasus authors. SPDX-License-Identifier: Apache-2.0
"""Atomic replacement of files. Standard library only."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path


def replace(path: Path, content: bytes) -> None:
    """Write a world-readable file in one step. A missing directory is created.

    :raises OSError: the file can't be written
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        new = Path(name)
        new.chmod(0o644)
        new.replace(path)
    finally:
        Path(name).unlink(missing_ok=True)
