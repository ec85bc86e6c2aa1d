# Copyright (c) Pegasus authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""The action plugin validate_configuration: the rules of a configuration, with the variables as Ansible merged them."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ansible import context
from ansible.errors import AnsibleError
from ansible.plugins.action import ActionBase
from ansible.template import trust_as_template
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.config import check as configuration
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.config import fixed_values
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.config.schema import load_schema
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.ec2.errors import CONFIGURATION

NEXT_STEP = "Correct what is named and run this again; docs/configuration.md says what each key means."


class ActionModule(ActionBase):
    """Runs on the control machine; connects to nothing but EC2 and the artifact source."""

    TRANSFERS_FILES = False

    def run(self, tmp: Any = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Check, and fail with all mistakes at once."""
        result = super().run(tmp, task_vars)
        _, asked = self.validate_argument_spec(
            {
                "root": {"type": "path", "required": True},
                "launching": {"type": "bool", "default": False},
                "ask": {"type": "str", "choices": ["never", "if_possible", "required"], "default": "never"},
            }
        )
        root = Path(asked["root"])
        variables = task_vars or {}
        named = os.environ.get("PEGASUS_CONFIG", "")
        report = configuration.examine(
            root,
            Path(named).absolute() if named else None,
            configuration.extra_values(_extra_arguments(named), Path.cwd()),
            lambda raw: self._maker(raw, variables),
            schema=load_schema(),
            launching=asked["launching"],
            merged=variables,
        )
        for key in configuration.FILE_ONLY_KEYS:
            self._compare_with_inventory(report, key, variables)
        backend, known = report.values.get("pegasus_backend"), variables.get("pegasus_inventory_backend")
        if backend and known and backend != known:
            report.add(
                "pegasus_backend",
                f"found {backend!r}, but the inventory is that of {known!r}, expected the same: "
                f"run with -i inventories/{backend}, or change it",
            )
        unchecked = []
        if asked["ask"] != "never":
            # EC2's and HTTP's libraries take longer to load than all the rest of the check.
            from ansible_collections.aerospike_community.pegasus.plugins.module_utils.config import preflight

            unchecked = preflight.ask(report, launching=asked["ask"] == "required")
        limit, limit_reason = configuration.most_nodes(report, root)
        result |= {
            "limit": limit,
            "limit_reason": limit_reason,
            "problems": [problem.record() for problem in report.problems],
            "unchecked": [one.text for one in unchecked],
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
        refused = next((one.problem for one in unchecked if one.problem), None)
        if refused and asked["ask"] == "required":
            return result | {
                "failed": True,
                "msg": refused.message,
                "error_class": refused.error_class,
                "next_step": refused.next_step,
            }
        return result | {"changed": False, "warnings": [f"not checked: {one.text}" for one in unchecked]}

    def _maker(self, raw: Mapping[str, Any], variables: Mapping[str, Any]) -> Callable[[str], Any]:
        """Makes values with Ansible's own templating; a role's default counts where nothing else is set."""
        known = {**{key: _trusted(one) for key, one in raw.items()}, **variables}
        templar = self._templar.copy_with_new_env(available_variables=known)

        def value(key: str) -> Any:
            try:
                return templar.template(known[key])
            except AnsibleError as error:
                raise LookupError(key) from error

        return value

    def _compare_with_inventory(self, report: configuration.Report, key: str, variables: Mapping[str, Any]) -> None:
        """The inventory reads the file, plays read the variable: two values would mean two environments."""
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
    """A value of the specifications or of the user's own files: Ansible makes only templates that it may trust."""
    if isinstance(value, str):
        return trust_as_template(str(value))
    if isinstance(value, list):
        return [_trusted(one) for one in value]
    if isinstance(value, dict):
        return {key: _trusted(one) for key, one in value.items()}
    return value


def _extra_arguments(config: str) -> list[str]:
    """What the user gave with -e: without the file of --config, and without what ansible-runner hands over itself."""
    given = [str(one) for one in context.CLIARGS.get("extra_vars", ())]
    own = {f"@{Path(config).absolute()}"} if config else set()
    return [one for one in given if f"@{Path(one[1:]).absolute()}" not in own and not one.endswith("/env/extravars")]
