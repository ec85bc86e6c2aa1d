"""Idle servers, on a fake clock: three servers in one event loop, without waiting."""

import asyncio
import json
import types
from collections import Counter
from collections.abc import Callable

import pytest
from asd_simulated import clustering, fabric, heartbeat
from asd_simulated import server as periods
from asd_simulated.server import Server

from tests.contract.fake_clock import INTERVAL, Loop, ask, loop, servers, stable

__all__ = ["loop", "servers"]  # fixtures

IDLE = 30.0  # seconds on the fake clock


async def form(servers: list[Server]) -> None:
    for server in servers:
        await server.start()
    await stable(servers)


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
