"""Kernel settings: set, verified, refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.host import kernel_settings


def test_check_mode_reports_what_the_kernel_would_refuse(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "swappiness").write_text("60\n")
    assert kernel_settings.apply({"swappiness": "0"}, tmp_path, write=False).changed
    monkeypatch.setattr(kernel_settings.os, "access", lambda *_: False)
    outcome = kernel_settings.apply({"swappiness": "0"}, tmp_path, write=False)
    assert outcome.changed == []
    assert outcome.refused == [f"{tmp_path}/swappiness: expected 0, found 60 (read-only)"]


def test_kernel_settings_are_set_verified_and_refusals_reported(tmp_path: Path) -> None:
    (tmp_path / "vm").mkdir()
    (tmp_path / "vm/swappiness").write_text("60\n")
    (tmp_path / "range").write_text("32768\t60999\n")
    (tmp_path / "thp").write_text("always [madvise] never\n")
    settings = {"vm/swappiness": "0", "range": "32768 60999", "thp": "never", "absent": "1"}
    assert kernel_settings.apply(settings, tmp_path, write=False).changed == [
        f"{tmp_path}/vm/swappiness: 60 -> 0",
        f"{tmp_path}/thp: madvise -> never",
    ]
    outcome = kernel_settings.apply(settings, tmp_path)
    assert outcome.changed == [f"{tmp_path}/vm/swappiness: 60 -> 0", f"{tmp_path}/thp: madvise -> never"]
    assert outcome.refused == [f"{tmp_path}/absent: expected 1, found nothing (No such file or directory)"]


def test_a_refusing_kernel_is_no_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "swappiness").write_text("60\n")

    def refuse(*_: Any, **__: Any) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(Path, "write_text", refuse)
    outcome = kernel_settings.apply({"swappiness": "0"}, tmp_path)
    assert outcome.changed == []
    assert outcome.refused == [f"{tmp_path}/swappiness: expected 0, found 60 (Read-only file system)"]
