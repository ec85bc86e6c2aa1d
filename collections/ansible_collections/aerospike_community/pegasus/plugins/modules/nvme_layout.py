#!/usr/bin/python
# Copyright (c) Pegasus authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""Prepare a host's instance-store disks: partitions, blank headers, file systems, mounts."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: nvme_layout
short_description: Prepare a host's instance-store disks
description:
  - Finds the instance-store disks by their model (or takes the named ones), plans the same partitions on each, and
    applies the plan to all disks at the same time.
  - Partitions for data stay raw, with the first 8 MiB zeroed. Partitions for an index get an xfs file system, mounted
    by partition UUID.
  - A disk that already has the planned layout is left alone. One with any other content is refused unless O(wipe).
  - The programs for it that the host lacks (C(sfdisk), C(mkfs.xfs)) are installed from its distribution.
  - A disk that is in use (mounted, swap, held by another device, open in a process), an EBS volume and the root disk
    are never changed.
author: Pegasus authors
options:
  devices:
    description: The disks to use, instead of those that are found by model.
    type: list
    elements: path
    default: []
  partitions:
    description: Number of partitions on each disk.
    type: int
    required: true
  overprovisioning:
    description: Percent of each disk that stays unallocated.
    type: int
    default: 0
  data:
    description: Which partitions hold data, as V(1-3,5) or a list.
    type: raw
  primary_index:
    description: Which partitions hold the primary index.
    type: raw
  secondary_index:
    description: Which partitions hold the secondary index.
    type: raw
  state:
    description: >-
      V(absent) undoes it: unmounts, takes the mounts out of /etc/fstab and blanks the disks that carry a layout of
      Pegasus, of any plan. That takes O(wipe). Disks with anything else are left alone.
    type: str
    choices: [present, absent]
    default: present
  wipe:
    description: Allow to destroy what is on a disk that doesn't have the planned layout.
    type: bool
    default: false
  mount_root:
    description: Where the file systems are mounted. Lines of /etc/fstab for mounts below it belong to this module.
    type: path
    default: /mnt/aerospike
  service:
    description: >-
      The unit that uses the disks; empty for none. It has to be stopped before a disk that isn't blank is erased. At
      boot it starts after the mounts.
    type: str
    default: aerospike
  timeout:
    description: Seconds to wait for the device files of new partitions.
    type: int
    default: 15
attributes:
  check_mode:
    description: Says what it would do.
    support: full
  diff_mode:
    description: Has none.
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
  description: What was done, a line each.
  returned: always
  type: list
  elements: str
disks:
  description: The disks, each with path, size_bytes and partitions (number, start, size, purpose, path, uuid).
  returned: success
  type: list
  elements: dict
data:
  description: The raw partitions for data, by names that survive a reboot.
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

import contextlib
import fcntl
import json
import os
import shutil
import struct
import subprocess
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.host.block_devices import (
    BY_ID,
    BY_PARTUUID,
    Device,
    DiskError,
    Kernel,
    read_text,
)
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.host.disk_plan import (
    HEADER_BYTES,
    MIB,
    NAME_PREFIX,
    Disk,
    DiskPlan,
    Found,
    Partition,
    PlanError,
    Wishes,
    differences,
    parse_partitions,
    plan,
    read_table,
    script,
)
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.host.packages import (
    PackageError,
    package_manager,
)

# Program -> its package, by format. xfsprogs is optional in Debian, so an image need not have it.
TOOLS = {"sfdisk": {"deb": "fdisk", "rpm": "util-linux"}, "mkfs.xfs": {"deb": "xfsprogs", "rpm": "xfsprogs"}}
TOOL_FOLDERS = "/usr/sbin:/sbin"
BLKDISCARD = 0x1277  # linux/fs.h; takes offset and length in bytes
BLKRRPART = 0x125F  # has the kernel read the partition table again
MOUNT_OPTIONS = "noatime,nofail"
XFS_IN_PROGRESS = 126  # offset of sb_inprogress in an xfs superblock (the kernel's struct xfs_dsb)


class Layout:
    """Brings one disk to its plan. The order of its steps lets the next run make good an interruption anywhere."""

    def __init__(self, kernel: Kernel, device: Device, planned: DiskPlan, params: dict, check: bool) -> None:
        self.kernel, self.device, self.planned, self.check = kernel, device, planned, check
        self.wipe, self.timeout, self.mount_root = params["wipe"], params["timeout"], params["mount_root"]
        self.service = params["service"]
        self.changes: list[str] = []
        self.found: list[Found] = []

    def partition(self) -> None:
        """Discard, blank and partition the disk unless it has the plan's table."""
        table = self.read_table()
        self.found = read_table(table or {}, self.device.node)
        gap = differences(self.planned, self.found) if table and table.get("label") == "gpt" else ["there is no GPT"]
        if not gap:
            self.wait_for_links()
            return
        content = self.content(table)
        if content and not self.wipe:
            raise DiskError(
                f"{self.device.path} holds {content}, and not the planned layout ({gap[0]}); expected a blank disk. "
                f"Set nvme_partition_wipe: true to destroy what is on it"
            )
        if content:
            self.refuse_while_running()
            self.unmount_own()
        self.refuse_in_use()
        self.changes.append(f"{self.device.path}: {len(self.planned.partitions)} partitions")
        if self.check:
            return
        self.blank()
        run(["sfdisk", "--quiet", "--wipe", "always", self.device.node], script(self.planned, self.device.sector_bytes))
        self.found = read_table(self.read_table() or {}, self.device.node)
        gap = differences(self.planned, self.found)
        if gap:
            raise DiskError(f"{self.device.path}: after sfdisk {gap[0]}")
        self.wait_for_links()

    def take_away(self) -> None:
        """Blank a disk that carries a layout of Pegasus, whatever its plan was; leave any other alone."""
        table = self.read_table()
        self.found = read_table(table or {}, self.device.node)
        if not self.found or not all(entry.name.startswith(NAME_PREFIX) for entry in self.found):
            return
        if not self.wipe:
            raise DiskError(
                f"{self.device.path} holds {self.content(table)}, which would be destroyed. "
                f"Set nvme_partition_wipe: true to do that"
            )
        self.refuse_while_running()
        self.unmount_own()
        self.refuse_in_use()
        self.changes.append(f"{self.device.path}: blanked")
        if not self.check:
            # Headers too: the disk may not be able to discard.
            found = tuple(Partition(entry.number, entry.start, entry.size, "unused") for entry in self.found)
            self.planned = DiskPlan(self.planned.disk, found)
            self.blank()

    def refuse_while_running(self) -> None:
        """Refuse to erase a disk under the service that it belongs to, also when that doesn't keep the disk open."""
        command = ["systemctl", "is-active", "--quiet", self.service]
        if self.service and subprocess.run(command, capture_output=True, check=False).returncode == 0:
            raise DiskError(
                f"service {self.service} is running, and {self.device.path} would be erased under it; expected it "
                f"stopped: 'systemctl stop {self.service}' on this host, then run again"
            )

    def refuse_in_use(self) -> None:
        """Refuse a disk that something uses. What check mode left mounted, a real run would have unmounted."""
        use = self.kernel.use(self.device, self.mount_root if self.check else "")
        if use:
            raise DiskError(f"{use}; expected a disk that nothing uses: stop what uses it, then run again")

    def unmount_own(self) -> None:
        """Unmount what this module mounted from the disk. A file system that is still used stays mounted."""
        if self.check:
            return
        numbers = {number for number, _, _ in self.kernel.partitions(self.device).values()}
        for point, number in self.kernel.mounts().items():
            if number in numbers and point.startswith(f"{self.mount_root}/"):
                subprocess.run(["umount", point], capture_output=True, check=False)

    def read_table(self) -> dict | None:
        """Return sfdisk's description of the table, or nothing where there is none."""
        try:
            done = subprocess.run(["sfdisk", "--json", self.device.node], capture_output=True, text=True, check=False)
        except FileNotFoundError:
            if self.check:  # a real run installs it first; what is on the disk is looked at all the same
                return None
            raise
        return json.loads(done.stdout)["partitiontable"] if done.returncode == 0 and done.stdout.strip() else None

    def content(self, table: dict | None) -> str:
        """Say what is on the disk; empty for a blank one."""
        if table:
            names = ", ".join(entry.name or "without a name" for entry in self.found)
            return f"a {table.get('label', 'partition')} table with {len(self.found)} partitions ({names or 'empty'})"
        with open(self.device.node, "rb") as stream:  # noqa: PTH123
            first = stream.read(HEADER_BYTES)
            stream.seek(max(0, self.device.size_bytes - MIB))
            last = stream.read(MIB)
        if not first.strip(b"\0") and not last.strip(b"\0"):
            return ""
        done = subprocess.run(
            ["blkid", "--probe", "--output", "value", "--match-tag", "TYPE", self.device.node],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        return f"a file system or raw data ({done.stdout.strip() or 'of no known kind'})"

    def blank(self) -> None:
        """Discard the disk where it can, and zero its ends and the first 8 MiB of each planned partition.

        This is done through the whole disk and before there are partitions: a table on a disk proves that it was done.
        """
        handle = os.open(self.device.node, os.O_RDWR | os.O_EXCL)
        try:
            discards = read_text(self.kernel.sys(self.device.number) / "queue/discard_max_bytes")
            if discards not in ("", "0"):
                try:
                    fcntl.ioctl(handle, BLKDISCARD, struct.pack("QQ", 0, self.device.size_bytes))
                except OSError as error:
                    self.changes.append(f"{self.device.path}: not discarded ({error.strerror})")
            zeros = bytes(MIB)
            areas = [(0, MIB), (self.device.size_bytes - MIB, MIB)]
            areas += [(partition.start, HEADER_BYTES) for partition in self.planned.partitions]
            for start, size in areas:
                for offset in range(start, start + size, MIB):
                    os.pwrite(handle, zeros, offset)
            os.fsync(handle)
            # The kernel forgets partitions that are no longer there; a file in a disk's place has no kernel.
            with contextlib.suppress(OSError):
                fcntl.ioctl(handle, BLKRRPART)
        finally:
            os.close(handle)

    def wait_for_links(self) -> None:
        """Wait until the kernel knows the partitions and their links lead to them.

        :raises DiskError: not in time
        """
        deadline = time.monotonic() + self.timeout
        told = False
        while True:
            known = self.kernel.partitions(self.device)
            stale = [
                p.number for p in self.planned.partitions if known.get(p.number, ("", 0, 0))[1:] != (p.start, p.size)
            ]
            missing = [
                path
                for partition in self.planned.partitions
                for path in (self.path(partition.number), self.by_uuid(partition.number))
                if partition.number in stale or self.kernel.number_of(path) != known[partition.number][0]
            ]
            if not missing or self.check:
                return
            if stale and not told:
                # sfdisk tells the kernel; where that didn't work, partx adds them one by one.
                told = True
                subprocess.run(["partx", "--update", self.device.node], capture_output=True, check=False)
                continue
            if time.monotonic() > deadline:
                raise DiskError(
                    f"{self.device.path}: expected {missing[0]} within {self.timeout} seconds, found "
                    f"{'no such partition in the kernel' if stale else 'no link to the partition'}: "
                    f"is udev (on the local cloud: its watcher) running?"
                )
            time.sleep(0.1)

    def uuid(self, number: int) -> str:
        """A partition's UUID; empty where there is no table yet (check mode)."""
        return next((entry.uuid for entry in self.found if entry.number == number), "")

    def by_uuid(self, number: int) -> str:
        """The link of a partition by its UUID."""
        return str(self.kernel.root / BY_PARTUUID / self.uuid(number))

    def path(self, number: int) -> str:
        """A name of a partition that survives a reboot."""
        if Path(self.device.path).parent == self.kernel.root / BY_ID:
            return f"{self.device.path}-part{number}"
        return self.by_uuid(number)

    def make_file_systems(self) -> None:
        """Make xfs on the partitions of indexes that have none."""
        for partition in self.planned.partitions:
            if not partition.purpose.endswith("index") or (self.check and self.changes):
                continue
            path = self.path(partition.number)
            with open(path, "rb") as stream:  # noqa: PTH123
                header = stream.read(HEADER_BYTES)
            # mkfs.xfs marks what it hasn't finished, from the superblock that it begins with to its last write (seen
            # with xfsprogs 6.1.0, killed at each write). Nothing was ever in such a file system, and none can mount it.
            is_xfs = header[:4] == b"XFSB"
            unfinished = is_xfs and header[XFS_IN_PROGRESS] != 0
            if is_xfs and not unfinished:
                continue
            if header.strip(b"\0") and not unfinished and not self.wipe:
                raise DiskError(
                    f"{path} is for {partition.purpose} and holds something else; expected xfs or a blank partition. "
                    f"Set nvme_partition_wipe: true to destroy what is on it"
                )
            self.changes.append(f"{path}: xfs")
            if not self.check:
                run(["mkfs.xfs", "-q", "-f", "-K", path])


def run(command: list[str], text: str = "") -> None:
    """Run a command that has to succeed.

    :raises DiskError: with its own words
    """
    done = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        words = (done.stderr or done.stdout).strip()
        raise DiskError(f"'{' '.join(command)}' failed (exit status {done.returncode}): {words}")


def fstab_with(text: str, mount_root: str, wanted: dict[str, str], service: str = "") -> str:
    """Return /etc/fstab with exactly the wanted mounts below ``mount_root``, and everything else as it was.

    :param wanted: mount point -> partition UUID
    :param service: the unit that uses them; empty for none
    """
    # With nofail alone nothing waits for a mount: at boot the server could begin an index in the empty folder below it,
    # and at shutdown lose the file system before it has stopped.
    options = (
        f"{MOUNT_OPTIONS},x-systemd.before={service.removesuffix('.service')}.service" if service else MOUNT_OPTIONS
    )
    kept = []
    for line in text.splitlines():
        fields = line.split()
        if len(fields) > 1 and not line.lstrip().startswith("#") and fields[1].startswith(f"{mount_root}/"):
            continue
        kept.append(line)
    kept += [f"PARTUUID={uuid} {point} xfs {options} 0 0" for point, uuid in wanted.items()]
    return "".join(f"{line}\n" for line in kept)


def mount_all(
    kernel: Kernel, layouts: list[Layout], mount_root: str, check: bool, changes: list[str]
) -> dict[str, list]:
    """Mount the file systems of the indexes and keep them in /etc/fstab; return them by purpose."""
    points: dict[str, tuple[Layout, int, str]] = {}
    for ordinal, layout in enumerate(layouts, 1):
        for partition in layout.planned.partitions:
            if partition.purpose.endswith("index"):
                point = f"{mount_root}/{partition.purpose}-{ordinal}-{partition.number}"
                points[point] = (layout, partition.number, partition.purpose)
    fstab = kernel.root / "etc/fstab"
    old = fstab.read_text(encoding="utf-8") if fstab.exists() else ""
    wanted = {point: layout.uuid(number) for point, (layout, number, _) in points.items()}
    new = fstab_with(old, mount_root, wanted, next((layout.service for layout in layouts), ""))
    if new != old:
        changes.append(f"{fstab}: {len(points)} mounts below {mount_root}")
        if not check:
            # In one step: half a table of file systems would stop the next boot.
            temporary = fstab.with_name("fstab.pegasus")
            temporary.write_text(new, encoding="utf-8")
            temporary.chmod(fstab.stat().st_mode & 0o777 if fstab.exists() else 0o644)
            temporary.replace(fstab)
            subprocess.run(["systemctl", "daemon-reload"], capture_output=True, check=False)
    mounted = kernel.mounts()
    result: dict[str, list] = {"primary-index": [], "secondary-index": []}
    for point, (layout, number, purpose) in points.items():
        device = kernel.number_of(layout.path(number))
        # In check mode the old partitions of a disk that is to be made anew are still there, and still mounted.
        remade = check and bool(layout.changes)
        if not remade and mounted.get(point) not in (None, device):
            raise DiskError(
                f"{point} is mounted from device {mounted[point]}, expected {layout.path(number)}: unmount it"
            )
        if remade or point not in mounted:
            changes.append(f"mounted {point}")
            if not check:
                Path(point).mkdir(parents=True, exist_ok=True)
                run(["mount", "-t", "xfs", "-o", "noatime", layout.path(number), point])
        size = 0
        if not remade and Path(point).is_mount():
            status = os.statvfs(point)
            size = status.f_blocks * status.f_frsize
        result[purpose].append({"path": point, "size_bytes": size or layout.planned.partitions[number - 1].size})
    return result


def install_tools(module: AnsibleModule, wishes: Wishes) -> list[str]:
    """Install the programs that a host lacks; return what was done, a line each.

    :raises PackageError: the package manager refused
    """
    needed = ["sfdisk", *(["mkfs.xfs"] if wishes.primary_index or wishes.secondary_index else [])]
    folders = f"{os.environ.get('PATH', '')}:{TOOL_FOLDERS}"
    missing = [name for name in needed if not shutil.which(name, path=folders)]
    if not missing:
        return []
    manager = package_manager(module.run_command)
    packages = [TOOLS[name][manager.format] for name in missing]
    if not module.check_mode:
        manager.install(packages)
    return [f"installed {', '.join(packages)}"]


def at_once(layouts: list[Layout], apply: Callable[[Layout], None]) -> None:
    """Do something to all disks at the same time, each to its end.

    :raises DiskError: what went wrong, of all disks
    """
    if not layouts:
        return
    with ThreadPoolExecutor(max_workers=len(layouts)) as pool:
        running = [pool.submit(apply, layout) for layout in layouts]
    failures = [str(task.exception()) for task in running if task.exception()]
    if failures:
        raise DiskError("; ".join(failures))


def undo(module: AnsibleModule, kernel: Kernel) -> dict[str, object]:
    """Take the layouts away; return the module's result."""
    params = module.params
    devices = [kernel.device(path) for path in params["devices"] or kernel.find()]
    layouts = [
        Layout(kernel, device, DiskPlan(Disk(device.path, device.size_bytes)), params, module.check_mode)
        for device in devices
    ]
    at_once(layouts, Layout.take_away)
    changes = [text for layout in layouts for text in layout.changes]
    mount_all(kernel, [], params["mount_root"], module.check_mode, changes)
    return {"changed": bool(changes), "changes": changes, "disks": [], "data": [], "primary_index": [],
            "secondary_index": []}  # fmt: skip


def prepare(module: AnsibleModule, kernel: Kernel) -> dict[str, object]:
    """Plan and apply; return the module's result."""
    params = module.params
    wishes = Wishes(
        partitions=params["partitions"],
        overprovisioning=params["overprovisioning"],
        data=parse_partitions(params["data"]),
        primary_index=parse_partitions(params["primary_index"]),
        secondary_index=parse_partitions(params["secondary_index"]),
    )
    devices = [kernel.device(path) for path in params["devices"] or kernel.find()]
    nodes = [device.node for device in devices]
    if len(set(nodes)) < len(nodes):
        raise DiskError(f"a disk is named twice: {', '.join(device.path for device in devices)}")
    plans = plan([Disk(device.path, device.size_bytes) for device in devices], wishes)
    layouts = [
        Layout(kernel, device, planned, params, module.check_mode)
        for device, planned in zip(devices, plans)  # noqa: B905 (Python 3.9 on Amazon Linux 2023)
    ]

    installed = install_tools(module, wishes)

    def apply(layout: Layout) -> None:
        layout.partition()
        layout.make_file_systems()

    at_once(layouts, apply)
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
        result = undo(module, Kernel()) if module.params["state"] == "absent" else prepare(module, Kernel())
    except (DiskError, PlanError, PackageError, OSError, ValueError) as error:
        module.fail_json(msg=f"disks: {error}")
    module.exit_json(**result)


if __name__ == "__main__":
    main()
