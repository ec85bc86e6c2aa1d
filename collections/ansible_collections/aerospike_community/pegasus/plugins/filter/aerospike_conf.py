# Copyright (c) Pegasus authors. SPDX-License-Identifier: Apache-2.0
"""The filter aerospike_conf renders aerospike.conf from settings."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ansible.errors import AnsibleFilterError

from ..module_utils.aerospike.conf import build, render
from ..module_utils.aerospike.settings import ConfError, Settings

DOCUMENTATION = r"""
name: aerospike_conf
short_description: Render aerospike.conf from settings
description:
  - Renders the configuration of an Aerospike server, 6.4 to 8.1. Refuses combinations that no server accepts.
author: Pegasus authors
options:
  _input:
    description: The settings, with the names of the fields of C(module_utils/aerospike/settings.py), C(Settings).
    type: dict
    required: true
"""

EXAMPLES = r"""
- name: Show a configuration
  ansible.builtin.debug:
    msg: "{{ settings | aerospike_community.pegasus.aerospike_conf }}"
  vars:
    settings: {version: 8.0.0.4, edition: community, cluster_name: one, namespace: Test, data_size: 1G}
"""

RETURN = r"""
_value:
  description: The text of aerospike.conf.
  type: str
"""


def aerospike_conf(values: Mapping[str, Any]) -> str:
    """Return the text of aerospike.conf for settings."""
    try:
        return render(build(Settings.read(values)))
    except ConfError as error:
        raise AnsibleFilterError(f"aerospike.conf can't be rendered: {error}") from error


class FilterModule:
    """Ansible's entry point."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filters by name."""
        return {"aerospike_conf": aerospike_conf}
