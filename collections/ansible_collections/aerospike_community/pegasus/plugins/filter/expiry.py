# Copyright (c) Pegasus authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""The filter expiry_files: the units of the timer that ends an instance's life."""

from __future__ import annotations

from typing import Any

from ansible.errors import AnsibleFilterError
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.ec2 import expiry

DOCUMENTATION = r"""
name: expiry_files
short_description: The units of the timer that ends an instance's life
description:
  - Files for the module M(aerospike_community.pegasus.host_service).
options:
  _input:
    description: The end as it stands in the tag C(pegasus:expires), C(never) included.
    type: str
    required: true
author:
  - Pegasus developers (@aerospike-community)
"""

EXAMPLES = r"""
files: "{{ '2026-01-31T12:00:00Z' | aerospike_community.pegasus.expiry_files }}"
"""

RETURN = r"""
_value:
  description: Files with path and content.
  type: list
  elements: dict
"""


def expiry_files(expires: str) -> list[dict[str, str]]:
    """Return the files.

    :raises AnsibleFilterError: it isn't a time
    """
    try:
        return expiry.expiry_files(expires)
    except ValueError as error:
        raise AnsibleFilterError(f"{expires!r} isn't an end; expected 2026-01-31T12:00:00Z or never") from error


class FilterModule:
    """Ansible's entry point."""

    def filters(self) -> dict[str, Any]:
        """Name the filter."""
        return {"expiry_files": expiry_files}
