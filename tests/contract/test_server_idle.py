"""Idle servers, on a fake clock: three servers in one event loop, without waiting."""

import asyncio
import json
import selectors
import types
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from asd_simulated import clustering, fabric, heartbeat, node
from asd_simulated import server as periods
from asd_simulated.config.parser import load_config
from asd_simulated.log import Log
from asd_simulated.release import Release
from asd_simulated.server import Server

from tests.contract.simulated_servers import make_cluster

INTERVAL = 0.15  # seconds between two heartbeats, in the configuration of simulated_servers.py
IDLE = 30.0  # seconds on the fake clock


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
    for module in (clustering, heartbeat, node, periods):
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
    answer = server.info.run(f"{command}\n".encode())
    assert isinstance(answer, bytes)
    return answer.decode().rstrip("\n").split("\t", 1)[1]


async def form(servers: list[Server]) -> None:
    for server in servers:
        await server.start()
    while len({ask(server, "cluster-stable:size=3") for server in servers}) > 1 or "ERROR" in ask(
        servers[0], "cluster-stable:"
    ):
        await asyncio.sleep(INTERVAL)


def counted(function: Callable[..., object], calls: Counter[str], name: str) -> Callable[..., object]:
    def call(*arguments: object) -> object:
        calls[name] += 1
        return function(*arguments)

    return call


def test_a_server_without_a_cluster_is_not_stable(servers: list[Server]) -> None:
    assert ask(servers[0], "cluster-stable:") == "ERROR:7:unstable cluster"
    assert ask(servers[0], "partition-generation") == "-1"


def test_idle_servers_exchange_heartbeats_and_nothing_else(
    loop: Loop, servers: list[Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    loop.run_until_complete(form(servers))
    calls: Counter[str] = Counter()
    monkeypatch.setattr(
        heartbeat, "json", types.SimpleNamespace(loads=counted(json.loads, calls, "parsed"), dumps=json.dumps)
    )
    monkeypatch.setattr(fabric.Reader, "send", counted(fabric.Reader.send, calls, "messages"))
    before = {server.node.node_id: server.node.heartbeat.received for server in servers}
    loop.run_until_complete(asyncio.sleep(IDLE))
    beats = IDLE / INTERVAL
    for server in servers:
        received = server.node.heartbeat.received - before[server.node.node_id]
        assert abs(received - 2 * beats) <= 4, "one heartbeat per interval from each of the two peers"
    assert calls["messages"] == 0, "no server sends another server a request"
    assert calls["parsed"] == 0, "a heartbeat that equals the previous one is not parsed"


def test_idle_servers_wake_up_for_their_periodic_work_only(loop: Loop, servers: list[Server]) -> None:
    loop.run_until_complete(form(servers))
    before = loop.timers
    loop.run_until_complete(asyncio.sleep(IDLE))
    seconds = (
        INTERVAL,
        clustering.TICK_SECONDS,
        heartbeat.DIAL_SECONDS,
        periods.NSUP_SECONDS,
        periods.FLUSH_SECONDS,
        periods.TICKER_SECONDS,
    )
    expected = len(servers) * sum(IDLE / period for period in seconds)
    assert abs(loop.timers - before - expected) <= len(servers) * len(seconds)
