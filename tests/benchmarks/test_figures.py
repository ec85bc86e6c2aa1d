"""The logic of the benchmarks: figures, tables, files for another environment, end states, multiplied events."""

from __future__ import annotations

import io
import os
import subprocess
import tarfile
import time
from typing import Any

import pytest

from benchmarks import end_states, replay_events, setup_floor
from benchmarks.actions import Measured
from benchmarks.common import BenchmarkError, Figure, processor_seconds, table
from pegasus_driver.environment import EnvironmentHost


def host(kind: str, index: int, address: str, instance: str) -> EnvironmentHost:
    return EnvironmentHost(f"{kind}-{index}", kind, index, address, "running", instance)


def test_a_figure_is_the_median_with_its_range() -> None:
    assert str(Figure([2.0])) == "2.00"
    assert str(Figure([9.0, 1.0, 2.0])) == "2.00 (1.00-9.00)"
    assert Figure([3.0, 100.0, 2.0]).over(Figure([2.0])) == 1.5


def test_a_table_is_aligned() -> None:
    text = table([["name", "s"], ["a", "10.00"], ["longer", "1.00"]])
    assert text.splitlines() == ["name        s", "------  -----", "a       10.00", "longer   1.00"]


def test_processor_seconds_include_reaped_processes() -> None:
    ticks = os.sysconf("SC_CLK_TCK")
    lines = [
        f"1 (systemd) S 0 1 1 0 -1 4194560 1 2 3 4 {ticks} {ticks} {2 * ticks} {ticks} 20 0 1 0 5 100 200",
        f"12 (a (b) c) R 1 1 1 0 -1 4194560 1 2 3 4 {ticks} 0 0 0 20 0 1 0 5 100 200",
        "",
    ]
    assert processor_seconds("\n".join(lines)) == 6.0


def test_actions_without_a_floor_have_no_ratio() -> None:
    measured = Measured(report=lambda *_, **__: None)
    measured.add("status", 2.0)
    measured.add("copy", 3.0)
    measured.add_floor("copy", 1.0)
    assert measured.rows()[1:] == [["status", "1", "2.00", "", ""], ["copy", "1", "3.00", "1.00", "3.00"]]
    assert measured.as_dict()["status"]["floor"] is None


def test_addresses_are_replaced_as_words_and_in_one_pass() -> None:
    old = {("server", 1): host("server", 1, "10.0.0.1", "i-1a"), ("server", 2): host("server", 2, "10.0.0.12", "i-2b")}
    new = {("server", 1): host("server", 1, "10.0.0.12", "i-3c"), ("server", 2): host("server", 2, "10.0.0.1", "i-4d")}
    replaced = end_states.replacements(old, new)
    text = b"10.0.0.1:3000 10.0.0.12 110.0.0.1 10.0.0.1.5 i-1a i-1ab <10.0.0.12>."
    assert (
        end_states.readdress(text, replaced) == b"10.0.0.12:3000 10.0.0.1 110.0.0.1 10.0.0.1.5 i-3c i-1ab <10.0.0.1>."
    )


def test_a_readdressed_tar_keeps_owner_and_mode() -> None:
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w") as original:
        member = tarfile.TarInfo("etc/conf")
        member.size, member.mode, member.uname = 8, 0o640, "grafana"
        original.addfile(member, io.BytesIO(b"10.0.0.1"))
    changed = end_states.readdressed_tar(target.getvalue(), {b"10.0.0.1": b"10.0.0.100"})
    with tarfile.open(fileobj=io.BytesIO(changed)) as found:
        member = found.getmember("etc/conf")
        stream = found.extractfile(member)
        assert stream is not None
        assert (stream.read(), member.mode, member.uname) == (b"10.0.0.100", 0o640, "grafana")


def test_end_states_are_compared_in_both_directions() -> None:
    key = ("server", 1)
    pegasus = {key: {"package a": "1", "file /x": "file 644", "unit u": "active"}}
    assert end_states.differing(pegasus, pegasus) == []
    floor = {key: {"package a": "2", "unit u": "active", "file /y": "file 600"}}
    assert end_states.differing(pegasus, floor) == [
        "server 1: file /x: Pegasus file 644, floor -",
        "server 1: file /y: Pegasus -, floor file 600",
        "server 1: package a: Pegasus 1, floor 2",
    ]


def test_a_failed_script_of_the_floor_is_reported_with_its_error() -> None:
    process = subprocess.Popen(["sh", "-c", "echo no space >&2; exit 3"], stderr=subprocess.PIPE, text=True)
    with pytest.raises(BenchmarkError, match="server 1 failed with exit code 3: no space"):
        setup_floor.wait_for({("server", 1): process}, time.monotonic())


def test_multiplied_events_have_all_hosts_and_end_with_their_statistics() -> None:
    events = list(replay_events.multiplied(replay_events.recorded(), 30))
    hosts = {str(event["event_data"].get("host", "")) for event in events} - {"", "localhost"}
    assert len(hosts) == 30
    counts: dict[str, Any] = events[-1]["event_data"]
    assert events[-1]["event"] == "playbook_on_stats"
    assert hosts <= set(counts["ok"])
    of_one = [event["event_data"]["task"] for event in events if event["event_data"].get("host") == "Benchmark-1"]
    of_other = [event["event_data"]["task"] for event in events if event["event_data"].get("host") == "Benchmark-26"]
    assert of_one == of_other
