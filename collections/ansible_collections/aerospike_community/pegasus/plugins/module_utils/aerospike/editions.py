# Copyright (c) Pegasus authors. SPDX-License-Identifier: Apache-2.0
"""Which nodes can quiesce, by their editions."""

from __future__ import annotations

from collections.abc import Sequence

from .cluster import QUERY_TIMEOUT, query_all
from .info import edition


def without_quiesce(hosts: Sequence[str], port: int) -> list[str]:
    """Return the nodes that can't quiesce: the Community Edition. Nodes that don't answer aren't among them."""
    editions, _ = query_all(hosts, lambda host: edition(host, port=port, timeout=QUERY_TIMEOUT))
    return [host for host, name in editions.items() if "community" in name.lower()]
