# Copyright (c) Pegasus authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""The features file (licence) of the Enterprise edition: is it valid, for how many nodes. Its content is never shown.

It has lines of a name and a value; `valid-until-date` and `asdb-cluster-nodes-limit` (0: no limit) are what can be
known before anything is launched. A name that isn't there says nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import date
from pathlib import Path

LARGEST = 1_000_000  # bytes


def licence_problems(path: Path, nodes: int | None, today: date) -> Iterator[str]:
    """Say what is wrong with a features file, as "found ..., expected ...".

    :param nodes: size of the cluster; None when it isn't known
    """
    try:
        content = path.read_bytes()[:LARGEST]
    except OSError as error:
        yield f"found no readable file at {path} ({error.strerror}), expected the licence (features.conf)"
        return
    fields = read_fields(content.decode(errors="replace"))
    if not fields.keys() & {"valid-until-date", "feature-key-version", "serial-number"}:
        yield f"found a file without a licence's lines at {path}, expected the licence (features.conf)"
        return
    end = expiry_of(fields.get("valid-until-date", ""))
    if end and end < today:
        yield f"found a licence that was valid until {end}, expected one that is valid today ({today})"
    limit = fields.get("asdb-cluster-nodes-limit", "")
    if nodes is not None and limit.isdecimal() and 0 < int(limit[:9]) < nodes:
        yield f"found a licence for {int(limit[:9])} nodes, expected one for {nodes} (pegasus_cluster_nodes)"


def read_fields(text: str) -> dict[str, str]:
    """The file's names and values; comments and lines of another form are left out."""
    fields: dict[str, str] = {}
    for line in text.splitlines():
        words = line.split("#")[0].split(None, 1)
        if len(words) == 2 and re.fullmatch(r"[a-z][a-z0-9-]*", words[0]):
            fields.setdefault(words[0], words[1].strip())
    return fields


def expiry_of(text: str) -> date | None:
    """The last day of a licence; None where it has none, or says it in a way that isn't known."""
    try:
        return date.fromisoformat(text[:10])
    except ValueError:
        return None
