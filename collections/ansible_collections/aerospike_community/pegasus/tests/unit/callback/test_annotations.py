"""Actions on an environment become annotations in Grafana, at once or later. Uses a real ansible-playbook."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ansible_collections.aerospike_community.pegasus.plugins.callback.annotations import Activity, CallbackModule
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.monitoring import annotations
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.monitoring.annotations import (
    PostError,
    Span,
    keep_and_post,
    poster,
)

COLLECTIONS = Path(__file__).resolve().parents[6]
SPAN = Span(1000.0, 1002.5, "stop-node: Benchmark-2", ("pegasus", "Benchmark", "stop-node"))


def test_a_span_has_the_form_of_grafanas_api() -> None:
    assert json.loads(SPAN.line()) == {
        "time": 1000000, "timeEnd": 1002500, "text": "stop-node: Benchmark-2",
        "tags": ["pegasus", "Benchmark", "stop-node"],
    }  # fmt: skip


def test_without_grafana_annotations_are_kept_and_posted_later_in_order(tmp_path: Path) -> None:
    spool, posted = tmp_path / "spool", []
    assert "1 annotations are kept" in keep_and_post(spool, [SPAN], None)

    def refuse(line: str) -> None:
        raise PostError("http://grafana doesn't answer")

    later = Span(2000.0, 2001.0, "later", ("pegasus",))
    assert "2 annotations are kept" in keep_and_post(spool, [later], refuse)
    assert keep_and_post(spool, [], posted.append) == ""
    assert [json.loads(line)["text"] for line in posted] == [SPAN.text, "later"]
    assert keep_and_post(spool, [], posted.append) == "" and len(posted) == 2


def test_an_annotation_that_grafana_rejects_does_not_block_the_others(tmp_path: Path) -> None:
    posted = []

    def post(line: str) -> None:
        if "stop-node" in line:
            raise PostError("HTTP 400", final=True)
        posted.append(line)

    assert keep_and_post(tmp_path / "spool", [SPAN, Span(1.0, 2.0, "good", ())], post) == ""
    assert len(posted) == 1


def test_no_file_without_spans_and_the_oldest_are_dropped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert keep_and_post(tmp_path / "spool", [], None) == ""
    assert not (tmp_path / "spool").exists()
    monkeypatch.setattr(annotations, "MOST_KEPT", 2)
    keep_and_post(tmp_path / "spool", [Span(float(n), n + 1.0, str(n), ()) for n in range(5)], None)
    kept = [json.loads(line)["text"] for line in (tmp_path / "spool").read_text().splitlines()]
    assert kept == ["3", "4"]


@pytest.mark.parametrize(
    ("host", "result", "text"),
    [
        ("Client-1", {"changes": ["wrote a file"]}, "act: Client-1"),
        ("Client-1", {"annotation": ["Client-1 write 1 -> 2"]}, "act: Client-1 write 1 -> 2"),
        ("localhost", {"changes": ["launched Benchmark-1"]}, "act: launched Benchmark-1"),
        ("localhost", {}, "act"),
    ],
)
def test_the_text_has_a_results_own_lines_or_the_host(host: str, result: dict[str, Any], text: str) -> None:
    callback = CallbackModule()
    callback._playbook = Activity("act")
    callback.v2_runner_on_ok(
        SimpleNamespace(
            is_changed=lambda: True, _host=SimpleNamespace(get_name=lambda: host), _result={"changed": True, **result}
        )
    )
    assert callback._playbook.text() == text


class Grafana:
    """Accepts annotations, or answers another HTTP status."""

    def __init__(self) -> None:
        self.status, self.posted, self.logins, grafana = 200, [], set(), self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                grafana.logins.add(self.headers["Authorization"])
                if grafana.status == 200:
                    grafana.posted.append(body)
                self.send_response(grafana.status)
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
def grafana() -> Iterator[Grafana]:
    running = Grafana()
    yield running
    running.end()


def test_over_http(grafana: Grafana) -> None:
    poster(grafana.url, "admin", "p:w")(SPAN.line())
    assert grafana.posted[0]["text"] == SPAN.text
    assert grafana.logins == {"Basic YWRtaW46cDp3"}
    for status, final in ((400, True), (401, False), (503, False)):
        grafana.status = status
        with pytest.raises(PostError, match=f"HTTP {status}") as caught:
            poster(grafana.url, "admin", "p:w")(SPAN.line())
        assert caught.value.final is final
        assert "p:w" not in str(caught.value)
    with pytest.raises(PostError, match="doesn't answer"):
        poster("http://127.0.0.1:9", "a", "b")("{}")


THREADS = "".join(
    f"{name}: 1\n"
    for name in ("write", "read", "update", "delete", "expressionRead", "expressionWrite", "batchWrite", "batchRead",
                 "numericSearch", "stringSearch", "geospatialSearch", "udf", "udfAggregation", "rangeQuery")
)  # fmt: skip
PLAYBOOK = """
- name: First
  hosts: clients
  gather_facts: false
  tasks:
    - aerospike_community.pegasus.perseus_threads:
        content: "{{ lookup('file', threads, rstrip=false) }}"
        path: "{{ live }}"
- name: Second
  hosts: localhost
  gather_facts: false
  tasks:
    - ansible.builtin.command: "{{ command | default('true') }}"
      changed_when: second | default(false) | bool
"""


class Project:
    """A playbook that runs with the callback, and the variables that the callback reads."""

    def __init__(self, folder: Path, grafana: Grafana) -> None:
        self.folder, self.state = folder, folder / "state"
        self.state.mkdir()
        self.threads = folder / "threads.yaml"
        self.threads.write_text(THREADS)
        (folder / "act.yml").write_text(PLAYBOOK)
        # The callback uses Grafana's port 3000. The test's server has another port.
        (folder / "run.py").write_text(
            "import sys, urllib.request\n"
            "real = urllib.request.Request\n"
            f"here = ':{grafana.server.server_port}/'\n"
            "urllib.request.Request = lambda url, *more: real(url.replace(':3000/', here), *more)\n"
            "from ansible.cli.playbook import main\n"
            "sys.exit(main(['ansible-playbook', *sys.argv[1:]]))\n"
        )
        variables = {"pegasus_state_dir": "{{ playbook_dir }}/state", "pegasus_cluster_name": "Benchmark",
                     "grafana_prometheus_admin_password": "s3cret", "live": str(folder / "live.yaml"),
                     "threads": str(self.threads)}  # fmt: skip
        hosts = {"ansible_connection": "local", "ansible_host": "127.0.0.1",
                 "ansible_python_interpreter": sys.executable}  # fmt: skip
        inventory = {"all": {"vars": variables, "children": {
            "clients": {"hosts": {"Client-1": hosts}}, "monitors": {"hosts": {"Monitor-1": hosts}}}}}  # fmt: skip
        (folder / "inventory.json").write_text(json.dumps(inventory))

    def command(self, *arguments: str) -> list[str]:
        return [sys.executable, "run.py", "-i", "inventory.json", "act.yml", *arguments]

    @property
    def environment(self) -> dict[str, str]:
        return os.environ | {
            "ANSIBLE_COLLECTIONS_PATH": str(COLLECTIONS),
            "ANSIBLE_CALLBACKS_ENABLED": "aerospike_community.pegasus.annotations", "ANSIBLE_LOCALHOST_WARNING": "0",
        }  # fmt: skip

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.command(*arguments), cwd=self.folder, env=self.environment, capture_output=True, text=True,
            timeout=120, check=False, stdin=subprocess.DEVNULL,
        )  # fmt: skip

    def kept(self) -> list[str]:
        spool = self.state / "annotations.ndjson"
        return [json.loads(line)["text"] for line in spool.read_text().splitlines()] if spool.exists() else []


@pytest.fixture
def project(tmp_path: Path, grafana: Grafana) -> Project:
    return Project(tmp_path, grafana)


@pytest.mark.slow
def test_a_playbook_that_changes_something_is_an_annotation(project: Project, grafana: Grafana) -> None:
    before = time.time() * 1000
    done = project.run()
    assert done.returncode == 0, done.stdout + done.stderr
    (posted,) = grafana.posted
    assert posted["text"].startswith("act: Client-1 write 0 -> 1, read 0 -> 1")
    assert posted["tags"] == ["pegasus", "Benchmark", "act"]
    assert before <= posted["time"] < posted["timeEnd"] <= time.time() * 1000
    assert project.kept() == []
    assert project.run().returncode == 0
    assert len(grafana.posted) == 1, "the second run changed nothing"


@pytest.mark.slow
def test_if_several_plays_changed_something_each_has_an_annotation(project: Project, grafana: Grafana) -> None:
    project.run("-e", "second=true")
    assert [(span["text"].partition(":")[0], span["tags"][0]) for span in grafana.posted] == [
        ("act", "pegasus"), ("act, First", "pegasus-phase"), ("act, Second", "pegasus-phase"),
    ]  # fmt: skip


@pytest.mark.slow
def test_refused_annotations_are_kept_and_the_message_has_no_password(project: Project, grafana: Grafana) -> None:
    grafana.status = 401
    done = project.run("-vv")
    assert done.returncode == 0
    assert "1 annotations are kept" in done.stdout and "HTTP 401" in done.stdout
    assert "s3cret" not in done.stdout + done.stderr
    assert len(project.kept()) == 1
    grafana.status = 200
    project.run()
    assert len(grafana.posted) == 1 and project.kept() == []


@pytest.mark.slow
def test_annotations_of_a_failure_of_check_mode_and_without_an_environment(project: Project, grafana: Grafana) -> None:
    assert project.run("--check").returncode == 0
    assert grafana.posted == []
    assert project.run("-e", "command=false").returncode != 0
    assert grafana.posted[0]["text"].endswith("(failed)")
    (project.state / "annotations.ndjson").unlink()
    project.state.rmdir()
    project.threads.write_text(THREADS.replace("write: 1", "write: 2"))
    assert project.run().returncode == 0
    assert len(grafana.posted) == 1 and not project.state.exists()


@pytest.mark.slow
def test_ctrl_c_ends_the_annotation(project: Project, grafana: Grafana) -> None:
    started = project.folder / "started"
    command = json.dumps({"command": f"sh -c 'touch {started}; exec sleep 60'"})
    process = subprocess.Popen(
        project.command("-e", command), cwd=project.folder, env=project.environment, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    deadline = time.monotonic() + 60
    while not started.exists():
        assert process.poll() is None and time.monotonic() < deadline, "the second play didn't start its task"
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGINT)
    process.communicate(timeout=60)
    assert grafana.posted[0]["text"].endswith("(failed)")
