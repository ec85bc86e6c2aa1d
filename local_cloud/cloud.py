"""The API of the local cloud for the driver: start, stop, status, leftovers, image.

Concurrent calls of `start` are safe: the first one starts the cloud, the others wait and return its status. `stop` also
works without a daemon. Both hold a lock on the project's folder, which the kernel releases when the process exits.
"""

import contextlib
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from docker.errors import APIError

from . import LocalCloudError, Say
from . import image as instance_image
from .disks.loops import detach_under, loops_under
from .engine import Engine, EngineGone, connect, explanation
from .files import locked
from .packages.build import build_mirror
from .preflight import check_all, check_port, raise_inotify_limit, restore_inotify_limit
from .settings import Settings
from .status import CloudStatus, Instance, daemon_pid, find, not_ours, query, status

__all__ = ["CloudStatus", "Instance", "LocalCloudError", "image", "leftovers", "start", "status", "stop"]

# Seconds for the daemon to become ready and to exit.
_READY_TIMEOUT = 60
_EXIT_TIMEOUT = 10
_WAITING = "Waiting for another start or stop of the local cloud"
_SOURCE = Path(__file__).resolve().parent.parent


def start(root: Path, say: Say, to_remove: bool = False) -> CloudStatus:
    """Start the cloud unless it is running, and adopt the instances that a crash left.

    :param to_remove: start it only to terminate instances: build nothing, and accept a full disk
    :raises LocalCloudError: this machine can't run the cloud, or it is running with other settings
    """
    settings = Settings.from_environment(root)
    with locked(settings.root, say, _WAITING), _plain_errors(settings):
        # After a start that was killed, its daemon may still be starting.
        found = find(settings, _READY_TIMEOUT)
        if found.running:
            if found.endpoint_url != settings.endpoint_url or found.network != settings.network:
                raise LocalCloudError(
                    f"this local cloud is already running at {found.endpoint_url} with network {found.network};"
                    f" requested: {settings.endpoint_url} with {settings.network}",
                    "Stop it first (pegasus-driver local stop), or reset PEGASUS_LOCAL_PORT and PEGASUS_LOCAL_NETWORK.",
                )
            if not to_remove:
                build_mirror(settings.root, settings.mirror, say)
                _restore_image(settings, found.image, say)
            return found
        engine, name = connect(settings), instance_image.tag()
        if to_remove:
            check_port(settings)
            _create_state(settings)
        else:
            check_all(settings, engine, build=not instance_image.exists(engine, name))
            _create_state(settings)
            with ThreadPoolExecutor(max_workers=1) as pool:
                mirror = pool.submit(build_mirror, settings.root, settings.mirror, say)
                instance_image.ensure(engine, settings, say)
            mirror.result()
        _create_network(settings, engine)
        return query(settings, _spawn(settings, name))


def _restore_image(settings: Settings, name: str, say: Say) -> None:
    """Rebuild the image that a running cloud uses for new instances, if it was removed. Raises LocalCloudError."""
    engine = connect(settings)
    if instance_image.exists(engine, name):
        return
    if name != instance_image.tag():
        raise LocalCloudError(
            f"the image {name} of this local cloud was removed, and its sources have changed since",
            "Start again: pegasus-driver destroy, pegasus-driver local stop, then pegasus-driver setup.",
        )
    instance_image.ensure(engine, settings, say)


def _create_state(settings: Settings) -> None:
    try:
        settings.state.parent.mkdir(mode=0o700, exist_ok=True)
        settings.state.mkdir(mode=0o700, exist_ok=True)
        settings.disks.mkdir(mode=0o700, exist_ok=True)
        settings.mirror.mkdir(exist_ok=True)
        raise_inotify_limit(settings.state)
    except PermissionError as error:
        raise not_ours(str(error.filename)) from error


def _create_network(settings: Settings, engine: Engine) -> None:
    try:
        engine.ensure_network()
    except APIError as error:
        raise LocalCloudError(
            f"the container engine refused the network {settings.network}: {explanation(error)}",
            "Set PEGASUS_LOCAL_NETWORK to a free private /16 network, such as 10.201.0.0/16.",
        ) from error


def _spawn(settings: Settings, image_name: str) -> int:
    """Start the daemon in a new session and wait until it is ready; returns its process id. Raises LocalCloudError."""
    reading, writing = os.pipe()
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "MOTO_"))}
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, [str(_SOURCE), environment.get("PYTHONPATH", "")]))
    command = [
        sys.executable, "-m", "local_cloud.daemon", "--root", str(settings.root),
        "--port", str(settings.port), "--network", settings.network, "--image", image_name, "--ready-fd", str(writing),
    ]  # fmt: skip
    try:
        with settings.log_file.open("ab") as log:
            os.fchmod(log.fileno(), 0o600)
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                pass_fds=[writing],
                env=environment,
                cwd="/",
            )
    finally:
        os.close(writing)
    # A daemon that isn't ready in time is killed. That closes its end of the pipe.
    timer = threading.Timer(_READY_TIMEOUT, process.kill)
    timer.start()
    try:
        with os.fdopen(reading) as stream:
            answer = json.loads(stream.readline() or "{}")
        if not answer.get("ready"):
            message = answer.get("error") or f"its daemon exited or wasn't ready within {_READY_TIMEOUT} s"
            raise LocalCloudError(
                f"the local cloud didn't start: {message}", answer.get("next_step") or f"See {settings.log_file}"
            )
    except BaseException:
        # Ctrl-C doesn't reach the daemon in its session.
        process.kill()
        process.wait()
        raise
    finally:
        timer.cancel()
    # The daemon keeps running. Without a return code Python would warn about it.
    process.returncode = 0
    return process.pid


def stop(root: Path, say: Say, if_empty: bool = False) -> bool:
    """Remove everything except the image and the downloads; returns whether there was anything to remove.

    :param if_empty: remove nothing while an instance exists that isn't terminated
    :raises LocalCloudError: the engine doesn't answer, or a disk is in use
    """
    settings = Settings.from_environment(root)
    with locked(settings.root, say, _WAITING), _plain_errors(settings):
        pid = daemon_pid(settings)
        if not (pid or settings.environments.exists() or leftovers(root)):
            return False
        engine = connect(settings)
        if if_empty and _instances_exist(settings, engine):
            return False
        if pid:
            _stop_daemon(pid)
        _remove_all(settings, engine)
        return True


def _instances_exist(settings: Settings, engine: Engine) -> bool:
    found = find(settings)
    if found.running:
        return any(instance.state != "terminated" for instance in found.instances)
    return bool(engine.containers())


def _stop_daemon(pid: int) -> None:
    """Stop the daemon, with SIGKILL if necessary: its state is on disk."""
    with contextlib.suppress(ProcessLookupError):
        handle = os.pidfd_open(pid)
        try:
            signal.pidfd_send_signal(handle, signal.SIGTERM)
            if not select.select([handle], [], [], _EXIT_TIMEOUT)[0]:
                signal.pidfd_send_signal(handle, signal.SIGKILL)
                select.select([handle], [], [], _EXIT_TIMEOUT)
        finally:
            os.close(handle)


def _remove_all(settings: Settings, engine: Engine) -> None:
    # Repeated, because the engine may still be creating a container that the daemon requested.
    while containers := engine.containers():
        with ThreadPoolExecutor(max_workers=8) as pool:
            list(pool.map(engine.remove, [container.id for container in containers]))
    engine.remove_networks()
    stuck = detach_under(settings.state)
    if stuck:
        raise LocalCloudError(
            "a disk can't be detached: " + "; ".join(stuck),
            "Stop the process that uses it (see lsof), then run this again.",
        )
    restore_inotify_limit(settings.state)
    for folder in (settings.environments, settings.state):
        if folder.exists():
            shutil.rmtree(folder)


def leftovers(root: Path) -> list[str]:
    """The parts that remain of a cloud without a daemon, one line each; [] while it runs. Raises LocalCloudError."""
    settings = Settings.from_environment(root)
    if daemon_pid(settings):
        return []
    with _plain_errors(settings):
        engine = connect(settings, timeout=10)
        found = [f"container {container.name} ({container.state})" for container in engine.containers()]
        found += [f"network {network['Name']}" for network in engine.networks()]
    found += [f"loop device /dev/loop{loop} ({file})" for loop, file in loops_under(settings.state)]
    if settings.state.exists():
        found.append(f"folder {settings.state}")
    return found


def image(root: Path, say: Say) -> str:
    """Build the instances' image unless it exists; returns its tag. Raises LocalCloudError."""
    settings = Settings.from_environment(root)
    with _plain_errors(settings):
        return instance_image.ensure(connect(settings), settings, say)


@contextmanager
def _plain_errors(settings: Settings) -> Iterator[None]:
    """Turn exceptions of the engine and the file system into a LocalCloudError with a next step."""
    try:
        yield
    except EngineGone as error:
        raise LocalCloudError(
            f"the container engine stopped answering: {error}",
            "Start it (systemctl start docker), then run this again: it continues with the existing parts.",
        ) from error
    except APIError as error:
        raise LocalCloudError(
            f"the container engine refused: {explanation(error)}", f"See {settings.log_file}"
        ) from error
    except OSError as error:
        raise LocalCloudError(str(error), "Check this user's permissions and the free disk space.") from error
