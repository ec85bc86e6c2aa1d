# Copyright (c) Pegasus authors. SPDX-License-Identifier: Apache-2.0
"""The schema of config.yml: the argument_specs of all roles and of the collection as one table. Checks single values.

This module replaces Ansible's ArgumentSpecValidator, whose import alone takes longer than a validation may take. The
validator also stops at the first error of a value, reports no lines, and accepts ``"3"`` as a number, which a template
then compares as text. Both refuse unknown names at every level, wrong types, and values outside the choices.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

from .key_rules import KEY_RULES, KeyRule

# plugins/module_utils/config/ -> the collection
COLLECTION = Path(__file__).resolve().parents[3]
MAX_SHOWN = 60  # characters of a value in a message

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
    """One variable, as the specifications and KEY_RULES describe it."""

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
    rule: KeyRule = field(default_factory=KeyRule)

    @property
    def expected(self) -> str:
        """The type or the choices, for messages."""
        if self.choices and self.type != "list":
            return " or ".join(str(choice) for choice in self.choices)
        if self.type == "list" and self.elements:
            inner = " or ".join(map(str, self.choices)) or TYPE_WORDS[self.elements]
            return f"a list ({inner} each)"
        return TYPE_WORDS[self.type]


class Template(str):
    """A value that only Ansible can read: it contains Jinja, or is encrypted (``!vault``)."""


def is_template(value: object) -> bool:
    """Whether Ansible renders the value, or a part of it, at run time."""
    if isinstance(value, dict):
        return any(is_template(element) for element in value.values())
    if isinstance(value, list):
        return any(is_template(element) for element in value)
    return isinstance(value, Template) or (isinstance(value, str) and ("{{" in value or "{%" in value))


def load_schema(collection: Path = COLLECTION) -> dict[str, Option]:
    """Read the specifications, in the order of the roles' names. A variable that several roles share is listed once."""
    import yaml  # only on the control machine

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    schema: dict[str, Option] = {}
    files = [collection / "meta/argument_specs.yml", *sorted(collection.glob("roles/*/meta/argument_specs.yml"))]
    for path in files:
        owner = path.parts[-3] if path.parent.parent != collection else ""
        specs = yaml.load(path.read_text(encoding="utf-8"), Loader=loader)["argument_specs"]
        for point, entry in specs.items():
            for name, spec in entry.get("options", {}).items():
                if point != "main":  # callers of another entry point pass its required options
                    spec = {**spec, "required": False}
                known = schema.get(name)
                roles = (*(known.roles if known else ()), owner)
                schema[name] = _option(name, spec, tuple(dict.fromkeys(roles)), known)
    return schema


def _option(name: str, spec: Mapping[str, Any], roles: tuple[str, ...] = (), known: Option | None = None) -> Option:
    """Build an option. A variable that several roles share keeps the description from the first role."""
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
        options={inner: _option(inner, nested) for inner, nested in (spec.get("options") or {}).items()},
        roles=roles,
        rule=KEY_RULES.get(name, KeyRule()),
    )


def nearest(name: object, known: Iterable[str]) -> str:
    """Return the known name that is closest to a misspelled name, or '' if none is close."""
    if not isinstance(name, str) or len(name) > 200:
        return ""
    names = list(known)
    # The original tool's name, or a name without its prefix, is the end of a known name.
    ends = [candidate for candidate in names if len(name) > 3 and candidate.endswith("_" + name.lower())]
    found = difflib.get_close_matches(name.lower(), names, 1, 0.75) or ends[:1]
    return found[0] if found else ""


def show(value: object) -> str:
    """Format a value as in YAML, short enough for one line."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, date):  # or a datetime, its subclass
        return value.isoformat()
    try:
        text = repr(value)
    except ValueError:  # a number with more digits than Python prints
        text = "a very large number"
    return text if len(text) <= MAX_SHOWN else text[: MAX_SHOWN - 3] + "..."


def from_text(option: Option, value: object) -> object:
    """Convert text from ``-e key=value`` to the option's type as Ansible does; return the text if that fails."""
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
    """Yield the problems of one value, as "found ..., expected ...".

    :param where: the position inside the variable's value, such as ``[2].name``
    """
    if is_template(value):
        return
    at = f"{where}: " if where else ""
    wrong = _wrong_type(option, value)
    if wrong:
        # A message may show the type of a secret, not its value.
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
                yield f"{at}found no key {name}, expected {inner.expected}"
    elif option.choices and option.type != "list" and value not in option.choices:
        near = nearest(value, map(str, option.choices))
        hint = f": did you mean {near}?" if near and near != value else ""
        yield f"{at}found {show(value)}, expected {option.expected}{hint}"
    elif not option.rule.allows(value):
        found = "an invalid value" if option.no_log else show(value)
        whole = "a whole number, " if option.type == "int" and option.rule.minimum is not None else ""
        yield f"{at}found {found}, expected {whole}{option.rule.text}"


def _wrong_type(option: Option, value: object) -> str | bool:
    """Whether a value has another type than the option's; a string is a hint for the message."""
    kind = option.type
    if kind in ("str", "path"):
        if isinstance(value, str):
            return "" if value.isprintable() or kind == "str" else " of printable characters"
        if isinstance(value, (bool, float, date)):
            return ": put it in quotes, or YAML reads it as something else"
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
