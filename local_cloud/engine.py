"""The container engine, by Docker's API on a local socket: containers, the network, events."""

import io
import os
import re
import stat
import tarfile
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import docker
import requests
from docker.errors import APIError, DockerException, NotFound

from . import LocalCloudError
from .settings import LABEL, LABEL_INSTANCE, Settings

# Seconds until a call to the engine fails. Removing a container on a busy machine is slow.
CALL_TIMEOUT = 120
# Seconds until a container that is shutting down is killed.
STOP_TIMEOUT = 30

_CAP_SYS_RESOURCE = 24
_MARKER = "/var/lib/pegasus/shutdown"


class EngineGone(Exception):
    """The engine doesn't answer."""


@dataclass(frozen=True)
class Container:
    """A container of this cloud. `state` is created, running, restarting, paused, removing, exited or dead."""

    id: str
    name: str
    instance_id: str
    state: str


# Content, mode and user id of files by absolute path in the container.
Files = Mapping[str, tuple[bytes, int, int]]


def container_name(instance_id: str) -> str:
    return f"pegasus-{instance_id}"


@contextmanager
def _gone_when_unreachable() -> Iterator[None]:
    """Raise EngineGone if the engine doesn't answer. Its refusals stay APIErrors."""
    try:
        yield
    except APIError:
        raise
    except (requests.exceptions.RequestException, DockerException, ConnectionError) as error:
        raise EngineGone(str(error)) from error


class Engine:
    """Calls to the engine for one cloud. Methods raise EngineGone, or docker's APIError when the engine refuses."""

    def __init__(self, client: docker.DockerClient, settings: Settings) -> None:
        self.client = client
        self.settings = settings
        self._api = client.api
        # systemd raises limits with SYS_RESOURCE. Some machines' engines lack it and refuse to grant it.
        self.capabilities = ["SYS_ADMIN", "NET_ADMIN", "SYS_BOOT"]
        if _host_has_capability(_CAP_SYS_RESOURCE):
            self.capabilities.append("SYS_RESOURCE")

    def containers(self) -> list[Container]:
        with _gone_when_unreachable():
            records = self._api.containers(all=True, filters={"label": self.settings.label_filter})
        return [
            Container(
                id=record["Id"],
                name=(record.get("Names") or ["?"])[0].lstrip("/"),
                instance_id=(record.get("Labels") or {}).get(LABEL_INSTANCE, ""),
                state=record["State"],
            )
            for record in records
        ]

    def create(
        self,
        instance_id: str,
        image: str,
        hostname: str,
        address: str,
        files: Files,
        devices: Mapping[str, str],
        device_rules: Iterable[str],
    ) -> str:
        """Create a container without starting it; returns its id. `devices` are by their path in the container."""
        with _gone_when_unreachable():
            endpoint = self._api.create_endpoint_config(ipv4_address=address, aliases=[hostname])
            host = self._api.create_host_config(
                cap_add=self.capabilities,
                cap_drop=["MKNOD"],
                security_opt=["seccomp=unconfined"],
                tmpfs={"/run": "", "/run/lock": "", "/tmp": "exec,mode=1777"},
                binds=["/sys/fs/cgroup:/sys/fs/cgroup:rw"],
                cgroupns="host",
                devices=[f"{outside}:{inside}:rw" for inside, outside in devices.items()],
                device_cgroup_rules=list(device_rules) or None,
                log_config=docker.types.LogConfig(type="json-file", config={"max-size": "1m", "max-file": "2"}),
            )
            container = self._api.create_container(
                image,
                name=container_name(instance_id),
                hostname=hostname,
                labels={LABEL: str(self.settings.state), LABEL_INSTANCE: instance_id},
                host_config=host,
                # systemd's "halt". The image records it, unlike a power-off from inside.
                stop_signal="SIGRTMIN+3",
                networking_config={"EndpointsConfig": {self.settings.network_name: endpoint}},
            )["Id"]
            self._api.put_archive(container, "/", _archive(files))
        return container

    def start(self, container: str) -> int:
        """Start a container; returns the process id of its init on this machine."""
        with _gone_when_unreachable():
            # Clear the reason of the previous shutdown.
            self._api.put_archive(container, "/", _archive({_MARKER: (b"", 0o644, 0)}))
            self._api.start(container)
            return self.process(container)

    def stop(self, container: str) -> None:
        with _gone_when_unreachable():
            self._api.stop(container, timeout=STOP_TIMEOUT)

    def remove(self, container: str) -> None:
        """Remove a container immediately, even if it is running. A container that doesn't exist is no error."""
        with _gone_when_unreachable():
            try:
                self._api.remove_container(container, force=True, v=True)
            except APIError as error:
                # 404: it doesn't exist; 409: another process is removing it.
                if error.status_code not in (404, 409):
                    raise

    def process(self, container: str) -> int:
        """The process id of a container's init on this machine; 0 if the container isn't running."""
        with _gone_when_unreachable():
            return int(self._api.inspect_container(container)["State"]["Pid"])

    def why_stopped(self, container: str) -> str:
        """The reason that the image recorded: poweroff, reboot, halt (stopped from outside), or '' (killed)."""
        with _gone_when_unreachable():
            try:
                chunks, _ = self._api.get_archive(container, _MARKER)
            except NotFound:
                return ""
            with tarfile.open(fileobj=io.BytesIO(b"".join(chunks))) as archive:
                member = archive.extractfile(archive.getmembers()[0])
                return member.read(100).decode(errors="replace").strip() if member else ""

    def last_lines(self, container: str, count: int = 20) -> str:
        """The last lines of the output of the container's init."""
        with _gone_when_unreachable():
            return self._api.logs(container, tail=count).decode(errors="replace").strip()

    def networks(self) -> list[dict[str, Any]]:
        """This cloud's network, or an empty list."""
        with _gone_when_unreachable():
            return self._api.networks(filters={"label": self.settings.label_filter})

    def all_networks(self) -> list[dict[str, Any]]:
        with _gone_when_unreachable():
            return self._api.networks()

    def ensure_network(self) -> None:
        """Create the network unless it exists. A network with another address range is recreated."""
        with _gone_when_unreachable():
            for network in self.networks():
                if network["Name"] == self.settings.network_name and subnets(network) == [self.settings.network]:
                    return
                self._api.remove_network(network["Id"])
            pool = docker.types.IPAMPool(subnet=self.settings.network, gateway=self.settings.gateway)
            self._api.create_network(
                self.settings.network_name,
                driver="bridge",
                ipam=docker.types.IPAMConfig(pool_configs=[pool]),
                labels={LABEL: str(self.settings.state)},
                check_duplicate=True,
            )

    def remove_networks(self) -> None:
        """Remove this cloud's network, if it exists."""
        with _gone_when_unreachable():
            for network in self.networks():
                # A container that a user connected, for debugging, would block the removal.
                for container in self._api.inspect_network(network["Id"]).get("Containers") or {}:
                    self._api.disconnect_container_from_network(container, network["Id"], force=True)
                self._api.remove_network(network["Id"])

    def watch(self, wake: Callable[[], None], stopping: threading.Event) -> None:
        """Call `wake` at each event of a container of this cloud, until the stream ends or `stopping` is set."""
        with _gone_when_unreachable():
            stream = self.client.events(decode=True, filters={"type": "container", "label": self.settings.label_filter})
            try:
                for _ in stream:
                    wake()
                    if stopping.is_set():
                        return
            finally:
                stream.close()


def connect(settings: Settings, timeout: float = CALL_TIMEOUT) -> Engine:
    """Connect to the engine. Raises LocalCloudError if there is none or if this user can't use it."""
    address = os.environ.get("DOCKER_HOST") or "unix:///var/run/docker.sock"
    if not address.startswith("unix://"):
        raise LocalCloudError(
            f"DOCKER_HOST is {address}; the local cloud needs a container engine on this machine",
            "Unset DOCKER_HOST, or set it to a local socket (unix:///var/run/docker.sock).",
        )
    socket = Path(address.removeprefix("unix://"))
    _check_socket(socket)
    try:
        client = docker.DockerClient(base_url=address, version="auto", timeout=int(timeout))
        info = client.info()
    except (DockerException, requests.exceptions.RequestException) as error:
        if "permission denied" in str(error).lower():
            raise _no_permission(socket) from error
        raise LocalCloudError(
            f"no container engine answers at {socket}: {_root_cause(error)}",
            "Start it (systemctl start docker, or service docker start), then run this again.",
        ) from error
    if any("rootless" in option for option in info.get("SecurityOptions") or []):
        raise LocalCloudError(
            "the container engine is rootless, so this machine can't reach its containers' addresses",
            "Use an engine that runs as root: set DOCKER_HOST=unix:///var/run/docker.sock.",
        )
    return Engine(client, settings)


def subnets(network: Mapping[str, Any]) -> list[str]:
    """The address ranges of a network in the engine's format."""
    return [pool["Subnet"] for pool in (network.get("IPAM") or {}).get("Config") or [] if pool.get("Subnet")]


def explanation(error: APIError) -> str:
    """The engine's message, without HTTP's status."""
    return str(error.explanation or error).strip()


def _check_socket(socket: Path) -> None:
    try:
        found = socket.stat()
    except PermissionError as error:
        raise _no_permission(socket) from error
    except OSError as error:
        raise LocalCloudError(
            f"no container engine found: there is no socket {socket}",
            "Install one (Debian and Ubuntu: apt-get install docker.io) and start it, then run this again.",
        ) from error
    if not stat.S_ISSOCK(found.st_mode):
        raise LocalCloudError(f"{socket} isn't a socket, so no container engine answers there", "Check DOCKER_HOST.")
    if not os.access(socket, os.R_OK | os.W_OK):
        raise _no_permission(socket)


def _no_permission(socket: Path) -> LocalCloudError:
    return LocalCloudError(
        f"no permission to use the container engine: this user may not open {socket}",
        "Join its group (usermod -aG docker <user>, then log in again), or run this with sudo.",
    )


def _root_cause(error: BaseException) -> str:
    while error.__cause__ or error.__context__:
        error = error.__cause__ or error.__context__  # type: ignore[assignment]
    return str(error) or type(error).__name__


def _host_has_capability(bit: int) -> bool:
    """Whether this machine's first process, and therefore the engine, can have a capability."""
    for status in ("/proc/1/status", "/proc/self/status"):
        with suppress(OSError):
            if bounds := re.search(r"CapBnd:\s+([0-9a-f]+)", Path(status).read_text()):
                return bool(int(bounds[1], 16) >> bit & 1)
    return False


def _archive(files: Files) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        for path, (content, mode, user) in files.items():
            member = tarfile.TarInfo(path.lstrip("/"))
            member.size, member.mode, member.uid, member.gid = len(content), mode, user, user
            archive.addfile(member, io.BytesIO(content))
    return packed.getvalue()
