"""Where a local cloud is and what its parts are called. Everything follows from its root, its port and its network."""

from __future__ import annotations

import ipaddress
import json
import os
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import LocalCloudError

DEFAULT_PORT = 4570
DEFAULT_NETWORK = "172.31.0.0/16"
MIRROR_PORT = 8570
LABEL = "pegasus.local-cloud"
LABEL_INSTANCE = "pegasus.instance-id"
ENDPOINT_HOST = "127.0.0.1"


@dataclass(frozen=True)
class Settings:
    """One local cloud. `root` is the project's folder; `network` a /16, as is the range of EC2's default VPC."""

    root: Path
    port: int = DEFAULT_PORT
    network: str = DEFAULT_NETWORK

    @classmethod
    def from_environment(cls, root: Path, environ: Mapping[str, str] | None = None) -> Settings:
        """The settings that PEGASUS_LOCAL_PORT and PEGASUS_LOCAL_NETWORK ask for. Raises LocalCloudError."""
        environ = os.environ if environ is None else environ
        return cls(
            root.resolve(),
            _port(environ.get("PEGASUS_LOCAL_PORT") or str(DEFAULT_PORT)),
            _network(environ.get("PEGASUS_LOCAL_NETWORK") or DEFAULT_NETWORK),
        )

    @property
    def state(self) -> Path:
        """The folder that holds everything that this cloud keeps; `stop` removes it."""
        return self.root / ".pegasus" / "local-cloud"

    @property
    def environments(self) -> Path:
        """The keys and known hosts of this cloud's environments, which are of no use after it."""
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
        """Locked by the daemon for its life; holds its process id."""
        return self.state / "daemon.pid"

    @property
    def disks(self) -> Path:
        return self.state / "disks"

    @property
    def mirror(self) -> Path:
        return self.state / "mirror"

    @property
    def label_filter(self) -> str:
        """The label that is on every container and network of this cloud, and on no other's."""
        return f"{LABEL}={self.state}"

    @property
    def network_name(self) -> str:
        return "pegasus-local" if self.port == DEFAULT_PORT else f"pegasus-local-{self.port}"

    @property
    def gateway(self) -> str:
        """The network's first address: this machine, as instances see it."""
        return str(ipaddress.ip_network(self.network)[1])

    @property
    def endpoint_url(self) -> str:
        return f"http://{ENDPOINT_HOST}:{self.port}"

    @property
    def mirror_url(self) -> str:
        return f"http://{self.gateway}:{MIRROR_PORT}"


def read_facts(settings: Settings) -> dict[str, Any]:
    """What the daemon wrote when it was ready; {} when there is nothing readable."""
    try:
        facts = json.loads(settings.facts_file.read_text())
    except (OSError, ValueError):
        return {}
    return facts if isinstance(facts, dict) else {}


def debian_architecture() -> str:
    """amd64 or arm64: this machine's, which is the instances' too. Raises LocalCloudError for any other."""
    machine = platform.machine()
    known = {"x86_64": "amd64", "amd64": "amd64", "aarch64": "arm64", "arm64": "arm64"}
    if machine not in known:
        raise LocalCloudError(
            f"this machine's architecture is {machine}; the local cloud knows x86_64 and aarch64",
            "Use another machine, or AWS (pegasus_backend: aws).",
        )
    return known[machine]


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
            f"PEGASUS_LOCAL_NETWORK is {text!r}; expected a private IPv4 network with 16 bits, as {DEFAULT_NETWORK}",
            f"Set it to one, such as 10.201.0.0/16, or unset it (default {DEFAULT_NETWORK}).",
        )
    return str(network)
