# Copyright (c) Pegasus authors. SPDX-License-Identifier: Apache-2.0
"""The part of a wait for other hosts that one call of a module does (plugin_utils/awaited.py calls it). Pure.

Such a module has the options ``timeout`` (seconds for the whole wait) and ``resume``. If a slice isn't enough, it
returns ``waiting`` (waiting.py) instead of failing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .waiting import SLICE_SECONDS

# In a module's ``resume``: look once and don't wait. The result is success, ``waiting``, or a failure of this host.
LOOK = "look"
# In a module's ``resume``: the seconds since the first call.
WAITED = "waited"


@dataclass(frozen=True)
class Slice:
    """``seconds``: of this call. ``last``: it fails if they aren't enough. ``waited``: seconds since the first call."""

    seconds: float
    last: bool
    waited: float = 0.0

    @classmethod
    def of(cls, timeout: float, resume: Mapping[str, Any] | None) -> Slice:
        """Return the slice of a call, from the module's options."""
        waited = float((resume or {}).get(WAITED, 0.0))
        left = max(0.0, timeout - waited)
        if (resume or {}).get(LOOK):
            return cls(0.0, last=False, waited=waited)
        return cls(min(SLICE_SECONDS, left), last=left <= SLICE_SECONDS, waited=waited)
