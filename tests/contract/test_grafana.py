"""The simulated Grafana: its settings, the provisioning folder, the HTTP API, the pages."""

import base64
import http.server
import io
import json
import os
import re
import signal
import subprocess
import sys
import threading
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from grafana_simulated import cli, drawing, provisioning, settings
from grafana_simulated.api import Answer, Api, Request

from tests.contract.simulated_servers import TIMEOUT

SOURCE = Path(__file__).resolve().parents[2] / "local_cloud/simulators/grafana"


def basic(user: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


ADMIN = basic("admin", "pa:ss wörd")


class Folder:
    """A provisioning folder and its content."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.dashboards = path / "files"
        for folder in (path / "datasources", path / "dashboards", self.dashboards, path / "data"):
            folder.mkdir(parents=True)
        self.sources("- {name: Prometheus, type: prometheus, uid: prom, url: 'http://127.0.0.1:9', isDefault: true}")
        (path / "dashboards/all.yaml").write_text(
            f"apiVersion: 1\nproviders:\n- name: pegasus\n  folder: Aerospike\n  type: file\n"
            f"  options: {{path: {self.dashboards}}}\n"
        )
        self.dashboard("nodes.json", uid="nodes", title="Nodes & <more>", tags=["aerospike"])
        self.dashboard("load.json", title="Load")

    def sources(self, text: str) -> None:
        (self.path / "datasources/all.yaml").write_text(f"apiVersion: 1\ndatasources:\n{text}\n")

    def dashboard(self, name: str, **model: Any) -> None:
        panels = [{"title": "TPS", "type": "timeseries", "targets": [{"expr": 'rate(x{a="1"}[1m]) > 0'}]}]
        (self.dashboards / name).write_text(json.dumps({"panels": panels, **model}))

    def api(self, **more: Any) -> Api:
        return Api(
            settings.Settings(admin_password="pa:ss wörd", data=self.path / "data", provisioning=self.path, **more)
        )


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path)


def call(api: Api, target: str, method: str = "GET", content: Any = None, login: str = ADMIN) -> tuple[int, Any]:
    body = b"" if content is None else json.dumps(content).encode()
    answer: Answer = api.answer(Request(method, target, login, body))
    return answer.status, json.loads(answer.body) if "json" in answer.kind else answer.body.decode()


# --- settings ---


def test_settings_are_read_as_in_the_real_grafana(tmp_path: Path) -> None:
    path = tmp_path / "grafana.ini"
    path.write_text(
        "app_mode = production\n[server]\nhttp_port = 3001 ; a comment\n;http_addr = 1.2.3.4\n"
        '[security]\nadmin_user = boss\nadmin_password = """p#w;100%%"""\n'
        "[auth.anonymous]\nenabled = true\n[paths]\nprovisioning = /srv/p\n"
    )
    found = settings.load(path, {})
    assert (found.http_port, found.http_addr, found.admin_user) == (3001, "", "boss")
    assert found.admin_password == "p#w;100%%"
    assert found.anonymous
    assert found.provisioning == Path("/srv/p")
    assert settings.load(path, {"GF_SECURITY_ADMIN_PASSWORD": "env"}).admin_password == "env"


def test_shipped_settings_are_the_defaults() -> None:
    assert settings.load(SOURCE / "grafana.ini", {}) == settings.Settings()


@pytest.mark.parametrize("text", ["[server]\nhttp_port = many\n", "[server]\nno equals sign\n"])
def test_wrong_settings_are_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "grafana.ini"
    path.write_text(text)
    with pytest.raises(settings.SettingsError):
        settings.load(path, {})


# --- provisioning ---


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("- {name: a, type: prometheus, isDefault: true}\n- {name: b, type: prometheus, isDefault: true}", "default"),
        ("- {type: prometheus}", "needs a name"),
        ("- {name: a, type: x, uid: u}\n- {name: b, type: x, uid: u}", "uid of its own"),
        ("- {name: a", "can't be read"),
        ("  a: b", "must be a list"),
    ],
)
def test_wrong_data_sources_stop_the_start(folder: Folder, text: str, expected: str) -> None:
    folder.sources(text)
    with pytest.raises(provisioning.ProvisioningError, match=expected):
        folder.api()


def test_dashboards_follow_their_files(folder: Folder) -> None:
    api = folder.api()
    assert [item.title for item in api.dashboards()] == ["Load", "Nodes & <more>"]
    folder.dashboard("new.json", uid="new", title="New")
    assert [item.title for item in api.dashboards()] == ["Load", "New", "Nodes & <more>"]
    folder.dashboard("new.json", uid="new", title="Changed title")
    (folder.dashboards / "load.json").unlink()
    assert [item.title for item in api.dashboards()] == ["Changed title", "Nodes & <more>"]


def test_broken_dashboards_are_skipped(folder: Folder) -> None:
    (folder.dashboards / "broken.json").write_text("{")
    (folder.dashboards / "list.json").write_text("[]")
    folder.dashboard("untitled.json", uid="x")
    folder.dashboard("second.json", uid="nodes", title="Has the uid of another")
    assert [item.title for item in folder.api().dashboards()] == ["Load", "Nodes & <more>"]


def test_reload_reads_data_sources_again(folder: Folder) -> None:
    api = folder.api()
    folder.sources("- {name: Other, type: prometheus, url: 'http://127.0.0.1:9'}")
    assert call(api, "/api/datasources")[1][0]["name"] == "Prometheus"
    assert call(api, "/api/admin/provisioning/datasources/reload", "POST")[0] == 200
    assert call(api, "/api/datasources")[1][0]["name"] == "Other"


# --- the API ---


def test_health_needs_no_login_and_says_simulated(folder: Folder) -> None:
    status, content = call(folder.api(), "/api/health", login="")
    assert status == 200
    assert content["database"] == "ok"
    assert content["version"]
    assert "SIMULATED" in content["note"]


@pytest.mark.parametrize(
    ("login", "status", "message"),
    [
        ("", 401, "Unauthorized"),
        (basic("admin", "admin"), 401, "Invalid username or password"),
        (basic("root", "pa:ss wörd"), 401, "Invalid username or password"),
        ("Basic not-base64!", 401, "Invalid username or password"),
        ("Bearer abc", 401, "Invalid username or password"),
        (ADMIN, 200, None),
    ],
)
def test_the_api_requires_a_login(folder: Folder, login: str, status: int, message: str | None) -> None:
    found, content = call(folder.api(), "/api/user", login=login)
    assert found == status
    assert content.get("message") == message


def test_anonymous_may_read_but_not_write(folder: Folder) -> None:
    api = folder.api(anonymous=True)
    assert call(api, "/api/search", login="")[0] == 200
    assert call(api, "/api/annotations", "POST", {"text": "x"}, login="")[0] == 401
    assert call(api, "/api/search", login=basic("admin", "wrong"))[0] == 401


def test_search(folder: Folder) -> None:
    api = folder.api()

    def titles(query: str) -> list[str]:
        return [hit["title"] for hit in call(api, f"/api/search{query}")[1]]

    assert titles("") == ["Aerospike", "Load", "Nodes & <more>"]
    assert titles("?type=dash-db") == ["Load", "Nodes & <more>"]
    assert titles("?query=nodes") == ["Nodes & <more>"]
    assert titles("?tag=aerospike") == ["Nodes & <more>"]
    assert titles("?dashboardUIDs=nodes") == ["Nodes & <more>"]
    assert titles("?type=dash-db&limit=1&page=2") == ["Nodes & <more>"]
    hit = call(api, "/api/search?query=nodes")[1][0]
    assert (hit["uid"], hit["url"], hit["folderTitle"]) == ("nodes", "/d/nodes/nodes-more", "Aerospike")


def test_dashboard_by_uid(folder: Folder) -> None:
    status, content = call(folder.api(), "/api/dashboards/uid/nodes")
    assert status == 200
    assert content["dashboard"]["uid"] == "nodes"
    assert content["dashboard"]["panels"][0]["title"] == "TPS"
    assert content["meta"]["provisioned"] is True
    assert content["meta"]["provisionedExternalId"] == "nodes.json"
    assert content["meta"]["folderTitle"] == "Aerospike"
    assert call(folder.api(), "/api/dashboards/uid/none") == (
        404,
        {"message": "Dashboard not found", "status": "not-found"},
    )


def test_data_sources(folder: Folder) -> None:
    api = folder.api()
    status, content = call(api, "/api/datasources")
    assert status == 200
    assert [(item["uid"], item["name"], item["isDefault"]) for item in content] == [("prom", "Prometheus", True)]
    assert call(api, "/api/datasources/name/Prometheus")[1] == content[0]
    assert call(api, "/api/datasources/uid/prom")[1] == content[0]
    assert call(api, "/api/datasources/name/none")[0] == 404


def test_data_source_health_queries_the_data_source(folder: Folder) -> None:
    targets: list[str] = []

    class Prometheus(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            targets.append(self.path)
            body = b'{"status": "success", "data": {"resultType": "scalar", "result": [0, "2"]}}'
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Prometheus) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        folder.sources(
            f"- {{name: P, type: prometheus, uid: up, url: 'http://127.0.0.1:{server.server_address[1]}'}}\n"
            "- {name: Q, type: prometheus, uid: down, url: 'http://127.0.0.1:9'}"
        )
        api = folder.api()
        status, content = call(api, "/api/datasources/uid/up/health")
        server.shutdown()
    assert (status, content["status"]) == (200, "OK")
    assert targets == ["/api/v1/query?query=1%2B1"]
    status, content = call(api, "/api/datasources/uid/down/health")
    assert (status, content["status"]) == (400, "ERROR")
    assert "127.0.0.1:9" in content["message"]


def test_annotations_survive_a_restart(folder: Folder) -> None:
    api = folder.api()
    status, content = call(
        api, "/api/annotations", "POST", {"text": "node 2 stopped", "tags": ["chaos", "stop"], "time": 1000}
    )
    assert (status, content) == (200, {"message": "Annotation added", "id": 1})
    assert call(api, "/api/annotations/1", "PATCH", {"timeEnd": 5000})[1] == {"message": "Annotation patched"}
    api = folder.api()
    assert call(api, "/api/annotations", "POST", {"text": "second", "tags": ["chaos"], "time": 9000})[1]["id"] == 2

    def ids(query: str) -> list[int]:
        return [item["id"] for item in call(api, f"/api/annotations{query}")[1]]

    assert ids("") == [2, 1]
    assert ids("?tags=chaos&tags=stop") == [1]
    assert ids("?tags=chaos&tags=stop&matchAny=true") == [2, 1]
    assert ids("?from=4000&to=6000") == [1]
    assert ids("?from=6000") == [2]
    assert ids("?limit=1") == [2]
    item = call(api, "/api/annotations/1")[1]
    assert (item["text"], item["time"], item["timeEnd"]) == ("node 2 stopped", 1000, 5000)
    assert item["tags"] == ["chaos", "stop"]
    assert call(api, "/api/annotations/1", "DELETE")[1] == {"message": "Annotation deleted"}
    assert ids("") == [2]


@pytest.mark.parametrize("content", [{}, {"text": ""}, {"text": "x", "tags": "y"}, {"text": "x", "time": "now"}, []])
def test_wrong_annotations_are_refused(folder: Folder, content: Any) -> None:
    api = folder.api()
    assert call(api, "/api/annotations", "POST", content)[0] == 400
    assert call(api, "/api/annotations")[1] == []


def test_unknown_annotation(folder: Folder) -> None:
    assert call(folder.api(), "/api/annotations/7", "PATCH", {"text": "x"})[0] == 404


def test_login_page_redirects_home_and_login_is_checked(folder: Folder) -> None:
    api = folder.api()
    answer = api.answer(Request("GET", "/login"))
    assert (answer.status, answer.location) == (302, "/")
    assert call(api, "/login", "POST", {"user": "admin", "password": "pa:ss wörd"}, login="")[0] == 200
    assert call(api, "/login", "POST", {"user": "admin", "password": "no"}, login="")[0] == 401


def test_the_configured_password_applies_at_the_first_start_only(
    folder: Folder, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    config = folder.path / "grafana.ini"
    config.write_text(f"[paths]\ndata = {folder.path / 'data'}\n[security]\nadmin_password = other\n")
    command = ["--config", str(config), "admin", "reset-admin-password", "--password-from-stdin"]
    monkeypatch.setattr("sys.stdin", io.StringIO("n:ew\n"))
    assert cli.main(command) == 1 and "never started" in capsys.readouterr().err
    old, other, new = ADMIN, basic("admin", "other"), basic("admin", "n:ew")
    assert call(folder.api(), "/api/user")[1]["login"] == "admin"
    later = Api(settings.load(config, {}))
    assert [call(later, "/api/user", login=login)[0] for login in (old, other, new)] == [200, 401, 401]
    monkeypatch.setattr("sys.stdin", io.StringIO("n:ew\n"))
    assert cli.main(command) == 0 and "SIMULATED" in capsys.readouterr().out
    assert [call(later, "/api/user", login=login)[0] for login in (old, other, new)] == [401, 401, 200]
    monkeypatch.setattr("sys.stdin", io.StringIO("abc\n"))
    assert cli.main(command) == 1 and "too short" in capsys.readouterr().err
    assert (folder.path / "data/administrator.json").stat().st_mode & 0o777 == 0o600


def test_plugins_are_listed(folder: Folder) -> None:
    plugins = folder.path / "plugins"
    about = {"id": "grafana-polystat-panel", "name": "Polystat", "type": "panel", "info": {"version": "2.1.14"}}
    for name, text in (("good", json.dumps(about)), ("bad", "{")):
        (plugins / name).mkdir(parents=True)
        (plugins / name / "plugin.json").write_text(text)
    assert call(folder.api(plugins=plugins), "/api/plugins") == (200, [{**about, "enabled": True}])


def test_pages_list_what_was_provisioned_and_say_simulated(folder: Folder) -> None:
    api = folder.api()
    status, page = call(api, "/", login="")
    assert status == 200
    assert '<div class="banner">SIMULATED' in page
    assert "Nodes &amp; &lt;more&gt;" in page
    assert "http://127.0.0.1:9" in page
    assert "<more>" not in page
    status, page = call(api, "/d/nodes/any-slug", login="")
    assert status == 200
    assert "rate(x{a=&quot;1&quot;}[1m]) &gt; 0" in page
    assert '<div class="banner">SIMULATED' in page


class Prometheus:
    """Answers range queries: with a rising series, or with a test's answer."""

    def __init__(self) -> None:
        self.queries: list[dict[str, list[str]]] = []
        self.labels, self.values = {"instance": "<A-1>"}, [[1000.0, "1"], [1010.0, "NaN"], [1020.0, "4000000"]]
        prometheus = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                prometheus.queries.append(urllib.parse.parse_qs(self.path.partition("?")[2]))
                result = [{"metric": prometheus.labels, "values": prometheus.values}]
                body = json.dumps({"data": {"result": result}}).encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:
                """No log."""

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.server.serve_forever)
        self.thread.start()
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def end(self) -> None:
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


def test_a_dashboards_data_is_drawn_with_its_actions() -> None:
    prometheus = Prometheus()
    try:
        model = {
            "templating": {"list": [{"name": "node", "allValue": ".*"}]},
            "panels": [
                {"type": "row", "title": "Load"},
                {"type": "stat", "title": "Now", "targets": [{"expr": "y", "legendFormat": "__auto"}],
                 "fieldConfig": {"defaults": {"unit": "ops"}}},
                {"type": "timeseries", "title": "TPS & more",
                 "targets": [{"expr": 'rate(x{i=~"$node"}[$__rate_interval])', "legendFormat": "at {{instance}}"}]},
            ],
        }  # fmt: skip
        drawn = drawing.panels(model, prometheus.url, 1020.0, [{"time": 500_000, "timeEnd": 1_010_000}])
    finally:
        prometheus.end()
    assert {query["query"][0] for query in prometheus.queries} == {"y", 'rate(x{i=~".*"}[40s])'}
    assert '<h2 class="row">Load</h2>' in drawn and "TPS &amp; more" in drawn
    assert "<b>4,000 k/s</b>" in drawn, "the last value, with its unit"
    assert "at &lt;A-1&gt;" in drawn and "<A-1>" not in drawn
    assert drawn.count("<polyline") == 1 and "nan" not in drawn.lower()
    assert 'fill="#d9c3f0"' in drawn, "the action is marked"


def test_a_data_source_that_does_not_answer_is_reported(folder: Folder) -> None:
    status, page = call(folder.api(), "/d/nodes/any-slug", login="")
    assert status == 200 and "can't be queried" in page


def test_unknown_paths_and_methods(folder: Folder) -> None:
    api = folder.api()
    assert call(api, "/api/none")[0] == 404
    assert call(api, "/api/search", "POST")[0] == 404


# --- the program ---


@pytest.fixture
def server(folder: Folder) -> Iterator[tuple[subprocess.Popen[str], str, Folder]]:
    """The program as the service starts it, on a free port; its address is in its log."""
    config = folder.path / "grafana.ini"
    config.write_text(
        f"[server]\nhttp_addr = 127.0.0.1\nhttp_port = 0\n[paths]\ndata = {folder.path / 'data'}\n"
        f"provisioning = {folder.path}\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-m", "grafana_simulated", f"--config={config}", "--homepath=/x", "cfg:default.x=y"],
        env=os.environ | {"PYTHONPATH": str(SOURCE)},
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    address = ""
    for line in process.stderr:
        assert "SIMULATED" in line
        if match := re.search(r"address=(127\.0\.0\.1:\d+)", line):
            address = match[1]
            break
    assert address, "the program exited before it listened"
    try:
        yield process, f"http://{address}", folder
    finally:
        process.kill()
        process.wait()
        process.stderr.close()


def test_program_serves_and_exits(server: tuple[subprocess.Popen[str], str, Folder]) -> None:
    process, url, _ = server
    with urllib.request.urlopen(f"{url}/api/health", timeout=TIMEOUT) as reply:
        assert json.load(reply)["database"] == "ok"
    request = urllib.request.Request(
        f"{url}/api/annotations",
        data=b'{"text": "x"}',
        headers={"Authorization": basic("admin", "admin"), "Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=TIMEOUT) as reply:
        assert json.load(reply)["id"] == 1
    with pytest.raises(urllib.error.HTTPError, match="401"):
        urllib.request.urlopen(f"{url}/api/search", timeout=TIMEOUT)
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=TIMEOUT) == 0


def test_program_refuses_wrong_provisioning(folder: Folder) -> None:
    folder.sources("- {}")
    config = folder.path / "grafana.ini"
    config.write_text(f"[server]\nhttp_port = 0\n[paths]\nprovisioning = {folder.path}\n")
    done = subprocess.run(
        [sys.executable, "-m", "grafana_simulated", "--config", str(config)],
        env=os.environ | {"PYTHONPATH": str(SOURCE)},
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        check=False,
    )
    assert done.returncode == 1
    assert "needs a name and a type" in done.stderr


def test_taken_port_is_named(server: tuple[subprocess.Popen[str], str, Folder]) -> None:
    _, url, folder = server
    port = url.rpartition(":")[2]
    config = folder.path / "second.ini"
    config.write_text(f"[server]\nhttp_addr = 127.0.0.1\nhttp_port = {port}\n[paths]\nprovisioning = {folder.path}\n")
    done = subprocess.run(
        [sys.executable, "-m", "grafana_simulated", "--config", str(config)],
        env=os.environ | {"PYTHONPATH": str(SOURCE)},
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        check=False,
    )
    assert done.returncode == 1
    assert f"can't listen on 127.0.0.1:{port}" in done.stderr


def test_version_says_simulated() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "grafana_simulated", "-v"],
        env=os.environ | {"PYTHONPATH": str(SOURCE)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert re.match(r"Version .*SIMULATED", done.stdout)
