"""Reading partition tables: incomplete and invalid tables count as none."""

from __future__ import annotations

import shutil
import struct
import subprocess
import uuid
import zlib

import pytest

from local_cloud.disks.partitions import Partition, read_table, single_partition_mbr

FIRST, SECOND = uuid.UUID("2add8457-c577-784b-b21e-1827f797f94b"), uuid.UUID("21ea8073-bdc4-234b-a78d-1b02291e0735")
LINUX = uuid.UUID("0fc63daf-8483-4772-8e79-3d69d8477de4")


def gpt(partitions: dict[int, tuple[uuid.UUID, int, int]], count: int = 128, size: int = 128) -> bytearray:
    """The first sectors of a disk with a GPT.

    :param partitions: (id, first sector, last sector) by number
    """
    entries = bytearray(count * size)
    for number, (identity, first, last) in partitions.items():
        entry = LINUX.bytes_le + identity.bytes_le + struct.pack("<QQ", first, last)
        entries[(number - 1) * size : (number - 1) * size + len(entry)] = entry

    def header(checksum: int) -> bytes:
        return struct.pack(
            "<8sIIIIQQQQ16sQIII", b"EFI PART", 0x10000, 92, checksum, 0, 1, 999, 34, 966, bytes(16), 2, count, size,
            zlib.crc32(entries),
        )  # fmt: skip

    checked_header = header(zlib.crc32(header(0)))
    protective = bytes(446) + struct.pack("<B3sB3sII", 0, b"\0" * 3, 0xEE, b"\0" * 3, 1, 999) + bytes(48) + b"\x55\xaa"
    return bytearray(protective + checked_header + bytes(512 - 92) + entries)


def test_gpt(tmp_path):
    disk = tmp_path / "disk"
    disk.write_bytes(gpt({1: (FIRST, 2048, 4095), 3: (SECOND, 4096, 9999)}))
    assert read_table(disk) == {1: Partition(str(FIRST), 2048, 2048), 3: Partition(str(SECOND), 4096, 5904)}


@pytest.mark.parametrize("place", [512 + 40, 1024 + 20], ids=["header", "entries"])
def test_an_incomplete_gpt_counts_as_none(tmp_path, place):
    content = gpt({1: (FIRST, 2048, 4095)})
    content[place] ^= 0xFF
    (tmp_path / "disk").write_bytes(content)
    assert read_table(tmp_path / "disk") == {}


def test_mbr(tmp_path):
    content = bytearray(single_partition_mbr(8192))
    content[440:444] = struct.pack("<I", 0xDEADBEEF)
    (tmp_path / "disk").write_bytes(content)
    assert read_table(tmp_path / "disk") == {1: Partition("deadbeef-01", 2048, 6144)}


@pytest.mark.parametrize("content", [b"", bytes(100), bytes(1 << 20), b"EFI PART" * 200])
def test_other_content_counts_as_none(tmp_path, content):
    (tmp_path / "disk").write_bytes(content)
    assert read_table(tmp_path / "disk") == {}


def test_a_missing_disk_has_no_partitions(tmp_path):
    assert read_table(tmp_path / "no") == {}


@pytest.mark.skipif(not shutil.which("sfdisk"), reason="no sfdisk on this machine")
def test_a_table_written_by_sfdisk(tmp_path):
    disk = tmp_path / "disk"
    with disk.open("wb") as file:
        file.truncate(64 << 20)
    table = "label: gpt\nstart=2048, size=2048, uuid=2ADD8457-C577-784B-B21E-1827F797F94B\n"
    subprocess.run(["sfdisk", "--quiet", str(disk)], input=table, text=True, check=True)
    assert read_table(disk) == {1: Partition(str(FIRST), 2048, 2048)}
