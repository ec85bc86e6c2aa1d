# Copyright (c) Pegasus authors. SPDX-License-Identifier: Apache-2.0
"""Render the templates of a host's files on the control machine, then run the module host_service once on the host.

The template of a file without content is in the role's folder ``templates``, under the file's path on the host:
``templates/etc/prometheus/prometheus.yml.j2`` renders ``/etc/prometheus/prometheus.yml``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.module_utils.parsing.convert_bool import boolean
from ansible.plugins.action import ActionBase
from ansible.template import trust_as_template

# Without a date, so that a second run changes nothing.
MANAGED = "Managed by Pegasus: the next setup overwrites changes in this file"


class ActionModule(ActionBase):
    """Replace ``template`` and ``secret`` of each file by its content."""

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Render, then run the module of the same name."""
        super().run(tmp, task_vars)
        arguments = dict(self._task.args)
        variables = {"ansible_managed": MANAGED, **(task_vars or {})}
        arguments["files"] = [self.with_content(file, variables) for file in arguments.get("files") or []]
        return self._execute_module(module_args=arguments, task_vars=task_vars)

    def with_content(self, file: Any, variables: dict[str, Any]) -> Any:
        """Return a file with its content. A file that is removed, has content or is malformed stays unchanged."""
        if not isinstance(file, dict) or file.get("state") == "absent":
            return file
        given = [name for name in ("content", "secret_content", "template") if file.get(name) is not None]
        if len(given) > 1:
            raise AnsibleActionFail(f"{file.get('path')}: found {' and '.join(given)}; expected only one of them")
        if given in (["content"], ["secret_content"]):
            return file
        name = str(file.get("template") or f"{str(file.get('path')).lstrip('/')}.j2")
        source = self._find_needle("templates", name)
        text = trust_as_template(self._loader.get_text_file_contents(source))
        templar = self._templar.copy_with_new_env(searchpath=[str(Path(source).parent)], available_variables=variables)
        kept = {key: value for key, value in file.items() if key not in ("template", "secret")}
        option = "secret_content" if boolean(file.get("secret", False)) else "content"
        return {**kept, option: templar.template(text, escape_backslashes=False)}
