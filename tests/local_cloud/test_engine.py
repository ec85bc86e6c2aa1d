"""Connecting to the container engine: each cause of a failure has its own message."""

from __future__ import annotations

import os
import socket

import pytest

from local_cloud import LocalCloudError
from local_cloud.engine import connect
from local_cloud.settings import Settings


def problem(tmp_path):
    with pytest.raises(LocalCloudError) as caught:
        connect(Settings(tmp_path), timeout=5)
    assert caught.value.next_step
    return caught.value.message


def test_no_socket(tmp_path, monkeypatch):
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/none.sock")
    assert "no container engine found" in problem(tmp_path)


def test_a_socket_without_a_listener(tmp_path, monkeypatch):
    path = tmp_path / "dead.sock"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    monkeypatch.setenv("DOCKER_HOST", f"unix://{path}")
    assert "no container engine answers" in problem(tmp_path)


def test_a_file_in_place_of_the_socket(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/file")
    assert "isn't a socket" in problem(tmp_path)


def test_no_permission(tmp_path, monkeypatch):
    path = tmp_path / "other.sock"
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(path))
        monkeypatch.setenv("DOCKER_HOST", f"unix://{path}")
        # A mode wouldn't stop root.
        monkeypatch.setattr(os, "access", lambda *_: False)
        assert "no permission" in problem(tmp_path)


def test_an_engine_on_another_machine(tmp_path, monkeypatch):
    monkeypatch.setenv("DOCKER_HOST", "ssh://build.example")
    assert "on this machine" in problem(tmp_path)
