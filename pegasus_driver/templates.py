"""Renders the templates of the presets without Ansible, whose import alone takes too long for a check.

It supports what Pegasus's presets and wiring use: `lookup` of env and file, the filters default and from_json. Other
templates, which users may write, are left to the playbook's first play, which has Ansible's own templating.
"""

import contextlib
import json
import re
from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from ansible_collections.aerospike_community.pegasus.plugins.module_utils.config.schema import Template, is_template

_WORD = re.compile(r"[A-Za-z_]\w*")


def resolver(root: Path, environ: Mapping[str, str]) -> Callable[[Mapping[str, Any]], Callable[[str], Any]]:
    """Return what config.examine() needs to render values. `environ` is what lookup('env', ...) reads."""
    return lambda raw: _Resolver(raw, root, environ).value


class _Resolver:
    def __init__(self, raw: Mapping[str, Any], root: Path, environ: Mapping[str, str]) -> None:
        self.raw = dict(raw) | {"pegasus_root": str(root)}
        self.environ = environ
        self.rendered: dict[str, Any] = {}
        self.in_progress: set[str] = set()

    def value(self, key: str) -> Any:
        """Return the value of a variable.

        :raises LookupError: it is unknown, or can't be rendered here
        """
        if key in self.rendered:
            return self.rendered[key]
        if key not in self.raw or key in self.in_progress:
            raise LookupError(key)
        self.in_progress.add(key)
        try:
            self.rendered[key] = self._value_of(self.raw[key])
        finally:
            self.in_progress.discard(key)
        return self.rendered[key]

    def _value_of(self, value: Any) -> Any:
        if not is_template(value):
            return value
        if isinstance(value, list):
            return [self._value_of(element) for element in value]
        if isinstance(value, dict):
            return {name: self._value_of(element) for name, element in value.items()}
        if isinstance(value, Template):
            raise LookupError(value)
        return self._render(value)

    def _render(self, text: str) -> Any:
        import jinja2

        names = {}
        for name in set(_WORD.findall(text)) & set(self.raw):
            # The template may have a default for a name that can't be rendered.
            with contextlib.suppress(LookupError):
                names[name] = self.value(name)
        try:
            value = self._jinja.from_string(text).render(names)
            if isinstance(value, jinja2.Undefined):
                raise LookupError(text)
            return value
        except (jinja2.TemplateError, ValueError, TypeError, OSError) as error:
            raise LookupError(text) from error

    @cached_property
    def _jinja(self) -> Any:
        import jinja2
        from jinja2.nativetypes import NativeEnvironment

        environment = NativeEnvironment(undefined=jinja2.StrictUndefined)
        environment.globals["lookup"] = self._lookup
        environment.filters["from_json"] = json.loads
        return environment

    def _lookup(self, kind: str, name: str, errors: str = "strict") -> str:
        if kind == "env":
            return self.environ.get(name, "")
        if kind == "file":
            path = Path(name)
            return path.read_text(encoding="utf-8") if errors == "strict" or path.is_file() else ""
        raise ValueError(f"lookup {kind!r} isn't supported here")
