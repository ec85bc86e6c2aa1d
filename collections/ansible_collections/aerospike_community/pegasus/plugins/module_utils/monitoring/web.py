# Copyright (c) Pegasus authors. SPDX-License-Identifier: Apache-2.0
"""HTTP of the modules: queries of Prometheus and Grafana, and downloads, which not every artifact source has."""

from __future__ import annotations

import base64
from http.client import HTTPException
from urllib.error import HTTPError

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.urls import fetch_url, open_url

QUERY_TIMEOUT = 5.0  # seconds
REFUSED = (401, 403)
ABSENT = (403, 404, 410)


class RefusedError(OSError):
    """The service refuses the user."""


class ArchiveError(Exception):
    """The archive can't be downloaded or is invalid."""


def login(user: str, password: str) -> dict[str, str]:
    """Return the headers that log a user in."""
    return {"Authorization": "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()}


def query(url: str, headers: dict[str, str]) -> bytes:
    """Return a service's answer. Raises RefusedError, or OSError if there is no answer or another error."""
    try:
        with open_url(url, headers=headers, timeout=QUERY_TIMEOUT, use_proxy=False, http_agent="pegasus") as answer:
            return answer.read()
    except HTTPError as error:
        kind = RefusedError if error.code in REFUSED else OSError
        raise kind(f"HTTP {error.code} {error.reason}") from error
    except (HTTPException, OSError) as error:
        raise OSError(str(getattr(error, "reason", error))) from error


def download(module: AnsibleModule, url: str, timeout: int) -> bytes | None:
    """Return an archive, or None if the site doesn't have it. Raises ArchiveError for another answer, or none."""
    answer, info = fetch_url(module, url, timeout=timeout)
    if info["status"] in ABSENT:
        return None
    if answer is None or info["status"] != 200:
        raise ArchiveError(f"expected an archive, found: {info.get('msg')} (HTTP {info['status']})")
    return answer.read()
