# Copyright (c) Pegasus authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""Archives for Grafana that a site may have or not: dashboards, plugins."""

from __future__ import annotations

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.urls import fetch_url

ABSENT = (403, 404, 410)


class ArchiveError(Exception):
    """The archive can't be had, or isn't one."""


def download(module: AnsibleModule, url: str, timeout: int) -> bytes | None:
    """Return the archive at an address; nothing where the site doesn't have it.

    :raises ArchiveError: the site doesn't answer as one
    """
    answer, info = fetch_url(module, url, timeout=timeout)
    if info["status"] in ABSENT:
        return None
    if answer is None or info["status"] != 200:
        raise ArchiveError(f"expected an archive, found: {info.get('msg')} (HTTP {info['status']})")
    return answer.read()
