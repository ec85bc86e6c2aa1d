# Copyright (c) Pegasus authors. SPDX-License-Identifier: Apache-2.0
"""Grafana dashboards as JSON, built from a short description of each panel. Pure functions.

Which dashboards exist, and what they show, is in dashboards.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

DATASOURCE_UID = "pegasus-prometheus"
DATASOURCE = {"type": "prometheus", "uid": DATASOURCE_UID}
GRID_WIDTH = 24  # set by Grafana
SCHEMA_VERSION = 39  # Grafana 11 and 12 read it, newer versions migrate it


@dataclass(frozen=True)
class Panel:
    """A panel: its title, its queries by legend, and Grafana's unit."""

    title: str
    queries: dict[str, str]
    unit: str = "short"
    kind: str = "timeseries"  # timeseries, stat or row
    width: int = 12
    height: int = 8
    stack: bool = False
    decimals: int | None = None
    description: str = ""
    interval: str = ""  # shortest step of the queries; "" for that of the data source


def row(title: str) -> Panel:
    """Return a heading for the panels that follow."""
    return Panel(title, {}, kind="row", width=GRID_WIDTH, height=1)


def stat(title: str, query: str, description: str = "", unit: str = "short") -> Panel:
    """Return a single large number. Six of them fill a line of the grid."""
    return Panel(title, {"": query}, unit, "stat", 4, 4, description=description)


def dashboard(uid: str, title: str, panels: Sequence[Panel]) -> dict[str, Any]:
    """Return a dashboard that has the panels from left to right, and a selection of namespaces, nodes and clients."""
    placed, x, y, height = [], 0, 0, 0
    for number, panel in enumerate(panels, start=1):
        if x + panel.width > GRID_WIDTH:
            x, y, height = 0, y + height, 0
        placed.append(_panel(panel, number, {"x": x, "y": y, "w": panel.width, "h": panel.height}))
        x, height = x + panel.width, max(height, panel.height)
    return {
        "uid": uid,
        "title": title,
        "tags": ["pegasus"],
        "timezone": "browser",
        "schemaVersion": SCHEMA_VERSION,
        "editable": True,
        "graphTooltip": 1,
        "refresh": "5s",
        "time": {"from": "now-15m", "to": "now"},
        "annotations": {"list": [_actions(), _alerts()]},
        "templating": {
            "list": [
                _variable("namespace", "Namespace", "label_values(aerospike_namespace_objects, ns)"),
                _variable("client", "Client", "label_values(perseus_up, instance)"),
                _variable("node", "Server node", "label_values(aerospike_node_stats_uptime, instance)"),
            ]
        },
        "panels": placed,
    }


def _actions() -> dict[str, Any]:
    """Pegasus actions, which the callback plugin annotations posts."""
    return {
        "name": "Pegasus actions",
        "datasource": {"type": "grafana", "uid": "-- Grafana --"},
        "enable": True,
        "iconColor": "purple",
        "target": {"type": "tags", "tags": ["pegasus"], "matchAny": False, "limit": 200},
    }


def _alerts() -> dict[str, Any]:
    """Firing alerts of Prometheus."""
    return {
        "name": "Alerts",
        "datasource": DATASOURCE,
        "enable": True,
        "iconColor": "red",
        "expr": 'ALERTS{alertstate="firing"}',
        "step": "10s",
        "titleFormat": "{{alertname}}",
        "textFormat": "{{instance}} {{workload}}",
    }


def _variable(name: str, label: str, query: str) -> dict[str, Any]:
    """A selection at the top of a dashboard. Everything is selected by default."""
    return {
        "name": name,
        "label": label,
        "type": "query",
        "datasource": DATASOURCE,
        "definition": query,
        "query": {"query": query, "refId": name},
        "refresh": 2,
        "sort": 1,
        "multi": True,
        "includeAll": True,
        "allValue": ".*",
        "current": {"selected": True, "text": ["All"], "value": ["$__all"]},
    }


def _panel(panel: Panel, number: int, position: dict[str, int]) -> dict[str, Any]:
    """A panel in Grafana's JSON."""
    if panel.kind == "row":
        row_fields = {"collapsed": False, "gridPos": position, "panels": []}
        return {"id": number, "type": "row", "title": panel.title, **row_fields}
    defaults: dict[str, Any] = {"unit": panel.unit, "min": 0}
    if panel.decimals is not None:
        defaults["decimals"] = panel.decimals
    if panel.kind == "timeseries":
        defaults["custom"] = {
            "lineWidth": 1,
            "fillOpacity": 20 if panel.stack else 5,
            "showPoints": "never",
            "stacking": {"mode": "normal" if panel.stack else "none", "group": "A"},
        }
        options: dict[str, Any] = {
            "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True},
            "tooltip": {"mode": "multi", "sort": "desc"},
        }
    else:
        options = {"reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False}, "colorMode": "value"}
    return {
        "id": number,
        "type": panel.kind,
        "title": panel.title,
        "description": panel.description,
        "datasource": DATASOURCE,
        "gridPos": position,
        "fieldConfig": {"defaults": defaults, "overrides": []},
        "options": options,
        "targets": [
            {
                "refId": chr(ord("A") + index),
                "datasource": DATASOURCE,
                "expr": query,
                "legendFormat": legend or "__auto",
                **({"interval": panel.interval} if panel.interval else {}),
            }
            for index, (legend, query) in enumerate(panel.queries.items())
        ],
    }
