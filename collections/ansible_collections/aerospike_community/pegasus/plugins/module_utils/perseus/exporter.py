# Copyright (c) Pegasus authors. SPDX-License-Identifier: Apache-2.0
"""The Perseus exporter of a client: serves metrics from Perseus's output, its threads.yaml and its service.

It changes nothing. It is a service of its own (perseus-exporter), so that it also answers when Perseus is dead. It needs
only Python 3.9. The Ansible role perseus_client installs it under the name of this package:

    PYTHONPATH=/usr/lib/pegasus python3 -m ansible_collections.aerospike_community.pegasus.plugins.module_utils.perseus.exporter
"""  # noqa: E501

from __future__ import annotations

import argparse
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from . import threads as threads_file
from .meter import Meter, Service
from .rows import LogFollower

PORT = 9146
POLL_SECONDS = 0.25  # interval of reading the log, which gets a row every second
LOOK_BACK_BYTES = 512 * 1024  # the last header is at most 10 rows back, but there may be error lines in between
CACHE_SECONDS = 0.9  # so that two Prometheus servers cause one query of systemd
_RUNNING_STATES = ("active", "reloading")


class ServiceWatch:
    """The state of Perseus's service. Each start has an invocation id, so a new id is a restart by anyone."""

    def __init__(self, show: Callable[[], str]) -> None:
        """:param show: returns the unit's properties in the form of ``systemctl show``; raises OSError"""
        self._show = show
        self._invocation = ""
        self._state = Service(active=False, restarts=0)
        self._queried = float("-inf")

    def state(self, now: float) -> Service:
        """Return the state, at most CACHE_SECONDS old."""
        if now - self._queried >= CACHE_SECONDS:
            self._queried = now
            self._state = self._query()
        return self._state

    def _query(self) -> Service:
        try:
            text = self._show()
        except (OSError, subprocess.SubprocessError):
            return Service(active=False, restarts=self._state.restarts)
        fields = dict(line.partition("=")[::2] for line in text.splitlines())
        invocation, restarts = fields.get("InvocationID", ""), self._state.restarts
        if invocation and invocation != self._invocation:
            restarts += 1 if self._invocation else 0
            self._invocation = invocation
        return Service(active=fields.get("ActiveState") in _RUNNING_STATES, restarts=restarts)


class Exporter:
    """Reads the log, threads.yaml and the service of a Perseus, and renders a page of metrics."""

    def __init__(
        self,
        rows: Path,
        errors: Path,
        threads: Path,
        service: ServiceWatch,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """:param errors: the log of Perseus's stderr; its present content isn't counted"""
        self._follower = LogFollower(rows, LOOK_BACK_BYTES)
        self._errors = LogFollower(errors)
        self._threads = threads
        self._service = service
        self._clock = clock
        self._lock = threading.Lock()
        self._requested: dict[str, int] = {}
        self.meter = Meter(clock())
        try:
            age = max(0.0, time.time() - rows.stat().st_mtime)
        except OSError:
            age = 0.0
        self.meter.look_back(self._follower.lines(), clock() - age)

    def poll(self) -> None:
        """Read what Perseus has printed since the last call."""
        with self._lock:
            self.meter.read(self._follower.lines(), self._clock())
            self.meter.read_errors(self._errors.lines())
            self._service.state(self._clock())

    def page(self) -> str:
        """Return the current metrics."""
        self.poll()
        with self._lock:
            now, ok = self._clock(), True
            try:
                text = self._threads.read_text(encoding="utf-8")
                self._requested = threads_file.parse(text)
                # If the file is missing for a moment, Perseus writes its own default.
                ok = text.startswith(threads_file.HEADING)
            except (OSError, ValueError):
                ok = False
            return self.meter.render(now, self._service.state(now), self._requested, ok)


def make_server(exporter: Exporter, port: int, address: str = "") -> ThreadingHTTPServer:
    """Return the HTTP server. It is bound but doesn't serve yet."""

    class Handler(BaseHTTPRequestHandler):
        server_version = "perseus-exporter"
        timeout = 30

        def do_GET(self) -> None:
            found = self.path.partition("?")[0] == "/metrics"
            body = (exporter.page() if found else "Perseus exporter: /metrics\n").encode()
            self.send_response(200 if found or self.path == "/" else 404)
            self.send_header("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Don't log each scrape."""

    ThreadingHTTPServer.allow_reuse_address = True
    return ThreadingHTTPServer((address, port), Handler)


def systemctl_show(unit: str) -> str:
    """Return a unit's state in the form of ``systemctl show``. Raises SubprocessError after 5 seconds."""
    command = ["systemctl", "show", "--property=ActiveState,InvocationID", unit]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=5).stdout


def main() -> int:
    """Run until SIGTERM."""
    parser = argparse.ArgumentParser(prog="perseus-exporter", description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=Path, default=Path("/var/log/perseus/perseus.log"), help="Perseus's output")
    parser.add_argument("--errors", type=Path, default=Path("/var/log/perseus/errors.log"), help="its stack traces")
    parser.add_argument("--threads", type=Path, default=Path("/var/lib/perseus/threads.yaml"), help="its live load")
    parser.add_argument("--service", default="perseus", help="its systemd service")
    parser.add_argument("--port", type=int, default=PORT)
    options = parser.parse_args()
    exporter = Exporter(
        options.rows, options.errors, options.threads, ServiceWatch(lambda: systemctl_show(options.service))
    )
    server = make_server(exporter, options.port)
    stopped = threading.Event()

    def follow() -> None:
        while not stopped.wait(POLL_SECONDS):
            exporter.poll()

    def stop(*_: object) -> None:
        stopped.set()
        # shutdown() waits for serve_forever() in the main thread, so it needs another thread.
        threading.Thread(target=server.shutdown, daemon=True).start()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    threading.Thread(target=follow, name="follow", daemon=True).start()
    print(f"perseus-exporter: port {options.port}, reading {options.rows}", flush=True)
    with server:
        server.serve_forever(poll_interval=0.2)
    return 0


if __name__ == "__main__":
    sys.exit(main())
