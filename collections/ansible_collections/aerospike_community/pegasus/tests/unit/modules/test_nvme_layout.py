"""nvme_layout on files in place of disks: what it creates, what it keeps, what it refuses."""

from __future__ import annotations

import os
import shutil
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.host import disk_layout, mounts
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.host.block_devices import (
    MODEL_LINK,
    Device,
    DiskError,
    Kernel,
)
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.host.disk_plan import (
    MIB,
    Disk,
    LayoutSpec,
    plan_disk,
    read_table,
)
from ansible_collections.aerospike_community.pegasus.plugins.modules import nvme_layout as subject

SIZE = 1024 * MIB
# Replaces sfdisk (package fdisk) if it isn't installed: the table is a file next to the disk, with a mark on the disk.
STAND_IN = """#!{python}
import json, pathlib, re, sys
node = sys.argv[-1]
table = pathlib.Path(node + ".table")
if "--json" in sys.argv:
    marked = open(node, "rb").read(520)[512:] == b"EFI PART"
    sys.exit(print(table.read_text()) if marked else "does not contain a recognized partition table")
rows = re.findall(r'(\\d+) : start=(\\d+), size=(\\d+), .*name="(.*)"', sys.stdin.read())
partitions = [
    {{"node": f"{{node}}{{n}}", "start": int(s), "size": int(z), "uuid": f"{{n}}-{{s}}", "name": name}}
    for n, s, z, name in rows
]
table.write_text(json.dumps({{"partitiontable": {{"label": "gpt", "sectorsize": 512, "partitions": partitions}}}}))
with open(node, "r+b") as disk:
    disk.seek(512)
    disk.write(b"EFI PART")
"""


@pytest.fixture(autouse=True)
def sfdisk(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    if not shutil.which("sfdisk"):
        folder = tmp_path_factory.mktemp("bin")
        (folder / "sfdisk").write_text(STAND_IN.format(python=sys.executable))
        (folder / "sfdisk").chmod(0o755)
        monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")


class FakeKernel(Kernel):
    """A kernel and a udev that have a file's partitions as soon as its table has them."""

    def __init__(self, root: Path, used: str = "") -> None:
        super().__init__(root)
        self.used = used
        self.slow = 0  # how many queries find nothing yet

    def partitions(self, device: Device) -> dict[int, tuple[str, int, int]]:
        if self.slow:
            self.slow -= 1
            return {}
        table = layout_of(device, LayoutSpec(1, 0)).read_table()
        return {
            entry.number: (f"259:{entry.number}", entry.start, entry.size)
            for entry in read_table(table or {}, device.node)
        }

    def number_of(self, path: str | Path) -> str:
        name = str(path)
        if "by-partuuid" in name:
            return self.uuids.get(name.rpartition("/")[2], "")
        return f"259:{name.rpartition('-part')[2]}"

    def use(self, device: Device, ignore_below: str = "") -> str:
        return self.used

    def mounts(self) -> dict[str, str]:
        return {}

    @property
    def uuids(self) -> dict[str, str]:
        device = Device(str(self.root / "disk"), str(self.root / "disk"), "7:0", SIZE, 512, "")
        table = layout_of(device, LayoutSpec(1, 0)).read_table()
        return {entry.uuid: f"259:{entry.number}" for entry in read_table(table or {}, device.node)}


def layout_of(
    device: Device, spec: LayoutSpec, kernel: Kernel | None = None, check: bool = False, **params: Any
) -> disk_layout.Layout:
    values = {"wipe": False, "timeout": 1, "mount_root": "/mnt/aerospike", "service": "", **params}
    return disk_layout.Layout(
        kernel or Kernel(Path("/nowhere")), device, plan_disk(Disk(device.path, SIZE), spec), values, check
    )


def written(device: Device) -> bytes:
    """The content of a disk without blank MiBs: the files are sparse, and reading all holes takes seconds."""
    parts = []
    with Path(device.node).open("rb") as stream:
        position = 0
        while True:
            try:
                position = os.lseek(stream.fileno(), position, os.SEEK_DATA) // MIB * MIB
            except OSError:
                return b"".join(parts)
            stream.seek(position)
            data = stream.read(MIB)
            parts += [position.to_bytes(8, "big"), data] if data.strip(b"\0") else []
            position += MIB


@pytest.fixture
def device(tmp_path: Path) -> Device:
    disk = tmp_path / "disk"
    with disk.open("wb") as stream:
        stream.truncate(SIZE)
    return Device(str(tmp_path / f"dev/disk/by-id/{MODEL_LINK}AWS1"), str(disk), "7:0", SIZE, 512, "")


SPEC = LayoutSpec(3, 10, data=(1, 2), primary_index=(3,))


def test_a_blank_disk_gets_the_plan_and_a_second_run_changes_nothing(device: Device, tmp_path: Path) -> None:
    first = layout_of(device, SPEC, FakeKernel(tmp_path))
    first.partition()
    assert first.changes == [f"{device.path}: 3 partitions"]
    assert [entry.name for entry in first.found] == ["pegasus-data", "pegasus-data", "pegasus-primary-index"]
    before = written(device)
    second = layout_of(device, SPEC, FakeKernel(tmp_path))
    second.partition()
    assert second.changes == []
    assert written(device) == before
    assert second.path(2) == f"{device.path}-part2"
    assert second.uuid(1) == first.uuid(1) != ""


def test_check_mode_writes_nothing(device: Device, tmp_path: Path) -> None:
    layout = layout_of(device, SPEC, FakeKernel(tmp_path), check=True)
    layout.partition()
    assert layout.changes == [f"{device.path}: 3 partitions"]
    assert not written(device)


@pytest.mark.parametrize("offset", [0, 512, 4 * MIB, SIZE - 4096])
def test_other_content_is_refused_without_wipe_and_erased_with_it(device: Device, tmp_path: Path, offset: int) -> None:
    with Path(device.node).open("r+b") as stream:
        stream.seek(offset)
        stream.write(b"precious")
    with pytest.raises(
        DiskError, match=r"holds a file system or raw data.*expected a blank disk.*nvme_partition_wipe: true"
    ):
        layout_of(device, SPEC, FakeKernel(tmp_path)).partition()
    assert b"precious" in written(device)
    layout_of(device, SPEC, FakeKernel(tmp_path), wipe=True).partition()
    assert b"precious" not in written(device)


def test_another_layout_is_refused_without_wipe_even_if_pegasus_created_it(device: Device, tmp_path: Path) -> None:
    layout_of(device, SPEC, FakeKernel(tmp_path)).partition()
    before = written(device)
    other = LayoutSpec(4, 10, data=(1,))
    with pytest.raises(
        DiskError, match=r"a gpt table with 3 partitions .*partition 1: expected 230 MiB .* found 306 MiB"
    ):
        layout_of(device, other, FakeKernel(tmp_path)).partition()
    assert written(device) == before
    layout_of(device, other, FakeKernel(tmp_path), wipe=True).partition()
    again = layout_of(device, other, FakeKernel(tmp_path))
    again.partition()
    assert again.changes == []


def test_removal_blanks_a_layout_of_pegasus_only_with_wipe(device: Device, tmp_path: Path) -> None:
    layout_of(device, LayoutSpec(2, 10, data=(1, 2)), FakeKernel(tmp_path)).partition()
    before = written(device)
    with pytest.raises(DiskError, match="Set nvme_partition_wipe: true"):
        layout_of(device, LayoutSpec(1, 0), FakeKernel(tmp_path)).remove()
    assert written(device) == before
    with pytest.raises(DiskError, match="is mounted"):
        layout_of(device, LayoutSpec(1, 0), FakeKernel(tmp_path, "it is mounted"), wipe=True).remove()
    assert written(device) == before
    checked = layout_of(device, LayoutSpec(1, 0), FakeKernel(tmp_path), check=True, wipe=True)
    checked.remove()
    assert checked.changes == [f"{device.path}: blanked"] and written(device) == before
    layout_of(device, LayoutSpec(1, 0), FakeKernel(tmp_path), wipe=True).remove()
    assert not written(device).strip(b"\0")
    again = layout_of(device, LayoutSpec(1, 0), FakeKernel(tmp_path), wipe=True)
    again.remove()
    assert again.changes == []


def test_removal_leaves_other_disks_as_they_are(device: Device, tmp_path: Path) -> None:
    with Path(device.node).open("r+b") as disk:
        disk.write(b"somebody's data")
    layout = layout_of(device, LayoutSpec(1, 0), FakeKernel(tmp_path), wipe=True)
    layout.remove()
    assert layout.changes == []
    with Path(device.node).open("rb") as disk:
        assert disk.read(15) == b"somebody's data"


def test_check_mode_ignores_mounts_that_a_real_run_unmounts_first(device: Device, tmp_path: Path) -> None:
    layout_of(device, SPEC, FakeKernel(tmp_path)).partition()
    real = Kernel(tmp_path / "root")
    (real.sys("7:0")).mkdir(parents=True)
    mountinfo = tmp_path / "root/proc/self/mountinfo"
    mountinfo.parent.mkdir(parents=True)

    class Mounted(FakeKernel):
        def use(self, device: Device, ignore_below: str = "") -> str:
            return real.use(device, ignore_below)

    other = LayoutSpec(2, 10, primary_index=(1,))
    mountinfo.write_text("30 1 7:0 / /mnt/aerospike/primary-index-1-3 rw - xfs /dev/x rw\n")
    dry = layout_of(device, other, Mounted(tmp_path), check=True, wipe=True)
    dry.partition()
    assert dry.changes == [f"{device.path}: 2 partitions"]
    gone = layout_of(device, LayoutSpec(1, 0), Mounted(tmp_path), check=True, wipe=True)
    gone.remove()
    assert gone.changes == [f"{device.path}: blanked"]
    # Both refuse a mount that isn't Pegasus's.
    mountinfo.write_text("30 1 7:0 / /mnt/aerospikes rw - xfs /dev/x rw\n")
    for act in (disk_layout.Layout.partition, disk_layout.Layout.remove):
        with pytest.raises(DiskError, match="is mounted on /mnt/aerospikes; expected an unused disk"):
            act(layout_of(device, other, Mounted(tmp_path), check=True, wipe=True))


def test_missing_programs_are_installed_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """xfsprogs is optional in Debian, and only an index needs it."""
    installed: list[str] = []

    class Manager:
        format = "deb"

        def install(self, packages: list[str]) -> None:
            installed.extend(packages)

    monkeypatch.setattr(subject, "package_manager", lambda run: Manager())
    monkeypatch.setattr(subject, "TOOL_FOLDERS", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    (tmp_path / "sfdisk").write_text("#!/bin/sh\n")
    (tmp_path / "sfdisk").chmod(0o755)
    module: Any = Module(partitions=2)
    module.run_command = None
    assert subject.install_tools(module, LayoutSpec(2, 0, data=(1, 2))) == []
    index = LayoutSpec(2, 0, data=(1,), secondary_index=(2,))
    module.check_mode = True
    assert subject.install_tools(module, index) == ["installed xfsprogs"] and installed == []
    module.check_mode = False
    assert subject.install_tools(module, index) == ["installed xfsprogs"] and installed == ["xfsprogs"]
    (tmp_path / "sfdisk").unlink()
    assert subject.install_tools(module, LayoutSpec(2, 0, data=(1,))) == ["installed fdisk"]


@pytest.mark.parametrize("wipe", [True, False])
def test_a_disk_in_use_is_never_touched(device: Device, tmp_path: Path, wipe: bool) -> None:
    kernel = FakeKernel(tmp_path, used="/dev/x partition 1 is mounted on /")
    with pytest.raises(DiskError, match="is mounted on /; expected an unused disk"):
        layout_of(device, SPEC, kernel, wipe=wipe).partition()
    assert not written(device)


def test_a_disk_isnt_erased_while_its_service_runs(
    device: Device, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    layout_of(device, SPEC, FakeKernel(tmp_path)).partition()
    before = written(device)
    tool = tmp_path / "bin/systemctl"
    tool.parent.mkdir()
    tool.write_text("#!/bin/sh\nexit 0\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tool.parent}:{os.environ['PATH']}")
    other = LayoutSpec(4, 10, data=(1,))
    with pytest.raises(DiskError, match=r"service aerospike is running and uses .* expected it stopped"):
        layout_of(device, other, FakeKernel(tmp_path), wipe=True, service="aerospike").partition()
    assert written(device) == before


def test_headers_of_data_partitions_are_blank(device: Device, tmp_path: Path) -> None:
    with Path(device.node).open("r+b") as stream:
        for start in range(0, SIZE, MIB):
            stream.seek(start)
            stream.write(b"old")
    layout = layout_of(device, SPEC, FakeKernel(tmp_path), wipe=True)
    layout.partition()
    with Path(device.node).open("rb") as stream:
        for partition in layout.planned.partitions:
            stream.seek(partition.start)
            assert not stream.read(8 * MIB).strip(b"\0")


def test_links_are_awaited_and_missing_links_are_reported(
    device: Device, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kernel = FakeKernel(tmp_path)
    kernel.slow = 3
    layout_of(device, SPEC, kernel).partition()
    monkeypatch.setattr(FakeKernel, "number_of", lambda self, path: "")
    with pytest.raises(DiskError, match=r"expected .*-part1 within 0 seconds, found no link to the partition"):
        layout_of(device, SPEC, FakeKernel(tmp_path), timeout=0).partition()


def test_disks_are_found_by_model_one_link_per_disk(tmp_path: Path) -> None:
    folder = tmp_path / "dev/disk/by-id"
    folder.mkdir(parents=True)
    for node in ("nvme0n1", "nvme1n1", "nvme2n1", "nvme1n1p1"):
        (tmp_path / "dev" / node).write_text("")
    links = {
        "nvme-Amazon_Elastic_Block_Store_vol1": "nvme0n1",
        f"{MODEL_LINK}AWSB": "nvme1n1",
        f"{MODEL_LINK}AWSB_1": "nvme1n1",
        f"{MODEL_LINK}AWSB-ns-1": "nvme1n1",
        f"{MODEL_LINK}AWSB-part1": "nvme1n1p1",
        f"{MODEL_LINK}AWSA": "nvme2n1",
    }
    for name, node in links.items():
        (folder / name).symlink_to(f"../../{node}")
    assert Kernel(tmp_path).find() == [str(folder / f"{MODEL_LINK}AWSA"), str(folder / f"{MODEL_LINK}AWSB")]
    assert Kernel(tmp_path / "nothing").find() == []


def test_a_path_that_is_no_disk_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DiskError, match="is no block device"):
        Kernel(tmp_path).device(str(tmp_path / "file"))
    with pytest.raises(DiskError, match="check nvme_partition_devices"):
        Kernel(tmp_path).device(str(tmp_path / "absent"))


def sys_disk(root: Path, number: str, partitions: dict[int, str], holders: tuple[str, ...] = ()) -> Device:
    folder = root / "sys/dev/block" / number
    for name in holders:
        (folder / "holders" / name).mkdir(parents=True)
    for key, own in partitions.items():
        part = folder / f"p{key}"
        part.mkdir(parents=True)
        for name, text in {"partition": str(key), "dev": own, "start": "2048", "size": "4096"}.items():
            (part / name).write_text(text)
        (root / "sys/dev/block" / own).symlink_to(part)
    folder.mkdir(parents=True, exist_ok=True)
    return Device("/dev/x", "/dev/x", number, SIZE, 512, "")


def test_what_uses_a_disk(tmp_path: Path) -> None:
    device = sys_disk(tmp_path, "259:0", {1: "259:1"})
    kernel = Kernel(tmp_path)
    assert kernel.partitions(device) == {1: ("259:1", MIB, 2 * MIB)}
    assert kernel.use(device) == ""
    (tmp_path / "proc/self").mkdir(parents=True)
    mountinfo = tmp_path / "proc/self/mountinfo"
    mountinfo.write_text("22 1 8:1 / / rw - ext4 /dev/root rw\n23 1 259:1 / /mnt/a rw - xfs /dev/y rw\n")
    assert kernel.use(device) == "/dev/x partition 1 is mounted on /mnt/a"
    mountinfo.write_text("")
    held = sys_disk(tmp_path, "259:7", {}, holders=("md0",))
    assert kernel.use(held) == "/dev/x is held by md0"


# The superblocks of two files of 4 GiB: mkfs.xfs 6.1.0 (Debian 12) was killed in the first and finished the second.
# The rest of both sectors is zeros.
INTERRUPTED = """
58465342 00001000 00000000 00100000 00000000 00000000 00000000 00000000
d05f7b29 0b154fff a5125731 8b1d5c89 00000000 00080006 ffffffff ffffffff
ffffffff ffffffff ffffffff ffffffff 00000001 00040000 00000004 00000000
00004000 b4a50200 02000008 00000000 00000000 00000000 0c090903 12000119
00000000 00000000 00000000 00000000 00000000 000fbfe8 00000000 00000000
00000000 00000000 00000000 00000000 00000000 00000008 00000000 00000000
00000000 00000001 0000018a 0000018a 00000000 0000000d 0000000b 00000000
32301e68 00000004 00000000 00000000 00000000 00000000 00000000 00000000
"""
FINISHED = """
58465342 00001000 00000000 00100000 00000000 00000000 00000000 00000000
1ce17b6e 55b44bd3 a7c53fe9 0b8fbb2c 00000000 00080006 00000000 00000080
00000000 00000081 00000000 00000082 00000001 00040000 00000004 00000000
00004000 b4a50200 02000008 00000000 00000000 00000000 0c090903 12000019
00000000 00000040 00000000 0000003d 00000000 000fbfe0 00000000 00000000
00000000 00000000 00000000 00000000 00000000 00000008 00000000 00000000
00000000 00000001 0000018a 0000018a 00000000 0000000d 0000000b 00000000
27fe1463 00000004 00000000 00000000 00000000 00000000 00000000 00000000
"""


@pytest.mark.parametrize(("sector", "made"), [(FINISHED, False), (INTERRUPTED, True)], ids=["finished", "interrupted"])
def test_a_file_system_is_created_again_only_if_mkfs_was_interrupted(
    device: Device, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sector: str, made: bool
) -> None:
    partition = tmp_path / "partition"
    partition.write_bytes(bytes.fromhex(sector).ljust(512, b"\0"))
    layout = layout_of(device, LayoutSpec(1, 0, primary_index=(1,)), FakeKernel(tmp_path))
    commands: list[list[str]] = []
    monkeypatch.setattr(layout, "path", lambda number: str(partition))
    monkeypatch.setattr(disk_layout, "run", lambda command, text="": commands.append(command))
    layout.create_file_systems()
    assert [command[0] for command in commands] == (["mkfs.xfs"] if made else [])
    assert bool(layout.changes) == made


class Module:
    """A fake AnsibleModule."""

    check_mode = False

    def __init__(self, **params: Any) -> None:
        options = yaml.safe_load(subject.DOCUMENTATION)["options"]
        self.params = {name: option.get("default") for name, option in options.items()} | params


@pytest.mark.parametrize("act", [subject.prepare, subject.remove])
def test_all_disks_are_prepared_in_parallel_and_each_failure_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, act: Callable[[Any, Kernel], object]
) -> None:
    """Each disk waits until all others have started, so a sequential run would time out."""
    together = threading.Barrier(3, timeout=20)

    def meet(layout: disk_layout.Layout) -> None:
        together.wait()
        if not layout.device.path.endswith("1"):
            raise DiskError(f"{layout.device.path} is broken")

    monkeypatch.setattr(disk_layout.Layout, "partition", meet)
    monkeypatch.setattr(disk_layout.Layout, "remove", meet)
    monkeypatch.setattr(Kernel, "device", lambda self, path: Device(path, path, "7:0", SIZE, 512, ""))
    module = Module(devices=["/dev/1", "/dev/2", "/dev/3"], partitions=1, data="1")
    with pytest.raises(DiskError, match=r"^/dev/2 is broken; /dev/3 is broken$"):
        act(module, Kernel(tmp_path))


def test_other_lines_of_fstab_stay_as_they_are() -> None:
    ours = "PARTUUID=old /mnt/aerospike/data-1 xfs noatime 0 0"
    text = f"# /mnt/aerospike/x is ours\nUUID=1 / ext4 defaults 0 1\n{ours}\n/dev/a /mnt/aerospikes ext4\n"
    new = mounts.fstab_with(text, "/mnt/aerospike", {"/mnt/aerospike/primary-index-1-1": "abc"})
    assert new.splitlines() == [
        "# /mnt/aerospike/x is ours",
        "UUID=1 / ext4 defaults 0 1",
        "/dev/a /mnt/aerospikes ext4",
        "PARTUUID=abc /mnt/aerospike/primary-index-1-1 xfs noatime,nofail 0 0",
    ]
    assert mounts.fstab_with(new, "/mnt/aerospike", {"/mnt/aerospike/primary-index-1-1": "abc"}) == new
    assert mounts.fstab_with("UUID=1 / ext4\n", "/mnt/aerospike", {}) == "UUID=1 / ext4\n"


def test_the_server_starts_after_the_mounts_of_its_index(device: Device, tmp_path: Path) -> None:
    """nofail alone orders nothing: the server would find the empty mount point."""
    (tmp_path / "etc").mkdir()
    kernel = FakeKernel(tmp_path)
    layout = layout_of(device, SPEC, kernel, service="aerospike")
    layout.partition()
    changes: list[str] = []
    kernel.mounts = lambda: {"/mnt/aerospike/primary-index-1-3": "259:3"}  # type: ignore[method-assign]
    mounts.mount_all(kernel, [layout], "/mnt/aerospike", False, changes)
    (line,) = (tmp_path / "etc/fstab").read_text().splitlines()
    assert line.endswith(" xfs noatime,nofail,x-systemd.before=aerospike.service 0 0")
    assert len(changes) == 1
    mounts.mount_all(kernel, [layout], "/mnt/aerospike", False, changes)
    assert len(changes) == 1


def test_documentation_is_yaml_with_every_option() -> None:
    options = yaml.safe_load(subject.DOCUMENTATION)["options"]
    expected = (
        "devices partitions overprovisioning data primary_index secondary_index state wipe mount_root service timeout"
    )
    assert set(options) == set(expected.split())
