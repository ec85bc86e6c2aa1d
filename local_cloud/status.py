"""What runs of a local cloud, as its daemon says: light, because each action on its instances looks first.

The engine isn't asked, and neither docker nor moto is imported.
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from dataclasses import dataclass, field
from pathlib import Path
from urllib.error import URLError
from urllib.request import ProxyHandler, build_opener

from . import LocalCloudError
from .settings import Settings, read_facts

# Seconds for the daemon to answer.
_ANSWER_WITHIN = 5


@dataclass(frozen=True)
class Instance:
    """An instance in EC2's words, with the container that stands for it."""

    id: str
    name: str
    type: str
    state: str
    address: str
    container: str


@dataclass(frozen=True)
class CloudStatus:
    """What runs. Where nothing does: running is False, pid 0 and the rest empty."""

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
    """What runs now; a daemon that comes up or goes down gets a moment. Raises LocalCloudError."""
    return find(Settings.from_environment(root))


def find(settings: Settings, within: float = _ANSWER_WITHIN) -> CloudStatus:
    """What runs once the daemon has answered, which it may take `within` seconds to. Raises LocalCloudError."""
    end = time.monotonic() + within
    while True:
        pid = daemon_pid(settings)
        if not pid:
            return CloudStatus(running=False)
        try:
            return ask(settings, pid)
        except LocalCloudError:
            # It is coming up, or going down: seen in a moment.
            if time.monotonic() > end:
                raise
            time.sleep(0.1)


def ask(settings: Settings, pid: int) -> CloudStatus:
    """What the daemon says. Raises LocalCloudError when it doesn't answer."""
    facts = read_facts(settings)
    url = facts.get("endpoint_url") or settings.endpoint_url
    try:
        # Never through a proxy: it is on this machine.
        with build_opener(ProxyHandler({})).open(f"{url}/pegasus/status", timeout=_ANSWER_WITHIN) as answer:
            told = json.load(answer)
    except (URLError, OSError, ValueError) as error:
        raise LocalCloudError(
            f"the local cloud's daemon (pid {pid}) doesn't answer at {url}: {error}",
            f"Run pegasus-driver local stop, then start; its log is {settings.log_file}.",
        ) from error
    listed = [
        Instance(one["id"], one["name"], one["type"], one["state"], one["address"], f"pegasus-{one['id']}")
        for one in told["instances"]
    ]
    return CloudStatus(
        running=True,
        pid=told["pid"],
        endpoint_url=told["endpoint_url"],
        instances=sorted(listed, key=lambda one: (one.name, one.id)),
        disks=told["disks"],
        disks_reason=told["disks_reason"],
        image=told["image"],
        mirror_url=told["mirror_url"],
        network=told["network"],
        architecture=told["architecture"],
    )


def daemon_pid(settings: Settings) -> int:
    """The process id of this cloud's daemon, 0 when none lives. Its lock tells: an id may be used again.

    Raises LocalCloudError when this user may not look.
    """
    try:
        descriptor = os.open(settings.daemon_lock, os.O_RDONLY | os.O_CLOEXEC)
    except PermissionError as error:
        raise not_ours(str(settings.state)) from error
    except OSError:
        return 0
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return int(os.pread(descriptor, 32, 0).decode().strip() or 0)
    finally:
        os.close(descriptor)
    return 0


def not_ours(path: str) -> LocalCloudError:
    return LocalCloudError(
        f"no permission for {path}; it was probably made by another user (sudo?)",
        "Run this as that user, or give the folder .pegasus to this one (chown -R).",
    )
