"""Find the official client: the installed package, or the wheel inside the program's file.

A wheel holds shared libraries, which can't be loaded from a zip. It is unpacked once, into the working
directory.
"""

from __future__ import annotations

import hashlib
import importlib
import io
import os
import platform
import shutil
import site
import sys
import tempfile
import zipfile
from pathlib import Path
from types import ModuleType


class LibraryError(RuntimeError):
    """There is no client for this Python."""


def load(archive: Path, work: Path) -> ModuleType:
    """The module `aerospike`. `archive` is the program's own zip, or a folder when it runs from its sources."""
    name = _wheel(archive)
    if name is not None:
        site.addsitedir(str(_unpack(archive, name, work)))
    try:
        return importlib.import_module("aerospike")
    except ImportError as error:
        raise LibraryError(
            f"the official client `aerospike` can't be loaded: {error}. This program carries it for "
            f"Python 3.11; this is Python {platform.python_version()} on {platform.machine()}"
        ) from error


def _wheel(archive: Path) -> str | None:
    """The archive's wheel for this interpreter, None if there is none."""
    if not zipfile.is_zipfile(archive):
        return None
    tag = f"-cp{sys.version_info[0]}{sys.version_info[1]}-"
    with zipfile.ZipFile(archive) as jar:
        for name in jar.namelist():
            if name.startswith("lib/") and tag in name and name.endswith(f"_{platform.machine()}.whl"):
                return name
    return None


def _unpack(archive: Path, name: str, work: Path) -> Path:
    with zipfile.ZipFile(archive) as jar:
        content = jar.read(name)
    digest = hashlib.sha256(content).hexdigest()[:16]
    if not os.access(work, os.W_OK):
        # The working directory is read-only: use a private temporary folder, which lasts until the next boot.
        work = Path(tempfile.mkdtemp(prefix="perseus-"))
    target = work / f".aerospike-client-{digest}"
    if target.is_dir():
        return target
    # Unpack into a temporary folder, then rename it: an interrupted start leaves no incomplete client.
    temporary = Path(tempfile.mkdtemp(prefix=".aerospike-client-", dir=work))
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as wheel:
            wheel.extractall(temporary)
        temporary.chmod(0o755)
        temporary.rename(target)
    except OSError:
        shutil.rmtree(temporary, ignore_errors=True)
        if not target.is_dir():
            raise
    return target
