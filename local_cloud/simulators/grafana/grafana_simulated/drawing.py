"""A dashboard's data as simple SVG: runs each panel's queries against the data source and draws lines."""

from __future__ import annotations

import json
import math
import urllib.error
import urllib.parse
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from html import escape
from typing import Any

SPAN = 15 * 60  # seconds that are drawn
STEP = 10  # seconds between two points
TIMEOUT = 10.0  # seconds for one query
WIDTH, HEIGHT = 460, 120  # of a drawing, in pixels
LEGEND_MAX = 8  # series in a legend
COLOURS = ("#1f77b4", "#ff7f0e", "#2ca02c", "#d62728", "#9467bd", "#8c564b", "#e377c2", "#7f7f7f")
# The value of Grafana's variable for the window of a rate.
RATE_INTERVAL = f"{4 * STEP}s"

Series = tuple[str, list[tuple[float, float]]]


def panels(model: dict[str, Any], source: str, now: float, annotations: list[dict[str, Any]]) -> str:
    """All panels as HTML. `source` is Prometheus's address, `now` seconds since 1970."""
    found = [panel for panel in model.get("panels") or [] if isinstance(panel, dict)]
    with ThreadPoolExecutor(4) as pool:
        drawn = pool.map(lambda panel: _panel(panel, model, source, now, annotations), found)
        return "\n".join(drawn)


def _panel(
    panel: dict[str, Any], model: dict[str, Any], source: str, now: float, annotations: list[dict[str, Any]]
) -> str:
    title = escape(str(panel.get("title") or ""))
    if panel.get("type") == "row":
        return f'<h2 class="row">{title}</h2>'
    series: list[Series] = []
    for target in panel.get("targets") or []:
        try:
            series += _query(
                _replaced(str(target.get("expr") or ""), model), str(target.get("legendFormat")), source, now
            )
        except (OSError, ValueError, KeyError) as error:
            return f'<div class="panel"><h3>{title}</h3><p>can\'t be queried: {escape(str(error))}</p></div>'
    unit = str(panel.get("fieldConfig", {}).get("defaults", {}).get("unit") or "")
    if panel.get("type") == "stat":
        last = next((points[-1][1] for _, points in series if points), math.nan)
        return f'<div class="stat"><h3>{title}</h3><b>{_number(last, unit)}</b></div>'
    return f'<div class="panel"><h3>{title}</h3>{_lines(series, unit, now, annotations)}</div>'


def _replaced(query: str, model: dict[str, Any]) -> str:
    for item in model.get("templating", {}).get("list") or []:
        query = query.replace(f"${item.get('name')}", str(item.get("allValue") or ".*"))
    return query.replace("$__rate_interval", RATE_INTERVAL)


def _query(query: str, legend: str, source: str, now: float) -> list[Series]:
    parameters = {"query": query, "start": f"{now - SPAN:.0f}", "end": f"{now:.0f}", "step": str(STEP)}
    url = f"{source.rstrip('/')}/api/v1/query_range?{urllib.parse.urlencode(parameters)}"
    with urllib.request.urlopen(url, timeout=TIMEOUT) as answer:
        result = json.load(answer)["data"]["result"]
    return [
        (
            _legend(legend, item["metric"]),
            [(at, float(value)) for at, value in item["values"] if math.isfinite(float(value))],
        )
        for item in result
    ]


def _legend(form: str, labels: dict[str, str]) -> str:
    if form == "__auto":
        return ", ".join(labels.values())
    for name, value in labels.items():
        form = form.replace(f"{{{{{name}}}}}", value)
    return form


def _lines(series: list[Series], unit: str, now: float, annotations: list[dict[str, Any]]) -> str:
    """The series on one scale from 0, with actions as vertical strips."""
    top = max((value for _, points in series for _, value in points), default=0.0) or 1.0

    def x(at: float) -> float:
        return (at - now + SPAN) / SPAN * WIDTH

    parts = [
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" width="100%"><rect width="{WIDTH}" height="{HEIGHT}" fill="#f6f6f6"/>'
    ]
    for item in annotations:
        left, right = max(0.0, x(item["time"] / 1000)), x(item["timeEnd"] / 1000)
        if right > 0:
            parts.append(
                f'<rect x="{left:.1f}" width="{max(1.5, right - left):.1f}" height="{HEIGHT}" fill="#d9c3f0"/>'
            )
    for number, (_, points) in enumerate(series):
        line = " ".join(f"{x(at):.1f},{HEIGHT - 2 - max(0.0, value) / top * (HEIGHT - 14):.1f}" for at, value in points)
        colour = COLOURS[number % len(COLOURS)]
        parts.append(f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="1.5"/>')
    parts.append(
        f'<text x="3" y="10" font-size="10" fill="#666">{escape(_number(top, unit))}</text></svg><p class="legend">'
    )
    for number, (name, points) in enumerate(series[:LEGEND_MAX]):
        last = _number(points[-1][1] if points else math.nan, unit)
        parts.append(f'<span style="color:{COLOURS[number % len(COLOURS)]}">{escape(name)} {escape(last)}</span>')
    more = len(series) - LEGEND_MAX
    parts.append((f"<span>and {more} more</span>" if more > 0 else "") + ("" if series else "no data") + "</p>")
    return " ".join(parts)


def _number(value: float, unit: str) -> str:
    """A value for readers; `unit` is one of Grafana's names."""
    if not math.isfinite(value):
        return "no data"
    if unit == "percentunit":
        return f"{value * 100:.1f} %"
    for size, name in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= size * 10:
            value, unit = value / size, f"{name} {unit}"
            break
    shown = {"short": "", "ops": "/s", "Bps": "B/s", "bytes": "B", "percent": "%"}
    prefix, _, base = unit.rpartition(" ")
    return f"{value:,.4g} {prefix}{shown.get(base, base)}".strip()
