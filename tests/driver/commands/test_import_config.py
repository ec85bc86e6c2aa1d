"""import-config converts the original tool's configure.sh to a config.yml and never runs it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pegasus_driver import config
from pegasus_driver.commands.import_config import ORIGINAL, ShellError, read_configure, render_config, shell_value
from pegasus_driver.exit_codes import ExitCode
from tests.driver.fakes import FakeWorld

ROOT = Path(__file__).resolve().parents[3]

# Every variable of the original with its quirks: quotes of all kinds, comments, both spellings, a command at the end.
CONFIGURE = r"""
#!/bin/bash
# AWS
export AWS_REGION="eu-west-1"
AWS_EXPIRE="20h 30m"   # how long "it" lives; don't forget

VER='8.0.0.4'
CLUSTER_NAME="Load"
CLUSTER_NUMBER_OF_NODES="5"
CLUSTER_INSTANCE_TYPE=r6gd.8xlarge

NAMESPACE_NAME="Test"
NAMESPACE_DEFAULT_TTL="0"
NAMESPACE_COMPRESSION="lz4" #none, lz4
NAMESPACE_PRIMARY_INDEX_STORAGE_TYPE="DISK" #MEMORY, DISK
NAMESPACE_SECONDARY_INDEX_STORAGE_TYPE="MEMORY"
NAMESPACE_DATA_STORAGE_TYPE=DISK
NAMESPACE_REPLICATION_FACTOR=2

NUMBER_OF_PARTITION_ON_EACH_NVME="10"
OVERPROVISIONING_PERCENTAGE=0
PRIMARY_INDEX_STORAGE_PARTITIONS="1-2"
SECONDARY_INDEX_STORAGE_PARTITIONS="3"
DATA_STORAGE_PARTITIONS="4-7,9-10"
PARTITION_TREE_SPRIGS=65536

GRAFANA_NAME=${CLUSTER_NAME}"_GRAFANA"
GRAFANA_INSTANCE_TYPE="t3.xlarge"

CLIENT_NAME="Perseus_${CLUSTER_NAME}"
CLIENT_INSTANCE_TYPE="c6i.4xlarge"
CLIENT_NUMBER_OF_NODES=2

TRUNCATE_SET=False
RECORD_SIZE=1024
BATCH_READ_SIZE=200
BATCH_WRITE_SIZE=100
READ_HIT_RATIO=.75

STRING_INDEX=True
NUMERIC_INDEX=False
GEO_SPATIAL_INDEX=False
UDF_AFFREGATION=True
RANGE_QUERY=True
NORMAL_RANGE=10
MAX_RANGE=100
CHANCE_OF_MAX=.00001

aerolab config backend -t aws -r ${AWS_REGION}
"""


def test_every_variable_is_imported() -> None:
    found = read_configure(CONFIGURE)
    assert {name for name, _ in found.origin.values()} == set(ORIGINAL) - {"UDF_AGGREGATION"}
    expected: dict[str, Any] = {
        "pegasus_region": "eu-west-1",
        "ec2_provision_expiry": "20h 30m",
        "aerospike_server_version": "8.0.0.4",
        "pegasus_cluster_nodes": 5,
        "pegasus_primary_index_storage": "disk",
        "pegasus_monitoring_name": "Load_GRAFANA",
        "pegasus_client_name": "Perseus_Load",
        "nvme_partition_data_partitions": "4-7,9-10",
        "perseus_client_truncate_set": False,
        "perseus_client_read_hit_ratio": 0.75,
        "perseus_client_udf_aggregation": True,
        "perseus_client_max_time_range_chance": 0.00001,
    }
    assert {key: found.values[key] for key in expected} == expected
    ((line, remark),) = found.remarks
    assert CONFIGURE.splitlines()[line - 1].startswith("aerolab") and "expected NAME=value" in remark


def test_the_imported_file_is_valid(world: FakeWorld, tmp_path: Path) -> None:
    (tmp_path / "configure.sh").write_text(CONFIGURE)
    shipped = (ROOT / "group_vars/all/config.yml").read_text()
    (tmp_path / "other.yml").write_text(render_config(shipped, read_configure(CONFIGURE)))
    report = config.examine(ROOT, {"PEGASUS_CONFIG": "other.yml"}, tmp_path).report
    assert report.problems == []
    assert report.values["pegasus_backend"] == "aws" and report.values["perseus_client_range_query"] is True
    written = (tmp_path / "other.yml").read_text()
    assert "pegasus_cluster_nodes: 5 " in written and "# --- NVMe" in written, "comments and sections stay"
    assert "\nec2_provision_cluster_instance_type: r6gd.8xlarge" in written, "keys behind # are set"


def test_every_original_name_has_a_known_key() -> None:
    from ansible_collections.aerospike_community.pegasus.plugins.module_utils.config.schema import load_schema

    schema = load_schema()
    kinds = {"text": "str", "word": "str", "whole": "int", "fraction": "float", "boolean": "bool"}
    for variable in ORIGINAL.values():
        assert schema[variable.key].type == kinds[variable.read.__name__]


@pytest.mark.parametrize(
    ("rest", "value"),
    [
        ("plain", "plain"),
        ("", ""),
        ("'single $X \"q\"'", 'single $X "q"'),
        ('"double \\"q\\" \\$X \\n"', 'double "q" $X \\n'),
        ("a'b'\"c\"d", "abcd"),
        ("a\\ b # comment", "a b"),
        ("a#b", "a#b"),
        ("${X}_1", "x_1"),
        ("$X_1", "named"),
        ('"$X"y', "xy"),
        ("'${X}'", "${X}"),
        ("a;", "a"),
        ("a ; # b", "a"),
        ('"a\nb"', "a\nb"),
        ("a\\\nb", "ab"),
        ("$", "$"),
    ],
)
def test_quotes_and_names_work_as_in_a_shell(rest: str, value: str) -> None:
    assert shell_value(rest, {"X": "x", "X_1": "named"}) == value


@pytest.mark.parametrize(
    "rest",
    [
        *("$(reboot)", "`reboot`", '"$(reboot)"', "${X:-1}", "${X", "$NONE", "$((1+1))"),
        *("a; reboot", "a reboot", "a | b", "a && b", "'open", "(1 2)"),
    ],
)
def test_shell_expansions_are_refused(rest: str) -> None:
    with pytest.raises(ShellError):
        shell_value(rest, {"X": "x"})


def test_nothing_is_run(tmp_path: Path) -> None:
    target = tmp_path / "created"
    found = read_configure(
        f'VER="$(touch {target})"\ntouch {target}\nCLUSTER_NAME=`touch {target}`\nNAMESPACE_NAME=a\n'
    )
    assert not target.exists()
    assert found.values == {"pegasus_namespace": "a"} and len(found.remarks) == 3


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ("CLUSTER_NUMBR_OF_NODES=3", "an unknown variable; did you mean CLUSTER_NUMBER_OF_NODES?"),
        ("KEY_CACHE_CAPACITY=1000", "of an earlier version"),
        ("RECORD_SIZE=large", "expected a whole number"),
        ("TRUNCATE_SET=maybe", "expected True or False"),
    ],
)
def test_remarks_name_the_line(line: str, text: str) -> None:
    ((number, remark),) = read_configure(f"VER=8.0.0.4\n\n{line}\n").remarks
    assert number == 3 and text in remark


def test_the_last_value_wins_and_both_spellings_are_the_same_variable() -> None:
    found = read_configure("UDF_AFFREGATION=True\nUDF_AGGREGATION=False\n")
    assert found.values == {"perseus_client_udf_aggregation": False}
    assert "line 1: UDF_AFFREGATION" in found.remarks[0][1]


@settings(deadline=None)
@given(st.text(max_size=200))
@example("A='\n\n# it's\nVER=1")
@example("VER=\\")
@example("VER=${")
def test_no_file_makes_the_import_crash(content: str) -> None:
    found = read_configure(content)
    assert set(found.values) <= {variable.key for variable in ORIGINAL.values()}


# --- the command ------------------------------------------------------------------------------------------------------


def test_the_command_writes_a_file_once(world: FakeWorld) -> None:
    (world.root / "configure.sh").write_text(CONFIGURE)
    assert world.run("import-config", "configure.sh", "--to", "new.yml") == 0
    last = len(CONFIGURE.splitlines())
    assert f"configure.sh:{last}: found the command 'aerolab config backend" in world.errors
    assert "next: ./pegasus-driver validate --config new.yml" in world.errors
    assert yaml.safe_load((world.root / "new.yml").read_text())["pegasus_cluster_name"] == "Load"
    assert world.run("import-config", "configure.sh", "--to", "new.yml") == ExitCode.USAGE
    assert "expected no file" in world.errors


def test_the_command_prints_the_file_and_reports_mistakes(world: FakeWorld) -> None:
    (world.root / "configure.sh").write_text(CONFIGURE.replace("RECORD_SIZE=1024", "RECORD_SIZE=100"))
    assert world.run("import-config", "configure.sh") == ExitCode.CONFIGURATION
    assert yaml.safe_load(world.text)["perseus_client_record_size"] == 100
    assert "perseus_client_record_size: found 100, expected a whole number, 178" in world.errors


@pytest.mark.parametrize(("name", "content"), [("nowhere.sh", None), ("empty.sh", ""), ("other.sh", "echo hello\n")])
def test_files_that_arent_a_configure_script(world: FakeWorld, name: str, content: str | None) -> None:
    if content is not None:
        (world.root / name).write_text(content)
    assert world.run("import-config", name) == ExitCode.USAGE
    assert "configure.sh" in world.errors and not world.text


def test_numbers_that_only_python_accepts_are_skipped() -> None:
    found = read_configure("RECORD_SIZE=1_000\nBATCH_READ_SIZE=\u0663\nMAX_RANGE=+100\nNORMAL_RANGE=' 10 '\n")
    assert found.values == {"perseus_client_max_time_range": 100, "perseus_client_normal_time_range": 10}
    assert [line for line, _ in found.remarks] == [1, 2]


def test_a_folder_that_cant_be_written(world: FakeWorld) -> None:
    (world.root / "configure.sh").write_text("CLUSTER_NAME=a/b\n")
    assert world.run("import-config", "configure.sh", "--to", "nowhere/new.yml") == ExitCode.USAGE
    assert "nowhere/new.yml can't be written: No such file or directory" in world.errors
    assert world.run("import-config", "configure.sh") == ExitCode.CONFIGURATION
    assert re.search(r"^imported:\d+: pegasus_cluster_name: found 'a/b'", world.errors, re.MULTILINE)
