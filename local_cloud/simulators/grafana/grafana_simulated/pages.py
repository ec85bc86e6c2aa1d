"""The two pages: the provisioned objects, and one dashboard."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from typing import Any

from . import NOTICE
from .provisioning import Dashboard, DataSource

_HEAD = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>{title} (SIMULATED Grafana)</title><style>
body {{ font: 15px/1.5 sans-serif; max-width: 60em; margin: 0 auto; padding: 0 1em 3em; color: #222; background: #fff }}
.banner {{ background: #b00020; color: #fff; padding: .8em 1em; margin: 1em 0; font-weight: bold }}
table {{ border-collapse: collapse; width: 100% }}
td, th {{ text-align: left; padding: .3em .8em .3em 0; border-bottom: 1px solid #ddd; vertical-align: top }}
code {{ font-size: 13px; word-break: break-word }}
.panel {{ display: inline-block; width: 48%; margin: 0 1% 0 0; vertical-align: top }}
.stat {{ display: inline-block; width: 15%; margin: 0 1% 0 0; vertical-align: top }}
.stat b {{ font-size: 24px }} h3 {{ font-size: 13px; margin: .6em 0 .2em }} h2.row {{ margin: 1em 0 0 }}
.legend {{ font-size: 11px; margin: 0 }} .legend span {{ margin-right: 1em; white-space: nowrap }}
</style></head><body>
<div class="banner">{notice}. This page lists what was provisioned, with simple charts.</div>
"""


def overview(version: str, sources: list[DataSource], dashboards: list[Dashboard], annotations: int) -> str:
    """The page at /."""
    parts = [_HEAD.format(title="Provisioned", notice=NOTICE), f"<h1>Grafana {escape(version)} (SIMULATED)</h1>"]
    parts.append("<h2>Data sources</h2>")
    parts.append(
        _table(
            ("Name", "Type", "Address", "uid"),
            ((source.name, source.type, source.url, source.uid) for source in sources),
        )
    )
    parts.append("<h2>Dashboards</h2><table><tr><th>Folder</th><th>Title</th><th>uid</th><th>File</th></tr>")
    for item in dashboards:
        link = f'<a href="{escape(item.url)}">{escape(item.title)}</a>'
        cells = (escape(item.folder or "General"), link, escape(item.uid), escape(item.file))
        parts.append("<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>")
    parts.append(f"</table><p>{len(dashboards)} dashboards, {annotations} annotations.</p></body></html>\n")
    return "\n".join(parts)


def dashboard(item: Dashboard, drawn: str) -> str:
    """The page at /d/<uid>: the data as `drawn`, then the panels and their queries."""
    rows = ((title, kind, query) for title, kind, query in _queries(item.model))
    return "\n".join(
        (
            _HEAD.format(title=escape(item.title), notice=NOTICE),
            f'<p><a href="/">All dashboards</a></p><h1>{escape(item.title)}</h1>',
            drawn,
            "<h2>Queries</h2>",
            _table(("Panel", "Type", "Query"), rows),
            "</body></html>\n",
        )
    )


def _queries(model: dict[str, Any]) -> Iterator[tuple[str, str, str]]:
    """Title, type and queries of each panel; rows hold panels of their own."""
    for panel in model.get("panels") or []:
        if not isinstance(panel, dict):
            continue
        targets = [target for target in panel.get("targets") or [] if isinstance(target, dict)]
        queries = "; ".join(str(target.get("expr") or target.get("query") or "") for target in targets)
        yield str(panel.get("title") or ""), str(panel.get("type") or ""), queries
        yield from _queries(panel)


def _table(titles: tuple[str, ...], rows: Any) -> str:
    head = "".join(f"<th>{escape(title)}</th>" for title in titles)
    body = "\n".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<table><tr>{head}</tr>\n{body}</table>"
