"""The device nodes and links that udev would create in an instance for its instance-store disks."""

import contextlib
import logging
import os
import re
import socket
import stat
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from docker.errors import APIError

from local_cloud.engine import Engine, EngineGone

from .partitions import SYS_BLOCK, read_table, shown
from .store import PARTITION_MAJOR, Disk, DiskStore

log = logging.getLogger("pegasus.disks")

MODEL = "nvme-Amazon_EC2_NVMe_Instance_Storage"

# Seconds between two checks while the kernel reports no event. The second one is for kernels that don't read partition
# tables and therefore report no new partitions.
_CHECK_INTERVAL = 2.0
_TABLE_INTERVAL = 0.4
# Partition nodes of these disks in an instance. Other nodes in its /dev stay unchanged.
_PARTITION_NODE = re.compile(r"nvme\d+n1p\d+")


@dataclass(frozen=True)
class Layout:
    """The contents of an instance's /dev: device numbers of nodes by name, targets of links by path."""

    nodes: dict[str, int]
    links: dict[str, str]


def layout_of(disks: Iterable[Disk], sys_block: Path = SYS_BLOCK) -> Layout:
    """The partition nodes and links for these disks, from the kernel's current list of partitions."""
    nodes: dict[str, int] = {}
    links: dict[str, str] = {}
    for disk in disks:
        base = f"nvme{disk.index}n1"
        links[f"disk/by-id/{MODEL}_{disk.serial}"] = f"../../{base}"
        partitions = {
            number: device
            for number, (device, _, _) in shown(disk.loop, sys_block).items()
            if os.major(device) == PARTITION_MAJOR
        }
        table = read_table(Path(disk.file)) if partitions else {}
        for number, device in partitions.items():
            nodes[f"{base}p{number}"] = device
            links[f"disk/by-id/{MODEL}_{disk.serial}-part{number}"] = f"../../{base}p{number}"
            if number in table:
                links[f"disk/by-partuuid/{table[number].id}"] = f"../../{base}p{number}"
    return Layout(nodes, links)


def apply_layout(dev: Path, layout: Layout) -> None:
    """Create the nodes and links of `layout` in an instance's /dev, and remove outdated ones.

    :param dev: the folder as this machine sees it: /proc/<pid>/root/dev
    :raises OSError: the instance is going down, or a link replaces one of the folders
    """
    for name, device in layout.nodes.items():
        _ensure_node(dev / name, device)
    for entry in dev.iterdir():
        if _PARTITION_NODE.fullmatch(entry.name) and entry.name not in layout.nodes:
            entry.unlink(missing_ok=True)
    for name in ("disk/by-id", "disk/by-partuuid"):
        folder = dev / name
        # The kernel would resolve a link here on this machine, not in the instance.
        if folder.is_symlink() or folder.parent.is_symlink():
            raise OSError(f"{folder} is a link; expected a folder")
        folder.mkdir(parents=True, exist_ok=True)
        links = {path.rsplit("/", 1)[1]: target for path, target in layout.links.items() if path.startswith(name + "/")}
        for link, target in links.items():
            _ensure_link(folder / link, target)
        for entry in folder.iterdir():
            ours = entry.is_symlink() and str(entry.readlink()).startswith("../../nvme")
            if ours and entry.name not in links:
                entry.unlink(missing_ok=True)


def _ensure_node(path: Path, device: int) -> None:
    with contextlib.suppress(FileNotFoundError):
        found = path.lstat()
        if stat.S_ISBLK(found.st_mode) and found.st_rdev == device:
            return
        path.unlink()
    os.mknod(path, stat.S_IFBLK, device)
    path.chmod(0o660)


def _ensure_link(path: Path, target: str) -> None:
    if path.is_symlink() and str(path.readlink()) == target:
        return
    temporary = path.with_name(f".{path.name}.new")
    temporary.unlink(missing_ok=True)
    temporary.symlink_to(target)
    temporary.replace(path)


@dataclass
class Udev:
    """Keeps the /dev of running instances up to date."""

    store: DiskStore
    engine: Engine
    # Returns the ids of the running instances with disks.
    instances: Callable[[], Iterable[str]]
    # Returns the name of an instance's container.
    container: Callable[[str], str]
    # Process ids of the containers' inits, by instance id.
    _inits: dict[str, int] = field(default_factory=dict)

    def run(self, stopping: threading.Event) -> None:
        """Update all instances at each event of the kernel and at an interval, until `stopping` is set."""
        events = KernelEvents()
        interval = _CHECK_INTERVAL if self.store.kernel_reads else _TABLE_INTERVAL
        while not stopping.is_set():
            try:
                self.update_all()
            except Exception:
                log.exception("updating the instances' device nodes failed; retrying")
            events.wait(interval)

    def update_all(self) -> None:
        running = set(self.instances())
        for instance_id in set(self._inits) - running:
            self.forget(instance_id)
        for instance_id in running:
            init = self._inits.get(instance_id, 0)
            if not is_container_init(init):
                init = self._find_init(instance_id)
            if init:
                self.update(instance_id, init)

    def update(self, instance_id: str, init: int) -> None:
        """Update one instance, whose init has the process id `init` on this machine."""
        disks = self.store.of(instance_id)
        if not disks:
            return
        try:
            if not is_container_init(init):
                raise ProcessLookupError("the container's init has exited")
            self.store.update_kernel(disks)
            apply_layout(Path(f"/proc/{init}/root/dev"), layout_of(disks))
            self._inits[instance_id] = init
        except OSError as error:
            # The instance is going down. The next check looks for its new init.
            log.debug("%s: /dev: %s", instance_id, error)
            self.forget(instance_id)

    def forget(self, instance_id: str) -> None:
        """Forget the init of an instance that goes down."""
        self._inits.pop(instance_id, None)

    def _find_init(self, instance_id: str) -> int:
        try:
            return self.engine.process(self.container(instance_id))
        except (EngineGone, APIError) as error:
            # The container doesn't exist yet, was removed, or the engine restarts.
            log.debug("%s: no init: %s", instance_id, error)
            return 0


def is_container_init(process: int) -> bool:
    """Whether a process is the init of a container. The kernel reuses process ids."""
    with contextlib.suppress(OSError):
        # The process ids in each of its namespaces.
        return bool(re.search(r"^NSpid:\t\d+.*\t1$", Path(f"/proc/{process}/status").read_text(), re.MULTILINE))
    return False


class KernelEvents:
    """Waits until the kernel adds, changes or removes a block device. Without a netlink socket it sleeps."""

    def __init__(self) -> None:
        netlink_kobject_uevent = 15
        self._socket: socket.socket | None = None
        with contextlib.suppress(OSError, AttributeError):
            self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM, netlink_kobject_uevent)
            self._socket.bind((0, 1))

    def wait(self, seconds: float) -> None:
        """Return at the next event of a block device, or after `seconds`."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            if self._socket is None:
                time.sleep(min(left, 0.5))
                return
            self._socket.settimeout(left)
            try:
                if b"SUBSYSTEM=block" in self._socket.recv(16384):
                    return
            except OSError:
                # The time is over, or the socket's buffer overflowed: there were events.
                return
