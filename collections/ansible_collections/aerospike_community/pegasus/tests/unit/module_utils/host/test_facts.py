"""Facts of a host."""

from __future__ import annotations

from pathlib import Path

import pytest
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.host.facts import read_host


@pytest.mark.parametrize(
    ("limit", "expected"), [(None, 8 << 30), ("max", 8 << 30), (str(2 << 30), 2 << 30), (str(1 << 60), 8 << 30)]
)
def test_memory_of_a_host(tmp_path: Path, limit: str | None, expected: int) -> None:
    for name, text in {
        "etc/os-release": "ID=debian\nVERSION_ID=12",
        "proc/meminfo": f"MemTotal: {8 << 20} kB\n",
    }.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    if limit:
        (tmp_path / "sys/fs/cgroup").mkdir(parents=True)
        (tmp_path / "sys/fs/cgroup/memory.max").write_text(limit)
    host = read_host(tmp_path, machine="arm64")
    assert (host.memory_bytes, host.architecture, host.deb_architecture) == (expected, "aarch64", "arm64")
