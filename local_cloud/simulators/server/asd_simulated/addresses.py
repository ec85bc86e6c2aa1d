"""The addresses of this host: what the server binds, what it advertises, and the node id that follows from them."""

import contextlib
import fcntl
import socket
import struct
from pathlib import Path
from typing import Any

INTERFACES = Path("/sys/class/net")


def bound(section: dict[str, Any]) -> list[str]:
    """The addresses that a section binds, none if it binds all of them."""
    return [resolve(address) for address in section.get("address", []) if address not in ("any", "0.0.0.0")]


def hosts(section: dict[str, Any]) -> list[str]:
    """The addresses to listen on."""
    return bound(section) or ["0.0.0.0"]


def resolve(address: str) -> str:
    """An address of the configuration as an IP address: it may name an interface."""
    if address in ("local", "localhost"):
        return "127.0.0.1"
    if (INTERFACES / address).exists():
        return interface_address(address) or address
    return address


def interface_address(name: str) -> str:
    """The interface's IPv4 address, "" if it has none."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe, contextlib.suppress(OSError):
        answer = fcntl.ioctl(probe.fileno(), 0x8915, struct.pack("256s", name.encode()[:15]))  # SIOCGIFADDR
        return socket.inet_ntoa(answer[20:24])
    return ""


def interface_addresses() -> list[str]:
    """The addresses of all interfaces but the loopback; the loopback's if there is no other."""
    found = [interface_address(path.name) for path in sorted(INTERFACES.iterdir())]
    return [address for address in found if address and not address.startswith("127.")] or ["127.0.0.1"]


def advertised(service: dict[str, Any]) -> list[str]:
    """host:port of each address that clients may use."""
    port = service.get("access-port", service["port"])
    found = [resolve(address) for address in service.get("access-address", [])] or bound(service)
    return [f"{address}:{port}" for address in found or interface_addresses()]


def own_node_id(configured: int | None, port: int, interface: str) -> str:
    """The configured id, or one from the fabric port and an interface's hardware address, as in the real server."""
    if configured is not None:
        return f"{configured:X}"
    # The machine's own interfaces first: container interfaces come and go, and a node's id must not.
    found = sorted(path.name for path in INTERFACES.iterdir())
    names = [interface] if interface else sorted(found, key=lambda name: not name.startswith(("eth", "en", "bond")))
    for name in names:
        with contextlib.suppress(OSError):
            mac = bytes.fromhex((INTERFACES / name / "address").read_text().strip().replace(":", ""))
            if len(mac) == 6 and any(mac):
                return f"{port << 48 | int.from_bytes(mac, 'little'):X}"
    return f"{port << 48 | 1:X}"
