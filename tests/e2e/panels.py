"""The queries of a dashboard's panels, as Grafana sends them to Prometheus."""

from __future__ import annotations

import json
import math
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from typing import Any

# Values for Grafana's variables: all choices, and a rate over at least four scrapes.
RATE_INTERVAL = "40s"
SUBSTITUTES = {"$__rate_interval": RATE_INTERVAL, "$__interval": "10s", "$__range": "15m"}


def queries_of(dashboard: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield title and query of each panel, with the variables replaced, including the panels of rows."""
    chosen = {f"${item['name']}": item.get("allValue") or ".*" for item in dashboard["templating"]["list"]}
    for panel in dashboard["panels"]:
        for target in panel.get("targets", []):
            query = target["expr"]
            for name, value in {**SUBSTITUTES, **chosen}.items():
                query = query.replace(name, value)
            assert "$" not in query, f"{panel['title']}: expected no unknown variable, found {query}"
            yield panel["title"], query
        yield from queries_of({"templating": dashboard["templating"], "panels": panel.get("panels", [])})


def samples_of(prometheus: str, query: str) -> list[dict[str, Any]]:
    """Return the current samples of a query."""
    url = f"{prometheus}/api/v1/query?" + urllib.parse.urlencode({"query": query})
    with urllib.request.urlopen(url, timeout=20) as answer:
        return json.load(answer)["data"]["result"]


def without_data(prometheus: str, dashboard: dict[str, Any]) -> list[str]:
    """Return the queries that Prometheus refuses, or that return no number."""
    empty = []
    for title, query in queries_of(dashboard):
        try:
            found = samples_of(prometheus, query)
        except urllib.error.HTTPError as error:
            empty.append(f"{title}: {error.read().decode()[:300]}: {query}")
            continue
        if not any(math.isfinite(float(sample["value"][1])) for sample in found):
            empty.append(f"{title}: {found[:1]}: {query}")
    return empty
