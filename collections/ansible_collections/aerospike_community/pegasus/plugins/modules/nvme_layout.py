#!/usr/bin/python
# Copyright (c) Pegasus authors. SPDX-License-Identifier: Apache-2.0
"""Prepare a host's instance-store disks: partitions, blank headers, file systems, mounts."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: nvme_layout
short_description: Prepare a host's instance-store disks
description:
  - Finds the instance-store disks by their model (or uses O(devices)), plans the same partitions for each, and applies
    the plan to all disks in parallel.
  - Partitions for data stay raw, with the first 8 MiB zeroed. Partitions for an index get an xfs file system, mounted
    by partition UUID.
  - A disk that already has the planned layout stays as it is. A disk with other content is refused unless O(wipe).
  - Missing programs (C(sfdisk), C(mkfs.xfs)) are installed from the distribution.
  - A disk that is in use (mounted, swap, held by another device, open in a process), an EBS volume and the root disk
    are never changed.
author: Pegasus authors
options:
  devices:
    description: The disks to use. Empty means all instance-store disks, found by model.
    type: list
    elements: path
    default: []
  partitions:
    description: Number of partitions on each disk.
    type: int
    required: true
  overprovisioning:
    description: Percentage of each disk that stays unallocated.
    type: int
    default: 0
  data:
    description: Partitions for data, as V(1-3,5) or a list.
    type: raw
  primary_index:
    description: Partitions for the primary index.
    type: raw
  secondary_index:
    description: Partitions for the secondary index.
    type: raw
  state:
    description: >-
      V(absent) unmounts the file systems, removes them from /etc/fstab and blanks the disks that have a layout of
      Pegasus, of any plan. Requires O(wipe). Other disks stay as they are.
    type: str
    choices: [present, absent]
    default: present
  wipe:
    description: Erase disks that don't have the planned layout.
    type: bool
    default: false
  mount_root:
    description: Directory of the mount points. This module owns the lines of /etc/fstab for mounts below it.
    type: path
    default: /mnt/aerospike
  service:
    description: >-
      The unit that uses the disks; empty for none. It must be stopped before a disk is erased. At boot it starts after
      the mounts.
    type: str
    default: aerospike
  timeout:
    description: Timeout for the device files of new partitions, in seconds.
    type: int
    default: 15
attributes:
  check_mode:
    description: Reports what it would change.
    support: full
  diff_mode:
    description: There is no diff.
    support: none
"""

EXAMPLES = r"""
- name: Prepare the disks
  aerospike_community.pegasus.nvme_layout:
    partitions: 5
    overprovisioning: 15
    primary_index: 1-2
    data: 3-5
  register: nvme_partition_result
"""

RETURN = r"""
changes:
  description: Changes, a line each.
  returned: always
  type: list
  elements: str
disks:
  description: The disks, each with path, size_bytes and partitions (number, start, size, purpose, path, uuid).
  returned: success
  type: list
  elements: dict
data:
  description: The raw partitions for data, by paths that survive a reboot.
  returned: success
  type: list
  elements: str
primary_index:
  description: The file systems for the primary index, each with path and size_bytes.
  returned: success
  type: list
  elements: dict
secondary_index:
  description: The file systems for the secondary index, each with path and size_bytes.
  returned: success
  type: list
  elements: dict
"""

import os
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict

from ansible.module_utils.basic import AnsibleModule

from ..module_utils.host.block_devices import DiskError, Kernel
from ..module_utils.host.disk_layout import Layout
from ..module_utils.host.disk_plan import Disk, DiskPlan, LayoutSpec, PlanError, parse_partitions, plan
from ..module_utils.host.mounts import mount_all
from ..module_utils.host.packages import PackageError, package_manager

# Program -> its package, by format. xfsprogs is optional in Debian, so an image need not have it.
TOOLS = {"sfdisk": {"deb": "fdisk", "rpm": "util-linux"}, "mkfs.xfs": {"deb": "xfsprogs", "rpm": "xfsprogs"}}
TOOL_FOLDERS = "/usr/sbin:/sbin"


def install_tools(module: AnsibleModule, spec: LayoutSpec) -> list[str]:
    """Install missing programs; return the changes as lines.

    :raises PackageError: the installation failed
    """
    needed = ["sfdisk", *(["mkfs.xfs"] if spec.primary_index or spec.secondary_index else [])]
    folders = f"{os.environ.get('PATH', '')}:{TOOL_FOLDERS}"
    missing = [name for name in needed if not shutil.which(name, path=folders)]
    if not missing:
        return []
    manager = package_manager(module.run_command)
    packages = [TOOLS[name][manager.format] for name in missing]
    if not module.check_mode:
        manager.install(packages)
    return [f"installed {', '.join(packages)}"]


def for_all_disks(layouts: list[Layout], apply: Callable[[Layout], None]) -> None:
    """Apply a function to all disks in parallel. A failure doesn't stop the other disks.

    :raises DiskError: with the failures of all disks
    """
    if not layouts:
        return
    with ThreadPoolExecutor(max_workers=len(layouts)) as pool:
        running = [pool.submit(apply, layout) for layout in layouts]
    failures = [str(task.exception()) for task in running if task.exception()]
    if failures:
        raise DiskError("; ".join(failures))


def remove(module: AnsibleModule, kernel: Kernel) -> dict[str, object]:
    """Remove the layouts; return the module's result."""
    params = module.params
    devices = [kernel.device(path) for path in params["devices"] or kernel.find()]
    layouts = [
        Layout(kernel, device, DiskPlan(Disk(device.path, device.size_bytes)), params, module.check_mode)
        for device in devices
    ]
    for_all_disks(layouts, Layout.remove)
    changes = [text for layout in layouts for text in layout.changes]
    mount_all(kernel, [], params["mount_root"], module.check_mode, changes)
    return {"changed": bool(changes), "changes": changes, "disks": [], "data": [], "primary_index": [],
            "secondary_index": []}  # fmt: skip


def prepare(module: AnsibleModule, kernel: Kernel) -> dict[str, object]:
    """Plan and apply the layouts; return the module's result."""
    params = module.params
    spec = LayoutSpec(
        partitions=params["partitions"],
        overprovisioning=params["overprovisioning"],
        data=parse_partitions(params["data"]),
        primary_index=parse_partitions(params["primary_index"]),
        secondary_index=parse_partitions(params["secondary_index"]),
    )
    devices = [kernel.device(path) for path in params["devices"] or kernel.find()]
    nodes = [device.node for device in devices]
    if len(set(nodes)) < len(nodes):
        raise DiskError(f"a disk is listed twice: {', '.join(device.path for device in devices)}")
    plans = plan([Disk(device.path, device.size_bytes) for device in devices], spec)
    layouts = [
        Layout(kernel, device, planned, params, module.check_mode)
        for device, planned in zip(devices, plans)  # noqa: B905 (Python 3.9 on Amazon Linux 2023)
    ]

    installed = install_tools(module, spec)

    def apply(layout: Layout) -> None:
        layout.partition()
        layout.create_file_systems()

    for_all_disks(layouts, apply)
    changes = [*installed, *(text for layout in layouts for text in layout.changes)]
    mounts = mount_all(kernel, layouts, params["mount_root"], module.check_mode, changes)
    return {
        "changed": bool(changes),
        "changes": changes,
        "disks": [
            {
                **asdict(layout.planned.disk),
                "partitions": [
                    {**asdict(p), "path": layout.path(p.number), "uuid": layout.uuid(p.number)}
                    for p in layout.planned.partitions
                ],
            }
            for layout in layouts
        ],
        "data": [
            layout.path(partition.number)
            for layout in layouts
            for partition in layout.planned.partitions
            if partition.purpose == "data"
        ],
        "primary_index": mounts["primary-index"],
        "secondary_index": mounts["secondary-index"],
    }


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "devices": {"type": "list", "elements": "path", "default": []},
            "partitions": {"type": "int", "required": True},
            "overprovisioning": {"type": "int", "default": 0},
            "data": {"type": "raw"},
            "primary_index": {"type": "raw"},
            "secondary_index": {"type": "raw"},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "wipe": {"type": "bool", "default": False},
            "mount_root": {"type": "path", "default": "/mnt/aerospike"},
            "service": {"type": "str", "default": "aerospike"},
            "timeout": {"type": "int", "default": 15},
        },
        supports_check_mode=True,
    )
    try:
        result = remove(module, Kernel()) if module.params["state"] == "absent" else prepare(module, Kernel())
    except (DiskError, PlanError, PackageError, OSError, ValueError) as error:
        module.fail_json(msg=f"disks: {error}")
    module.exit_json(**result)


if __name__ == "__main__":
    main()
