# Copyright (c) Pegasus authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""The features file (licence) of the Enterprise edition: is it valid, for how many nodes. Its content is never shown.

It has lines of a name and a value; `valid-until-date` (2026-12-31) and `asdb-cluster-nodes-limit` (a whole number, 0:
no limit) are what can be known before anything is launched, and the only values that are ever shown. A name that isn't
there says nothing; a value of another form is told, because the server would be the next to find it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import date
from pathlib import Path

LARGEST = 1_000_000  # bytes
SHOWN = 32  # characters of a value
EXPIRY, LIMIT = "valid-until-date", "asdb-cluster-nodes-limit"


def licence_problems(path: Path, nodes: int | None, today: date) -> Iterator[str]:
    """Say what is wrong with a features file, as "found ..., expected ...".

    :param nodes: size of the cluster; None when it isn't known
    """
    try:
        fields = _fields_of(path)
    except OSError as error:
        yield f"found no readable file at {path} ({error.strerror}), expected the licence (features.conf)"
        return
    if not fields.keys() & {EXPIRY, "feature-key-version", "serial-number"}:
        yield f"found a file without a licence's lines at {path}, expected the licence (features.conf)"
        return
    end = expiry_of(fields.get(EXPIRY, ""))
    if end is None and EXPIRY in fields:
        yield _unreadable(path, EXPIRY, fields, "a day as in 2026-12-31")
    if end and end < today:
        yield f"found a licence that was valid until {end}, expected one that is valid today ({today})"
    limit = limit_of(fields.get(LIMIT, ""))
    if limit is None and LIMIT in fields:
        yield _unreadable(path, LIMIT, fields, "a whole number, 0 for no limit")
    if nodes is not None and limit and limit < nodes:
        yield f"found a licence for {limit} nodes, expected one for {nodes} (pegasus_cluster_nodes)"


def node_limit(path: Path) -> int:
    """How many nodes a features file allows; 0 where it has no limit, or none that can be read (see above)."""
    try:
        return limit_of(_fields_of(path).get(LIMIT, "")) or 0
    except OSError:
        return 0


def _fields_of(path: Path) -> dict[str, str]:
    return read_fields(path.read_bytes()[:LARGEST].decode(errors="replace"))


def _unreadable(path: Path, name: str, fields: dict[str, str], expected: str) -> str:
    # Of a damaged line no more than what stands in the value's place: what follows may be anything.
    value = fields[name].split(None, 1)[0][:SHOWN] if fields[name] else ""
    return (
        f"found the {name} {value!r} in {path}, expected {expected}: the server would refuse the file or judge it "
        f"otherwise; copy it anew from where it was issued, or ask there for another"
    )


def read_fields(text: str) -> dict[str, str]:
    """The file's names and values (empty for a name alone); comments and lines of another form are left out."""
    fields: dict[str, str] = {}
    for line in text.splitlines():
        words = line.split("#")[0].split(None, 1)
        if words and re.fullmatch(r"[a-z][a-z0-9-]*", words[0]):
            fields.setdefault(words[0], words[1].strip() if len(words) == 2 else "")
    return fields


def expiry_of(text: str) -> date | None:
    """The last day of a licence; None where it has none, or says it in a way that isn't known."""
    try:
        return date.fromisoformat(text[:10])
    except ValueError:
        return None


def limit_of(text: str) -> int | None:
    """The number of nodes; None where it isn't a whole number."""
    return int(text[:9]) if text.isdecimal() else None
