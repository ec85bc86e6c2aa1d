"""Whether disks are attached, and to which loop devices. These tests need no loop devices."""

from __future__ import annotations

import pytest

from local_cloud.disks import store as module
from local_cloud.disks.loops import DiskError
from local_cloud.disks.store import Disk, DiskStore, foreign_devices


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


def test_no_disks_are_attached_beside_a_real_disk_on_the_partitions_major(tmp_path, monkeypatch):
    monkeypatch.setattr(module.os, "geteuid", lambda: 0)
    monkeypatch.setattr(module, "foreign_devices", lambda: ["nvme0n1"])
    store, why = module.open_store(tmp_path)
    assert store is None
    assert "nvme0n1" in why


def test_no_disks_are_attached_without_root(tmp_path, monkeypatch):
    monkeypatch.setattr(module.os, "geteuid", lambda: 1000)
    store, why = module.open_store(tmp_path)
    assert store is None
    assert "root" in why


def test_serials_have_ec2s_format_and_differ():
    serials = {module.new_serial() for _ in range(10)}
    assert len(serials) == 10
    assert all(len(serial) == 23 and serial.startswith("AWS") for serial in serials)


def test_a_loop_device_with_another_file_is_refused(tmp_path, monkeypatch):
    store = DiskStore(tmp_path)
    (tmp_path / "i-1").mkdir()
    store._write("i-1", [Disk(1, "AWS0A", str(tmp_path / "i-1/1.img"), 5)])
    monkeypatch.setattr(module, "backing_file", lambda loop: "/home/me/important.img")
    with pytest.raises(DiskError, match=r"/home/me/important\.img"):
        store.ensure_attached("i-1")
