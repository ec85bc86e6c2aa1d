# Copyright (c) Pegasus authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""What the host is: distribution, architecture, memory. Read from the kernel and os-release, without gathered facts."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass
from pathlib import Path

from .distributions import DEBIAN_ARCHITECTURES, token_of_host

CGROUP_LIMITS = ("sys/fs/cgroup/memory.max", "sys/fs/cgroup/memory/memory.limit_in_bytes")


@dataclass(frozen=True)
class Host:
    """One host as packages and configurations name it."""

    distribution: str  # as in Aerospike's file names: debian12, ubuntu24.04, amzn2023, el9
    architecture: str  # x86_64 or aarch64
    deb_architecture: str  # amd64 or arm64
    memory_bytes: int  # what the kernel has, or less where a control group says so
    cpus: int

    def as_dict(self) -> dict[str, object]:
        """The fields, for a module's result."""
        return asdict(self)


def read_host(root: Path = Path("/"), machine: str | None = None) -> Host:
    """Describe this host.

    :param root: where /etc, /proc and /sys are (tests have their own)
    :raises OSError: /etc/os-release or /proc/meminfo can't be read
    :raises ValueError: the distribution has no name in Aerospike's packages
    """
    architecture = machine or os.uname().machine
    architecture = {debian: kernel for kernel, debian in DEBIAN_ARCHITECTURES.items()}.get(architecture, architecture)
    return Host(
        distribution=token_of_host((root / "etc/os-release").read_text(encoding="utf-8")),
        architecture=architecture,
        deb_architecture=DEBIAN_ARCHITECTURES.get(architecture, architecture),
        memory_bytes=memory_bytes(root),
        cpus=len(os.sched_getaffinity(0)),
    )


def memory_bytes(root: Path = Path("/")) -> int:
    """Return the host's memory in bytes: MemTotal, or the limit of its control group where that is lower."""
    total = 0
    for line in (root / "proc/meminfo").read_text(encoding="ascii").splitlines():
        if line.startswith("MemTotal:"):
            total = int(line.split()[1]) * 1024
    for name in CGROUP_LIMITS:
        try:
            limit = (root / name).read_text(encoding="ascii").strip()
        except OSError:
            continue
        if limit.isdigit():
            total = min(total, int(limit))
    return total
