"""Disks without loop devices: what is made of the kernel's lists, and what an instance's /dev then holds."""

from __future__ import annotations

import os
import stat

import pytest

from local_cloud.disks import store as disks
from local_cloud.disks.partition_table import single_partition_mbr
from local_cloud.disks.store import Disk, DiskStore, Layout, bring_to_layout, foreign_devices, layout_of

NEEDS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="device nodes need root")


def _device(sys_devices, number, target):
    (sys_devices / number).symlink_to(target)


def test_partitions_of_loop_devices_are_not_foreign(tmp_path):
    _device(tmp_path, "259:0", "../../devices/virtual/block/loop0/loop0p1")
    _device(tmp_path, "254:0", "../../devices/pci0000:00/virtio0/block/vda")
    assert foreign_devices(tmp_path) == []


@pytest.mark.parametrize(
    "target",
    [
        "../../devices/pci0000:00/0000:00:1d.0/nvme/nvme0/nvme0n1",
        "../../devices/pci0000:00/0000:00:1d.0/nvme/nvme0/nvme0n1/nvme0n1p2",
        "../../devices/virtual/block/dm-loop0/loop0p1x",
    ],
)
def test_a_real_disk_on_the_partitions_major_is_foreign(tmp_path, target):
    _device(tmp_path, "259:0", "../../devices/virtual/block/loop0/loop0p1")
    _device(tmp_path, "259:1", target)
    assert foreign_devices(tmp_path) == [target.rsplit("/", 1)[1]]


def test_where_a_real_disk_shares_the_major_no_disks_are_attached(tmp_path, monkeypatch):
    monkeypatch.setattr(disks.os, "geteuid", lambda: 0)
    monkeypatch.setattr(disks, "foreign_devices", lambda: ["nvme0n1"])
    store, why = disks.open_store(tmp_path)
    assert store is None
    assert "nvme0n1" in why


def test_without_root_no_disks_are_attached(tmp_path, monkeypatch):
    monkeypatch.setattr(disks.os, "geteuid", lambda: 1000)
    store, why = disks.open_store(tmp_path)
    assert store is None
    assert "root" in why


def _shown(sys_block, loop, number, device):
    folder = sys_block / f"loop{loop}" / f"loop{loop}p{number}"
    folder.mkdir(parents=True)
    (folder / "dev").write_text(device + "\n")
    (folder / "start").write_text("2048\n")
    (folder / "size").write_text("6144\n")


def test_layout(tmp_path):
    image = tmp_path / "1.img"
    content = bytearray(single_partition_mbr(8192))
    content[440:444] = b"\x01\0\0\0"
    image.write_bytes(content)
    _shown(tmp_path, 5, 1, "259:7")
    # Some kernels give the first partitions a number on the loop devices' own major: it isn't permitted, so not shown.
    _shown(tmp_path, 5, 2, "7:81")
    layout = layout_of([Disk(1, "AWS0A", str(image), 5), Disk(2, "AWS0B", str(tmp_path / "2.img"), 6)], tmp_path)
    base = "disk/by-id/nvme-Amazon_EC2_NVMe_Instance_Storage_"
    assert layout.nodes == {"nvme1n1p1": os.makedev(259, 7)}
    assert layout.links == {
        f"{base}AWS0A": "../../nvme1n1",
        f"{base}AWS0A-part1": "../../nvme1n1p1",
        "disk/by-partuuid/00000001-01": "../../nvme1n1p1",
        f"{base}AWS0B": "../../nvme2n1",
    }


@NEEDS_ROOT
def test_an_instances_dev_follows_the_layout(tmp_path):
    others = tmp_path / "disk/by-id/someone-elses"
    others.parent.mkdir(parents=True)
    others.symlink_to("/dev/null")
    first = Layout(
        {"nvme1n1p1": os.makedev(259, 7), "nvme1n1p2": os.makedev(259, 8)}, {"disk/by-id/x": "../../nvme1n1p2"}
    )
    assert bring_to_layout(tmp_path, first) is True
    assert bring_to_layout(tmp_path, first) is False
    assert (tmp_path / "nvme1n1p2").stat().st_rdev == os.makedev(259, 8)
    assert stat.S_ISBLK((tmp_path / "nvme1n1p1").stat().st_mode)

    second = Layout({"nvme1n1p1": os.makedev(259, 9)}, {"disk/by-partuuid/y": "../../nvme1n1p1"})
    assert bring_to_layout(tmp_path, second) is True
    assert (tmp_path / "nvme1n1p1").stat().st_rdev == os.makedev(259, 9)
    assert not (tmp_path / "nvme1n1p2").exists()
    assert sorted(entry.name for entry in (tmp_path / "disk/by-id").iterdir()) == ["someone-elses"]
    assert (tmp_path / "disk/by-partuuid/y").readlink().name == "nvme1n1p1"


def test_a_link_in_an_instances_dev_is_not_followed(tmp_path):
    dev, outside = tmp_path / "dev", tmp_path / "outside"
    dev.mkdir()
    outside.mkdir()
    (dev / "disk").symlink_to(outside)
    with pytest.raises(OSError, match="is a link"):
        bring_to_layout(dev, Layout({}, {"disk/by-id/x": "../../nvme1n1"}))
    assert list(outside.iterdir()) == []


def test_serials_look_like_the_models_and_differ():
    serials = {disks.new_serial() for _ in range(10)}
    assert len(serials) == 10
    assert all(len(serial) == 23 and serial.startswith("AWS") for serial in serials)


def test_a_loop_device_with_somebody_elses_file_is_refused(tmp_path, monkeypatch):
    store = DiskStore(tmp_path)
    (tmp_path / "i-1").mkdir()
    store._write("i-1", [Disk(1, "AWS0A", str(tmp_path / "i-1/1.img"), 5)])
    monkeypatch.setattr(disks, "backing_file", lambda loop: "/home/me/important.img")
    with pytest.raises(disks.DiskError, match=r"/home/me/important\.img"):
        store.ensure_attached("i-1")
