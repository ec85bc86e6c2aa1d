"""aerospike_ready: when a node is ready, and the message if it isn't."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.aerospike_community.pegasus.plugins.filter.aerospike_conf import aerospike_conf
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.aerospike import info as info_protocol
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.aerospike.info import InfoError
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.host.systemd import Systemd
from ansible_collections.aerospike_community.pegasus.plugins.modules import aerospike_ready as subject

STABLE = "cluster-stable:size=3;ignore-migrations=true"
READY = {
    STABLE: "5DD6A2F1A0E9",
    "node": "BB9",
    "build": "8.0.0.4",
    "edition": "Aerospike Enterprise Edition SIMULATED",
    "cluster-name": "Benchmark",
    "namespaces": "Test",
    "statistics": "cluster_size=3;uptime=7",
    "best-practices": "failed_best_practices=swappiness,somaxconn",
    "namespace/Test": "objects=12;effective_replication_factor=2;nsup_period=false",
}


class Service:
    """A host's systemctl and journalctl."""

    def __init__(self, active: str = "active", log: str = "INFO up") -> None:
        self.active, self.log = active, log

    def __call__(self, command: list[str], **_: Any) -> tuple[int, str, str]:
        if command[0] == "journalctl":
            return 0, self.log, ""
        return (
            0,
            f"LoadState=loaded\nActiveState={self.active}\nSubState={self.active}\nResult=exit-code\nExecMainStatus=1",
            "",
        )


def answer_with(monkeypatch: pytest.MonkeyPatch, *answers: dict[str, str] | Exception) -> None:
    """Return these answers in turn, and the last one from then on."""
    turns = list(answers)

    def info(host: str, *commands: str, port: int = 3000, timeout: float = 3.0) -> dict[str, str]:
        turn = turns.pop(0) if len(turns) > 1 and STABLE in commands else turns[0]
        if isinstance(turn, Exception):
            raise turn
        return {command: turn.get(command, "ERROR:4:unrecognized command") for command in commands}

    monkeypatch.setattr(subject, "info", info)
    monkeypatch.setattr(info_protocol, "info", info)
    monkeypatch.setattr(subject, "POLL_SECONDS", 0.01)


PARAMS = {"host": "127.0.0.1", "port": 3000, "size": 3, "service": "aerospike"}


def node() -> subject.Node:
    return subject.Node("127.0.0.1", 3000, 3, "Test")


def test_the_state_of_a_ready_node(monkeypatch: pytest.MonkeyPatch) -> None:
    answer_with(monkeypatch, READY)
    assert node().query() == {
        "node_id": "BB9",
        "cluster_key": "5DD6A2F1A0E9",
        "cluster_size": 3,
        "cluster_name": "Benchmark",
        "build": "8.0.0.4",
        "edition": "Aerospike Enterprise Edition SIMULATED",
        "uptime": 7,
        "namespace": {"objects": 12, "effective_replication_factor": 2},
        "bad_practices": ["swappiness", "somaxconn"],
    }


def test_no_violated_best_practices() -> None:
    assert subject.bad_practices("failed_best_practices=none") == []
    assert subject.bad_practices("ERROR:4:unrecognized command") == []


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {STABLE: "ERROR::cluster-not-specified-size", "statistics": "cluster_size=2"},
            "this node sees a cluster of 2",
        ),
        ({STABLE: "ERROR::unstable-cluster"}, "found ERROR::unstable-cluster"),
        ({"namespaces": "bar;baz"}, "expected namespace Test, found bar, baz"),
        ({"statistics": "cluster_size=1"}, "this node counts a cluster of 1"),
    ],
)
def test_a_node_is_not_ready(monkeypatch: pytest.MonkeyPatch, changes: dict[str, str], message: str) -> None:
    answer_with(monkeypatch, {**READY, **changes})
    with pytest.raises(subject.NotReadyError, match=message):
        node().query()


def test_it_waits_until_the_node_is_ready(monkeypatch: pytest.MonkeyPatch) -> None:
    answer_with(monkeypatch, InfoError("refused"), {**READY, STABLE: "ERROR::unstable-cluster"}, READY)
    report, _ = subject.wait(node(), Systemd(Service()), "aerospike", 20)
    assert report is not None and report["cluster_key"] == "5DD6A2F1A0E9"


def test_the_wait_has_a_timeout(monkeypatch: pytest.MonkeyPatch) -> None:
    answer_with(monkeypatch, InfoError("127.0.0.1:3000 does not answer: refused"))
    assert subject.wait(node(), Systemd(Service()), "aerospike", 0.1) == (
        None,
        "found 127.0.0.1:3000 does not answer: refused",
    )


def test_a_failed_service_ends_the_wait_and_its_critical_line_comes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    answer_with(monkeypatch, InfoError("127.0.0.1:3000 does not answer: refused"))
    systemd = Systemd(Service("failed", "INFO a\nCRITICAL (config): line 34 :: unknown config parameter name\nINFO b"))
    report, finding = subject.wait(node(), systemd, "aerospike", 600)
    assert report is None and "service aerospike is failed" in finding
    result = subject.failure({**PARAMS, "config": "/nowhere", "timeout": 600}, systemd, finding)
    assert (result["service_state"], result["error_class"]) == ("failed", "readiness")
    text, lines = result["msg"], result["journal"]
    assert text.splitlines()[0] == lines[0] == "CRITICAL (config): line 34 :: unknown config parameter name"
    assert "expected a stable cluster of 3 within 600 seconds, found 127.0.0.1:3000 does not answer" in text


OLD_PORTS = "3000 (service), 3001 (fabric), 3002 (heartbeat), 3003 (info)"
OWN = {"network": {"fabric": {"port": None, "tls-port": 4001}}}


@pytest.mark.parametrize(
    ("version", "extra", "ports"),
    [
        ("6.4.0.34", {}, OLD_PORTS),
        ("8.0.0.15", {}, OLD_PORTS),
        ("8.1.0.3", {}, "3000 (service), 3001 (fabric), 3002 (heartbeat), 3008 (admin)"),
        ("8.1.0.3", OWN, "3000 (service), 3002 (heartbeat), 4001 (fabric), 3008 (admin)"),
        ("", {}, "3000 (service), 3001 (fabric), 3002 (heartbeat)"),
    ],
)
def test_a_failure_names_the_ports_of_the_configuration(
    tmp_path: Path, version: str, extra: dict[str, Any], ports: str
) -> None:
    conf = tmp_path / "aerospike.conf"
    if version:
        settings = {"version": version, "edition": "community", "cluster_name": "c", "namespace": "Test"}
        conf.write_text(aerospike_conf({**settings, "data_size": "1G", "extra": extra}))
    result = subject.failure({**PARAMS, "config": str(conf), "timeout": 1.0}, Systemd(Service()), "found nothing")
    named = result["msg"].partition("whether ports ")[2].removesuffix(" are open between the nodes")
    assert sorted(named.split(", ")) == sorted(ports.split(", "))


def test_documentation_is_yaml_with_every_option() -> None:
    options = yaml.safe_load(subject.DOCUMENTATION)["options"]
    assert set(options) == {"host", "port", "size", "namespace", "service", "config", "timeout"}
