"""`pegasus-driver mirror fetch|list|serve`: an artifact mirror for networks that can't reach the download sites."""

from __future__ import annotations

import argparse
import json
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ansible_collections.aerospike_community.pegasus.plugins.module_utils.host.artifacts import (
    ArtifactError,
    NotFoundError,
)
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.host.distributions import MIRRORED

from pegasus_driver import config as configuration
from pegasus_driver.errors import DriverError
from pegasus_driver.exit_codes import ExitCode
from pegasus_driver.mirror.arguments import ARCHITECTURES, UPSTREAM
from pegasus_driver.mirror.download import Progress, Site, Store, place
from pegasus_driver.mirror.parts import parts, repositories, required_files
from pegasus_driver.run.signals import Signals
from pegasus_driver.view.text import table

if TYPE_CHECKING:
    from pegasus_driver.world import World

GIT_SECONDS = 1800


def run_mirror(arguments: argparse.Namespace, world: World) -> ExitCode:
    """Run one verb. Progress goes to stderr, the result to stdout."""
    folder = arguments.mirror or world.root / ".cache" / "mirror"
    store = Store(folder if folder.is_absolute() else world.folder / folder)
    with Signals():
        if arguments.verb == "fetch":
            return _fetch(arguments, world, store)
        if arguments.verb == "list":
            return _list(arguments, world, store)
        return _serve(arguments, world, store)


def _fetch(arguments: argparse.Namespace, world: World, store: Store) -> ExitCode:
    environ = configuration.configured(arguments, world.environ)
    values = configuration.load(world.root, environ, world.folder, arguments.extra_vars).values
    base = arguments.base.rstrip("/") if arguments.base != UPSTREAM else UPSTREAM
    site, fetched, present, missing = Site(), 0, 0, []
    store.folder.mkdir(parents=True, exist_ok=True)
    try:
        with _progress(world) as bar:
            for part in parts(world.root, values, base):
                files, absent = required_files(
                    part,
                    tuple(arguments.distribution or MIRRORED),
                    tuple(arguments.architecture or ARCHITECTURES),
                    site.text,
                )
                missing += absent
                before = fetched + present
                for file in files:
                    path = place(file.located.url, base)
                    try:
                        fresh = store.fetch(site, file.located.url, path, bar.of(file.located.file))
                    except NotFoundError as error:
                        # Only the request shows whether a file name without a wildcard exists.
                        hosts = "any host" if part.optional else ", ".join(file.hosts)
                        missing.append(f"{file.package} for {hosts}: {error}")
                        continue
                    bar.done(file.located.file, fresh)
                    fetched, present = fetched + fresh, present + (not fresh)
                if fetched + present == before and not part.optional:
                    raise ArtifactError(f"found no {part.package} {part.version} for any host: {missing[-1]}")
            for address in repositories(world.root, values, base):
                bar.say(f"git: {address}")
                _fetch_repository(address, store.folder / place(address, base))
    except ArtifactError as error:
        raise DriverError(
            str(error),
            "Run the same command again: it keeps the files that are complete and resumes the rest. Without access to "
            "the download sites, use another mirror: --from URL.",
            ExitCode.USAGE,
        ) from error
    for line in missing:
        world.stderr.write(f"not published: {line}\n")
    record = {"folder": str(store.folder), "fetched": fetched, "present": present, "not_published": missing}
    counts = f"{fetched} files fetched, {present} already present, {len(missing)} not published for some hosts"
    _result(world, arguments, record, f"{store.folder}: {counts}")
    return ExitCode.OK


def _fetch_repository(address: str, target: Path) -> None:
    """Clone or update a bare repository that a plain HTTP server can serve.

    :raises ArtifactError: git fails
    """
    commands = (
        [["git", "clone", "--quiet", "--mirror", address, str(target)]]
        if not (target / "HEAD").exists()
        # With the address: git remembers the origin of the clone, which may differ from today's --from.
        else [["git", "-C", str(target), "fetch", "--quiet", "--prune", address, "+refs/*:refs/*"]]
    )
    commands.append(["git", "-C", str(target), "update-server-info"])
    target.parent.mkdir(parents=True, exist_ok=True)
    for command in commands:
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=GIT_SECONDS, check=False)
        except (OSError, subprocess.TimeoutExpired) as error:
            raise ArtifactError(f"{address} can't be fetched: {error}") from error
        if done.returncode:
            reason = (done.stderr.strip() or "git printed no reason").splitlines()[-1]
            raise ArtifactError(f"{address} can't be fetched: {reason}")


def _list(arguments: argparse.Namespace, world: World, store: Store) -> ExitCode:
    files = store.files()
    damaged = store.damaged() if arguments.check else []
    copies = sorted(str(head.parent.relative_to(store.folder)) for head in store.folder.glob("**/*.git/HEAD"))
    record = {
        "folder": str(store.folder),
        "files": files,
        "repositories": copies,
        "damaged": damaged,
        "checked": arguments.check,
    }
    if not files and not copies:
        text = f"{store.folder} has no fetched files. Fill it: ./pegasus-driver mirror fetch"
    else:
        rows = [
            (
                path,
                f"{known['size'] / 1024**2:.1f} MiB",
                "published" if known["verified"] else "own",
                known["sha256"][:16],
            )
            for path, known in sorted(files.items())
        ]
        rows += [(path, "-", "-", "git") for path in copies]
        text = "\n".join(
            [*table([("file", "size", "checksum", "sha256"), *rows]), *(f"DAMAGED {file}" for file in damaged)]
        )
    _result(world, arguments, record, text)
    if damaged:
        raise DriverError(
            f"{len(damaged)} files of the mirror are damaged",
            "Fetch them again: ./pegasus-driver mirror fetch",
            ExitCode.USAGE,
        )
    return ExitCode.OK


def _serve(arguments: argparse.Namespace, world: World, store: Store) -> ExitCode:
    from local_cloud.mirror import Mirror

    if not store.folder.is_dir():
        raise DriverError(
            f"found no folder {store.folder}, expected the mirror",
            "Fill it: ./pegasus-driver mirror fetch",
            ExitCode.USAGE,
        )
    try:
        mirror = Mirror(store.folder, arguments.address, arguments.port, wait=0)
    except OSError as error:
        raise DriverError(
            f"can't listen on {arguments.address}:{arguments.port}: {error.strerror or error}",
            "Use another --port, or stop the program that uses this port (ss -ltnp).",
            ExitCode.USAGE,
        ) from error
    address = "<this machine's address>" if arguments.address == "0.0.0.0" else arguments.address
    text = f"serving {store.folder}; config.yml: pegasus_artifact_source: http://{address}:{mirror.port}"
    _result(world, arguments, {"folder": str(store.folder), "address": arguments.address, "port": mirror.port}, text)
    world.stdout.flush()
    try:
        _until_interrupted()
    except KeyboardInterrupt:
        world.stderr.write("the mirror has stopped\n")
    finally:
        mirror.close()
    return ExitCode.OK


def _until_interrupted() -> None:
    """Block until KeyboardInterrupt."""
    threading.Event().wait()


class _Bar:
    """Progress as plain lines, for a pipe or a log."""

    def __init__(self, world: World) -> None:
        self._world = world

    def of(self, name: str) -> Progress:
        return lambda done, total: None

    def done(self, name: str, fresh: bool) -> None:
        self.say(f"{'fetched' if fresh else 'present'}: {name}")

    def say(self, text: str) -> None:
        self._world.stderr.write(f"{text}\n")
        self._world.stderr.flush()


@contextmanager
def _progress(world: World) -> Iterator[_Bar]:
    """Show a bar per file on a terminal, plain lines elsewhere."""
    if not world.stderr.isatty():
        yield _Bar(world)
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, TextColumn, TimeRemainingColumn, TransferSpeedColumn
    from rich.progress import Progress as RichProgress

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(binary_units=True),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with RichProgress(*columns, console=Console(file=world.stderr)) as shown:

        class Rich(_Bar):
            def of(self, name: str) -> Progress:
                task = shown.add_task(name, total=None)
                return lambda done, total: shown.update(task, completed=done, total=total or None)

            def done(self, name: str, fresh: bool) -> None:
                for task in shown.tasks:
                    if task.description == name:
                        size = task.total or task.completed or 1
                        shown.update(task.id, completed=size, total=size)

            def say(self, text: str) -> None:
                shown.console.print(text)

        yield Rich(world)


def _result(world: World, arguments: argparse.Namespace, record: dict[str, Any], text: str) -> None:
    world.stdout.write((json.dumps(record, default=str) if arguments.output == "json" else text) + "\n")
