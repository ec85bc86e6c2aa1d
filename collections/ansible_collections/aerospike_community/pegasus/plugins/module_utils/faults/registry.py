# Copyright (c) Pegasus authors. SPDX-License-Identifier: Apache-2.0
"""All faults. The module chaos_node takes their names as its actions."""

from __future__ import annotations

from .contract import Fault
from .drain import Drain
from .kill import Kill
from .restart import Restart
from .stop import Stop

FAULTS: dict[str, type[Fault]] = {fault.name: fault for fault in (Stop, Kill, Restart, Drain)}
