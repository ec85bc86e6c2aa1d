# Copyright (c) Pegasus authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""Downloads of dashboards and plugins for Grafana, which not every artifact source has."""

from __future__ import annotations

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.urls import fetch_url

ABSENT = (403, 404, 410)


class ArchiveError(Exception):
    """The archive can't be downloaded or is invalid."""


def download(module: AnsibleModule, url: str, timeout: int) -> bytes | None:
    """Return the archive at a URL, or None if the site doesn't have it.

    :raises ArchiveError: the site doesn't answer, or answers an error
    """
    answer, info = fetch_url(module, url, timeout=timeout)
    if info["status"] in ABSENT:
        return None
    if answer is None or info["status"] != 200:
        raise ArchiveError(f"expected an archive, found: {info.get('msg')} (HTTP {info['status']})")
    return answer.read()
