"""The mirror commands against a loopback server that behaves like the download sites: listings, ranges, checksums."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import threading
import urllib.request
from collections.abc import Iterator
from email.message import Message
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml

from local_cloud.mirror import Mirror
from pegasus_driver import ROOT
from pegasus_driver.commands import mirror as mirror_commands
from pegasus_driver.mirror import download as mirror_download
from pegasus_driver.mirror.download import Site, Store
from pegasus_driver.mirror.parts import ROLES, parts, repositories
from tests.driver.docs.test_docs import objects
from tests.driver.fakes import CONFIG, FakeWorld

SERVER = "download.aerospike.com/artifacts/aerospike-server-enterprise"
DASHBOARDS = "github.com/aerospike/aerospike-monitoring/archive/refs/tags/v3.18.0.tar.gz"
PLUGIN = "grafana.com/api/plugins/grafana-polystat-panel/versions/2.1.14/download"
EXPORTER = "download.aerospike.com/artifacts/aerospike-prometheus-exporter"
CONFIGURED = CONFIG + "aerospike_server_version: 8.0.0.4\n"


# Long ago: a time in the current second doesn't identify a version.
MODIFIED = {b"old": "Sat, 01 Jan 2000 00:00:00 GMT", b"new": "Sun, 02 Jan 2000 00:00:00 GMT"}


class Upstream:
    """A download site in a folder. `cut` closes the connection of the next answers after so many bytes.

    version_header: what it version_header a file's version with: ETag, weak (a weak ETag), Last-Modified or nothing.
    if_range: whether it knows that header.
    """

    version_header = "ETag"
    if_range = True

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.requests: list[tuple[str, str]] = []  # path and range
        self.served = 0  # bytes of files
        self.cut: list[int] = []
        upstream = self

        class Handler(SimpleHTTPRequestHandler):
            def __init__(self, *arguments: Any, **more: Any) -> None:
                super().__init__(*arguments, directory=str(folder), **more)

            def log_message(self, *_: object) -> None: ...

            def do_GET(self) -> None:
                byte_range = self.headers.get("Range", "")
                upstream.requests.append((self.path, byte_range))
                file = folder / self.path.lstrip("/")
                if file.is_dir() or not file.exists() or file.suffix == ".sha256" or ".git" in self.path:
                    super().do_GET()
                    return
                content = file.read_bytes()
                version = f'"{hashlib.sha256(content).hexdigest()[:8]}"'
                if upstream.version_header == "Last-Modified":
                    version = MODIFIED[content[:3]]
                if upstream.if_range and self.headers.get("If-Range", version) != version:
                    byte_range = ""
                start = int(byte_range.removeprefix("bytes=").removesuffix("-") or 0) if byte_range else 0
                if start >= len(content):
                    self.send_response(416)
                    self.send_header("Content-Range", f"bytes */{len(content)}")
                    self.send_header("Content-Length", "0")
                    self.end_headers()
                    return
                self.send_response(206 if byte_range else 200)
                if byte_range:
                    self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
                if upstream.version_header != "nothing":
                    weak = upstream.version_header == "weak"
                    self.send_header("ETag" if weak else upstream.version_header, f"W/{version}" if weak else version)
                self.send_header("Content-Length", str(len(content) - start))
                self.end_headers()
                limit = upstream.cut.pop(0) if upstream.cut else len(content)
                upstream.served += len(content[start : start + limit])
                self.wfile.write(content[start : start + limit])
                self.close_connection = True

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def put(self, path: str, content: bytes, checksum: bool | str = True) -> None:
        file = self.folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
        if checksum:
            digest = checksum if isinstance(checksum, str) else hashlib.sha256(content).hexdigest()
            file.with_name(f"{file.name}.sha256").write_text(f"{digest}  {file.name}\n")

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def upstream(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Upstream]:
    monkeypatch.setattr(mirror_commands, "Site", lambda: Site(pause=0.01))
    site = Upstream(tmp_path / "upstream")
    server = f"{SERVER}/8.0.0.4/aerospike-server-enterprise_8.0.0.4_tools-11.2.2"
    for host in ("debian12_x86_64", "debian12_aarch64", "ubuntu24.04_x86_64", "amzn2023_x86_64"):
        site.put(f"{server}_{host}.tgz", f"server {host} ".encode() * 1000)
    site.put(f"{EXPORTER}/1.34.0/aerospike-prometheus-exporter_1.34.0-1_amd64.deb", b"exporter deb")
    site.put(f"{EXPORTER}/1.34.0/aerospike-prometheus-exporter-1.34.0-1.x86_64.rpm", b"exporter rpm", checksum=False)
    site.put("dl.grafana.com/oss/release/grafana_12.4.3_amd64.deb", b"grafana " * 500, checksum=False)
    site.put(DASHBOARDS, b"dashboards", checksum=False)
    site.put(PLUGIN, b"plugin", checksum=False)
    work = tmp_path / "work"
    git = ["git", "-C", str(work), "-c", "user.name=t", "-c", "user.email=t@localhost"]
    subprocess.run(["git", "init", "-q", "-b", "master", str(work)], check=True)
    subprocess.run([*git, "commit", "-q", "--allow-empty", "-m", "one"], check=True)
    bare = site.folder / "github.com/aerospike-community/aerospike-perseus.git"
    subprocess.run(["git", "clone", "-q", "--mirror", str(work), str(bare)], check=True)
    subprocess.run(["git", "-C", str(bare), "update-server-info"], check=True)
    yield site
    site.close()


@pytest.fixture
def project_with_roles(project: Path) -> Path:
    """A project with the real roles, whose packages are mirrored."""
    (project / "group_vars/all/config.yml").write_text(CONFIGURED)
    shutil.copytree(ROOT / ROLES, project / ROLES)
    tasks = project / ROLES / "grafana_prometheus/tasks"
    for path in tasks.glob("*.yml"):
        assert isinstance(yaml.safe_load(path.read_text()), list)
    return project


def fetch(world: FakeWorld, upstream: Upstream, *more: str) -> int:
    return world.run("mirror", "fetch", "--from", upstream.url, "--architecture", "x86_64", *more)


def test_a_mirror_contains_what_the_roles_install() -> None:
    found = {part.package: part for part in parts(ROOT, {"aerospike_server_edition": "community"})}
    assert {"aerospike-server-community", "aerospike-prometheus-exporter", "grafana"} <= set(found)
    server = found["aerospike-server-community"]
    assert server.directory == "https://download.aerospike.com/artifacts/aerospike-server-community/{version}"
    assert server.file == "aerospike-server-community_{version}_tools-*_{distribution}_{architecture}.tgz"
    pinned = parts(ROOT, {"aerospike_server_edition": "community", "aerospike_server_tools_version": "11.2.2"})
    assert server.file.replace("*", "11.2.2") in {part.file for part in pinned}
    assert repositories(ROOT, {}) == ["https://github.com/aerospike-community/aerospike-perseus.git"]
    for part in found.values():
        assert "{{" not in repr(part) and part.directory.startswith("https://")


def test_fetch_fills_the_mirror_with_every_part_and_a_second_run_downloads_nothing(
    project_with_roles: Path, world: FakeWorld, upstream: Upstream
) -> None:
    assert fetch(world, upstream) == 0, world.err.getvalue()
    mirror = project_with_roles / ".cache/mirror"
    suffixes = (".tgz", ".deb", ".rpm", ".gz", "")
    names = {str(path.relative_to(mirror)) for path in mirror.rglob("*") if path.is_file() and path.suffix in suffixes}
    names = {name for name in names if ".git/" not in name}
    server = f"{SERVER}/8.0.0.4/aerospike-server-enterprise_8.0.0.4_tools-11.2.2"
    assert names == {
        f"{server}_debian12_x86_64.tgz",
        f"{server}_ubuntu24.04_x86_64.tgz",
        f"{server}_amzn2023_x86_64.tgz",
        f"{EXPORTER}/1.34.0/aerospike-prometheus-exporter_1.34.0-1_amd64.deb",
        f"{EXPORTER}/1.34.0/aerospike-prometheus-exporter-1.34.0-1.x86_64.rpm",
        "dl.grafana.com/oss/release/grafana_12.4.3_amd64.deb",
        DASHBOARDS,
        PLUGIN,
    }
    # A listing is read once for all hosts.
    assert [path for path, _ in upstream.requests].count(f"/{SERVER}/8.0.0.4/") == 1
    assert "not published: aerospike-server-enterprise 8.0.0.4 for debian13 x86_64" in world.err.getvalue()
    recorded = Store(mirror).files()
    assert recorded[f"{server}_debian12_x86_64.tgz"]["verified"] is True
    assert recorded["dl.grafana.com/oss/release/grafana_12.4.3_amd64.deb"]["verified"] is False
    assert (mirror / f"{server}_debian12_x86_64.tgz.sha256").is_file()
    head = mirror / "github.com/aerospike-community/aerospike-perseus.git/info/refs"
    assert "refs/heads/master" in head.read_text()

    upstream.requests.clear()
    assert fetch(world, upstream) == 0
    assert not [path for path, _ in upstream.requests if path.endswith((".tgz", ".deb", ".rpm", ".gz", "/download"))]


def test_another_configuration_can_be_mirrored(project_with_roles: Path, world: FakeWorld, upstream: Upstream) -> None:
    (project_with_roles / "other.yml").write_text(CONFIG + "aerospike_server_version: 8.1.0.3\n")
    for version in ("8.1.0.3", "8.1.0.4"):
        upstream.put(
            f"{SERVER}/{version}/aerospike-server-enterprise_{version}_tools-11_debian12_x86_64.tgz", b"server"
        )
    mirrored = project_with_roles / ".cache/mirror" / SERVER
    assert fetch(world, upstream, "--config", "other.yml", "--distribution", "debian12") == 0, world.err.getvalue()
    assert [path.name for path in mirrored.iterdir()] == ["8.1.0.3"]
    assert fetch(world, upstream, "-e", "aerospike_server_version=8.1.0.4", "--distribution", "debian12") == 0
    assert {path.name for path in mirrored.iterdir()} == {"8.1.0.3", "8.1.0.4"}


def test_an_interrupted_download_resumes(tmp_path: Path, upstream: Upstream) -> None:
    content = bytes(range(256)) * 400
    upstream.put("site/file.tgz", content)
    upstream.cut = [1000, 5000]
    states: list[tuple[int, int]] = []
    store = Store(tmp_path / "mirror")
    fresh = store.fetch(
        Site(pause=0.01), f"{upstream.url}/site/file.tgz", "site/file.tgz", lambda *state: states.append(state)
    )
    assert fresh
    assert (tmp_path / "mirror/site/file.tgz").read_bytes() == content
    ranges = [byte_range for path, byte_range in upstream.requests if path == "/site/file.tgz"]
    assert ranges == ["", "bytes=1000-", "bytes=6000-"]
    assert states[-1] == (len(content), len(content))
    assert not list((tmp_path / "mirror").rglob("*.part"))


def cut_off(tmp_path: Path, upstream: Upstream, content: bytes, after: int, monkeypatch: pytest.MonkeyPatch) -> Store:
    """A mirror whose download of site/file.tgz was interrupted, as by a killed process."""
    monkeypatch.setattr(mirror_download, "TRIES", 1)
    upstream.put("site/file.tgz", content, checksum=False)
    upstream.cut = [after]
    store = Store(tmp_path / "mirror")
    with pytest.raises(mirror_download.ArtifactError, match=f"ended after {after} of {len(content)} bytes"):
        store.fetch(Site(0), f"{upstream.url}/site/file.tgz", "site/file.tgz", lambda *_: None)
    upstream.served = 0
    monkeypatch.setattr(mirror_download, "TRIES", 2)
    return store


@pytest.mark.parametrize(
    ("version_header", "if_range", "goes_on"),
    [
        ("ETag", True, True),
        ("ETag", False, True),
        ("Last-Modified", True, True),
        ("weak", True, False),
        ("nothing", True, False),
        ("nothing", False, False),
    ],
)
@pytest.mark.parametrize("changes", [True, False])
def test_a_download_resumes_only_with_the_same_version(
    tmp_path: Path,
    upstream: Upstream,
    monkeypatch: pytest.MonkeyPatch,
    version_header: str,
    if_range: bool,
    goes_on: bool,
    changes: bool,
) -> None:
    """Without a published checksum, which would show the difference: both versions have the same size."""
    upstream.version_header, upstream.if_range = version_header, if_range
    old, new = b"old" * 1000, b"new" * 1000
    store = cut_off(tmp_path, upstream, old, 1200, monkeypatch)
    expected = new if changes else old
    upstream.put("site/file.tgz", expected, checksum=False)
    store.fetch(Site(0), f"{upstream.url}/site/file.tgz", "site/file.tgz", lambda *_: None)
    assert (store.folder / "site/file.tgz").read_bytes() == expected
    if not changes:
        assert upstream.served == (1800 if goes_on else 3000)
    assert {path.name for path in (store.folder / "site").iterdir()} == {"file.tgz"}


def test_a_complete_part_is_only_verified(tmp_path: Path, upstream: Upstream, monkeypatch: pytest.MonkeyPatch) -> None:
    store = cut_off(tmp_path, upstream, b"whole", 3, monkeypatch)
    with (store.folder / "site/file.tgz.part").open("ab") as part:
        part.write(b"le")
    store.fetch(Site(0), f"{upstream.url}/site/file.tgz", "site/file.tgz", lambda *_: None)
    assert (store.folder / "site/file.tgz").read_bytes() == b"whole"
    assert upstream.served == 0


def test_a_part_longer_than_the_file_is_discarded(
    tmp_path: Path, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    upstream.if_range = False
    store = cut_off(tmp_path, upstream, b"much longer than the file", 20, monkeypatch)
    upstream.put("site/file.tgz", b"short", checksum=False)
    store.fetch(Site(0), f"{upstream.url}/site/file.tgz", "site/file.tgz", lambda *_: None)
    assert (store.folder / "site/file.tgz").read_bytes() == b"short"


def test_a_time_in_the_current_second_isnt_a_version() -> None:
    def version(**headers: str) -> str:
        message = Message()
        for name, value in headers.items():
            message[name.replace("_", "-")] = value
        return mirror_download.version_of(message)

    at, later = "Sat, 01 Jan 2000 00:00:00 GMT", "Sat, 01 Jan 2000 00:00:01 GMT"
    assert version(Last_Modified=at, Date=later) == at
    assert version(Last_Modified=at, Date=at) == ""
    assert version(Last_Modified=at) == version(Last_Modified="x", Date=at) == version() == ""


def test_fetch_can_use_another_mirror(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mirror_download, "TRIES", 1)
    content = bytes(range(256)) * 4000
    (tmp_path / "first").mkdir()
    (tmp_path / "first/file.tgz").write_bytes(content)
    mirror = Mirror(tmp_path / "first", "127.0.0.1", 0)
    seen: list[tuple[int, int]] = []

    def interrupt(done: int, total: int) -> None:
        seen.append((done, total))
        if done:
            raise KeyboardInterrupt

    try:
        monkeypatch.setattr(mirror_download, "CHUNK", 100_000)
        store, url = Store(tmp_path / "second"), f"http://127.0.0.1:{mirror.port}/file.tgz"
        with pytest.raises(KeyboardInterrupt):
            store.fetch(Site(0), url, "file.tgz", interrupt)
        with pytest.raises(KeyboardInterrupt):
            store.fetch(Site(0), url, "file.tgz", interrupt)
        store.fetch(Site(0), url, "file.tgz", lambda *_: None)
    finally:
        mirror.close()
    # The second mirror is filled from the first.
    assert seen == [(0, len(content)), (100_000, len(content)), (100_000, len(content))]
    assert (store.folder / "file.tgz").read_bytes() == content


def test_a_repository_is_fetched_from_the_current_source(tmp_path: Path, upstream: Upstream) -> None:
    """git remembers the origin of a clone, but a later --from may name another mirror."""
    name = "github.com/aerospike-community/aerospike-perseus.git"
    target = tmp_path / "copy.git"
    mirror_commands._fetch_repository(f"{upstream.url}/{name}", target)
    first = upstream.folder / name
    other = first.with_name("elsewhere.git")
    first.rename(other)
    subprocess.run(["git", "-C", str(other), "branch", "newer", "master"], check=True)
    subprocess.run(["git", "-C", str(other), "update-server-info"], check=True)
    mirror_commands._fetch_repository(f"{upstream.url}/github.com/aerospike-community/elsewhere.git", target)
    refs = (target / "info/refs").read_text()
    assert "refs/heads/newer" in refs


def test_a_wrong_checksum_is_refused_and_leaves_nothing(
    project_with_roles: Path, world: FakeWorld, upstream: Upstream
) -> None:
    upstream.put(f"{EXPORTER}/1.34.0/aerospike-prometheus-exporter_1.34.0-1_amd64.deb", b"damaged", checksum="0" * 64)
    assert fetch(world, upstream, "--distribution", "debian12") == 2
    errors = world.err.getvalue()
    assert "found the SHA-256" in errors and "0000000000000000" in errors and "Run the command again" in errors
    assert not list((project_with_roles / ".cache/mirror").rglob("*exporter_*"))


def test_a_package_without_any_file_is_an_error(project_with_roles: Path, world: FakeWorld, upstream: Upstream) -> None:
    shutil.rmtree(upstream.folder / SERVER)
    (upstream.folder / SERVER / "8.1.0.3").mkdir(parents=True)
    assert fetch(world, upstream) == 2
    assert "the site has 8.1.0.3" in world.err.getvalue()


def test_a_file_that_is_missing_for_some_hosts_is_reported(
    project_with_roles: Path, world: FakeWorld, upstream: Upstream
) -> None:
    (upstream.folder / f"{EXPORTER}/1.34.0/aerospike-prometheus-exporter-1.34.0-1.x86_64.rpm").unlink()
    assert fetch(world, upstream) == 0
    assert "not published: aerospike-prometheus-exporter for amzn2023 x86_64: found nothing at" in world.err.getvalue()
    (upstream.folder / "dl.grafana.com/oss/release/grafana_12.4.3_amd64.deb").unlink()
    shutil.rmtree(project_with_roles / ".cache")
    assert fetch(world, upstream) == 2
    assert "found no grafana 12.4.3 for any host" in world.err.getvalue()


def test_a_missing_optional_part_is_reported_without_an_error(
    project_with_roles: Path, world: FakeWorld, upstream: Upstream
) -> None:
    (upstream.folder / DASHBOARDS).unlink()
    (upstream.folder / PLUGIN).unlink()
    assert fetch(world, upstream, "--distribution", "debian12") == 0
    errors = world.err.getvalue()
    assert "not published: dashboards for any host: found nothing" in errors
    assert "not published: grafana-polystat-panel for any host: found nothing" in errors


def test_parts_that_config_yml_disables_arent_fetched() -> None:
    def names(**values: Any) -> set[str]:
        return {part.package for part in parts(ROOT, values) if part.optional}

    assert names() == {"dashboards", "grafana-polystat-panel"}
    assert names(grafana_prometheus_stack_version="", grafana_prometheus_plugins={}) == set()
    (pinned,) = [
        part for part in parts(ROOT, {"grafana_prometheus_stack_version": "v3.17.0"}) if part.package == "dashboards"
    ]
    assert pinned.directory == "https://github.com/aerospike/aerospike-monitoring/archive/refs/tags"
    assert pinned.file == "v3.17.0.tar.gz"


def test_a_failing_site_is_retried_then_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mirror_download, "TRIES", 2)
    with pytest.raises(mirror_download.ArtifactError, match=r"http://127.0.0.1:9/x can't be read: .*\(2 tries\)"):
        Site(pause=0).text("http://127.0.0.1:9/x")


def test_list_shows_and_checks(project_with_roles: Path, world: FakeWorld, upstream: Upstream) -> None:
    assert world.run("mirror", "list") == 0
    assert "has no fetched files" in world.out.getvalue()
    assert fetch(world, upstream, "--distribution", "debian12") == 0
    assert world.run("mirror", "list", "--check", "--output", "json") == 0
    record = json.loads(world.out.getvalue().splitlines()[-1])
    assert record["damaged"] == [] and len(record["files"]) == 5
    assert record["repositories"] == ["github.com/aerospike-community/aerospike-perseus.git"]
    grafana = project_with_roles / ".cache/mirror/dl.grafana.com/oss/release/grafana_12.4.3_amd64.deb"
    grafana.write_bytes(b"changed")
    assert world.run("mirror", "list", "--check") == 2
    assert "has changed since its download" in world.out.getvalue()
    assert "  github.com/aerospike-community/aerospike-perseus.git" in world.out.getvalue()
    assert fetch(world, upstream, "--distribution", "debian12") == 0
    assert grafana.read_bytes() == b"grafana " * 500


def test_serve_offers_the_fetched_files(
    project_with_roles: Path, world: FakeWorld, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    documented = objects()
    assert fetch(world, upstream, "--distribution", "debian12", "--output", "json") == 0
    assert set(json.loads(world.out.getvalue())) == documented["mirror fetch"]
    seen: list[bytes] = []

    def look() -> None:
        record = json.loads(world.out.getvalue().splitlines()[-1])
        assert set(record) == documented["mirror serve"]
        with urllib.request.urlopen(f"http://127.0.0.1:{record['port']}/{SERVER}/8.0.0.4/", timeout=5) as answer:
            seen.append(answer.read())
        raise KeyboardInterrupt

    monkeypatch.setattr(mirror_commands, "_until_interrupted", look)
    options = ("--address", "127.0.0.1", "--port", "0", "--output", "json")
    assert world.run("mirror", "serve", *options) == 0
    assert b"debian12_x86_64.tgz" in seen[0]


def test_serve_without_a_mirror_names_the_next_step(world: FakeWorld) -> None:
    assert world.run("mirror", "serve") == 2
    assert "mirror fetch" in world.err.getvalue()
