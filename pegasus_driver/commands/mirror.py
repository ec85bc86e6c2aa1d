"""`pegasus-driver mirror fetch|list|serve`: a mirror of all parts, for sites that don't reach the download sites."""

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
from pegasus_driver.mirror.parts import parts, repositories, wanted
from pegasus_driver.run.signals import Signals
from pegasus_driver.view.text import table

if TYPE_CHECKING:
    from pegasus_driver.world import World

GIT_SECONDS = 1800


def run_mirror(arguments: argparse.Namespace, world: World) -> ExitCode:
    """One verb. Progress goes to stderr, the result to stdout."""
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
    site, got, kept, missing = Site(), 0, 0, []
    store.folder.mkdir(parents=True, exist_ok=True)
    try:
        with _progress(world) as bar:
            for part in parts(world.root, values, base):
                files, absent = wanted(
                    part,
                    tuple(arguments.distribution or MIRRORED),
                    tuple(arguments.architecture or ARCHITECTURES),
                    site.text,
                )
                missing += absent
                had = got + kept
                for file in files:
                    path = place(file.located.url, base)
                    try:
                        fresh = store.fetch(site, file.located.url, path, bar.of(file.located.file))
                    except NotFoundError as error:
                        # A name without a wildcard is known to be there only when it is asked for.
                        hosts = "any host" if part.optional else ", ".join(file.hosts)
                        missing.append(f"{file.package} for {hosts}: {error}")
                        continue
                    bar.done(file.located.file, fresh)
                    got, kept = got + fresh, kept + (not fresh)
                if got + kept == had and not part.optional:
                    raise ArtifactError(f"no host could have {part.package} {part.version}: {missing[-1]}")
            for address in repositories(world.root, values, base):
                bar.say(f"git: {address}")
                _fetch_repository(address, store.folder / place(address, base))
    except ArtifactError as error:
        raise DriverError(
            str(error),
            "What was fetched stays: run the same command again and it goes on. A machine without access to the "
            "download sites takes --from URL of another mirror.",
            ExitCode.USAGE,
        ) from error
    for line in missing:
        world.stderr.write(f"not published: {line}\n")
    record = {"folder": str(store.folder), "fetched": got, "present": kept, "not_published": missing}
    text = f"{store.folder}: {got} files fetched, {kept} were there, {len(missing)} aren't published for some hosts"
    _result(world, arguments, record, text)
    return ExitCode.OK


def _fetch_repository(address: str, target: Path) -> None:
    """A bare copy that git serves over plain HTTP. Raises ArtifactError."""
    commands = (
        [["git", "clone", "--quiet", "--mirror", address, str(target)]]
        if not (target / "HEAD").exists()
        # By address: git remembers the one that the copy was made from, which another --from need not be.
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
            said = (done.stderr.strip() or "git said nothing").splitlines()[-1]
            raise ArtifactError(f"{address} can't be fetched: {said}")


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
        text = f"{store.folder} holds nothing that was fetched. Fill it: ./pegasus-driver mirror fetch"
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
            [*table([("file", "size", "checksum", "sha256"), *rows]), *(f"DAMAGED {one}" for one in damaged)]
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
        raise DriverError(f"{store.folder} isn't there", "Fill it: ./pegasus-driver mirror fetch", ExitCode.USAGE)
    try:
        mirror = Mirror(store.folder, arguments.address, arguments.port, wait=0)
    except OSError as error:
        raise DriverError(
            f"can't listen on {arguments.address}:{arguments.port}: {error.strerror or error}",
            "Give another --port, or end what uses this one (ss -ltnp).",
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
    """Ends with KeyboardInterrupt only."""
    threading.Event().wait()


class _Bar:
    """Progress as lines: what a pipe or a log gets."""

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
    """A bar per file on a terminal, lines elsewhere."""
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
