# Copyright (c) Pegasus authors. SPDX-License-Identifier: Apache-2.0
"""The licence (features file) of the Enterprise Edition: whether it is valid, and for how many nodes.

Each line is a name and a value. Before a launch, only `valid-until-date` (2026-12-31) and `asdb-cluster-nodes-limit` (a
whole number, 0: no limit) matter. Messages show no other value, because the file is a secret. A missing name is
fine. A malformed value is a problem, because the server would refuse the file.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import date
from pathlib import Path

MAX_BYTES = 1_000_000
MAX_SHOWN = 32  # characters of a value
EXPIRY, LIMIT = "valid-until-date", "asdb-cluster-nodes-limit"


def licence_problems(path: Path, nodes: int | None, today: date) -> Iterator[str]:
    """Yield a features file's problems as "found ..., expected ...". ``nodes``: size of the cluster, if known."""
    try:
        fields = _fields_of(path)
    except OSError as error:
        yield f"found no readable file at {path} ({error.strerror}), expected the licence (features.conf)"
        return
    if not fields.keys() & {EXPIRY, "feature-key-version", "serial-number"}:
        yield f"found a file without a licence's lines at {path}, expected the licence (features.conf)"
        return
    last_day = expiry_of(fields.get(EXPIRY, ""))
    if last_day is None and EXPIRY in fields:
        yield _unreadable(path, EXPIRY, fields, "a day as in 2026-12-31")
    if last_day and last_day < today:
        yield f"found a licence that was valid until {last_day}, expected one that is valid today ({today})"
    limit = limit_of(fields.get(LIMIT, ""))
    if limit is None and LIMIT in fields:
        yield _unreadable(path, LIMIT, fields, "a whole number, 0 for no limit")
    if nodes is not None and limit and limit < nodes:
        yield f"found a licence for {limit} nodes, expected one for {nodes} (pegasus_cluster_nodes)"


def node_limit(path: Path) -> int:
    """Return how many nodes a features file allows; 0 if it has no limit or can't be read."""
    try:
        return limit_of(_fields_of(path).get(LIMIT, "")) or 0
    except OSError:
        return 0


def _unreadable(path: Path, name: str, fields: dict[str, str], expected: str) -> str:
    # Show only the first word of a damaged line: the rest may be part of the secret.
    value = fields[name].split(None, 1)[0][:MAX_SHOWN] if fields[name] else ""
    return (
        f"found the {name} {value!r} in {path}, expected {expected}: the server would refuse the file or read it "
        f"differently; copy it again from its issuer, or request a new file there"
    )


def _fields_of(path: Path) -> dict[str, str]:
    """Return the file's names and values (empty if a line has none), without comments and malformed lines."""
    fields: dict[str, str] = {}
    for line in path.read_bytes()[:MAX_BYTES].decode(errors="replace").splitlines():
        words = line.split("#")[0].split(None, 1)
        if words and re.fullmatch(r"[a-z][a-z0-9-]*", words[0]):
            fields.setdefault(words[0], words[1].strip() if len(words) == 2 else "")
    return fields


def expiry_of(text: str) -> date | None:
    """Return the last day of a licence, None if it has none or in an unknown format."""
    try:
        return date.fromisoformat(text[:10])
    except ValueError:
        return None


def limit_of(text: str) -> int | None:
    """Return the number of nodes, None if it isn't a whole number."""
    return int(text[:9]) if text.isdecimal() else None
