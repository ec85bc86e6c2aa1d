"""What a process has used, from /proc."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.host import processes as subject


@pytest.fixture
def proc(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setattr(subject, "PROC", tmp_path)
    (tmp_path / "42").mkdir()
    return tmp_path / "42"


def test_processor_time_and_reads_of_a_process(proc: Path) -> None:
    ticks = os.sysconf("SC_CLK_TCK")
    numbers = [str(number) for number in range(4, 53)]
    numbers[10], numbers[11] = str(3 * ticks), str(ticks // 2)  # utime and stime, the fields 14 and 15
    (proc / "stat").write_text(f"42 (asd (a b)) S {' '.join(numbers)}\n")
    assert subject.used(42) == subject.Used(3.5, 0), "what it reads and writes is for root only"
    (proc / "io").write_text("rchar: 1\nread_bytes: 4096\nwrite_bytes: 512\ncancelled_write_bytes: 7\n")
    assert subject.used(42) == subject.Used(3.5, 4608)


def test_a_process_that_does_not_exist_has_used_nothing(proc: Path) -> None:
    assert subject.used(43) == subject.Used()


def test_this_process_has_used_something() -> None:
    total = 0
    while subject.used(os.getpid()).processor_seconds == 0:
        total += sum(range(100_000))
    assert total >= 0 and subject.used(os.getpid()).processor_seconds > 0
