# Copyright (c) Pegasus authors. SPDX-License-Identifier: Apache-2.0
"""Mounts of file systems for indexes, and their lines in /etc/fstab."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from .block_devices import DiskError, Kernel
from .disk_layout import Layout, run

OPTIONS = "noatime,nofail"


def fstab_with(text: str, mount_root: str, mounts: dict[str, str], service: str = "") -> str:
    """Return /etc/fstab with exactly the given mounts below ``mount_root``; other lines stay as they are.

    :param mounts: mount point -> partition UUID
    :param service: the unit that uses the mounts; empty for none
    """
    # With nofail alone nothing waits for a mount: at boot the server could create an index in the empty mount point,
    # and at shutdown it could lose the file system before it has stopped.
    options = f"{OPTIONS},x-systemd.before={service.removesuffix('.service')}.service" if service else OPTIONS
    kept = []
    for line in text.splitlines():
        fields = line.split()
        if len(fields) > 1 and not line.lstrip().startswith("#") and fields[1].startswith(f"{mount_root}/"):
            continue
        kept.append(line)
    kept += [f"PARTUUID={uuid} {point} xfs {options} 0 0" for point, uuid in mounts.items()]
    return "".join(f"{line}\n" for line in kept)


def mount_all(
    kernel: Kernel, layouts: list[Layout], mount_root: str, check: bool, changes: list[str]
) -> dict[str, list]:
    """Mount the file systems of indexes, now and at boot; return them by purpose, each with path and size_bytes."""
    points: dict[str, tuple[Layout, int, str]] = {}
    for ordinal, layout in enumerate(layouts, 1):
        for partition in layout.planned.partitions:
            if partition.purpose.endswith("index"):
                point = f"{mount_root}/{partition.purpose}-{ordinal}-{partition.number}"
                points[point] = (layout, partition.number, partition.purpose)
    fstab = kernel.root / "etc/fstab"
    old = fstab.read_text(encoding="utf-8") if fstab.exists() else ""
    uuids = {point: layout.uuid(number) for point, (layout, number, _) in points.items()}
    new = fstab_with(old, mount_root, uuids, next((layout.service for layout in layouts), ""))
    if new != old:
        changes.append(f"{fstab}: {len(points)} mounts below {mount_root}")
        if not check:
            # In one step: an incomplete fstab would stop the next boot.
            temporary = fstab.with_name("fstab.pegasus")
            temporary.write_text(new, encoding="utf-8")
            temporary.chmod(fstab.stat().st_mode & 0o777 if fstab.exists() else 0o644)
            temporary.replace(fstab)
            subprocess.run(["systemctl", "daemon-reload"], capture_output=True, check=False)
    mounted = kernel.mounts()
    result: dict[str, list] = {"primary-index": [], "secondary-index": []}
    for point, (layout, number, purpose) in points.items():
        device = kernel.number_of(layout.path(number))
        # In check mode the old partitions of a disk that would be repartitioned still exist and are still mounted.
        repartitioned = check and bool(layout.changes)
        if not repartitioned and mounted.get(point) not in (None, device):
            raise DiskError(
                f"{point} is mounted from device {mounted[point]}, expected {layout.path(number)}: unmount it"
            )
        if repartitioned or point not in mounted:
            changes.append(f"mounted {point}")
            if not check:
                Path(point).mkdir(parents=True, exist_ok=True)
                run(["mount", "-t", "xfs", "-o", "noatime", layout.path(number), point])
        size = 0
        if not repartitioned and Path(point).is_mount():
            status = os.statvfs(point)
            size = status.f_blocks * status.f_frsize
        result[purpose].append({"path": point, "size_bytes": size or layout.planned.partitions[number - 1].size})
    return result
