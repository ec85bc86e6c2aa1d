"""The artifact mirror: an HTTP server with directory listings and ranges, for the local cloud and `mirror serve`."""

from __future__ import annotations

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
    # Ansible's get_url, git and apt ask for several files each: one connection serves them.
    protocol_version = "HTTP/1.1"
    server_version = "PegasusMirror"
    # Seconds after which a silent connection is closed.
    timeout = 60
    # Otherwise a small file's content waits 40 ms for the client's word that it has the headers.
    disable_nagle_algorithm = True

    # Of the answer that is being made: its file's entity tag, and the bytes that are left to send (None: to the end).
    _tag = ""
    _left: int | None = None

    def send_head(self) -> Any:
        """A part of a file where Range asks for one (RFC 9110, section 14). All else is the base class's."""
        self._tag, self._left = "", None
        path = Path(self.translate_path(self.path))
        if not path.is_file() or self.path.endswith("/"):
            return super().send_head()
        stream = path.open("rb")
        status = os.fstat(stream.fileno())
        # A file is replaced by a new one, never written over. The base class opens it again: should it get a newer one,
        # this older tag fits no later request, which is then answered with the whole file.
        self._tag = f'"{status.st_ino:x}-{status.st_size:x}-{status.st_mtime_ns:x}"'
        asked = self._asked_range(self.date_time_string(int(status.st_mtime)))
        if asked is None:
            stream.close()
            return super().send_head()
        first, end = asked
        first = max(0, status.st_size + first) if first < 0 else first
        end = status.st_size if end is None else min(end, status.st_size)
        self._left = max(0, end - first)
        fits = self._left > 0
        self.send_response(HTTPStatus.PARTIAL_CONTENT if fits else HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE)
        self.send_header("Content-Type", self.guess_type(path))
        self.send_header("Content-Length", str(self._left))
        self.send_header("Content-Range", f"bytes {f'{first}-{end - 1}' if fits else '*'}/{status.st_size}")
        self.end_headers()
        stream.seek(first)
        return stream

    def _asked_range(self, modified: str) -> tuple[int, int | None] | None:
        """The range to answer with, in werkzeug's form: first byte (from the end, if below 0), and the byte after it.

        None where the answer is the whole file: no range is asked for, or not in a known way, or several (a server need
        not know those), or one of a version that is no longer there.
        """
        asked = parse_range_header(self.headers.get("Range")) if self.command == "GET" else None
        if asked is None or asked.units != "bytes" or len(asked.ranges) != 1:
            return None
        if self.headers.get("If-Range", self._tag) not in (self._tag, modified):
            return None
        return asked.ranges[0]

    def end_headers(self) -> None:
        if self._tag:
            self.send_header("ETag", self._tag)
            self.send_header("Accept-Ranges", "bytes")
        super().end_headers()

    def copyfile(self, source: Any, outputfile: Any) -> None:
        if self._left is None:
            super().copyfile(source, outputfile)
            return
        while self._left and (piece := source.read(min(CHUNK, self._left))):
            outputfile.write(piece)
            self._left -= len(piece)

    def log_message(self, format: str, *args: object) -> None:
        log.debug("%s %s", self.address_string(), format % args)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    allow_reuse_address = True

    def server_bind(self) -> None:
        # Without the base class's look at the DNS, which can take seconds.
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()
        self.server_name, self.server_port = str(self.server_address[0]), int(self.server_address[1])


class Mirror:
    """Serves a folder until closed."""

    def __init__(self, folder: Path, host: str, port: int, wait: float = 5) -> None:
        """Bind to host and port. The address appears with the engine's network: waits for it up to `wait` seconds.

        Raises OSError.
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
        self._thread = threading.Thread(target=self._server.serve_forever, name="mirror", daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
