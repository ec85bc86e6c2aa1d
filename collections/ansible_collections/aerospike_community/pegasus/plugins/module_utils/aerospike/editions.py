# Copyright (c) Pegasus authors. SPDX-License-Identifier: Apache-2.0
"""The edition that a node runs, and which nodes can quiesce."""

from __future__ import annotations

from collections.abc import Sequence

from .cluster import QUERY_TIMEOUT, query_all
from .info import info, info_value, is_error, parse_pairs


def edition(host: str, port: int) -> str:
    """Return the edition: ``Aerospike Community Edition``. Raises InfoError if the node doesn't answer."""
    # 8.1.2 warns in its log about `edition`; older releases don't know `release`.
    release = info(host, "release", port=port, timeout=QUERY_TIMEOUT).get("release", "")
    known = "" if is_error(release) else parse_pairs(release).get("edition", "")
    return known or info_value(host, "edition", port=port, timeout=QUERY_TIMEOUT)


def without_quiesce(hosts: Sequence[str], port: int) -> list[str]:
    """Return the nodes that can't quiesce: the Community Edition. Nodes that don't answer aren't among them."""
    editions, _ = query_all(hosts, lambda host: edition(host, port))
    return [host for host, name in editions.items() if "community" in name.lower()]
