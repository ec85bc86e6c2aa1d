"""The info protocol of Aerospike: text commands and answers behind an 8-byte header.

Header: protocol version (2), message type (1 = info), length of the body in 6 bytes, big-endian. Body of a request:
one command per line. Body of an answer: a line `<command>TAB<value>` for each.
"""

from __future__ import annotations

import socket
import struct

_VERSION = 2
_INFO = 1
_HEADER = struct.Struct(">Q")
_MAX_BODY = 64 * 1024 * 1024


class InfoError(RuntimeError):
    """The server couldn't be queried."""


def request(host: str, port: int, commands: list[str], timeout: float) -> dict[str, str]:
    """Send all commands to one server in one request.

    :param timeout: seconds, for each step
    :raises InfoError: there is no valid answer
    """
    body = "".join(f"{command}\n" for command in commands).encode()
    try:
        with socket.create_connection((host, port), timeout) as connection:
            connection.settimeout(timeout)
            connection.sendall(_HEADER.pack(_VERSION << 56 | _INFO << 48 | len(body)) + body)
            (header,) = _HEADER.unpack(_read(connection, _HEADER.size))
            length = header & 0xFFFF_FFFF_FFFF
            if header >> 56 != _VERSION or (header >> 48) & 0xFF != _INFO or length > _MAX_BODY:
                raise InfoError(f"{host}:{port} answered with header {header:016x}: not the info protocol")
            text = _read(connection, length).decode(errors="replace")
    except OSError as error:
        raise InfoError(f"{host}:{port} can't be queried: {error}") from error
    answers = {}
    for line in text.split("\n"):
        command, separator, value = line.partition("\t")
        if separator:
            answers[command] = value
    return answers


def _read(connection: socket.socket, length: int) -> bytes:
    parts = []
    while length > 0:
        part = connection.recv(min(length, 65536))
        if not part:
            raise InfoError("the server closed the connection in the middle of an answer")
        parts.append(part)
        length -= len(part)
    return b"".join(parts)
