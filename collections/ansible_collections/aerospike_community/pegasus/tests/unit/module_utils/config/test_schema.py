"""The schema of config.yml, and the roles' specifications that it is built from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.config.schema import (
    Option,
    Template,
    from_text,
    load_schema,
    nearest,
    value_problems,
)

COLLECTION = Path(__file__).resolve().parents[4]
ROLES = sorted(path.name for path in (COLLECTION / "roles").iterdir() if (path / "meta/argument_specs.yml").is_file())
SCHEMA = load_schema()


def entries(role: str) -> dict[str, dict[str, Any]]:
    return yaml.safe_load((COLLECTION / "roles" / role / "meta/argument_specs.yml").read_text())["argument_specs"]


@pytest.mark.parametrize("role", ROLES)
def test_a_roles_defaults_and_its_specification_agree(role: str) -> None:
    defaults = yaml.safe_load((COLLECTION / "roles" / role / "defaults/main.yml").read_text())
    options = {name: spec for entry in entries(role).values() for name, spec in entry["options"].items()}
    # A required option has no default.
    own = {name: spec for name, spec in options.items() if name.startswith(f"{role}_") and not spec.get("required")}
    assert set(own) == set(defaults)
    for name, value in defaults.items():
        specified = own[name].get("default")
        # Templates may be folded in one file and not in the other.
        assert (" ".join(str(value).split()), type(value)) == (" ".join(str(specified).split()), type(specified)), name
    foreign = [name for name in options if not name.startswith((f"{role}_", "pegasus_"))]
    assert not foreign, "a role reads its own variables, and pegasus_... variables that several roles share"


def test_a_variable_of_several_roles_is_the_same_in_each() -> None:
    shared: dict[str, dict[str, tuple]] = {}
    files = [
        COLLECTION / "meta/argument_specs.yml",
        *(COLLECTION / f"roles/{role}/meta/argument_specs.yml" for role in ROLES),
    ]
    for path in files:
        for entry in yaml.safe_load(path.read_text())["argument_specs"].values():
            for name, spec in entry["options"].items():
                what = (spec.get("type", "str"), tuple(spec.get("choices", ())), spec.get("elements"))
                shared.setdefault(name, {})[str(path)] = what
    different = {name: found for name, found in shared.items() if len(set(found.values())) > 1}
    assert not different


def test_everything_has_a_description_and_a_type() -> None:
    assert all(option.description and option.type for option in SCHEMA.values())
    assert SCHEMA["pegasus_namespace"].roles == ("aerospike_server", "chaos", "grafana_prometheus", "perseus_client")
    assert SCHEMA["grafana_prometheus_admin_password"].no_log


NESTED = Option(
    "x", "dict", options={"a": Option("a", "int", required=True), "b": Option("b", "str", choices=("one", "two"))}
)


@pytest.mark.parametrize(
    ("option", "good", "bad", "message"),
    [
        (Option("x", "int"), [0, -3], ["3", 2.5, True, None, [], {}], "a whole number"),
        (Option("x", "float"), [1, 0.5], ["0.5", True, None, float("nan"), float("inf")], "a number"),
        (Option("x", "bool"), [True, False], ["yes", 1, None], "true or false"),
        (Option("x", "str"), ["a", "", 7], [True, 8.1, None, ["a"]], "text"),
        (Option("x", "path"), ["/a b", ""], [None, {}], "a path"),
        (Option("x", "list", elements="int"), [[], [1, 2]], ["1", [1, "2"], 1], "a whole number"),
        (Option("x", "list", elements="str", choices=("a", "b")), [["a"]], [["c"], "a"], "a or b"),
        (Option("x", "dict"), [{}, {"a": [1]}], ["a", []], "a mapping"),
        (Option("x", "str", choices=("lz4", "none")), ["lz4"], ["lz5", "LZ4", False], "lz4 or none"),
        (
            NESTED,
            [{"a": 1}, {"a": 1, "b": "one"}],
            [{}, {"a": "x"}, {"a": 1, "c": 2}, {"a": 1, "b": "three"}],
            "expected",
        ),
    ],
)
def test_types(option: Option, good: list[Any], bad: list[Any], message: str) -> None:
    assert [value for value in good if list(value_problems(option, value))] == []
    for value in bad:
        found = list(value_problems(option, value))
        assert found, value
        assert all("found" in text and "expected" in text for text in found)
        assert message in found[0]


def test_templates_are_left_to_ansible() -> None:
    for value in ("{{ x }}", "{% if x %}1{% endif %}", Template("secret"), ["{{ x }}"], {"a": "{{ x }}"}):
        assert list(value_problems(Option("x", "int"), value)) == []


def test_a_secret_isnt_shown() -> None:
    option = Option("x", "str", no_log=True)
    (text,) = value_problems(option, ["topsecret"])
    assert "topsecret" not in text and "found list" in text


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        ("int", "5", 5),
        ("int", " -5 ", -5),
        ("int", "five", "five"),
        ("float", ".5", 0.5),
        ("bool", "no", False),
        ("bool", "True", True),
        ("bool", "maybe", "maybe"),
        ("str", "5", "5"),
        ("int", "{{ x }}", "{{ x }}"),
        ("int", 5, 5),
    ],
)
def test_text_of_a_command_line(kind: str, text: Any, value: Any) -> None:
    converted = from_text(Option("x", kind), text)
    assert converted == value and type(converted) is type(value)


def test_a_list_of_a_command_line() -> None:
    assert from_text(Option("x", "list", elements="int"), "1,2") == [1, 2]
    assert from_text(Option("x", "list"), "") == []


@pytest.mark.parametrize(
    ("name", "known"),
    [
        ("pegasus_cluster_node", "pegasus_cluster_nodes"),
        ("PEGASUS_NAMESPACE", "pegasus_namespace"),
        ("record_size", "perseus_client_record_size"),
        ("completely_else", ""),
        (7, ""),
        ("x" * 5000, ""),
    ],
)
def test_the_nearest_known_key(name: Any, known: str) -> None:
    assert nearest(name, SCHEMA) == known
