"""The device nodes and links of an instance's disks. These tests need no loop devices."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from types import SimpleNamespace

import pytest

from local_cloud.disks import udev as module
from local_cloud.disks.partitions import single_partition_mbr
from local_cloud.disks.store import Disk
from local_cloud.disks.udev import Layout, Udev, apply_layout, layout_of
from local_cloud.engine import EngineGone

NEEDS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="device nodes need root")


def _shown(sys_block, loop, number, device):
    folder = sys_block / f"loop{loop}" / f"loop{loop}p{number}"
    folder.mkdir(parents=True)
    (folder / "dev").write_text(device + "\n")
    (folder / "start").write_text("2048\n")
    (folder / "size").write_text("6144\n")


def test_layout_lists_partitions_and_links(tmp_path):
    image = tmp_path / "1.img"
    content = bytearray(single_partition_mbr(8192))
    content[440:444] = b"\x01\0\0\0"
    image.write_bytes(content)
    _shown(tmp_path, 5, 1, "259:7")
    # Some kernels give the first partitions a number on the loop devices' major. Containers may not open those.
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


def _written(folder):
    return {path: (path.lstat().st_ino, path.lstat().st_mtime_ns) for path in folder.rglob("*")}


@NEEDS_ROOT
def test_dev_follows_the_layout(tmp_path):
    other = tmp_path / "disk/by-id/other"
    other.parent.mkdir(parents=True)
    other.symlink_to("/dev/null")
    first = Layout(
        {"nvme1n1p1": os.makedev(259, 7), "nvme1n1p2": os.makedev(259, 8)}, {"disk/by-id/x": "../../nvme1n1p2"}
    )
    apply_layout(tmp_path, first)
    before = _written(tmp_path)
    apply_layout(tmp_path, first)
    assert _written(tmp_path) == before, "nothing was written again"
    assert (tmp_path / "nvme1n1p2").stat().st_rdev == os.makedev(259, 8)
    assert stat.S_ISBLK((tmp_path / "nvme1n1p1").stat().st_mode)

    second = Layout({"nvme1n1p1": os.makedev(259, 9)}, {"disk/by-partuuid/y": "../../nvme1n1p1"})
    apply_layout(tmp_path, second)
    assert (tmp_path / "nvme1n1p1").stat().st_rdev == os.makedev(259, 9)
    assert not (tmp_path / "nvme1n1p2").exists()
    assert sorted(entry.name for entry in (tmp_path / "disk/by-id").iterdir()) == ["other"]
    assert (tmp_path / "disk/by-partuuid/y").readlink().name == "nvme1n1p1"


def test_a_link_in_dev_is_not_followed(tmp_path):
    dev, outside = tmp_path / "dev", tmp_path / "outside"
    dev.mkdir()
    outside.mkdir()
    (dev / "disk").symlink_to(outside)
    with pytest.raises(OSError, match="is a link"):
        apply_layout(dev, Layout({}, {"disk/by-id/x": "../../nvme1n1"}))
    assert list(outside.iterdir()) == []


def test_dev_is_updated_through_the_init_that_runs_now(monkeypatch):
    inits, updated = {"pegasus-i-1": 10}, []
    monkeypatch.setattr(module, "is_container_init", lambda process: process in inits.values())
    monkeypatch.setattr(module, "apply_layout", lambda dev, layout: updated.append(dev))
    store = SimpleNamespace(of=lambda instance: [Disk(1, "AWS0A", "/1.img", 5)], update_kernel=lambda disks: None)
    engine = SimpleNamespace(process=lambda container: inits.get(container, 0))
    running = ["i-1"]
    udev = Udev(store, engine, lambda: running, lambda instance: f"pegasus-{instance}")
    udev.update_all()
    inits["pegasus-i-1"] = 20  # a restart outside of the local cloud
    udev.update_all()
    inits["pegasus-i-1"] = 0
    udev.update_all()
    running.clear()
    udev.update_all()
    assert updated == [Path("/proc/10/root/dev"), Path("/proc/20/root/dev")]


def test_an_engine_that_does_not_answer_stops_no_update(monkeypatch):
    def process(container):
        raise EngineGone("connection refused")

    store = SimpleNamespace(of=lambda instance: pytest.fail("there is no init"))
    udev = Udev(store, SimpleNamespace(process=process), lambda: ["i-1"], str)
    udev.update_all()
