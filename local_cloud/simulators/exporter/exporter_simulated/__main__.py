"""Serves /metrics. Same options, port and pages as the real exporter."""

from __future__ import annotations

import argparse
import base64
import hmac
import logging
import signal
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from . import info, metrics, version
from .config import Config, ConfigError, load

log = logging.getLogger("exporter")

_PAGE = """<!DOCTYPE html><html><head><title>Aerospike exporter (SIMULATED)</title></head><body>
<h1>Aerospike exporter for Prometheus: SIMULATED</h1><p>A stand-in made by Pegasus. <a href="/metrics">Metrics</a></p>
</body></html>
"""


class Exporter:
    """Queries the server at each scrape. Keeps only the node's identity, for the time when it doesn't answer."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self._lock = threading.Lock()
        self._node = metrics.Node()
        self._ticks = 0
        self._reachable: bool | None = None

    def scrape(self) -> str:
        """One page of metrics. An unreachable server is a metric (aerospike_node_up 0), not an error."""
        with self._lock:
            self._ticks += 1
            samples = [metrics.Metric("aerospike_node_ticks", "counter", (), float(self._ticks))]
            try:
                answers = self._query()
            except info.InfoError as error:
                self._note(False, str(error))
                samples.append(metrics.up(self._node, False))
            else:
                self._node = metrics.node_of(answers)
                self._note(True, f"node {self._node.node_id} at {self._node.service}, build {self._node.build}")
                samples.append(metrics.up(self._node, True))
                samples += metrics.collect(answers, self.config)
            return metrics.render(samples, self.config.labels)

    def _query(self) -> dict[str, str]:
        where = (self.config.db_host, self.config.db_port)
        first = info.request(*where, metrics.first_commands(), self.config.db_timeout)
        return info.request(*where, metrics.second_commands(first), self.config.db_timeout)

    def _note(self, reachable: bool, text: str) -> None:
        """Log changes only: one line per scrape would fill the journal."""
        if reachable != self._reachable:
            self._reachable = reachable
            log.log(logging.INFO if reachable else logging.ERROR, "%s: %s", "up" if reachable else "down", text)


def make_server(config: Config) -> ThreadingHTTPServer:
    """The HTTP server, bound but not yet serving."""
    exporter = Exporter(config)
    expected = base64.b64encode(f"{config.user}:{config.password}".encode()).decode()

    class Handler(BaseHTTPRequestHandler):
        server_version = "SIMULATED-aerospike-prometheus-exporter"
        timeout = 30

        def do_GET(self) -> None:
            path = self.path.partition("?")[0]
            if path == "/metrics":
                if config.user and not self._authorized():
                    self._send(401, "401 Unauthorized\n", "text/plain")
                    return
                self._send(200, exporter.scrape(), "text/plain; version=0.0.4; charset=utf-8")
            elif path == "/health":
                self._send(200, "OK", "text/plain")
            else:
                self._send(200, _PAGE, "text/html; charset=utf-8")

        def _authorized(self) -> bool:
            return hmac.compare_digest(self.headers.get("Authorization", "").encode(), f"Basic {expected}".encode())

        def _send(self, status: int, text: str, kind: str) -> None:
            body = text.encode()
            self.send_response(status)
            if status == 401:
                self.send_header("WWW-Authenticate", 'Basic realm="aerospike-prometheus-exporter"')
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """No line for each scrape."""

    ThreadingHTTPServer.allow_reuse_address = True
    return ThreadingHTTPServer((config.bind_host, config.bind_port), Handler)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="aerospike-prometheus-exporter", description="SIMULATED exporter")
    # The real exporter is a Go program: it accepts -config and --config.
    parser.add_argument("-config", "--config", default="/etc/aerospike-prometheus-exporter/ape.toml")
    parser.add_argument("-gauge-list", "--gauge-list", default="", help="accepted, not used")
    parser.add_argument("-version", "--version", action="store_true")
    options = parser.parse_args(arguments)
    if options.version:
        print(version())
        return 0
    try:
        config = load(Path(options.config))
    except ConfigError as error:
        print(f"SIMULATED exporter: FATAL {options.config}: {error}", file=sys.stderr)
        return 1
    try:
        logging.basicConfig(
            format='time="%(asctime)s" level=%(levelname)s msg="SIMULATED exporter: %(message)s"',
            level=logging.INFO,
            handlers=[logging.FileHandler(config.log_file) if config.log_file else logging.StreamHandler()],
        )
        log.info("%s", version())
        server = make_server(config)
    except OSError as error:
        where = f"{config.bind_host or '*'}:{config.bind_port}"
        print(f"SIMULATED exporter: FATAL can't listen on {where}: {error}", file=sys.stderr)
        return 1
    # shutdown() waits for serve_forever(), which runs in this thread, so it needs a thread of its own.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: threading.Thread(target=server.shutdown, daemon=True).start())
    log.info("listening on %s:%s, server %s:%s", *server.server_address[:2], config.db_host, config.db_port)
    with server:
        server.serve_forever(poll_interval=0.2)
    log.info("stopped")
    return 0


if __name__ == "__main__":
    sys.exit(main())
