"""Makes the values of the presets' templates without Ansible, whose import alone takes longer than a check may.

It knows what Pegasus's own presets and wiring use: `lookup` of env and file, the filters default and from_json. What
it can't make is left to the first play of the playbook, which has Ansible's own templating; nothing is guessed.
Templates that users write aren't made here.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ansible_collections.aerospike_community.pegasus.plugins.module_utils.config.schema import Template, is_template

_WORD = re.compile(r"[A-Za-z_]\w*")


def resolver(root: Path, environ: Mapping[str, str]) -> Callable[[Mapping[str, Any]], Callable[[str], Any]]:
    """What configuration.examine() takes. root: the project's folder; environ: what lookup('env', ...) reads."""
    return lambda raw: _Resolver(raw, root, environ).value


class _Resolver:
    def __init__(self, raw: Mapping[str, Any], root: Path, environ: Mapping[str, str]) -> None:
        self.raw = dict(raw) | {"pegasus_root": str(root)}
        self.environ = environ
        self.made: dict[str, Any] = {}
        self.at_work: set[str] = set()
        self._environment: Any = None

    def value(self, key: str) -> Any:
        """The value of a variable. Raises LookupError when it is unknown, or can't be made here."""
        if key in self.made:
            return self.made[key]
        if key not in self.raw or key in self.at_work:
            raise LookupError(key)
        self.at_work.add(key)
        try:
            self.made[key] = self._make(self.raw[key])
        finally:
            self.at_work.discard(key)
        return self.made[key]

    def _make(self, value: Any) -> Any:
        if not is_template(value):
            return value
        if isinstance(value, list):
            return [self._make(element) for element in value]
        if isinstance(value, dict):
            return {name: self._make(element) for name, element in value.items()}
        if isinstance(value, Template):
            raise LookupError(value)
        return self._render(value)

    def _render(self, text: str) -> Any:
        import jinja2

        names = {}
        for name in set(_WORD.findall(text)) & set(self.raw):
            # A name that can't be made may still have a default in the template.
            try:
                names[name] = self.value(name)
            except LookupError:
                continue
        try:
            made = self._jinja().from_string(text).render(names)
            if isinstance(made, jinja2.Undefined):
                raise LookupError(text)
            return made
        except (jinja2.TemplateError, ValueError, TypeError, OSError) as error:
            raise LookupError(text) from error

    def _jinja(self) -> Any:
        if self._environment is None:
            import jinja2
            from jinja2.nativetypes import NativeEnvironment

            self._environment = NativeEnvironment(undefined=jinja2.StrictUndefined)
            self._environment.globals["lookup"] = self._lookup
            self._environment.filters["from_json"] = json.loads
        return self._environment

    def _lookup(self, kind: str, name: str, errors: str = "strict") -> str:
        if kind == "env":
            return self.environ.get(name, "")
        if kind == "file":
            path = Path(name)
            return path.read_text(encoding="utf-8") if errors == "strict" or path.is_file() else ""
        raise ValueError(f"lookup {kind!r} isn't known here")
