# Copyright (c) Pegasus authors. SPDX-License-Identifier: Apache-2.0
"""Filters of the role perseus_client: Perseus's configuration, Java's heap, Pegasus's own programs for a client."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleFilterError

from .. import module_utils
from ..module_utils.perseus import configuration

PACKAGE = "ansible_collections/aerospike_community/pegasus/plugins/module_utils"
EXPORTER = ("perseus/exporter", "perseus/meter", "perseus/rows", "perseus/threads")
LIVE_LOAD = ("perseus/live_load", "host/file_replacement")  # also needs two modules of EXPORTER
PREFLIGHT = ("perseus/preflight", "perseus/configuration", "aerospike/cluster", "aerospike/info")

_SIZE = re.compile(r"[1-9][0-9]*[kmgKMG]")
_SHARE = re.compile(r"([1-9][0-9]?)%")


def perseus_configuration(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the content of configuration.yaml, with the names that Perseus knows.

    :param settings: values by the names of ``PerseusSettings``; ``hosts`` is required
    :raises AnsibleFilterError: Perseus can't run with the settings; the message lists all problems
    """
    try:
        return configuration.configuration(configuration.settings_from(dict(settings)))
    except configuration.PerseusConfigError as error:
        reasons = "; ".join(f"perseus_client_{problem}" for problem in error.problems)
        raise AnsibleFilterError(f"Perseus can't run with these settings: {reasons}") from None


def java_heap(heap: Any) -> str:
    """Return Java's option for a heap: a size (``6g``), or a share of the host's memory (``50%``).

    :raises AnsibleFilterError: the value is neither
    """
    text = str(heap)
    if _SIZE.fullmatch(text):
        return f"-Xmx{text}"
    share = _SHARE.fullmatch(text)
    if share:
        return f"-XX:MaxRAMPercentage={share[1]}"
    raise AnsibleFilterError(
        f"perseus_client_heap: found {heap!r}; expected a size (6g, 800m) or a share of the host's memory (50%)"
    )


def perseus_programs(folder: str) -> list[dict[str, Any]]:
    """Return the modules of the exporter, the preflight and copy-threads as files of host_service.

    A change of the exporter's modules restarts it. The other programs run on demand.
    :param folder: the parent directory on the host
    """
    source = Path(next(iter(module_utils.__path__)))
    return [
        {
            "path": f"{folder}/{PACKAGE}/{name}.py",
            "content": (source / f"{name}.py").read_text(encoding="utf-8"),
            "effect": "restart" if name in EXPORTER else "none",
        }
        for name in (*EXPORTER, *LIVE_LOAD, *PREFLIGHT)
    ]


class FilterModule:
    """Ansible's entry point."""

    def filters(self) -> dict[str, Any]:
        """Return the filters by name."""
        return {
            "java_heap": java_heap,
            "perseus_configuration": perseus_configuration,
            "perseus_programs": perseus_programs,
        }
