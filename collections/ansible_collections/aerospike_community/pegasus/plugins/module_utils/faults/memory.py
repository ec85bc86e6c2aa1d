# Copyright (c) Pegasus authors. SPDX-License-Identifier: Apache-2.0
"""What this host remembers of its stopped node: the count of the records when it went down.

If the node is removed later, the records of the other nodes are compared with that count. A reboot ends the memory.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

STORE = Path("/run/pegasus/faults/stopped.json")


def remember(before: Mapping[str, Any]) -> None:
    """Store the count of the records, before the node goes down."""
    STORE.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    STORE.write_text(json.dumps(before), encoding="utf-8")


def recall() -> dict[str, Any]:
    """Return the count of the records when the node went down, {} if it is unknown."""
    try:
        found = json.loads(STORE.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def forget() -> None:
    """Remove the stored count: the node is running again."""
    STORE.unlink(missing_ok=True)
