# Copyright (c) Pegasus authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""The filter perseus_configuration: configuration.yaml's text from plain settings."""

from __future__ import annotations

from typing import Any

from ansible.errors import AnsibleFilterError
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.perseus import configuration as perseus_config

DOCUMENTATION = r"""
name: perseus_configuration
short_description: The text of Perseus's configuration.yaml
description:
  - Checks the settings, reports all problems at once, and renders the file with exactly the names that Perseus knows.
options:
  _input:
    description: Settings by name, as module_utils/perseus_config.py lists them; hosts is required.
    type: dict
    required: true
author:
  - Pegasus developers (@aerospike-community)
"""

EXAMPLES = r"""
content: "{{ {'hosts': ['10.0.0.1'], 'namespace': 'test'} | aerospike_community.pegasus.perseus_configuration }}"
"""

RETURN = r"""
_value:
  description: The file's text.
  type: str
"""


def perseus_configuration(settings: dict[str, Any]) -> str:
    """Return the file's text.

    :raises AnsibleFilterError: the settings can't be given to Perseus
    """
    try:
        return perseus_config.render(perseus_config.settings_from(dict(settings)))
    except perseus_config.PerseusConfigError as error:
        reasons = "; ".join(f"perseus_client_{problem}" for problem in error.problems)
        raise AnsibleFilterError(f"Perseus can't run with these settings: {reasons}") from None


class FilterModule:
    """Ansible's entry point."""

    def filters(self) -> dict[str, Any]:
        """Name the filter."""
        return {"perseus_configuration": perseus_configuration}
