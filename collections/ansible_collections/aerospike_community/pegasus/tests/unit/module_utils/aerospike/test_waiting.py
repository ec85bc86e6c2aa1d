"""The rate, the estimate and the stall of a wait."""

import pytest
from ansible_collections.aerospike_community.pegasus.plugins.module_utils import results
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.aerospike import waiting as subject
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.aerospike.waiting import (
    MOST_CHANGES,
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
        "2,000 partition migrations left, 50 a second, about 40 s to go; waiting 20 s for every migration to end"
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
    assert progress.describe(STALL_SECONDS) == "1 node left; waiting 0 s for a stable cluster of 3"


def test_what_moves_is_shown() -> None:
    progress = follow((0, migrations(1, detail="its log: loaded 5 objects")))
    assert progress.describe(0) == (
        "1 partition migration left; its log: loaded 5 objects; waiting 0 s for every migration to end"
    )


def test_a_wait_that_moves_has_no_limit_but_one_whose_figure_stays_has() -> None:
    progress = WaitProgress(limit=3600)
    for second in range(0, 8000, 5):  # a partition every 20 minutes
        progress.add(migrations(100 - second // 1200, activity=second), second)
        assert not progress.stalled(second)
    for second in range(8000, 12000, 5):
        progress.add(migrations(94, activity=second), second)
    assert progress.stalled(12000)
    assert "found 94 partition migrations left, and no fewer for 1 h 20 min, although" in progress.stall_message(12000)


def test_a_cluster_that_never_settles_ends_the_wait() -> None:
    """A node that keeps crashing: whenever the others wait for it, they stop waiting for migrations."""
    progress = WaitProgress()
    for number in range(MOST_CHANGES):
        progress.add(Waiting("a stable cluster", 1, "nodes") if number % 2 else migrations(100), 5.0 * number)
        assert not progress.stalled(5.0 * number)
    progress.add(Waiting("every node", 1, "nodes"), 200)
    assert progress.stalled(200) and "the cluster doesn't settle" in progress.stall_message(200)


@pytest.mark.parametrize(("turns", "left"), [(1, None), (3, None), (99, 1)])
def test_a_slice_ends_when_nothing_is_left_or_its_time_is_over(
    monkeypatch: pytest.MonkeyPatch, turns: int, left: int | None
) -> None:
    clock = [0.0]
    monkeypatch.setattr(subject.time, "monotonic", lambda: clock[0])
    monkeypatch.setattr(subject.time, "sleep", lambda seconds: clock.__setitem__(0, clock[0] + seconds))
    asked: list[int] = []

    def find() -> Waiting | None:
        asked.append(1)
        return migrations(1) if len(asked) < turns else None

    waiting = subject.poll(find)
    assert (waiting.left if waiting else None) == left
    assert clock[0] <= subject.SLICE_SECONDS


@pytest.mark.parametrize(("seconds", "text"), [(4.4, "4 s"), (200, "3 min 20 s"), (7500, "2 h 5 min")])
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_a_line_of_progress_is_read_back() -> None:
    line = results.progress_line("Benchmark-2", "waiting for 5 s for x: 3 nodes left")
    assert results.parse_progress(line) == ("Benchmark-2", "waiting for 5 s for x: 3 nodes left")
    assert results.parse_progress("ok: [Benchmark-2]") is None
