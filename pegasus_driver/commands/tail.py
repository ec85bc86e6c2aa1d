"""`pegasus-driver tail`: shows the rows of all clients in parallel panes until Ctrl-C.

A thread per client follows the log over ssh and reconnects after a lost connection. All lines go through one queue.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import queue
import subprocess
import threading
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from ansible_collections.aerospike_community.pegasus.plugins.module_utils.perseus.rows import TableReader

from pegasus_driver import environment
from pegasus_driver.environment import Access, EnvironmentHost
from pegasus_driver.errors import CloudError, DriverError
from pegasus_driver.exit_codes import ExitCode
from pegasus_driver.run.signals import Signals
from pegasus_driver.view.panes import Line, Pane, Panes

from .connect import check_private_key, reach

if TYPE_CHECKING:
    from pegasus_driver.world import World

LOG = "/var/log/perseus/perseus.log"
# Earlier lines to read, so that they contain the table's head, which Perseus repeats every 25 rows.
BACK = 80
# Seconds between two attempts to connect: the first wait, doubled up to the second figure.
RETRY = (1.0, 8.0)
# Seconds between two redraws, and between two checks for Ctrl-C.
TICK = 0.1


class Follower:
    """Follows one client's log until stop(). Calls emit() from its own thread."""

    def __init__(
        self,
        host: EnvironmentHost,
        command: Callable[[EnvironmentHost, int], list[str]],
        look_up: Callable[[EnvironmentHost], EnvironmentHost | None],
        emit: Callable[[Line], None],
        environ: Mapping[str, str],
    ) -> None:
        self._host, self._command, self._look_up = host, command, look_up
        self._emit, self._environ = emit, dict(environ)
        self._process: subprocess.Popen[str] | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._main, name=f"tail {host.name}", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        process = self._process
        if process and process.poll() is None:
            process.terminate()

    def join(self) -> None:
        self._thread.join(3.0)

    def _main(self) -> None:
        wait, back = RETRY[0], BACK
        while not self._stop.is_set():
            why, lines = self._follow(back)
            if self._stop.is_set():
                return
            if lines:
                wait, back = RETRY[0], 0  # don't repeat lines
            self._emit(Line(self._host.name, "lost", why))
            self._stop.wait(wait)
            wait = min(wait * 2, RETRY[1])
            with contextlib.suppress(DriverError):
                # A restarted instance may have another address.
                self._host = self._look_up(self._host) or self._host

    def _follow(self, back: int) -> tuple[str, int]:
        """Follow the log over one connection; return the reason of its end and the number of lines."""
        lines, old = -1, 0  # the first line is the number of lines in the log
        try:
            self._process = subprocess.Popen(
                self._command(self._host, back),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                errors="replace",
                env=self._environ,
                start_new_session=True,  # keep Ctrl-C from ssh
            )
        except OSError as error:
            return f"ssh: {error.strerror}", 0
        with self._process as process:
            assert process.stdout is not None and process.stderr is not None
            if self._stop.is_set():
                process.terminate()
            for text in process.stdout:
                lines += 1
                if lines == 0:
                    old = min(back, int(text) if text.strip().isdigit() else back)
                    self._emit(Line(self._host.name, "connected"))
                else:
                    self._emit(Line(self._host.name, "line", text.rstrip("\r\n"), old=lines <= old))
            errors = process.stderr.read().strip().splitlines()
        return (errors[-1] if errors else f"ssh exited with {process.returncode}"), max(0, lines)


def run_tail(arguments: argparse.Namespace, world: World) -> ExitCode:
    """Show rows until Ctrl-C, which is the normal end.

    :raises DriverError: it can't start
    """
    access, hosts = reach(arguments, world)
    clients = _clients(hosts, arguments.clients)
    check_private_key(access)
    lines: queue.Queue[Line] = queue.Queue()
    followers = [
        Follower(client, _command(access), _look_up(access, world), lines.put, world.environ) for client in clients
    ]
    view = _view(arguments.output, clients, world)
    with Signals() as signals:
        signals.raising = False
        view.start()
        try:
            for follower in followers:
                follower.start()
            while not signals.count and not view.gone:
                _drain(lines, view)
        finally:
            for follower in followers:
                follower.stop()
            view.finish()
            for follower in followers:
                follower.join()
    return ExitCode.OK


def _clients(hosts: Sequence[EnvironmentHost], indexes: Sequence[int]) -> list[EnvironmentHost]:
    """Return the clients to follow.

    :raises UsageError: an index doesn't exist
    :raises CloudError: no client is running
    """
    if indexes:
        return [environment.pick(hosts, "client", index) for index in dict.fromkeys(indexes)]
    running = [host for host in environment.of_kind(hosts, "client") if host.state == "running" and host.address]
    if not running:
        raise CloudError("the environment has no running client", "Build it: ./pegasus-driver setup")
    return running


def _command(access: Access) -> Callable[[EnvironmentHost, int], list[str]]:
    def command(host: EnvironmentHost, back: int) -> list[str]:
        options = ["LogLevel=ERROR", "BatchMode=yes", "ServerAliveInterval=3", "ServerAliveCountMax=3"]
        # --follow=name, because the log is rotated.
        tail = f"wc -l < {LOG}; exec tail --lines={back} --follow=name --retry {LOG} 2>/dev/null"
        return [*environment.ssh_command(access, host, options), f"sudo -n sh -c '{tail}'"]

    return command


def _look_up(access: Access, world: World) -> Callable[[EnvironmentHost], EnvironmentHost | None]:
    def look_up(known: EnvironmentHost) -> EnvironmentHost | None:
        found = (host for host in world.find_hosts(access) if host.name == known.name)
        return next((host for host in found if host.state == "running" and host.address), None)

    return look_up


class _Lines:
    """Plain lines that begin with the client's name, for a pipe. Skips earlier rows."""

    def __init__(self, names: Sequence[str], world: World) -> None:
        self._out, self._err = world.stdout, world.stderr
        self._width = max(map(len, names))
        self.gone = False

    def start(self) -> None: ...

    def take(self, line: Line) -> None:
        name = f"{line.client:<{self._width}} |"
        if line.kind == "lost":
            self._err.write(f"{name} connection lost, reconnecting: {line.text}\n")
        elif line.kind == "line" and not line.old:
            self._write(f"{name} {line.text}")

    def tick(self) -> None: ...

    def finish(self) -> None: ...

    def _write(self, text: str) -> None:
        try:
            self._out.write(text + "\n")
            self._out.flush()
        except (BrokenPipeError, ValueError, OSError):
            self.gone = True  # `| head` has exited


class _Json(_Lines):
    """JSON records, described in docs/events.md."""

    def __init__(self, names: Sequence[str], world: World) -> None:
        super().__init__(names, world)
        self._now = world.now
        self._readers = {name: TableReader() for name in names}

    def take(self, line: Line) -> None:
        if line.kind != "line":
            self._record("connection", client=line.client, state=line.kind, message=line.text)
            return
        reader = self._readers[line.client]
        row = reader.feed(line.text)
        if line.old:
            return
        if row:
            self._record("row", client=line.client, number=row.number, counts=row.counts, threads=reader.threads)
        elif not line.text.startswith(("|", "=", "-")) and line.text.strip():
            self._record("client_message", client=line.client, text=line.text)

    def _record(self, kind: str, **data: Any) -> None:
        now: datetime = self._now()
        self._write(json.dumps({"time": now.isoformat(), "type": kind, **data}))


def json_view(clients: Sequence[EnvironmentHost], world: World) -> _Json:
    return _Json([client.name for client in clients], world)


def _view(output: str, clients: Sequence[EnvironmentHost], world: World) -> Any:
    names = [client.name for client in clients]
    if output == "json":
        return json_view(clients, world)
    if output == "auto" and world.stdout.isatty() and world.environ.get("TERM", "") not in ("dumb", "unknown", ""):
        return Panes([Pane(name, TableReader()) for name in names], world.stdout)
    return _Lines(names, world)


def _drain(lines: queue.Queue[Line], view: Any) -> None:
    """Pass the queued lines to the view, then redraw it."""
    with contextlib.suppress(queue.Empty):
        view.take(lines.get(timeout=TICK))
        while True:
            view.take(lines.get_nowait())
    view.tick()
