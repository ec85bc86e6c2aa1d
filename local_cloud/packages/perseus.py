"""The git repository of the simulated Perseus, which contains the official Aerospike client.

github.com/aerospike-community/aerospike-perseus.git      bare, for git's dumb HTTP protocol
"""

import os
import platform
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from local_cloud import Say

from . import sources
from .archives import EPOCH, PackageBuildError

REPOSITORY = "github.com/aerospike-community/aerospike-perseus.git"
TAG = "v1.0-SIMULATED"
CLIENT_VERSION = "19.3.0"  # of `aerospike` on PyPI, as in requirements-dev.txt


def client_wheel(cache: Path, say: Say, machine: str = "") -> Path:
    """Return the official client's wheel for the instances' Python 3.11, and download it from PyPI if necessary.

    The default of `machine` is this machine's architecture, which the instances share.
    """
    machine = machine or platform.machine()
    pattern = f"aerospike-{CLIENT_VERSION}-cp311-cp311-manylinux*_{machine}.whl"
    cached = sorted(path for path in cache.glob(pattern) if zipfile.is_zipfile(path))
    if cached:
        return cached[0]
    say(f"Downloading the official Aerospike client {CLIENT_VERSION} from PyPI")
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".downloading-", dir=cache) as temporary:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
        command += ["--only-binary=:all:", "--implementation=cp", "--python-version=3.11", "--abi=cp311"]
        command += [f"--platform={tag}_{machine}" for tag in ("manylinux_2_28", "manylinux_2_17", "manylinux2014")]
        command += ["--dest", temporary, f"aerospike=={CLIENT_VERSION}"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        found = sorted(Path(temporary).glob(pattern))
        if done.returncode != 0 or not found:
            raise PackageBuildError(
                f"downloading the wheel of aerospike {CLIENT_VERSION} (Python 3.11, {machine}) for the simulated "
                f"Perseus failed: {_last_line(done.stderr) or 'pip saved no file'}",
                f"Check the connection to PyPI (pip's own settings and proxies apply), or put the wheel into {cache}.",
            )
        target = cache / found[0].name
        found[0].replace(target)
    return target


def require_git() -> None:
    """Raise PackageBuildError if git isn't installed."""
    if shutil.which("git") is None:
        raise PackageBuildError(
            "the simulated Perseus can't be built: git was not found in PATH",
            "Install git (Debian and Ubuntu: apt install git).",
        )


def build(staging: Path, wheel: Path) -> None:
    """Build a bare repository with one commit: simulators/perseus and the client's wheel in lib/."""
    folder = sources.SIMULATORS / "perseus"
    repository = staging / REPOSITORY
    with tempfile.TemporaryDirectory(prefix="pegasus-perseus-") as temporary:
        tree = Path(temporary)
        for path in sources.source_files(folder):
            target = tree / path.relative_to(folder)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(path.read_bytes())
            target.chmod(0o755 if path.name == "build" else 0o644)
        (tree / "lib").mkdir()
        shutil.copyfile(wheel, tree / "lib" / wheel.name)

        repository.parent.mkdir(parents=True)
        # The empty template omits the sample hooks.
        _git(tree, "init", "--quiet", "--bare", "--template=", "--initial-branch=master", str(repository))
        work = [f"--git-dir={repository}", f"--work-tree={tree}", "-c", "core.fileMode=true"]
        # The wheel is already compressed.
        work += ["-c", "core.compression=0", "-c", "core.bare=false"]
        _git(tree, *work, "add", "--all", "--force", ".")
        _git(tree, *work, "commit", "--quiet", "--message", "Perseus, SIMULATED: built by Pegasus")
        _git(tree, *work, "tag", TAG)
        _git(tree, *work, "repack", "-a", "-d", "-q")
        _git(tree, *work, "update-server-info")
    (repository / "index").unlink(missing_ok=True)
    shutil.rmtree(repository / "logs", ignore_errors=True)
    (repository / "COMMIT_EDITMSG").unlink(missing_ok=True)


def _git(folder: Path, *arguments: str) -> None:
    """Run git without the user's configuration and with fixed names and times: same files, same commit."""
    keep = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    person = {"NAME": "Pegasus", "EMAIL": "pegasus@localhost", "DATE": f"{EPOCH} +0000"}
    identity = {f"GIT_{kind}_{key}": value for kind in ("AUTHOR", "COMMITTER") for key, value in person.items()}
    environment = keep | identity | {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1", "LC_ALL": "C"}
    done = subprocess.run(["git", *arguments], cwd=folder, env=environment, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise PackageBuildError(
            f"git could not create the repository of the simulated Perseus: {_last_line(done.stderr)}",
            "Check the free disk space, and that git is version 2.28 or newer.",
        )


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else ""
