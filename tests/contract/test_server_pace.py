"""Migrations take as long as their data, on a fake clock: no test here measures this machine."""

import asyncio

import pytest
from asd_simulated.pace import BURST_SECONDS, RECORDS_PER_SECOND, seconds_to_send
from asd_simulated.server import Server
from asd_simulated.storage import Record

from tests.contract.fake_clock import Loop, ask, loop, servers, stable

__all__ = ["loop", "servers"]  # fixtures


def fill(server: Server, count: int) -> None:
    namespace = server.node.namespaces["Test"]
    for number in range(count):
        digest = number.to_bytes(4, "little") + bytes(16)
        namespace.put(digest, Record(b"set", None, 1, bytes(100), 1, 0, 1))


async def copy_to_a_new_node(loop: Loop, servers: list[Server], count: int, settings: str = "") -> float:
    """Seconds on the fake clock until a second node has a copy of each of the first node's records."""
    first, second = servers[:2]
    await first.start()
    await stable([first])
    if settings:
        assert ask(first, f"set-config:{settings}") == "ok"
    fill(first, count)
    await asyncio.sleep(BURST_SECONDS)
    await second.start()
    await stable([first, second], ignore_migrations=True)
    began = loop.time()
    await stable([first, second])
    assert second.node.namespaces["Test"].objects == count
    return loop.time() - began


@pytest.mark.parametrize(("records", "settings"), [(20_000, ""), (20_000, "context=service;migrate-threads=2")])
def test_migrations_take_as_long_as_their_records(
    loop: Loop, servers: list[Server], records: int, settings: str
) -> None:
    took = loop.run_until_complete(copy_to_a_new_node(loop, servers, records, settings))
    threads = 2 if settings else 1
    least = records / RECORDS_PER_SECOND / threads - BURST_SECONDS
    assert least * 0.9 <= took <= least * 1.5 + 1


def test_a_nearly_empty_cluster_migrates_at_once(loop: Loop, servers: list[Server]) -> None:
    assert loop.run_until_complete(copy_to_a_new_node(loop, servers, 1000)) < 0.5


def test_a_sleep_for_each_record_makes_few_records_take_long(loop: Loop, servers: list[Server]) -> None:
    sleep = "context=namespace;namespace=Test;migrate-sleep=100000"
    took = loop.run_until_complete(copy_to_a_new_node(loop, servers, 600, sleep))
    assert 55 < took < 75, "0.1 s for each record"


def test_copies_wait_for_the_fill_delay(loop: Loop, servers: list[Server]) -> None:
    """A parameter of the Enterprise Edition."""
    took = loop.run_until_complete(copy_to_a_new_node(loop, servers, 100, "context=service;migrate-fill-delay=30"))
    assert 25 < took < 40


def test_the_time_is_that_of_the_records_or_that_of_their_bytes() -> None:
    assert seconds_to_send(5000, 0, 1) == 1.0
    assert seconds_to_send(8, 16 * 1024 * 1024, 1) == 2.0
    assert seconds_to_send(10, 0, 1_000_001) == pytest.approx(10.002)
