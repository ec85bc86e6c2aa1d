# Copyright (c) Pegasus authors. SPDX-License-Identifier: Apache-2.0
"""Options that the modules aerospike_gate, aerospike_recount and chaos_node share (doc_fragments/nodes.py)."""

from __future__ import annotations

from typing import Any

NODES: dict[str, dict[str, Any]] = {
    "cluster": {"type": "list", "elements": "dict", "required": True},
    "targets": {"type": "list", "elements": "str", "required": True},
    "port": {"type": "int", "default": 3000},
    # Of the action plugin, between the slices of a wait (plugin_utils/waits.py).
    "resume": {"type": "dict", "default": {}},
}
