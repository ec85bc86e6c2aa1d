"""Plans of disks, by examples and by properties."""

from __future__ import annotations

import json

import pytest
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.host.disk_plan import (
    ALIGNMENT,
    MIB,
    RESERVED,
    SMALLEST_FILE_SYSTEM,
    SMALLEST_RAW,
    Disk,
    Found,
    LayoutSpec,
    PlanError,
    differences,
    parse_partitions,
    plan,
    plan_disk,
    read_table,
    script,
    spec_problems,
)
from hypothesis import given
from hypothesis import strategies as st

GIB = 1024 * MIB


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("", ()),
        (None, ()),
        ("1", (1,)),
        (3, (3,)),
        ("1-3,7-9", (1, 2, 3, 7, 8, 9)),
        (" 2 - 4 , 1 ", (1, 2, 3, 4)),
        ([2, 1], (1, 2)),
        (["1-2", 5], (1, 2, 5)),
    ],
)
def test_lists_of_partitions(text: object, numbers: tuple[int, ...]) -> None:
    assert parse_partitions(text) == numbers


@pytest.mark.parametrize("text", ["x", "0", "3-1", "1-", "-3", "1;2", "1-200", "1,1", "1-3,2", True, 1.5])
def test_an_invalid_list_of_partitions_is_refused(text: object) -> None:
    with pytest.raises(PlanError):
        parse_partitions(text)


@pytest.mark.parametrize(
    ("spec", "text"),
    [
        (LayoutSpec(0, 0), "expected 1 to 128, found 0"),
        (LayoutSpec(129, 0), "found 129"),
        (LayoutSpec(1, 91), "0 to 90 percent, found 91"),
        (LayoutSpec(3, 0, data=(4,)), "up to 3, found 4"),
        (LayoutSpec(3, 0, data=(1, 2), primary_index=(2,)), "partition 2 is for data and for primary-index"),
        (
            LayoutSpec(3, 0, primary_index=(1,), secondary_index=(1,)),
            "partition 1 is for primary-index and for secondary-index",
        ),
    ],
)
def test_contradictions_in_a_spec(spec: LayoutSpec, text: str) -> None:
    assert any(text in text for text in spec_problems(spec))
    with pytest.raises(PlanError, match="expected"):
        plan([Disk("/dev/x", 1000 * GIB)], spec)


def test_a_missing_and_a_small_disk_are_reported_with_a_next_step() -> None:
    with pytest.raises(PlanError, match="choose an instance type"):
        plan([], LayoutSpec(1, 0))
    with pytest.raises(PlanError, match="needs 64 MiB: use fewer partitions"):
        plan_disk(Disk("/dev/x", GIB), LayoutSpec(20, 0, data=(1,)))
    with pytest.raises(PlanError, match="primary-index needs 300 MiB"):
        plan_disk(Disk("/dev/x", GIB), LayoutSpec(5, 0, data=(2,), primary_index=(1,)))


@st.composite
def any_spec(draw: st.DrawFn) -> LayoutSpec:
    count = draw(st.integers(1, 128))
    purposes = draw(
        st.lists(st.sampled_from(["data", "primary_index", "secondary_index", ""]), min_size=count, max_size=count)
    )
    lists = {
        name: tuple(number for number, purpose in enumerate(purposes, 1) if purpose == name)
        for name in ("data", "primary_index", "secondary_index")
    }
    return LayoutSpec(count, draw(st.integers(0, 90)), **lists)


@given(st.lists(st.integers(1, 20 * 1024 * GIB), min_size=1, max_size=4), any_spec())
def test_partitions_dont_overlap_fit_the_disk_and_have_one_purpose(sizes: list[int], spec: LayoutSpec) -> None:
    try:
        plans = plan([Disk(f"/dev/{index}", size) for index, size in enumerate(sizes)], spec)
    except PlanError as error:
        assert "use fewer partitions" in str(error)
        return
    for planned in plans:
        whole = planned.disk.size_bytes
        assert [partition.number for partition in planned.partitions] == list(range(1, spec.partitions + 1))
        assert planned.partitions[0].start >= RESERVED
        assert planned.partitions[-1].end <= whole - RESERVED
        assert sum(partition.size for partition in planned.partitions) <= whole * (100 - spec.overprovisioning) // 100
        for partition, following in zip(planned.partitions, planned.partitions[1:], strict=False):
            assert partition.end <= following.start
        for partition in planned.partitions:
            assert partition.start % ALIGNMENT == partition.size % ALIGNMENT == 0
            assert partition.size >= (SMALLEST_FILE_SYSTEM if partition.purpose.endswith("index") else SMALLEST_RAW)
            assert partition.purpose == spec.purpose(partition.number)


def test_overprovisioning_leaves_as_little_as_requested() -> None:
    planned = plan_disk(Disk("/dev/x", 1900 * 10**9), LayoutSpec(8, 15))
    used = sum(partition.size for partition in planned.partitions)
    expected = 1900 * 10**9 * 85 // 100
    assert expected - 8 * ALIGNMENT - RESERVED <= used <= expected


def table_of(text: str) -> dict:
    return json.loads(text)["partitiontable"]


# What `sfdisk --json` of util-linux 2.38 prints for a disk that Pegasus partitioned with 512-byte sectors.
TABLE = """{"partitiontable": {"label": "gpt", "id": "9E0D", "device": "/dev/nvme1n1", "unit": "sectors",
 "firstlba": 2048, "lastlba": 4194270, "sectorsize": 512, "partitions": [
 {"node": "/dev/nvme1n1p1", "start": 2048, "size": 1193984, "type": "0FC6", "uuid": "0E3372AE", "name": "pegasus-data"},
 {"node": "/dev/nvme1n1p2", "start": 1196032, "size": 1193984, "uuid": "89BF", "name": "pegasus-unused"}]}}"""


def test_the_planned_table_has_no_differences() -> None:
    planned = plan_disk(Disk("/dev/nvme1n1", 2 * GIB), LayoutSpec(2, 43, data=(1,)))
    found = read_table(table_of(TABLE), "/dev/nvme1n1")
    assert found[0] == Found(1, MIB, planned.partitions[0].size, "pegasus-data", "0e3372ae")
    assert differences(planned, found) == []


def test_differences_are_reported() -> None:
    planned = plan_disk(Disk("/dev/nvme1n1", 2 * GIB), LayoutSpec(3, 15, data=(1,)))
    texts = differences(planned, read_table(table_of(TABLE), "/dev/nvme1n1"))
    assert texts[0].startswith("partition 1: expected 579 MiB at 1 MiB named 'pegasus-data', found 583 MiB at 1 MiB")
    assert texts[-1] == "partition 3 is missing"
    planned = plan_disk(Disk("/dev/nvme1n1", 2 * GIB), LayoutSpec(1, 15, data=(1,)))
    deviations = differences(planned, read_table(table_of(TABLE), "/dev/nvme1n1"))
    assert deviations[-1] == "found an unplanned partition 2 ('pegasus-unused')"


@pytest.mark.parametrize("sector", [512, 4096])
def test_sfdisk_reads_back_its_script(sector: int) -> None:
    planned = plan_disk(Disk("/dev/x", 8 * GIB), LayoutSpec(3, 10, data=(1, 2), primary_index=(3,)))
    lines = script(planned, sector).splitlines()
    assert lines[0] == "label: gpt"
    assert f"1 : start={MIB // sector}, size={planned.partitions[0].size // sector}, " in lines[1]
    assert lines[3].endswith('name="pegasus-primary-index"')
