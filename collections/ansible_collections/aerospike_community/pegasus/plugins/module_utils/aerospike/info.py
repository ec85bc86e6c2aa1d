# Copyright (c) Pegasus authors. SPDX-License-Identifier: Apache-2.0
"""Aerospike's info protocol over TCP: send commands to a node, parse its answers.

A request is an 8-byte header (version 2, type 1, 48-bit length, big endian) and a line for each command. The answer has
the same header and, for each command in the same order, ``command<TAB>value<LF>``. Source: the public protocol
description and clients of Aerospike. Standard library only, so that modules, the driver and the tests share it.
"""

from __future__ import annotations

import re
import socket
import struct
import time
from collections.abc import Iterable

DEFAULT_PORT = 3000
HEADER = struct.Struct(">BB6s")
PROTOCOL_VERSION = 2
MESSAGE_TYPE_INFO = 1
# Even in a large cluster, a node answers with much less than a megabyte. A longer answer isn't from an Aerospike node.
MAX_ANSWER = 64 * 1024 * 1024
REFUSAL = re.compile(r"(?:error|fail)(?![a-z_])", re.IGNORECASE)


class InfoError(Exception):
    """A node did not answer or refused a command. The text names the node, the command and the answer."""


def info(host: str, *commands: str, port: int = DEFAULT_PORT, timeout: float = 3.0) -> dict[str, str]:
    """Send commands to a node and return its raw answers by command, ``ERROR:...`` included.

    :param timeout: seconds for the whole exchange
    :raises InfoError: no connection, no answer in time, or an answer in another protocol
    """
    if not commands:
        raise ValueError("info() needs at least one command")
    body = "".join(f"{command}\n" for command in commands).encode()
    deadline = time.monotonic() + timeout
    try:
        with socket.create_connection((host, port), timeout=timeout) as connection:
            connection.sendall(HEADER.pack(PROTOCOL_VERSION, MESSAGE_TYPE_INFO, len(body).to_bytes(6, "big")) + body)
            version, kind, length = HEADER.unpack(_receive(connection, HEADER.size, deadline))
            size = int.from_bytes(length, "big")
            if (version, kind) != (PROTOCOL_VERSION, MESSAGE_TYPE_INFO) or size > MAX_ANSWER:
                raise InfoError(
                    f"{host}:{port} is not an Aerospike node: expected an info answer (version 2, type 1), "
                    f"found version {version}, type {kind}, {size} bytes"
                )
            answer = _receive(connection, size, deadline).decode(errors="replace")
    except OSError as error:
        raise InfoError(f"{host}:{port} does not answer '{commands[0]}': {error}") from error
    return dict(line.partition("\t")[::2] for line in answer.split("\n") if line)


def info_value(host: str, command: str, *, port: int = DEFAULT_PORT, timeout: float = 3.0) -> str:
    """Return the value of a command. Raises InfoError like :func:`info`, and if the node refused or ignored it."""
    answers = info(host, command, port=port, timeout=timeout)
    if command not in answers:
        raise InfoError(f"{host}:{port} gave no answer to '{command}'; it answered {sorted(answers) or 'nothing'}")
    value = answers[command]
    if is_error(value):
        raise InfoError(f"{host}:{port} answers '{command}' with {value}")
    return value


def info_pairs(host: str, command: str, *, port: int = DEFAULT_PORT, timeout: float = 3.0) -> dict[str, str]:
    """Send a command whose value is a list of ``name=value`` (statistics, namespace/<ns>, get-config:...)."""
    return parse_pairs(info_value(host, command, port=port, timeout=timeout))


def is_error(value: str) -> bool:
    """Return whether a value is a refusal (``ERROR:...``, ``FAIL:...``), which ``failed_best_practices=...`` isn't."""
    return REFUSAL.match(value) is not None


def parse_pairs(value: str, separator: str = ";") -> dict[str, str]:
    """Split ``a=1;b=2`` into a dictionary. A part without ``=`` gets an empty value."""
    return dict(part.partition("=")[::2] for part in value.split(separator) if part)


def cluster_stable(
    host: str, size: int, *, port: int = DEFAULT_PORT, timeout: float = 3.0, migrated: bool = False
) -> str:
    """Return the cluster key if this node sees a stable cluster of ``size`` nodes. Raises InfoError if it doesn't.

    :param migrated: also require that no partition is migrating
    """
    ignore = "false" if migrated else "true"
    return info_value(host, f"cluster-stable:size={size};ignore-migrations={ignore}", port=port, timeout=timeout)


def namespace_counters(
    host: str, namespace: str, names: Iterable[str] = (), *, port: int = DEFAULT_PORT, timeout: float = 3.0
) -> dict[str, int]:
    """Return the integer statistics of a namespace on a node: all, or those in ``names`` (0 if absent)."""
    found = {}
    for name, value in info_pairs(host, f"namespace/{namespace}", port=port, timeout=timeout).items():
        try:
            found[name] = int(value)
        except ValueError:
            continue
    requested = list(names)
    return {name: found.get(name, 0) for name in requested} if requested else found


def sum_counters(
    hosts: Iterable[str], namespace: str, names: Iterable[str], *, port: int = DEFAULT_PORT, timeout: float = 3.0
) -> dict[str, int]:
    """Add the statistics ``names`` of a namespace over several nodes. Raises InfoError if any node doesn't answer."""
    requested = list(names)
    total = dict.fromkeys(requested, 0)
    for host in hosts:
        for name, value in namespace_counters(host, namespace, requested, port=port, timeout=timeout).items():
            total[name] += value
    return total


def _receive(connection: socket.socket, size: int, deadline: float) -> bytes:
    """Read exactly ``size`` bytes until ``deadline`` (time.monotonic). Raises OSError if that fails."""
    parts = []
    while size > 0:
        left = deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError("timed out")
        connection.settimeout(left)
        part = connection.recv(min(size, 65536))
        if not part:
            raise ConnectionError("the connection was closed in the middle of the answer")
        parts.append(part)
        size -= len(part)
    return b"".join(parts)
