"""Dashboards from an archive: which files are extracted, and how they replace those of an earlier archive."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path

import pytest
from ansible_collections.aerospike_community.pegasus.plugins.modules.grafana_archive import (
    ArchiveError,
    dashboards_in,
    names_in,
    replace,
    stamp_of,
)

INSIDE = "config/grafana/dashboards"
BOARD = json.dumps({"title": "Node", "panels": [
    {"datasource": {"uid": "${DS_AEROSPIKE_PROMETHEUS}"}, "targets": [{"datasource": {"uid": "${DS_EXPRESSION}"}}]},
]})  # fmt: skip


def archive(**files: str) -> bytes:
    """A .tar.gz as from a git host, with one top folder."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as tar:
        for name, text in files.items():
            entry = tarfile.TarInfo(f"stack-1.0/{name}")
            entry.size = len(text)
            tar.addfile(entry, io.BytesIO(text.encode()))
    return stream.getvalue()


def extract(content: bytes) -> dict[str, str]:
    return dashboards_in(content, INSIDE, "${DS_AEROSPIKE_PROMETHEUS}", "pegasus-prometheus")


def test_dashboards_are_extracted_with_their_data_source() -> None:
    found = extract(archive(**{f"{INSIDE}/node.json": BOARD, f"{INSIDE}/more/x.json": BOARD, "other/y.json": BOARD,
                            f"{INSIDE}/readme.md": "text", f"{INSIDE}/../../../etc/z.json": BOARD}))  # fmt: skip
    assert sorted(found) == ["more/x.json", "node.json"]
    (panel,) = json.loads(found["node.json"])["panels"]
    assert panel["datasource"]["uid"] == "pegasus-prometheus"
    assert panel["targets"][0]["datasource"]["uid"] == "__expr__", "Grafana's expressions"


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"not an archive", "can't be read"),
        (archive(**{f"{INSIDE}/node.json": "{"}), "can't be read"),
        (archive(**{"elsewhere/node.json": BOARD}), "found none"),
    ],
)
def test_an_invalid_archive_is_refused(content: bytes, why: str) -> None:
    with pytest.raises(ArchiveError, match=why):
        extract(content)


def test_a_new_archive_replaces_the_old_one(tmp_path: Path) -> None:
    folder = tmp_path / "aerospike"
    assert (stamp_of(folder), names_in(folder)) == ("", [])
    replace(folder, {"a.json": "{}", "more/b.json": "{}"}, "http://site/1")
    assert (stamp_of(folder), names_in(folder)) == ("http://site/1", ["a.json", "more/b.json"])
    replace(folder, {"c.json": "{}"}, "http://site/2")
    assert (stamp_of(folder), names_in(folder)) == ("http://site/2", ["c.json"])
