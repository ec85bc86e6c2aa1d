"""What systemd and the journal report."""

from __future__ import annotations

from ansible_collections.aerospike_community.pegasus.plugins.module_utils.host import systemd


def test_times_of_systemd() -> None:
    assert systemd.parse_time("Thu 1970-01-01 00:01:40.500000 UTC") == 100.5
    assert systemd.parse_time("Thu 1970-01-01 00:01:40 UTC") == 100.0
    assert systemd.parse_time("") == systemd.parse_time("n/a") == 0.0


def test_important_lines_worst_first_each_once() -> None:
    lines = [f"INFO {number}" for number in range(30)]
    lines[3], lines[20] = "ERROR disk", "CRITICAL (config): boom"
    chosen = systemd.important_lines(lines, 6)
    assert chosen[:2] == ["CRITICAL (config): boom", "ERROR disk"]
    assert chosen[-1] == "INFO 29" and len(chosen) == len(set(chosen)) == 6
    assert systemd.important_lines([]) == []
