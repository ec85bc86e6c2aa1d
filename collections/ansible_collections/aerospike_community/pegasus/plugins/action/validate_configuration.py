# Copyright (c) Pegasus authors. SPDX-License-Identifier: Apache-2.0
"""Check a configuration with the variables as Ansible merges them."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ansible import context
from ansible.errors import AnsibleError
from ansible.plugins.action import ActionBase
from ansible.template import trust_as_template

from ..module_utils.config import check, fixed_values
from ..module_utils.config.extra_vars import extra_values
from ..module_utils.config.key_rules import FILE_ONLY
from ..module_utils.config.local_files import most_nodes
from ..module_utils.config.report import Report
from ..module_utils.config.schema import load_schema
from ..module_utils.ec2.errors import CONFIGURATION

NEXT_STEP = "Correct the mistakes and run the command again. docs/configuration.md describes each key."

RUNNER_FILE = "/env/extravars"


class ActionModule(ActionBase):
    """Runs on the control machine; connects only to EC2 and the artifact source."""

    TRANSFERS_FILES = False

    def run(self, tmp: Any = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Check the configuration; fail with all mistakes at once."""
        result = super().run(tmp, task_vars)
        _, arguments = self.validate_argument_spec(
            {
                "root": {"type": "path", "required": True},
                "launching": {"type": "bool", "default": False},
                "remote": {"type": "str", "choices": ["never", "if_possible", "required"], "default": "never"},
            }
        )
        root = Path(arguments["root"])
        variables = task_vars or {}
        named = os.environ.get("PEGASUS_CONFIG", "")
        schema = load_schema()
        report = check.examine(
            root,
            Path(named).absolute() if named else None,
            extra_values(_extra_arguments(named), Path.cwd()),
            lambda raw: self._resolver(raw, variables),
            schema=schema,
            launching=arguments["launching"],
            merged=variables,
        )
        for key in (key for key, option in schema.items() if option.rule.scope == FILE_ONLY):
            self._compare_with_inventory(report, key, variables)
        backend, known = report.values.get("pegasus_backend"), variables.get("pegasus_inventory_backend")
        if backend and known and backend != known:
            report.add(
                "pegasus_backend",
                f"found {backend!r}, but the inventory is for {known!r}, expected the same: "
                f"run with -i inventories/{backend}, or change the key",
            )
        unchecked = []
        if arguments["remote"] != "never":
            # boto3 and urllib take longer to import than the rest of the check.
            from ..module_utils.config import preflight

            unchecked = preflight.check_remote(report, launching=arguments["remote"] == "required")
        limit, limit_reason = most_nodes(report, root)
        result |= {
            "limit": limit,
            "limit_reason": limit_reason,
            "problems": [problem.record() for problem in report.problems],
            "unchecked": [rule.text for rule in unchecked],
            "fixed": fixed_values.tag_value(report.values),
        }
        if report.problems:
            lines = [problem.text for problem in report.problems]
            return result | {
                "failed": True,
                "msg": "\n".join([f"the configuration has {len(lines)} mistake{'s' * (len(lines) != 1)}:", *lines]),
                "error_class": CONFIGURATION,
                "next_step": NEXT_STEP,
            }
        refused = next((rule.problem for rule in unchecked if rule.problem), None)
        if refused and arguments["remote"] == "required":
            return result | {
                "failed": True,
                "msg": refused.message,
                "error_class": refused.error_class,
                "next_step": refused.next_step,
            }
        return result | {"changed": False, "warnings": [f"not checked: {rule.text}" for rule in unchecked]}

    def _resolver(self, raw: Mapping[str, Any], variables: Mapping[str, Any]) -> Callable[[str], Any]:
        """Render values with Ansible's templating. A role's default applies if nothing else is set."""
        known = {**{key: _trusted(default) for key, default in raw.items()}, **variables}
        templar = self._templar.copy_with_new_env(available_variables=known)

        def value(key: str) -> Any:
            try:
                return templar.template(known[key])
            except AnsibleError as error:
                raise LookupError(key) from error

        return value

    def _compare_with_inventory(self, report: Report, key: str, variables: Mapping[str, Any]) -> None:
        """Refuse a play's value that differs from the file's: the inventory would select another environment."""
        file = report.files[-1]
        if key not in file.values or key not in variables or any(problem.key == key for problem in report.problems):
            return
        value = self._templar.template(variables[key])
        if value != file.values[key]:
            report.add(
                key,
                f"found {value!r} in the play and {file.values[key]!r} in the file that the inventory reads, expected "
                f"the same: run with -e @{file.path}, or unset PEGASUS_CONFIG",
            )


def _trusted(value: Any) -> Any:
    """Mark a value of the specifications or of the user's files as trusted: Ansible renders no other templates."""
    if isinstance(value, str):
        return trust_as_template(str(value))
    if isinstance(value, list):
        return [_trusted(element) for element in value]
    if isinstance(value, dict):
        return {key: _trusted(element) for key, element in value.items()}
    return value


def _extra_arguments(config: str) -> list[str]:
    """Return the user's -e arguments, without the file from --config and the file that ansible-runner adds."""
    given = [str(value) for value in context.CLIARGS.get("extra_vars", ())]
    own = {f"@{Path(config).absolute()}"} if config else set()
    return [value for value in given if f"@{Path(value[1:]).absolute()}" not in own and not value.endswith(RUNNER_FILE)]
