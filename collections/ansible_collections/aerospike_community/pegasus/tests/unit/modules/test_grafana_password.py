"""Grafana's password: checked at a server that answers as Grafana, and set by Grafana's program over stdin."""

from __future__ import annotations

import base64
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from ansible_collections.aerospike_community.pegasus.plugins.modules import grafana_password
from ansible_collections.aerospike_community.pegasus.plugins.modules.grafana_password import (
    PasswordError,
    is_right,
    reset,
)


class Grafana:
    """Accepts one login. ``failures``: number of HTTP 503 before the first valid answer."""

    def __init__(self) -> None:
        self.login, self.failures, self.requests, grafana = "admin:old", 0, 0, self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                grafana.requests += 1
                given = base64.b64decode(self.headers["Authorization"].split()[1]).decode()
                grafana.failures -= 1
                self.send_response(503 if grafana.failures >= 0 else 200 if given == grafana.login else 401)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:
                """Log nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.server.serve_forever)
        self.thread.start()
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def end(self) -> None:
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


@pytest.fixture
def grafana(monkeypatch: pytest.MonkeyPatch) -> Iterator[Grafana]:
    monkeypatch.setattr(grafana_password, "POLL_SECONDS", 0.01)
    running = Grafana()
    yield running
    running.end()


class Module:
    """Runs ``program`` with standard input in place of Grafana's program."""

    def __init__(self, grafana: Grafana, program: Any) -> None:
        self.params = {"url": grafana.url, "user": "admin", "password": "n:ew", "timeout": 5}
        self.program, self.commands = program, []

    def get_bin_path(self, name: str, **_: Any) -> str:
        return f"/usr/sbin/{name}"

    def run_command(self, command: list[str], data: str) -> tuple[int, str, str]:
        self.commands.append(command)
        return self.program(data)


def test_a_valid_password_is_kept_and_another_one_is_set(grafana: Grafana) -> None:
    def program(data: str) -> tuple[int, str, str]:
        grafana.login = f"admin:{data}"
        return 0, "Admin password changed successfully", ""

    module = Module(grafana, program)
    assert is_right({**module.params, "password": "old"}) and grafana.requests == 1
    assert not is_right(module.params)
    reset(module)
    assert is_right(module.params)
    assert module.commands == [["runuser", "-u", "grafana", "--", "/usr/sbin/grafana-cli", "admin",
                                "reset-admin-password", "--password-from-stdin"]]  # fmt: skip


def test_grafana_is_waited_for(grafana: Grafana) -> None:
    grafana.failures = 3
    assert is_right({"url": grafana.url, "user": "admin", "password": "old", "timeout": 5})
    with pytest.raises(PasswordError, match=r"expected an answer of Grafana, found: .*refused"):
        is_right({"url": "http://127.0.0.1:9", "user": "admin", "password": "old", "timeout": 0})


@pytest.mark.parametrize(
    ("answer", "why"),
    [((1, "", "noise\nNew password is too short"), "exited with 1: New password is too short"),
     ((0, "", ""), "Grafana refuses the user admin although")],
)  # fmt: skip
def test_a_failure_is_reported_without_the_password(grafana: Grafana, answer: tuple[int, str, str], why: str) -> None:
    with pytest.raises(PasswordError, match=why) as caught:
        reset(Module(grafana, lambda data: answer))
    assert "n:ew" not in str(caught.value)
