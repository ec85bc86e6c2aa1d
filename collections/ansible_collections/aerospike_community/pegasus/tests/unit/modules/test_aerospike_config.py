"""aerospike_config: what it writes, what it applies to a running server, and when a restart is due."""

from __future__ import annotations

import os
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.aerospike.info import InfoError
from ansible_collections.aerospike_community.pegasus.plugins.modules import aerospike_config as subject

OLD = "service {\n    cluster-name c\n    query-max-done 100\n}\n"
DYNAMIC = OLD.replace("100", "50")
STATIC = OLD.replace("cluster-name c", "cluster-name d")


class Server:
    """The server's service, and the commands that it received."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, path: Path) -> None:
        self.path, self.active, self.started = path, "active", time.time() - 100
        self.commands: list[str] = []
        self.refuses = False

        def info_value(_host: str, command: str, *, port: int) -> str:
            if self.refuses:
                raise InfoError("it answers with ERROR:4:invalid set-config parameter")
            self.commands.append(command)
            return "ok"

        monkeypatch.setattr(subject, "info_value", info_value)

    def have(self, text: str, age: float = 200) -> None:
        """Write the current file, `age` seconds ago."""
        self.path.write_text(text)
        os.utime(self.path, (time.time() - age, time.time() - age))

    def run(self, command: list[str], **_: Any) -> tuple[int, str, str]:
        moment = time.strftime("Tue %Y-%m-%d %H:%M:%S UTC", time.gmtime(self.started))
        sub = "running" if self.active == "active" else "dead"
        return 0, f"LoadState=loaded\nActiveState={self.active}\nSubState={sub}\nExecMainStartTimestamp={moment}\n", ""

    def call(self, content: str, check: bool = False) -> dict[str, Any]:
        params = {"path": str(self.path), "content": content, "version": "8.0.0.15", "service": "aerospike",
                  "host": "127.0.0.1", "port": 3000}  # fmt: skip
        module = SimpleNamespace(
            params=params,
            check_mode=check,
            run_command=self.run,
            atomic_move=lambda a, b: os.replace(a, b),  # noqa: PTH105
        )
        return subject.Configuration(module).run()  # type: ignore[arg-type]


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Server:
    return Server(monkeypatch, tmp_path / "aerospike.conf")


def test_a_stopped_server_gets_its_first_file(server: Server) -> None:
    server.active = "inactive"
    result = server.call(OLD)
    assert result["changes"] == [f"wrote {server.path}"] and result["restart"] == []
    assert server.path.read_text() == OLD and server.path.stat().st_mode & 0o777 == 0o644


def test_sizes_are_reported(server: Server) -> None:
    server.active = "inactive"
    memory = "namespace T {\n storage-engine memory {\n data-size 9G\n }\n}\n"
    assert server.call(OLD + memory)["changes"][1:] == ["namespace T.storage-engine.data-size: 9G"]
    flash = "index-type flash {\n mount /a\n mounts-budget 19G\n }\n"
    disk = f"namespace T {{\n {flash} storage-engine device {{\n device /dev/a\n device /dev/b\n }}\n}}\n"
    assert server.call(OLD + disk)["changes"][1:] == [
        "namespace T.index-type.mounts-budget: 19G",
        "namespace T.storage-engine.device: 2 partitions",
    ]


def test_the_same_file_changes_nothing(server: Server) -> None:
    server.have(OLD)
    assert server.call(OLD) == {"changed": False, "changes": [], "restart": [], "diff": []}


def test_a_dynamic_difference_is_applied_and_needs_no_restart_later(server: Server) -> None:
    server.have(OLD)
    result = server.call(DYNAMIC)
    assert result["changes"] == ["service.query-max-done: 100 -> 50 (applied without a restart)"]
    assert result["restart"] == [] and server.commands == ["set-config:context=service;query-max-done=50"]
    assert server.path.read_text() == DYNAMIC
    assert server.call(DYNAMIC)["restart"] == []


def test_a_static_difference_delays_all_until_the_restart(server: Server) -> None:
    server.have(OLD)
    result = server.call(STATIC.replace("100", "50"))
    assert result["restart"] == ["service.cluster-name: c -> d"] and server.commands == []
    assert all(line.endswith("(a restart is due, node by node)") for line in result["changes"])


def test_a_missed_restart_is_still_due(server: Server) -> None:
    server.have(STATIC, age=50)
    result = server.call(STATIC)
    assert result["restart"] == [f"{server.path} was written after the server's start"]
    assert not result["changed"]
    # Until then, nothing is applied: the server has not read the file that the difference is based on.
    assert server.call(STATIC.replace("100", "50"))["restart"] and server.commands == []


def test_check_mode_reports_the_changes_and_makes_none(server: Server) -> None:
    server.have(OLD)
    result = server.call(DYNAMIC, check=True)
    assert result["changes"] == ["service.query-max-done: 100 -> 50 (applied without a restart)"]
    assert server.call(STATIC, check=True)["restart"] == ["service.cluster-name: c -> d"]
    assert server.path.read_text() == OLD and server.commands == []


def test_a_refusal_makes_the_next_run_restart(server: Server) -> None:
    server.have(OLD)
    server.refuses = True
    with pytest.raises(InfoError):
        server.call(DYNAMIC)
    server.refuses = False
    assert server.call(DYNAMIC)["restart"]


def test_a_broken_file_is_replaced_and_needs_a_restart(server: Server) -> None:
    server.have("service {\n")
    assert "service.cluster-name: nothing -> c" in server.call(OLD)["restart"]
    assert server.path.read_text() == OLD


def test_comments_need_no_restart(server: Server) -> None:
    server.have(OLD)
    result = server.call(f"# new\n{OLD}")
    assert result["changes"] == [f"wrote {server.path}: comments only"] and result["restart"] == []
    assert server.call(f"# new\n{OLD}")["restart"] == []
