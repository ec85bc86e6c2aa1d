"""Simulated servers in one event loop on a fake clock: minutes pass without waiting, whatever the machine does."""

import asyncio
import selectors
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from asd_simulated import clustering, heartbeat, migration, node, pace
from asd_simulated import server as periods
from asd_simulated.config.parser import load_config
from asd_simulated.log import Log
from asd_simulated.release import Release
from asd_simulated.server import Server

from tests.contract.simulated_servers import make_cluster

INTERVAL = 0.15  # seconds between two heartbeats, in the configuration of simulated_servers.py


class Selector(selectors.DefaultSelector):
    """Never waits: if nothing is ready, the clock advances by the time that the loop would have waited."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if not ready and timeout:
            self.now += timeout
        return ready


class Loop(asyncio.SelectorEventLoop):
    """Counts the timers that are set: each is one wake-up of a server."""

    def __init__(self) -> None:
        self.clock = Selector()
        self.timers = 0
        super().__init__(self.clock)

    def time(self) -> float:
        return self.clock.now

    def call_at(self, *arguments: Any, **options: Any) -> asyncio.TimerHandle:
        self.timers += 1
        return super().call_at(*arguments, **options)


@pytest.fixture
def loop(monkeypatch: pytest.MonkeyPatch) -> Iterator[Loop]:
    """An event loop whose clock is also the servers' clock."""
    loop = Loop()
    for module in (clustering, heartbeat, migration, node, pace, periods):
        monkeypatch.setattr(module, "time", types.SimpleNamespace(monotonic=loop.time))
    yield loop
    loop.close()


@pytest.fixture
def servers(loop: Loop, tmp_path: Path) -> Iterator[list[Server]]:
    """Three servers, not started."""

    async def build() -> list[Server]:
        return [
            Server(load_config(simulated.write_config(), Release()), Release(), Log())
            for simulated in make_cluster(tmp_path, 3).nodes
        ]

    built = loop.run_until_complete(build())
    yield built
    for server in built:
        server.stop()
    loop.run_until_complete(asyncio.sleep(0))
    for task in asyncio.all_tasks(loop):
        task.cancel()
    loop.run_until_complete(asyncio.sleep(0))


def ask(server: Server, command: str) -> str:
    """An info command's answer."""
    answer = server.info.run(f"{command}\n".encode())
    assert isinstance(answer, bytes)
    return answer.decode().rstrip("\n").split("\t", 1)[1]


async def stable(servers: list[Server], ignore_migrations: bool = False) -> None:
    """Wait until the servers are one cluster."""
    command = f"cluster-stable:size={len(servers)};ignore-migrations={str(ignore_migrations).lower()}"
    while len(answers := {ask(server, command) for server in servers}) > 1 or "ERROR" in answers.pop():
        await asyncio.sleep(INTERVAL)
