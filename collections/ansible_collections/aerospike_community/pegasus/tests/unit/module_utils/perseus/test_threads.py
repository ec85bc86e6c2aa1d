"""threads.yaml: which content is accepted, and each content that Perseus would misunderstand."""

from __future__ import annotations

import pytest
import yaml
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.perseus.threads import (
    WORKLOADS,
    ThreadsFileError,
    describe_change,
    parse,
    render,
)
from hypothesis import given
from hypothesis import strategies as st

ZERO = dict.fromkeys(WORKLOADS, 0)


def text_with(**lines: str) -> str:
    """A complete file in which some lines have other values."""
    return "".join(f"{name}: {lines.get(name, '0')}\n" for name in WORKLOADS)


def problems_of(text: str) -> list[str]:
    """The problems for which a text is refused."""
    with pytest.raises(ThreadsFileError) as caught:
        parse(text)
    return caught.value.problems


def test_a_complete_file_is_read() -> None:
    assert parse(text_with(write="1", batchRead="500")) == {**ZERO, "write": 1, "batchRead": 500}


@pytest.mark.parametrize(
    "text",
    [
        "# load\n\n" + text_with(),
        "---\n" + text_with(),
        text_with(write="0   # none").replace("\n", "\r\n"),
        "\ufeff" + text_with(),
        text_with().replace("write: 0", "write:    0  "),
        text_with().replace("write: 0", "write : 0"),
    ],
)
def test_comments_and_blanks_are_accepted(text: str) -> None:
    assert parse(text) == ZERO


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ('"3"', "plain whole number"),
        ("'3'", "plain whole number"),
        ("2.5", "plain whole number"),
        ("true", "plain whole number"),
        ("~", "plain whole number"),
        ("", "found no number"),
        ("# nothing", "found no number"),
        ("{a: 1}", "plain whole number"),
        ("[1]", "plain whole number"),
        ("1e2", "plain whole number"),
        ("1_0", "plain whole number"),
        ("0x10", "plain whole number"),
        ("3 4", "plain whole number"),
        ("\u0663", "plain whole number"),
        ("010", "octal"),
        ("-1", "negative"),
        ("+5", "0 to 500"),
        ("501", "0 to 500"),
        ("9" * 5000, "0 to 500"),
    ],
)
def test_a_value_that_is_not_a_plain_number_is_refused(value: str, reason: str) -> None:
    (problem,) = problems_of(text_with(write=value))
    assert problem.startswith("line 1: write: found")
    assert reason in problem


def test_an_unknown_name_gets_a_suggestion() -> None:
    problems = problems_of("Write: 1\nreed: 2\nzzz: 3\n")
    assert "did you mean 'write'?" in problems[0]
    assert "did you mean 'read'?" in problems[1]
    assert "expected one of write, read" in problems[2]


def test_a_duplicate_names_both_lines() -> None:
    assert problems_of(text_with() + "write: 3\n") == ["line 15: 'write' is already on line 1; remove one of the lines"]


def test_a_missing_workload_is_named() -> None:
    (problem,) = problems_of(text_with().replace("delete: 0\n", ""))
    assert "no line for delete" in problem
    assert "keep its last value" in problem


@pytest.mark.parametrize("text", ["", "\n\n", "# only a comment\n", "---\n"])
def test_an_empty_file_is_refused(text: str) -> None:
    assert "found no workload" in problems_of(text)[0]


@pytest.mark.parametrize(
    "line",
    ["- write", "{write: 1}", "write 1", "  write: 1", "\twrite: 1", '"write": 1', "write:1", "~", "...", "? write"],
)
def test_other_forms_of_yaml_are_refused(line: str) -> None:
    assert problems_of(line + "\n")[0].startswith("line 1: ")


def test_all_problems_are_reported_at_once() -> None:
    assert len(problems_of(text_with(write="x", read="-1", udf="1.0"))) == 3


@given(st.fixed_dictionaries({name: st.integers(0, 500) for name in WORKLOADS}))
def test_a_rendered_file_means_the_same_to_parse_and_to_yaml(threads: dict[str, int]) -> None:
    assert parse(render(threads)) == threads
    assert yaml.safe_load(render(threads)) == threads


@given(st.text(max_size=200))
def test_any_text_is_either_read_or_refused(text: str) -> None:
    try:
        threads = parse(text)
    except ThreadsFileError:
        return
    assert all(0 <= number <= 500 for number in threads.values())


@given(st.text(alphabet="write:0123456789 -+._#\"'{}[]~\n\t", max_size=40))
def test_an_accepted_value_means_the_same_to_yaml(value: str) -> None:
    text = text_with(write=value)
    try:
        threads = parse(text)
    except ThreadsFileError:
        return
    assert yaml.safe_load(text) == threads


def test_a_change_names_the_workloads_that_differ() -> None:
    before, after = {"write": 1, "read": 2}, {"write": 3, "read": 2, "update": 1}
    assert describe_change(before, after) == "write 1 -> 3, update 0 -> 1"
