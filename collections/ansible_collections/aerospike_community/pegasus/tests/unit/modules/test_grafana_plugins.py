"""Grafana plugins: what is unpacked, what is refused, and how a version replaces another one."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path

import pytest
from ansible_collections.aerospike_community.pegasus.plugins.modules.grafana_plugins import (
    ArchiveError,
    unpack,
    version_of,
)

NAME = "grafana-polystat-panel"


def archive(**files: str) -> bytes:
    """A .zip as from Grafana's site."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as target:
        for name, text in files.items():
            entry = zipfile.ZipInfo(name)
            entry.external_attr = (0o100755 if name.endswith("_linux_amd64") else 0o100600) << 16
            target.writestr(entry, text)
    return stream.getvalue()


def plugin(version: str, **more: str) -> bytes:
    return archive(**{f"{NAME}/plugin.json": json.dumps({"id": NAME, "info": {"version": version}}), **more})


def test_a_plugin_has_exactly_the_files_of_its_archive(tmp_path: Path) -> None:
    assert version_of(tmp_path / NAME) == ""
    unpack(plugin("2.1.14", **{f"{NAME}/MANIFEST.txt": "signed", f"{NAME}/gpx_linux_amd64": "x"}), NAME, tmp_path)
    assert version_of(tmp_path / NAME) == "2.1.14"
    found = {
        str(path.relative_to(tmp_path)): path.stat().st_mode & 0o777 for path in tmp_path.rglob("*") if path.is_file()
    }
    assert found == {
        f"{NAME}/plugin.json": 0o644, f"{NAME}/MANIFEST.txt": 0o644, f"{NAME}/gpx_linux_amd64": 0o755,
    }  # fmt: skip


def test_another_version_replaces_it(tmp_path: Path) -> None:
    unpack(plugin("1.0", **{f"{NAME}/old.js": ""}), NAME, tmp_path)
    unpack(plugin("2.0"), NAME, tmp_path)
    assert version_of(tmp_path / NAME) == "2.0"
    assert not (tmp_path / NAME / "old.js").exists()


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"no archive", "can't be unpacked"),
        (plugin("2.0", **{"other/x.js": ""}), "expected everything in the folder"),
        (archive(**{f"{NAME}/x.js": ""}), "expected .*plugin.json"),
        (archive(**{f"{NAME}/../../x.js": ""}), "expected .*plugin.json"),
    ],
)
def test_an_invalid_archive_leaves_the_installed_plugin(tmp_path: Path, content: bytes, why: str) -> None:
    folder = tmp_path / "plugins"
    folder.mkdir()
    unpack(plugin("1.0"), NAME, folder)
    with pytest.raises(ArchiveError, match=why):
        unpack(content, NAME, folder)
    assert version_of(folder / NAME) == "1.0"
    assert [path.name for path in tmp_path.iterdir()] == ["plugins"] and [p.name for p in folder.iterdir()] == [NAME]
