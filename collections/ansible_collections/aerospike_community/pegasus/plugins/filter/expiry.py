# Copyright (c) Pegasus authors. SPDX-License-Identifier: Apache-2.0
"""The filter expiry_files: the timer that powers an instance off at its expiry."""

from __future__ import annotations

from typing import Any

from ansible.errors import AnsibleFilterError

from ..module_utils.ec2 import expiry

DOCUMENTATION = r"""
name: expiry_files
short_description: Build the units of the timer that powers an instance off
description:
  - The timer, its service and a metric, as files for the module M(aerospike_community.pegasus.host_service).
options:
  _input:
    description: The value of the tag C(pegasus:expires), a time or C(never).
    type: str
    required: true
author: Pegasus authors
"""

EXAMPLES = r"""
files: "{{ '2026-01-31T12:00:00Z' | aerospike_community.pegasus.expiry_files }}"
"""

RETURN = r"""
_value:
  description: The files with path and content.
  type: list
  elements: dict
"""


def expiry_files(expires: str) -> list[dict[str, str]]:
    """Build the files.

    :raises AnsibleFilterError: `expires` is neither a time nor `never`
    """
    try:
        return expiry.expiry_files(expires)
    except ValueError as error:
        raise AnsibleFilterError(f"{expires!r} isn't an expiry; expected 2026-01-31T12:00:00Z or never") from error


class FilterModule:
    """Ansible's entry point."""

    def filters(self) -> dict[str, Any]:
        """The filters by name."""
        return {"expiry_files": expiry_files}
