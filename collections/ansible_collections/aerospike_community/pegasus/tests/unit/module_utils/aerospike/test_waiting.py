"""The rate, the estimate and the stall of a wait."""

import pytest
from ansible_collections.aerospike_community.pegasus.plugins.module_utils import results
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.aerospike.waiting import (
    STALL_SECONDS,
    Waiting,
    WaitProgress,
    duration,
)


def migrations(left: int, activity: int = 0, **more: object) -> Waiting:
    return Waiting("every migration to end", left, "partition migrations", activity, **more)


def follow(*steps: tuple[float, Waiting]) -> WaitProgress:
    progress = WaitProgress()
    for now, waiting in steps:
        progress.add(waiting, now)
    return progress


def test_it_shows_figure_rate_and_estimate() -> None:
    progress = follow((100, migrations(3000)), (110, migrations(2600)), (120, migrations(2000)))
    assert progress.describe(120) == (
        "waiting for 20 s for every migration to end: 2,000 partition migrations left, 50 a second, about 40 s to go"
    )


def test_the_rate_is_that_of_the_last_minute() -> None:
    progress = follow((0, migrations(10_000)), (100, migrations(1_000)), (130, migrations(940)))
    assert progress.rate == 2


def test_reasons_are_shown() -> None:
    progress = follow((0, migrations(5, reasons=["node 10.0.0.1 has stop_writes"])), (20, migrations(5)))
    assert "nothing has moved for 20 s" in progress.describe(20)
    progress = follow((0, migrations(5, reasons=["node 10.0.0.1 has stop_writes"])))
    assert progress.describe(0).endswith("; node 10.0.0.1 has stop_writes")
    assert "node 10.0.0.1 has stop_writes" in progress.stall_message(0)


@pytest.mark.parametrize(
    ("waiting", "stalled"),
    [
        (migrations(100), True),
        (migrations(99), False),
        (migrations(120), True),  # more than before is no progress
        (migrations(100, activity=7), False),  # records are sent, although no partition is complete
    ],
)
def test_a_wait_stalls_if_nothing_moves(waiting: Waiting, stalled: bool) -> None:
    progress = follow((0, migrations(100)), (STALL_SECONDS, waiting))
    assert progress.stalled(STALL_SECONDS) is stalled


def test_a_figure_that_swings_is_no_progress() -> None:
    progress = follow(*((second, migrations(100 + second % 20)) for second in range(0, int(STALL_SECONDS) + 1, 5)))
    assert progress.stalled(STALL_SECONDS)


def test_another_purpose_is_another_wait() -> None:
    progress = follow((0, migrations(1)), (STALL_SECONDS, Waiting("a stable cluster of 3", 1, "nodes")))
    assert not progress.stalled(STALL_SECONDS)
    assert progress.describe(STALL_SECONDS).startswith("waiting for 0 s for a stable cluster of 3: 1 nodes left")


@pytest.mark.parametrize(("seconds", "text"), [(4.4, "4 s"), (200, "3 min 20 s"), (7500, "2 h 5 min")])
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_a_line_of_progress_is_read_back() -> None:
    line = results.progress_line("Benchmark-2", "waiting for 5 s for x: 3 nodes left")
    assert results.parse_progress(line) == ("Benchmark-2", "waiting for 5 s for x: 3 nodes left")
    assert results.parse_progress("ok: [Benchmark-2]") is None
