# Copyright (c) Pegasus authors. SPDX-License-Identifier: Apache-2.0
"""Parts of an environment report as text. The driver's view and the text for a run without it show them alike. Pure.

Units: **operations/s** are Perseus's, in which a batch counts once. **records/s** count each record of a batch, as the
servers do.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

GIB = 1024**3


def load_text(client: Mapping[str, Any]) -> str:
    """A client's load: ``11,946 operations/s (98,187 records/s), 5 threads (read 4, batchWrite 1)``, "" if unknown."""
    operations = client.get("operations_per_second")
    if operations is None:  # it wasn't checked
        return ""
    records = client.get("records_per_second") or 0.0
    threads, refused = client.get("threads") or {}, client.get("refused") or []
    running = {name: count for name, count in threads.items() if count and name not in refused}
    each = f" ({', '.join(f'{name} {count}' for name, count in running.items())})" if running else ""
    total = sum(running.values())
    parts = [
        f"{operations:,.0f} operations/s ({records:,.0f} records/s)",
        f"{total} thread{'' if total == 1 else 's'}{each}",
        *(f"{name} {threads.get(name)} refused by the servers" for name in refused),
    ]
    if client.get("ready", True):
        return ", ".join(parts)
    # Perseus counts failed operations too, so its figures are only a claim.
    wants, claims = f"wants {', '.join(parts[1:])}", f"claims {parts[0]}"
    known = [*([wants] if threads else []), *([claims] if operations else [])]
    return "NOT READY" + (f": {'; '.join(known)}" if known else "")


def answers_text(servers: Mapping[str, Any]) -> str:
    """What the servers counted for all clients: ``98,020 records/s answered, 0 failed``, "" if it wasn't measured."""
    if "answered_records_per_second" not in servers:
        return ""
    answered, failed = (servers[f"{outcome}_records_per_second"] for outcome in ("answered", "failed"))
    return f"{answered:,.0f} records/s answered, {failed:,.0f} records/s failed"


def database_rows(nodes: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    """A table of the databases with its header, [] without any. The objects include replicas."""
    rows = [
        [
            str(node.get("name", "")),
            str(database.get("version", "")),
            _count(database.get("objects")),
            data_text(database),
            _percent(database.get("data_avail_pct")),
            _percent(database.get("memory_used_pct")),
            _count(database.get("migrations")),
        ]
        for node in nodes
        if (database := node.get("database"))
    ]
    return [["node", "version", "objects", "data used", "avail", "memory", "migrations"], *rows] if rows else []


def data_text(database: Mapping[str, Any]) -> str:
    """How full a node is: ``62 % of 6.0 GiB``."""
    used, total = database.get("data_used_pct"), database.get("data_total_bytes")
    if used is None or not total:
        return ""
    return f"{used} % of {total / GIB:,.1f} GiB"


def _count(value: int | None) -> str:
    return "" if value is None else f"{value:,}"


def _percent(value: int | None) -> str:
    return "" if value is None else f"{value} %"
