# Copyright (c) Pegasus authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""Aerospike's info protocol over TCP: ask a node, read its answers.

A request is an 8-byte header (version 2, type 1, 48-bit length, big endian) and one command a line. The answer has the
same header and, for each command in the order asked, ``command<TAB>value<LF>``. Source: the public protocol
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
# A node of a large cluster answers in well under a megabyte; more than this isn't an Aerospike node.
LARGEST_ANSWER = 64 * 1024 * 1024
REFUSAL = re.compile(r"(?:error|fail)(?![a-z_])", re.IGNORECASE)


class InfoError(Exception):
    """A node could not be asked, or refused a command. The text says which node, which command, and what came back."""


def info(host: str, *commands: str, port: int = DEFAULT_PORT, timeout: float = 3.0) -> dict[str, str]:
    """Ask one node and return its answers by command, each as the node gave it (``ERROR:...`` included).

    :param timeout: seconds for the whole exchange
    :raises InfoError: no connection, no answer in time, or an answer that isn't of this protocol
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
            if (version, kind) != (PROTOCOL_VERSION, MESSAGE_TYPE_INFO) or size > LARGEST_ANSWER:
                raise InfoError(
                    f"{host}:{port} is not an Aerospike node: expected an info answer (version 2, type 1), "
                    f"found version {version}, type {kind}, {size} bytes"
                )
            answer = _receive(connection, size, deadline).decode(errors="replace")
    except OSError as error:
        raise InfoError(f"{host}:{port} does not answer '{commands[0]}': {error}") from error
    answers = {}
    for line in answer.split("\n"):
        if line:
            command, _, value = line.partition("\t")
            answers[command] = value
    return answers


def info_value(host: str, command: str, *, port: int = DEFAULT_PORT, timeout: float = 3.0) -> str:
    """Ask one node one command and return the value.

    :raises InfoError: as :func:`info`, or when the node answers with an error or not at all
    """
    answers = info(host, command, port=port, timeout=timeout)
    if command not in answers:
        raise InfoError(f"{host}:{port} gave no answer to '{command}'; it answered {sorted(answers) or 'nothing'}")
    value = answers[command]
    if is_error(value):
        raise InfoError(f"{host}:{port} answers '{command}' with {value}")
    return value


def info_pairs(host: str, command: str, *, port: int = DEFAULT_PORT, timeout: float = 3.0) -> dict[str, str]:
    """Ask one node a command whose value is a list of ``name=value`` (statistics, namespace/<ns>, get-config:...)."""
    return parse_pairs(info_value(host, command, port=port, timeout=timeout))


def is_error(value: str) -> bool:
    """Tell whether a value is a refusal: ``ERROR:...`` or ``FAIL:...``, in any case, as server versions write it.

    The statistics of a node begin with ``failed_best_practices=``: that is none.
    """
    return REFUSAL.match(value) is not None


def parse_pairs(value: str, separator: str = ";") -> dict[str, str]:
    """Split ``a=1;b=2`` into a dictionary. A part without ``=`` gets an empty value."""
    pairs = {}
    for part in value.split(separator):
        if part:
            name, _, content = part.partition("=")
            pairs[name] = content
    return pairs


def cluster_stable(
    host: str, size: int, *, port: int = DEFAULT_PORT, timeout: float = 3.0, migrated: bool = False
) -> str:
    """Return the cluster key if this node sees a stable cluster of ``size`` nodes.

    :param migrated: all partitions have to be where they belong, too
    :raises InfoError: the node says otherwise (``ERROR::unstable-cluster``, ``ERROR::cluster-not-specified-size``), or
        does not answer
    """
    ignore = "false" if migrated else "true"
    return info_value(host, f"cluster-stable:size={size};ignore-migrations={ignore}", port=port, timeout=timeout)


def namespace_counters(
    host: str, namespace: str, names: Iterable[str] = (), *, port: int = DEFAULT_PORT, timeout: float = 3.0
) -> dict[str, int]:
    """Return the whole-number statistics of a namespace on one node, all of them or the named ones (absent: 0)."""
    found = {}
    for name, value in info_pairs(host, f"namespace/{namespace}", port=port, timeout=timeout).items():
        try:
            found[name] = int(value)
        except ValueError:
            continue
    wanted = list(names)
    return {name: found.get(name, 0) for name in wanted} if wanted else found


def sum_counters(
    hosts: Iterable[str], namespace: str, names: Iterable[str], *, port: int = DEFAULT_PORT, timeout: float = 3.0
) -> dict[str, int]:
    """Add the named statistics of a namespace over several nodes.

    :raises InfoError: one of the nodes does not answer; a sum without it would be a wrong number
    """
    wanted = list(names)
    total = dict.fromkeys(wanted, 0)
    for host in hosts:
        for name, value in namespace_counters(host, namespace, wanted, port=port, timeout=timeout).items():
            total[name] += value
    return total


def _receive(connection: socket.socket, size: int, deadline: float) -> bytes:
    """Read exactly ``size`` bytes before ``deadline`` (time.monotonic seconds), or raise OSError."""
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
