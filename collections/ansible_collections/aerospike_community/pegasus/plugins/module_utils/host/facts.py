# Copyright (c) Pegasus authors. SPDX-License-Identifier: Apache-2.0
"""Facts of a host from the kernel and os-release: distribution, architecture, memory. No gathered facts needed."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass
from pathlib import Path

from .distributions import DEBIAN_ARCHITECTURES, token_of_host

CGROUP_LIMITS = ("sys/fs/cgroup/memory.max", "sys/fs/cgroup/memory/memory.limit_in_bytes")


@dataclass(frozen=True)
class Host:
    """A host in the terms of packages and configurations."""

    distribution: str  # as in Aerospike's file names: debian12, ubuntu24.04, amzn2023, el9
    architecture: str  # x86_64 or aarch64
    deb_architecture: str  # amd64 or arm64
    memory_bytes: int  # the kernel's, or a lower limit of the control group
    cpus: int

    def as_dict(self) -> dict[str, object]:
        """The fields, for a module's result."""
        return asdict(self)


def read_host(root: Path = Path("/"), machine: str | None = None) -> Host:
    """Describe this host.

    :param root: the directory with etc, proc and sys
    :raises OSError: /etc/os-release or /proc/meminfo can't be read
    :raises ValueError: the distribution is not supported
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
    """Return the host's memory in bytes: MemTotal, or the limit of its control group if that is lower."""
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
