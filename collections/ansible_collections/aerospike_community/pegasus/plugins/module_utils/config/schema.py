# Copyright (c) Pegasus authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""The schema of config.yml: the argument_specs of all roles and of the collection, as one table. Checks single values.

A checker of its own and not Ansible's ArgumentSpecValidator: importing that takes longer than a whole validation may,
it stops at the first error of a value, knows no lines, and takes ``"3"`` for a number, which a template then compares
as text. It refuses the same: unknown names on every level, wrong types, values outside of the choices.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

# plugins/module_utils/ -> the collection
COLLECTION = Path(__file__).resolve().parents[3]
LONGEST_SHOWN = 60  # characters of a value in a message

# What belongs to one run and not into a file.
RUN_KEYS = (
    "ec2_provision_state",
    "ec2_provision_kinds",
    "ec2_provision_replace",
    "ec2_provision_add",
    "ec2_provision_node_kind",
    "ec2_provision_node_indexes",
    "ec2_provision_node_state",
    "ec2_provision_node_expect",
    "ec2_provision_expires",
    "ec2_provision_reap_all",
    "ec2_provision_reap_all_regions",
    "ec2_provision_approved",
    "ec2_provision_answer_file",
    "perseus_client_restart",
    "perseus_client_threads_prove",
    "chaos_action",
    "chaos_nodes",
    "chaos_force",
)
TYPE_WORDS = {
    "str": "text",
    "path": "a path",
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "list": "a list",
    "dict": "a mapping",
}
BOOLEAN_WORDS = {
    **dict.fromkeys(("true", "yes", "on", "1"), True),
    **dict.fromkeys(("false", "no", "off", "0"), False),
}


@dataclass(frozen=True)
class Option:
    """One variable, as the specifications describe it."""

    name: str
    type: str
    description: str = ""
    default: Any = None
    choices: tuple[Any, ...] = ()
    elements: str = ""
    required: bool = False
    no_log: bool = False
    options: Mapping[str, Option] = field(default_factory=dict)
    roles: tuple[str, ...] = ()

    @property
    def expected(self) -> str:
        """What a value has to be, in words."""
        if self.choices and self.type != "list":
            return " or ".join(str(choice) for choice in self.choices)
        if self.type == "list" and self.elements:
            inner = " or ".join(map(str, self.choices)) or TYPE_WORDS[self.elements]
            return f"a list ({inner} each)"
        return TYPE_WORDS[self.type]


class Template(str):
    """A value that only Ansible can read: it holds Jinja, or is encrypted (``!vault``)."""


def is_template(value: object) -> bool:
    """Whether Ansible makes the value, or a part of it, at run time."""
    if isinstance(value, dict):
        return any(is_template(element) for element in value.values())
    if isinstance(value, list):
        return any(is_template(element) for element in value)
    return isinstance(value, Template) or (isinstance(value, str) and ("{{" in value or "{%" in value))


def load_schema(collection: Path = COLLECTION) -> dict[str, Option]:
    """Read the specifications, in the order of the roles' names; a variable of several roles is there once."""
    import yaml  # only on the control machine

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    schema: dict[str, Option] = {}
    files = [collection / "meta/argument_specs.yml", *sorted(collection.glob("roles/*/meta/argument_specs.yml"))]
    for path in files:
        owner = path.parts[-3] if path.parent.parent != collection else ""
        specs = yaml.load(path.read_text(encoding="utf-8"), Loader=loader)["argument_specs"]
        for point, entry in specs.items():
            for name, spec in entry.get("options", {}).items():
                if point != "main":  # what a part of a role needs is given where it is called
                    spec = {**spec, "required": False}
                known = schema.get(name)
                roles = (*(known.roles if known else ()), owner)
                schema[name] = _option(name, spec, tuple(dict.fromkeys(roles)), known)
    return schema


def _option(name: str, spec: Mapping[str, Any], roles: tuple[str, ...] = (), known: Option | None = None) -> Option:
    """Make an option; of a variable that was there before, its first text stays."""
    text = spec.get("description", "")
    return Option(
        name=name,
        type=spec.get("type", "str"),
        description=known.description if known else " ".join(text) if isinstance(text, list) else text,
        default=spec.get("default", known.default if known else None),
        choices=tuple(spec.get("choices", ())),
        elements=spec.get("elements", ""),
        required=bool(spec.get("required") or (known and known.required)),
        no_log=bool(spec.get("no_log")),
        options={inner: _option(inner, one) for inner, one in (spec.get("options") or {}).items()},
        roles=roles,
    )


def nearest(name: object, known: Iterable[str]) -> str:
    """The known name that a misspelled one is nearest to; '' when none is near."""
    if not isinstance(name, str) or len(name) > 200:
        return ""
    names = list(known)
    # A name of the original, a short form, or a word left out: the end of a known one.
    ends = [one for one in names if len(name) > 3 and one.endswith("_" + name.lower())]
    found = difflib.get_close_matches(name.lower(), names, 1, 0.75) or ends[:1]
    return found[0] if found else ""


def show(value: object) -> str:
    """A value as it would stand in YAML, short enough for a line."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, date):  # a datetime is one, too
        return value.isoformat()
    try:
        text = repr(value)
    except ValueError:  # a number of more digits than Python prints
        text = "a very large number"
    return text if len(text) <= LONGEST_SHOWN else text[: LONGEST_SHOWN - 3] + "..."


def from_text(option: Option, value: object) -> object:
    """What Ansible makes of text from ``-e key=value`` where a role asks for another type; the text when that fails."""
    if not isinstance(value, str) or is_template(value):
        return value
    text = value.strip()
    if option.type == "bool":
        return BOOLEAN_WORDS.get(text.lower(), value)
    if option.type == "list":
        return [from_text(Option("", option.elements or "str"), part) for part in text.split(",")] if text else []
    if option.type in ("int", "float"):
        try:
            return int(text) if option.type == "int" else float(text)
        except ValueError:
            return value
    return value


def value_problems(option: Option, value: object, where: str = "") -> Iterator[str]:
    """Say what is wrong with one value, as "found ..., expected ...".

    :param where: the place inside of the variable's value, as in ``[2].name``
    """
    if is_template(value):
        return
    at = f"{where}: " if where else ""
    wrong = _wrong_type(option, value)
    if wrong:
        # What a secret is doesn't belong into a message; what kind it is, does.
        found = type(value).__name__ if option.no_log and value is not None else show(value)
        yield f"{at}found {found}, expected {option.expected}{wrong if wrong is not True else ''}"
    elif option.type == "list" and isinstance(value, list):
        inner = Option("", option.elements or "str", choices=option.choices, options=option.options)
        for index, element in enumerate(value, start=1):
            yield from value_problems(inner, element, f"{where}[{index}]")
    elif option.type == "dict" and isinstance(value, dict) and option.options:
        for name, element in value.items():
            if name not in option.options:
                near = nearest(name, option.options)
                hint = f": did you mean {near}?" if near else ""
                yield f"{at}found the unknown key {show(name)}, expected {', '.join(option.options)}{hint}"
            else:
                yield from value_problems(option.options[name], element, f"{where}.{name}".lstrip("."))
        for name, inner in option.options.items():
            if inner.required and name not in value:
                yield f"{at}found no key {name}, expected one ({inner.expected})"
    elif option.choices and option.type != "list" and value not in option.choices:
        near = nearest(value, map(str, option.choices))
        hint = f": did you mean {near}?" if near and near != value else ""
        yield f"{at}found {show(value)}, expected {option.expected}{hint}"


def _wrong_type(option: Option, value: object) -> str | bool:
    """Whether a value has another type than the option's; text is a hint that says more."""
    kind = option.type
    if kind in ("str", "path"):
        if isinstance(value, str):
            return "" if value.isprintable() or kind == "str" else " of printable characters"
        if isinstance(value, (bool, float, date)):
            return ": put it between quotes, or YAML reads it as something else"
        return not isinstance(value, int)
    if kind == "int":
        if isinstance(value, str) and value.strip().lstrip("-").isdecimal():
            return " without quotes"
        return isinstance(value, bool) or not isinstance(value, int)
    if kind == "float":
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            return True
        return not math.isfinite(value) if isinstance(value, float) else False
    types = {"bool": bool, "list": list, "dict": dict}
    return not isinstance(value, types[kind])
