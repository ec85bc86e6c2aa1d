"""The addresses, names and files of a local cloud. They derive from its root, its port and its network."""

import ipaddress
import json
import os
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from ansible_collections.aerospike_community.pegasus.plugins.module_utils.host.distributions import DEBIAN_ARCHITECTURES

from . import LocalCloudError

DEFAULT_PORT = 4570
DEFAULT_NETWORK = "172.31.0.0/16"
MIRROR_PORT = 8570
LABEL = "pegasus.local-cloud"
LABEL_INSTANCE = "pegasus.instance-id"
ENDPOINT_HOST = "127.0.0.1"


@dataclass(frozen=True)
class Settings:
    """One local cloud. `root` is the project's folder. `network` is a /16, like the range of EC2's default VPC."""

    root: Path
    port: int = DEFAULT_PORT
    network: str = DEFAULT_NETWORK

    @classmethod
    def from_environment(cls, root: Path, environ: Mapping[str, str] | None = None) -> Self:
        """The settings from PEGASUS_LOCAL_PORT and PEGASUS_LOCAL_NETWORK. Raises LocalCloudError."""
        environ = os.environ if environ is None else environ
        return cls(
            root.resolve(),
            _port(environ.get("PEGASUS_LOCAL_PORT") or str(DEFAULT_PORT)),
            _network(environ.get("PEGASUS_LOCAL_NETWORK") or DEFAULT_NETWORK),
        )

    @property
    def state(self) -> Path:
        """The folder for the cloud's state; `stop` removes it."""
        return self.root / ".pegasus" / "local-cloud"

    @property
    def environments(self) -> Path:
        """The keys and known hosts of this cloud's environments; `stop` removes them, too."""
        return self.root / ".pegasus" / "local"

    @property
    def cache(self) -> Path:
        """Downloads; kept by `stop`."""
        return self.root / ".cache"

    @property
    def facts_file(self) -> Path:
        return self.state / "facts.json"

    @property
    def snapshot_file(self) -> Path:
        return self.state / "endpoint.pickle"

    @property
    def log_file(self) -> Path:
        return self.state / "daemon.log"

    @property
    def daemon_lock(self) -> Path:
        """The file that the daemon locks while it is running; it contains the process id."""
        return self.state / "daemon.pid"

    @property
    def disks(self) -> Path:
        return self.state / "disks"

    @property
    def mirror(self) -> Path:
        return self.state / "mirror"

    @property
    def label_filter(self) -> str:
        """The label of this cloud's containers and networks."""
        return f"{LABEL}={self.state}"

    @property
    def network_name(self) -> str:
        return "pegasus-local" if self.port == DEFAULT_PORT else f"pegasus-local-{self.port}"

    @property
    def gateway(self) -> str:
        """The network's first address, which is this machine from the instances' view."""
        return str(ipaddress.ip_network(self.network)[1])

    @property
    def endpoint_url(self) -> str:
        return f"http://{ENDPOINT_HOST}:{self.port}"

    @property
    def mirror_url(self) -> str:
        return f"http://{self.gateway}:{MIRROR_PORT}"


def read_facts(settings: Settings) -> dict[str, Any]:
    """The facts that the daemon wrote when it was ready; {} if they can't be read."""
    try:
        return dict(json.loads(settings.facts_file.read_text()))
    except (OSError, ValueError):
        return {}


def debian_architecture() -> str:
    """This machine's architecture, which the instances share: amd64 or arm64. Raises LocalCloudError for others."""
    machine = platform.machine()
    if machine not in DEBIAN_ARCHITECTURES:
        raise LocalCloudError(
            f"this machine's architecture is {machine}; the local cloud supports {' and '.join(DEBIAN_ARCHITECTURES)}",
            "Use another machine, or AWS (pegasus_backend: aws).",
        )
    return DEBIAN_ARCHITECTURES[machine]


def _port(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 65535:
        raise LocalCloudError(
            f"PEGASUS_LOCAL_PORT is {text!r}; expected a port number from 1 to 65535",
            f"Set it to a free port, or unset it (default {DEFAULT_PORT}).",
        )
    return int(text)


def _network(text: str) -> str:
    try:
        network = ipaddress.ip_network(text)
    except ValueError:
        network = None
    if not isinstance(network, ipaddress.IPv4Network) or network.prefixlen != 16 or not network.is_private:
        raise LocalCloudError(
            f"PEGASUS_LOCAL_NETWORK is {text!r}; expected a private IPv4 /16 network, like {DEFAULT_NETWORK}",
            f"Set it to a free network, such as 10.201.0.0/16, or unset it (default {DEFAULT_NETWORK}).",
        )
    return str(network)
