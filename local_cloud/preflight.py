"""Checks whether this machine can run a local cloud, before anything is created."""

import contextlib
import fcntl
import hashlib
import ipaddress
import os
import shutil
import socket
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from . import LocalCloudError
from .engine import Engine, subnets
from .settings import ENDPOINT_HOST, LABEL, Settings

GIB = 1024**3
SPACE_FOR_IMAGE = 4 * GIB
SPACE_TO_RUN = 1 * GIB

# Each container's systemd and its services use about this many inotify instances. The limit is per user, and root in a
# container is this machine's root. Measured: with a limit of 128, systemd fails at about 20 containers.
INOTIFY_PER_INSTANCE = 6
INOTIFY_RESERVE = 16
INOTIFY_TARGET = 1024
INOTIFY_LIMIT = Path("/proc/sys/fs/inotify/max_user_instances")
# Several checkouts may run a cloud on this machine. This folder keeps the original limit and the list of clouds that
# need the raised one. A reboot resets both.
INOTIFY_NOTES = Path("/run/pegasus-inotify")
_BEFORE = "before"


def check_port(settings: Settings) -> None:
    """Raise LocalCloudError if the endpoint's port is in use."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((ENDPOINT_HOST, settings.port))
        except PermissionError as error:
            raise LocalCloudError(
                f"this user may not open port {settings.port} on {ENDPOINT_HOST}",
                "Set PEGASUS_LOCAL_PORT to a port above 1023.",
            ) from error
        except OSError as error:
            owner = listener(settings.port)
            by = f" by {owner}" if owner else ""
            raise LocalCloudError(
                f"port {settings.port} on {ENDPOINT_HOST}, for the EC2 endpoint, is in use{by}",
                f"Stop that process, or set PEGASUS_LOCAL_PORT to a free port (such as {settings.port + 1}).",
            ) from error


def listener(port: int, proc: Path = Path("/proc")) -> str:
    """The process that listens on a TCP port, as 'name (pid n: command)'; '' if this user can't find it in /proc."""
    inodes = set()
    for table in ("net/tcp", "net/tcp6"):
        with contextlib.suppress(OSError):
            for line in (proc / table).read_text().splitlines()[1:]:
                fields = line.split()
                listens = fields[3] == "0A"
                if listens and int(fields[1].rsplit(":", 1)[1], 16) == port:
                    inodes.add(f"socket:[{fields[9]}]")
    for process in proc.glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if any(str(link.readlink()) in inodes for link in (process / "fd").iterdir()):
                name = (process / "comm").read_text().strip()
                command = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
                return f"{name} (pid {process.name}: {command[:160]})"
    return ""


def check_network(settings: Settings, networks: Iterable[Mapping[str, Any]], routes: str) -> None:
    """Raise LocalCloudError if the range overlaps another network of the engine or a route of /proc/net/route."""
    requested = ipaddress.ip_network(settings.network)
    advice = "Set PEGASUS_LOCAL_NETWORK to a free private /16 network, such as 10.201.0.0/16."
    bridges = set()
    for network in networks:
        owner = (network.get("Labels") or {}).get(LABEL)
        if owner == str(settings.state):
            options = network.get("Options") or {}
            bridges.add(options.get("com.docker.network.bridge.name") or f"br-{network['Id'][:12]}")
            continue
        if network["Name"] == settings.network_name:
            of_owner = f", of the local cloud in {owner}" if owner else ""
            raise LocalCloudError(
                f"the engine already has a network {settings.network_name}{of_owner}",
                "Stop that cloud (pegasus-driver local stop in its checkout), or set PEGASUS_LOCAL_PORT and"
                " PEGASUS_LOCAL_NETWORK.",
            )
        for subnet in subnets(network):
            with contextlib.suppress(ValueError):
                if requested.overlaps(ipaddress.ip_network(subnet)):
                    raise LocalCloudError(
                        f"the network range {requested} overlaps the engine's network {network['Name']} ({subnet})",
                        advice,
                    )
    for interface, route in _routes(routes):
        if interface not in bridges and requested.overlaps(route):
            raise LocalCloudError(
                f"the network range {requested} overlaps this machine's route to {route} ({interface})", advice
            )


def _routes(table: str) -> list[tuple[str, ipaddress.IPv4Network]]:
    """Interface and destination of each route except default routes. The table's numbers are in host byte order."""
    found = []
    for line in table.splitlines()[1:]:
        fields = line.split()
        if len(fields) < 8:
            continue
        address = ipaddress.IPv4Address(int.from_bytes(bytes.fromhex(fields[1])[::-1], "big"))
        mask = ipaddress.IPv4Address(int.from_bytes(bytes.fromhex(fields[7])[::-1], "big"))
        network = ipaddress.IPv4Network(f"{address}/{mask}", strict=False)
        if network.prefixlen:
            found.append((fields[0], network))
    return found


def check_space(folders: Iterable[Path], build: bool) -> None:
    """Raise LocalCloudError if a folder's disk has too little space. Folders that don't exist are skipped."""
    needed = SPACE_FOR_IMAGE if build else SPACE_TO_RUN
    what = "to build the instances' image" if build else "to run"
    for folder in folders:
        try:
            free = shutil.disk_usage(folder).free
        except OSError:
            continue
        if free < needed:
            raise LocalCloudError(
                f"{folder} has {free / GIB:.1f} GiB free; the local cloud needs {needed / GIB:.0f} GiB there {what}",
                "Free some space (docker system df shows the engine's usage), then run this again.",
            )


def check_cgroups(folder: Path = Path("/sys/fs/cgroup")) -> None:
    """Raise LocalCloudError if this machine has no control groups that systemd in an instance can use."""
    if (folder / "cgroup.controllers").exists() or (folder / "systemd/cgroup.procs").exists():
        return
    raise LocalCloudError(
        f"systemd in an instance needs control groups: found neither version 2 nor the hierarchy 'systemd' in {folder}",
        f"Mount it: mkdir -p {folder}/systemd && mount -t cgroup -o none,name=systemd cgroup {folder}/systemd",
    )


def check_all(settings: Settings, engine: Engine, build: bool) -> None:
    """Run all checks before a start. Raises LocalCloudError for the first failure."""
    check_port(settings)
    check_cgroups()
    routes = Path("/proc/net/route")
    check_network(settings, engine.all_networks(), routes.read_text() if routes.exists() else "")
    engine_root = Path(engine.client.info().get("DockerRootDir") or "/")
    check_space([settings.root, settings.state, engine_root], build)


def raise_inotify_limit(user: Path, limit: Path = INOTIFY_LIMIT, notes: Path = INOTIFY_NOTES) -> None:
    """Raise the limit for a large environment, if this user is root.

    :param user: the folder of the cloud that needs it; the limit stays while one of these folders exists
    """
    if os.geteuid() != 0:
        return
    with contextlib.suppress(OSError, ValueError), _locked(notes):
        before = int(limit.read_text())
        if before < INOTIFY_TARGET:
            (notes / _BEFORE).write_text(f"{before}\n")
            limit.write_text(f"{INOTIFY_TARGET}\n")
        if (notes / _BEFORE).exists():
            (notes / _note(user)).write_text(str(user))


def restore_inotify_limit(user: Path, limit: Path = INOTIFY_LIMIT, notes: Path = INOTIFY_NOTES) -> None:
    """Undo raise_inotify_limit once no other cloud needs it, unless the limit has been changed since."""
    if not notes.exists():
        return
    with contextlib.suppress(OSError, ValueError), _locked(notes):
        (notes / _note(user)).unlink(missing_ok=True)
        others = [note for note in notes.iterdir() if note.name != _BEFORE]
        if any(Path(note.read_text()).exists() for note in others):
            return
        before = (notes / _BEFORE).read_text()
        if int(limit.read_text()) == INOTIFY_TARGET:
            limit.write_text(before)
        shutil.rmtree(notes)


@contextlib.contextmanager
def _locked(notes: Path) -> Iterator[None]:
    """Create the folder and lock it. Raises OSError."""
    while True:
        notes.mkdir(mode=0o700, exist_ok=True)
        descriptor = os.open(notes, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            # The last user may have removed it in the meantime.
            if os.fstat(descriptor).st_nlink:
                yield
                return
        finally:
            os.close(descriptor)


def _note(user: Path) -> str:
    return hashlib.sha256(str(user).encode()).hexdigest()[:16]


def why_no_more_instances(count: int, path: Path = INOTIFY_LIMIT) -> str:
    """Why this machine can't run `count` instances, and the solution; '' if it can."""
    try:
        limit = int(path.read_text())
    except (OSError, ValueError):
        return ""
    needed = count * INOTIFY_PER_INSTANCE + INOTIFY_RESERVE
    if needed <= limit:
        return ""
    return (
        f"This machine's limit fs.inotify.max_user_instances is {limit}; {count} instances need about {needed}. "
        f"Raise it: sudo sysctl fs.inotify.max_user_instances={max(INOTIFY_TARGET, needed)}"
    )
