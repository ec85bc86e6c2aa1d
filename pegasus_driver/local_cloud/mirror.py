"""The artifact mirror: an HTTP server with directory listings, on the address by which instances know this machine."""

from __future__ import annotations

import errno
import functools
import logging
import socket
import threading
import time
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

log = logging.getLogger("pegasus.mirror")


class _Handler(SimpleHTTPRequestHandler):
    # Ansible's get_url, git and apt ask for several files each: one connection serves them.
    protocol_version = "HTTP/1.1"
    server_version = "PegasusMirror"
    # Seconds after which a silent connection is closed.
    timeout = 60

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
