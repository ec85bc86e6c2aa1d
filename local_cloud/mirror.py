"""The artifact mirror's HTTP server, with directory listings and ranges, for the local cloud and `mirror serve`."""

import errno
import functools
import logging
import os
import socket
import threading
import time
from http import HTTPStatus
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from werkzeug.http import parse_range_header

log = logging.getLogger("pegasus.mirror")

CHUNK = 256 * 1024  # bytes


class _Handler(SimpleHTTPRequestHandler):
    # Ansible's get_url, git and apt request several files over one connection.
    protocol_version = "HTTP/1.1"
    server_version = "PegasusMirror"
    # Seconds until an idle connection is closed.
    timeout = 60
    # With Nagle's algorithm a small file's content waits 40 ms for the acknowledgement of the headers.
    disable_nagle_algorithm = True

    # For the current response: the file's entity tag, and the number of bytes that remain to be sent (None: all).
    _tag = ""
    _left: int | None = None

    def send_head(self) -> Any:
        """Respond with a part of a file to a Range header (RFC 9110, section 14), else as the base class."""
        self._tag, self._left = "", None
        path = Path(self.translate_path(self.path))
        if not path.is_file() or self.path.endswith("/"):
            return super().send_head()
        stream = path.open("rb")
        status = os.fstat(stream.fileno())
        # Files are replaced, never overwritten. If the file is replaced before the base class opens it, this is the old
        # file's tag. It matches no later request, so that the client gets the complete new file.
        self._tag = f'"{status.st_ino:x}-{status.st_size:x}-{status.st_mtime_ns:x}"'
        requested = self._requested_range(self.date_time_string(int(status.st_mtime)))
        if requested is None:
            stream.close()
            return super().send_head()
        first, end = requested
        first = max(0, status.st_size + first) if first < 0 else first
        end = status.st_size if end is None else min(end, status.st_size)
        self._left = max(0, end - first)
        satisfiable = self._left > 0
        self.send_response(HTTPStatus.PARTIAL_CONTENT if satisfiable else HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE)
        self.send_header("Content-Type", self.guess_type(path))
        self.send_header("Content-Length", str(self._left))
        self.send_header("Content-Range", f"bytes {f'{first}-{end - 1}' if satisfiable else '*'}/{status.st_size}")
        self.end_headers()
        stream.seek(first)
        return stream

    def _requested_range(self, modified: str) -> tuple[int, int | None] | None:
        """The range to respond with, in werkzeug's form: the first byte (negative: from the end) and the end.

        None if the response is the complete file: the request has no range, an unknown unit, several ranges (which a
        server may ignore), or a range of a version that was replaced.
        """
        requested = parse_range_header(self.headers.get("Range")) if self.command == "GET" else None
        if requested is None or requested.units != "bytes" or len(requested.ranges) != 1:
            return None
        if self.headers.get("If-Range", self._tag) not in (self._tag, modified):
            return None
        return requested.ranges[0]

    def end_headers(self) -> None:
        if self._tag:
            self.send_header("ETag", self._tag)
            self.send_header("Accept-Ranges", "bytes")
        super().end_headers()

    def copyfile(self, source: Any, outputfile: Any) -> None:
        if self._left is None:
            super().copyfile(source, outputfile)
            return
        while self._left and (chunk := source.read(min(CHUNK, self._left))):
            outputfile.write(chunk)
            self._left -= len(chunk)

    def log_message(self, format: str, *args: object) -> None:
        log.debug("%s %s", self.address_string(), format % args)


class _Server(ThreadingHTTPServer):
    def server_bind(self) -> None:
        # The base class would resolve the host's name, which can take seconds.
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()
        self.server_name, self.server_port = str(self.server_address[0]), int(self.server_address[1])


class Mirror:
    """Serves a folder until closed."""

    def __init__(self, folder: Path, host: str, port: int, wait: float = 5) -> None:
        """Bind to host and port.

        :param wait: seconds to wait for the address, which exists once the engine has created the network
        :raises OSError: the port is in use, or the address doesn't exist
        """
        end = time.monotonic() + wait
        while True:
            try:
                self._server = _Server((host, port), functools.partial(_Handler, directory=str(folder)))
                break
            except OSError as error:
                if error.errno != errno.EADDRNOTAVAIL or time.monotonic() > end:
                    raise
                time.sleep(0.1)
        self.port = self._server.server_port
        threading.Thread(target=self._server.serve_forever, name="mirror", daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
