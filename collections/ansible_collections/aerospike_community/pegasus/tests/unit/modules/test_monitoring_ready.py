"""Targets and dashboards as data, and monitoring_ready against an HTTP server of the test."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from ansible.module_utils.testing import patch_module_args
from ansible_collections.aerospike_community.pegasus.plugins.filter.monitoring import grafana_dashboard
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.host.systemd import Systemd
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.monitoring import (
    dashboards as grafana_dashboards,
)
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.monitoring.panels import DATASOURCE_UID
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.monitoring.targets import (
    read_targets,
    target_groups,
    targets_of,
    targets_problem,
)
from ansible_collections.aerospike_community.pegasus.plugins.modules.monitoring_ready import (
    Monitoring,
    NotYetError,
    main,
    reached_at,
    why_down,
)

HOSTS = [
    {"name": "Benchmark-1", "kind": "server", "index": 1, "address": "10.0.0.1", "state": "running"},
    {"name": "Client-1", "kind": "client", "index": 1, "address": "10.0.0.2", "state": "running"},
    {"name": "Monitor-1", "kind": "monitor", "index": 1, "address": "10.0.0.3", "state": "running"},
    {"name": "Benchmark-2", "kind": "server", "index": 2, "address": "10.0.0.4", "state": "stopped"},
]


def target(address: str, health: str = "up", job: str = "hosts", error: str = "") -> dict:
    """A target as Prometheus's API gives it."""
    return {
        "discoveredLabels": {"__address__": address},
        "labels": {"job": job, "instance": "Benchmark-1", "kind": "server"},
        "scrapeUrl": f"http://{address}/metrics",
        "health": health,
        "lastError": error,
    }


def test_each_running_host_has_targets() -> None:
    targets = targets_of(HOSTS, "Benchmark")
    assert [(item["job"], item["address"]) for item in targets] == [
        ("aerospike", "10.0.0.1:9145"),
        ("hosts", "10.0.0.1:9100"),
        ("perseus", "10.0.0.2:9146"),
        ("hosts", "10.0.0.2:9100"),
        ("hosts", "10.0.0.3:9100"),
    ]
    assert targets[0]["labels"] == {"cluster": "Benchmark", "index": "1", "kind": "server", "instance": "Benchmark-1"}
    assert len(target_groups(targets, "hosts")) == 3
    assert target_groups(targets, "aerospike")[0]["targets"] == ["10.0.0.1:9145"]


def test_a_target_that_is_not_up_is_named_with_its_error() -> None:
    expected = [{"job": "hosts", "address": "10.0.0.1:9100"}, {"job": "hosts", "address": "10.0.0.9:9100"}]
    answer = {"data": {"activeTargets": [target("10.0.0.1:9100", "down", error="connection refused")]}}
    problem = targets_problem(expected, read_targets(answer))
    assert "expected 2 targets that are up, found 2 that are not" in problem
    assert "10.0.0.1:9100 (hosts, Benchmark-1): down, connection refused" in problem
    assert "10.0.0.9:9100 (hosts): Prometheus has no such target" in problem


@pytest.mark.parametrize("name", list(grafana_dashboards.DASHBOARDS))
def test_a_dashboard_is_valid_for_grafana(name: str) -> None:
    data = grafana_dashboards.build(name)
    assert data["uid"] == f"pegasus-{name}"
    panels = data["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    cells = [
        (x, y)
        for place in (panel["gridPos"] for panel in panels)
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    ]
    assert len(cells) == len(set(cells)), "panels overlap"
    assert max(x for x, _ in cells) < 24
    for panel in panels:
        for query in panel.get("targets", []):
            expression = query["expr"]
            assert expression.count("(") == expression.count(")")
            assert expression.count("{") == expression.count("}")
            assert re.search(r"\b(aerospike_|perseus_|pegasus:|node_|up\b|ALERTS\b)", expression)
            assert query["datasource"]["uid"] == DATASOURCE_UID


def test_dashboards_are_rendered_as_files() -> None:
    assert grafana_dashboard("cluster")["uid"] == "pegasus-cluster"
    with pytest.raises(Exception, match="grafana_prometheus_dashboards: found no dashboard 'nope'"):
        grafana_dashboard("nope")


class Sites:
    """The answers of the test's server: path -> (status, JSON)."""

    def __init__(self) -> None:
        self.pages: dict[str, tuple[int, object]] = {
            "/api/v1/status/buildinfo": (200, {"data": {"version": "2.42.0"}}),
            "/api/v1/targets": (200, {"data": {"activeTargets": [target("10.0.0.1:9100")]}}),
            "/api/health": (200, {"database": "ok", "version": "12.4.3"}),
            "/api/datasources/uid/pegasus-prometheus": (200, {"uid": "pegasus-prometheus"}),
            "/api/dashboards/uid/pegasus-cluster": (
                200,
                {"dashboard": {"title": "Pegasus: cluster"}, "meta": {"url": "/d/pegasus-cluster/c"}},
            ),
        }
        self.url = ""
        self.logins: set[str] = set()


@pytest.fixture
def sites() -> Iterator[Sites]:
    """A server that answers as Prometheus and Grafana."""
    answers = Sites()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            answers.logins.add(self.headers.get("Authorization", ""))
            status, page = answers.pages.get(self.path.partition("?")[0], (404, {}))
            body = json.dumps(page).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Log nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    answers.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield answers
    server.shutdown()
    thread.join()
    server.server_close()


def monitoring(url: str) -> Monitoring:
    """The module's client for the test's server."""
    return Monitoring(
        {
            "prometheus_url": url,
            "grafana_url": url,
            "grafana_user": "admin",
            "grafana_password": "p:w#;",
            "targets": [{"job": "hosts", "address": "10.0.0.1:9100"}],
            "datasource": "pegasus-prometheus",
            "dashboards": ["pegasus-cluster"],
        }
    )


def test_everything_is_ready(sites: Sites) -> None:
    seen = monitoring(sites.url)
    seen.check()
    found = seen.found
    assert found["dashboards"] == [
        {"uid": "pegasus-cluster", "title": "Pegasus: cluster", "path": "/d/pegasus-cluster/c"}
    ]
    assert found["versions"] == {"prometheus": "2.42.0", "grafana": "12.4.3"}
    assert found["targets"][0]["health"] == "up"
    assert sites.logins == {"", "Basic YWRtaW46cDp3Izs="}


@pytest.mark.parametrize(
    ("path", "page", "expected", "service"),
    [
        ("/api/v1/targets", (200, {"data": {"activeTargets": []}}), "has no such target", ""),
        ("/api/v1/targets", (503, {}), "found HTTP 503", "prometheus"),
        ("/api/v1/targets", (200, []), "expected a JSON object, found list", "prometheus"),
        ("/api/health", (200, {"database": "failing"}), "expected database ok", "grafana-server"),
        ("/api/datasources/uid/pegasus-prometheus", (404, {}), "found HTTP 404", "grafana-server"),
        ("/api/dashboards/uid/pegasus-cluster", (404, {}), "found HTTP 404", "grafana-server"),
    ],
)
def test_a_missing_part_is_named(sites: Sites, path: str, page: tuple, expected: str, service: str) -> None:
    sites.pages[path] = page
    with pytest.raises(NotYetError, match=expected) as caught:
        monitoring(sites.url).check()
    assert caught.value.service == service
    assert not caught.value.final


def test_a_wrong_password_is_final(sites: Sites) -> None:
    sites.pages["/api/datasources/uid/pegasus-prometheus"] = (401, {})
    with pytest.raises(NotYetError, match="Grafana refuses the user admin") as caught:
        monitoring(sites.url).check()
    assert caught.value.final
    assert "p:w" not in str(caught.value)


def test_a_refused_connection_is_a_problem() -> None:
    with pytest.raises(NotYetError, match="refused"):
        monitoring("http://127.0.0.1:9").check()


def test_urls_have_the_address_for_users() -> None:
    assert reached_at("http://127.0.0.1:3000", "54.1.2.3") == "http://54.1.2.3:3000"
    assert reached_at("http://127.0.0.1:3000", "") == "http://127.0.0.1:3000"


@pytest.mark.parametrize(
    ("loaded", "active", "reason"),
    [
        ("not-found", "inactive", "; prometheus isn't installed on this host: setup-grafana installs it"),
        ("loaded", "inactive", "; prometheus is inactive (x): setup-grafana starts it"),
        ("loaded", "failed", "; prometheus is failed (x): setup-grafana starts it"),
        ("loaded", "activating", ""),
        ("loaded", "active", ""),
    ],
)
def test_a_service_that_never_answers_is_not_waited_for(loaded: str, active: str, reason: str) -> None:
    """A setup was interrupted before it installed or started the monitoring."""
    systemd = Systemd(lambda *_, **__: (0, f"LoadState={loaded}\nActiveState={active}\nSubState=x", ""))
    assert why_down("prometheus", systemd) == reason
    assert why_down("", systemd) == ""


def test_the_module_fails_with_its_class(sites: Sites, capsys: pytest.CaptureFixture[str]) -> None:
    missing = {"job": "hosts", "address": "10.0.0.9:9100"}
    arguments = {"prometheus_url": sites.url, "targets": [missing], "grafana_password": "x", "timeout": 0}
    with patch_module_args(arguments), pytest.raises(SystemExit):
        main()
    result = json.loads(capsys.readouterr().out)
    assert result["error_class"] == "readiness" and "has no such target" in result["msg"]
    assert [item["health"] for item in result["targets"]] == ["up"]
