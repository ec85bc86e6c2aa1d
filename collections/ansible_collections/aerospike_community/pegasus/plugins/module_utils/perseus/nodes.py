# Copyright (c) Pegasus authors. SPDX-License-Identifier: Apache-2.0
"""The server nodes that a client knows: those in configuration.yaml, and those to which its Perseus is connected.

Perseus reads the file once, when it starts. Its client library finds the other nodes of the cluster, and keeps a
connection to each. If all nodes are lost, it tries those of the file again. So a running Perseus needs a restart only
if none of the nodes that it can find exists any more.
"""

from __future__ import annotations

import ipaddress
import json
import re
from collections.abc import Iterable
from pathlib import Path

from . import configuration

_HOSTS = re.compile(r"^(\s+hosts: ).*$", re.MULTILINE)
_ESTABLISHED = "01"


def known_nodes(text: str) -> list[str]:
    """Return the addresses in configuration.yaml. Raises PerseusConfigError."""
    return [host["ip"] for host in configuration.read(text)["aerospikeConfiguration"]["hosts"]]


def with_nodes(text: str, addresses: list[str], port: int) -> str:
    """Return configuration.yaml with other nodes and otherwise unchanged, as the role's template would write it."""
    hosts = json.dumps([{"ip": address, "port": port} for address in addresses])
    return _HOSTS.sub(lambda line: line[1] + hosts, text, count=1)


def connected_nodes(process: int, port: int, proc: Path = Path("/proc")) -> set[str]:
    """Return the addresses to whose port a process has an established TCP connection."""
    own = set()
    for link in _entries(proc / str(process) / "fd"):
        try:
            own.add(str(link.readlink()))
        except OSError:
            continue  # closed meanwhile
    found = set()
    for table in ("tcp", "tcp6"):
        try:
            lines = (proc / str(process) / "net" / table).read_text(encoding="ascii").splitlines()[1:]
        except OSError:
            continue
        for line in lines:
            # sl, local address, remote address, state, queues, timer, retransmits, uid, timeout, inode
            fields = line.split()
            remote, remote_port = fields[2].split(":")
            if fields[3] == _ESTABLISHED and int(remote_port, 16) == port and f"socket:[{fields[9]}]" in own:
                found.add(_address(remote))
    return found


def _entries(folder: Path) -> Iterable[Path]:
    try:
        return list(folder.iterdir())
    except OSError:
        return []


def _address(text: str) -> str:
    """Read an address of /proc/net/tcp: words of 32 bits in the machine's order, here little endian."""
    words = [bytes.fromhex(text[start : start + 8])[::-1] for start in range(0, len(text), 8)]
    address = ipaddress.ip_address(b"".join(words))
    mapped = getattr(address, "ipv4_mapped", None)  # Java connects with IPv6 sockets
    return str(mapped or address)
