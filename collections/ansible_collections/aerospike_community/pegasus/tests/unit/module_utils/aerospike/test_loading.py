"""How far a server is that loads its data, and whether it moves."""

from __future__ import annotations

import pytest
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.aerospike.loading import (
    MAX_LINE,
    Loading,
    Moves,
    loading,
)
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.host.processes import Used

PREFIX = "Nov 30 2026 02:11:22 GMT: INFO (drv_ssd): (drv_ssd.c:4001) "


@pytest.mark.parametrize(
    ("lines", "left", "detail"),
    [
        ([], 1, ""),
        (["Started aerospike.service - Aerospike Server."], 1, ""),
        ([f"{PREFIX}{{b}} beginning cold start"], 1, "its log: {b} beginning cold start"),
        ([f"{PREFIX}{{b}} loaded: objects 5 device-pcts (0)"], 100, "namespace b: 5 records loaded"),
        (
            [f"{PREFIX}{{b}} loaded: objects 1234567 tombstones 8 device-pcts (99,40,70)", f"{PREFIX}something else"],
            60,
            "namespace b: 1,234,567 records loaded",
        ),
        ([f"{PREFIX}{{b}} loaded: objects 9 device-pcts (100,100)"], 1, "namespace b: 9 records loaded"),
    ],
)
def test_the_log_says_how_far_it_is(lines: list[str], left: int, detail: str) -> None:
    unit = "percent of the data" if "loaded" in detail else "nodes"
    assert loading(lines) == Loading(left, unit, detail)


def test_a_long_line_is_cut() -> None:
    assert len(loading([PREFIX + "x" * 1000]).detail) == len("its log: ") + MAX_LINE


def test_a_process_moves_if_it_works_reads_or_logs() -> None:
    def after(before: Moves, now: float, cpu: float = 0.0, read: int = 0, line: str = "a", pid: int = 7) -> Moves:
        return Moves.after(vars(before), now, pid, Used(cpu, read), line)

    first = after(Moves(), 100)
    assert first.count == 1
    assert after(first, 105, cpu=0.2).count == 1, "a process that waits uses a little, too"
    assert after(first, 105, cpu=0.3).count == 2
    assert after(first, 105, read=2**20 - 1).count == 1
    assert after(first, 105, read=2**20).count == 2
    assert after(first, 105, line="b").count == 2
    assert after(first, 105, pid=8).count == 2
