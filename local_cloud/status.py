"""The status of a local cloud, from its daemon.

Each action on the local cloud reads it first, so it must be quick: no query of the engine, no import of docker or moto.
"""

import fcntl
import json
import time
from dataclasses import dataclass, field
from pathlib import Path
from urllib.error import URLError
from urllib.request import ProxyHandler, build_opener

from . import LocalCloudError
from .settings import Settings, read_facts

# Seconds for the daemon to answer.
_ANSWER_TIMEOUT = 5


@dataclass(frozen=True)
class Instance:
    """An instance in EC2's terms, with the name of its container."""

    id: str
    name: str
    type: str
    state: str
    address: str
    container: str


@dataclass(frozen=True)
class CloudStatus:
    """The status of a cloud. If it isn't running, pid is 0 and the rest is empty."""

    running: bool
    pid: int = 0
    endpoint_url: str = ""
    instances: list[Instance] = field(default_factory=list)
    disks: bool = False
    disks_reason: str = ""
    leftovers: list[str] = field(default_factory=list)
    image: str = ""
    mirror_url: str = ""
    network: str = ""
    architecture: str = ""


def status(root: Path) -> CloudStatus:
    """Return the status, after a short wait if the daemon is starting or stopping. Raises LocalCloudError."""
    return find(Settings.from_environment(root))


def find(settings: Settings, timeout: float = _ANSWER_TIMEOUT) -> CloudStatus:
    """Return the status, waiting up to `timeout` seconds for the daemon's answer. Raises LocalCloudError."""
    end = time.monotonic() + timeout
    while True:
        pid = daemon_pid(settings)
        if not pid:
            return CloudStatus(running=False)
        try:
            return query(settings, pid)
        except LocalCloudError:
            # It is starting or stopping.
            if time.monotonic() > end:
                raise
            time.sleep(0.1)


def query(settings: Settings, pid: int) -> CloudStatus:
    """Query the daemon. Raises LocalCloudError if it doesn't answer."""
    facts = read_facts(settings)
    url = facts.get("endpoint_url") or settings.endpoint_url
    try:
        # Without a proxy, because the daemon is on this machine.
        with build_opener(ProxyHandler({})).open(f"{url}/pegasus/status", timeout=_ANSWER_TIMEOUT) as response:
            answer = json.load(response)
    except (URLError, OSError, ValueError) as error:
        raise LocalCloudError(
            f"the local cloud's daemon (pid {pid}) doesn't answer at {url}: {error}",
            f"Run pegasus-driver local stop, then start; its log is {settings.log_file}.",
        ) from error
    instances = [Instance(**entry, container=f"pegasus-{entry['id']}") for entry in answer.pop("instances")]
    instances.sort(key=lambda instance: (instance.name, instance.id))
    return CloudStatus(running=True, instances=instances, **answer)


def daemon_pid(settings: Settings) -> int:
    """The process id of this cloud's daemon; 0 if none is running.

    Its lock decides, because the kernel reuses process ids. Raises LocalCloudError if this user may not read the file.
    """
    try:
        with settings.daemon_lock.open() as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return int(file.read().strip() or 0)
    except PermissionError as error:
        raise not_ours(str(settings.state)) from error
    except FileNotFoundError:
        pass
    return 0


def not_ours(path: str) -> LocalCloudError:
    return LocalCloudError(
        f"no permission for {path}; another user probably created it (sudo?)",
        "Run this as that user, or change the owner of the folder .pegasus (chown -R).",
    )
