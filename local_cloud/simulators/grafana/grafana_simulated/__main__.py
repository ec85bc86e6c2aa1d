"""Serves the API and the pages. Same options, port and configuration file as the real grafana-server."""

from __future__ import annotations

import argparse
import logging
import signal
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from . import NOTICE, version
from .api import Answer, Api, Request
from .provisioning import ProvisioningError
from .settings import SettingsError, load

MAX_BODY = 1 << 20  # bytes; annotations are small
log = logging.getLogger("server")


def make_server(api: Api) -> ThreadingHTTPServer:
    """The HTTP server, bound but not yet serving."""

    class Handler(BaseHTTPRequestHandler):
        server_version = "SIMULATED-Grafana"
        protocol_version = "HTTP/1.1"
        timeout = 30

        def _serve(self) -> None:
            length = self.headers.get("Content-Length", "0")
            if not length.isdigit() or int(length) > MAX_BODY:
                self.close_connection = True
                self._send(Answer(413, b'{"message": "request too large"}'))
                return
            body = self.rfile.read(int(length))
            request = Request(self.command, self.path, self.headers.get("Authorization", ""), body)
            self._send(api.answer(request))

        do_GET = do_HEAD = do_POST = do_PATCH = do_PUT = do_DELETE = _serve

        def _send(self, answer: Answer) -> None:
            self.send_response(answer.status)
            if answer.location:
                self.send_header("Location", answer.location)
            self.send_header("Content-Type", answer.kind)
            self.send_header("Content-Length", str(len(answer.body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(answer.body)

        def log_message(self, format: str, *args: object) -> None:
            """No line for each request."""

    ThreadingHTTPServer.allow_reuse_address = True
    return ThreadingHTTPServer((api.settings.http_addr, api.settings.http_port), Handler)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="grafana-server", description=NOTICE)
    parser.add_argument("-config", "--config", default="/etc/grafana/grafana.ini")
    parser.add_argument("-homepath", "--homepath", default="", help="accepted, not used")
    parser.add_argument("-pidfile", "--pidfile", default="", help="accepted, not used")
    parser.add_argument("-packaging", "--packaging", default="", help="accepted, not used")
    parser.add_argument("-v", "-version", "--version", action="store_true", dest="version")
    options, rest = parser.parse_known_args(arguments)
    if options.version:
        print(f"Version {version()} (SIMULATED)")
        return 0
    logging.basicConfig(
        format='logger=%(name)s t=%(asctime)s level=%(levelname)s msg="SIMULATED: %(message)s"', level=logging.INFO
    )
    if rest:
        log.warning("ignored: %s", " ".join(rest))
    try:
        api = Api(load(Path(options.config)))
    except (SettingsError, ProvisioningError) as error:
        log.error("%s", error)
        return 1
    try:
        server = make_server(api)
    except OSError as error:
        log.error("can't listen on %s:%s: %s", api.settings.http_addr or "*", api.settings.http_port, error)
        return 1
    # shutdown() waits for serve_forever(), which runs in this thread, so it needs a thread of its own.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: threading.Thread(target=server.shutdown, daemon=True).start())
    log.info("Grafana %s, %d data sources, %d dashboards", version(), len(api.sources), len(api.dashboards()))
    log.info("HTTP Server Listen address=%s:%s", *server.server_address[:2])
    with server:
        server.serve_forever(poll_interval=0.2)
    log.info("stopped")
    return 0


if __name__ == "__main__":
    sys.exit(main())
