"""The simulated packages: upstream's layout and names, reproducible, and no service is started."""

import hashlib
import http.server
import json
import platform
import shutil
import subprocess
import sys
import tarfile
import threading
import zipfile
from functools import partial
from pathlib import Path

import pytest

from local_cloud.packages import build, exporter, perseus, sources
from local_cloud.packages.archives import PackageBuildError
from local_cloud.packages.build import build_mirror

AEROSPIKE = "download.aerospike.com/artifacts"
PERSEUS = "github.com/aerospike-community/aerospike-perseus.git"


def fake_wheel(root: Path) -> Path:
    """Put an empty wheel into the cache, so that nothing is downloaded."""
    name = f"aerospike-{perseus.CLIENT_VERSION}-cp311-cp311-manylinux_2_28_{platform.machine()}.whl"
    path = root / ".cache" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as wheel:
        wheel.writestr(zipfile.ZipInfo("aerospike/__init__.py"), "")
    return path


@pytest.fixture(scope="module")
def mirror(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A mirror for the tests that only read it."""
    root = tmp_path_factory.mktemp("root")
    fake_wheel(root)
    build_mirror(root, root / "mirror", lambda _: None)
    return root / "mirror"


def fields(deb: Path) -> dict[str, str]:
    text = subprocess.run(["dpkg-deb", "-f", deb], capture_output=True, text=True, check=True).stdout
    return dict(line.split(": ", 1) for line in text.splitlines() if not line.startswith(" "))


def contents(deb: Path) -> dict[str, str]:
    """The mode and owner of all files of a package, by path."""
    text = subprocess.run(["dpkg-deb", "-c", deb], capture_output=True, text=True, check=True).stdout
    rows = (line.split(None, 5) for line in text.splitlines())
    return {row[5].removeprefix("."): f"{row[0]} {row[1]}" for row in rows}


def digests(folder: Path) -> dict[str, str]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.mark.parametrize("edition", ["enterprise", "community"])
@pytest.mark.parametrize("version", ["8.0.0.4", "8.1.0.3"])
@pytest.mark.parametrize("distribution", ["debian12", "debian13", "ubuntu24.04"])
@pytest.mark.parametrize(("machine", "architecture"), [("x86_64", "amd64"), ("aarch64", "arm64")])
def test_server_archive_has_upstreams_layout(
    mirror: Path, tmp_path: Path, edition: str, version: str, distribution: str, machine: str, architecture: str
) -> None:
    name = f"aerospike-server-{edition}_{version}_tools-11.2.2_{distribution}_{machine}"
    archive = mirror / AEROSPIKE / f"aerospike-server-{edition}" / version / f"{name}.tgz"
    checksum = archive.with_name(f"{archive.name}.sha256").read_text()
    assert checksum == f"{hashlib.sha256(archive.read_bytes()).hexdigest()}  {archive.name}\n"
    with tarfile.open(archive) as tar:
        tar.extractall(tmp_path, filter="data")
    server = tmp_path / name / f"aerospike-server-{edition}_{version}-1{distribution}_{architecture}.deb"
    tools = tmp_path / name / f"aerospike-tools_11.2.2-1{distribution}_{architecture}.deb"
    assert {path.name for path in (tmp_path / name).iterdir()} == {server.name, tools.name, "asinstall"}
    assert (tmp_path / name / "asinstall").stat().st_mode & 0o111
    found = fields(server)
    assert found["Package"] == f"aerospike-server-{edition}"
    assert found["Version"].partition("-")[0] == version, "the upstream part is the requested version"
    assert found["Architecture"] == "all"
    assert "SIMULATED" in found["Description"]
    assert "SIMULATED" in fields(tools)["Description"]


def test_server_package_installs_upstreams_files(mirror: Path, tmp_path: Path) -> None:
    name = "aerospike-server-community_8.1.0.3_tools-11.2.2_debian12_x86_64"
    with tarfile.open(mirror / AEROSPIKE / f"aerospike-server-community/8.1.0.3/{name}.tgz") as tar:
        tar.extractall(tmp_path, filter="data")
    deb = tmp_path / name / "aerospike-server-community_8.1.0.3-1debian12_amd64.deb"
    found = contents(deb)
    for path in (
        "/lib/systemd/system/aerospike.service",
        "/etc/aerospike/aerospike.conf",
        "/opt/aerospike/smd/",
        "/opt/aerospike/usr/udf/lua/",
        "/opt/aerospike/data/",
        "/usr/lib/aerospike-simulated/asd_simulated/__init__.py",
    ):
        assert path in found
    for path in ("/usr/bin/asd", "/usr/bin/asinfo"):
        assert found[path].startswith("-rwxr-xr-x")
    assert found["/"] == "drwxr-xr-x root/root", "the root folder doesn't have a temporary folder's mode"
    assert all(value.endswith(" root/root") for value in found.values())
    assert not any("__pycache__" in path for path in found)
    subprocess.run(["dpkg-deb", "-x", deb, tmp_path / "installed"], check=True)
    release = json.loads((tmp_path / "installed/usr/lib/aerospike-simulated/release.json").read_text())
    assert (release["version"], release["edition"]) == ("8.1.0.3", "community")


@pytest.mark.parametrize("version", exporter.VERSIONS)
def test_exporter_has_a_package_and_an_archive(mirror: Path, version: str) -> None:
    folder = mirror / AEROSPIKE / "aerospike-prometheus-exporter" / version
    deb = folder / f"aerospike-prometheus-exporter_{version}-1_amd64.deb"
    archive = folder / f"aerospike-prometheus-exporter_{version}_aarch64.tgz"
    for path in (deb, archive):
        assert (
            path.with_name(f"{path.name}.sha256").read_text().split()[0]
            == hashlib.sha256(path.read_bytes()).hexdigest()
        )
    expected = {
        "/usr/bin/aerospike-prometheus-exporter",
        "/etc/aerospike-prometheus-exporter/ape.toml",
        "/usr/lib/systemd/system/aerospike-prometheus-exporter.service",
    }
    assert expected <= contents(deb).keys()
    with tarfile.open(archive) as tar:
        assert expected <= {name.removeprefix(".") for name in tar.getnames()}
        assert tar.getmember("./usr/bin/aerospike-prometheus-exporter").mode == 0o755


def test_grafana_has_both_of_upstreams_names(mirror: Path) -> None:
    old = mirror / "dl.grafana.com/oss/release/grafana_12.4.3_amd64.deb"
    new = mirror / "dl.grafana.com/grafana/release/12.4.3/grafana_12.4.3_24388279614_linux_amd64.deb"
    assert old.read_bytes() == new.read_bytes()
    assert fields(old)["Version"].partition("-")[0] == "12.4.3"
    assert {
        "/etc/grafana/grafana.ini",
        "/etc/grafana/provisioning/datasources/",
        "/etc/grafana/provisioning/dashboards/",
        "/usr/sbin/grafana-server",
        "/usr/sbin/grafana-cli",
        "/usr/lib/systemd/system/grafana-server.service",
        "/var/lib/grafana/",
    } <= contents(old).keys()


def test_dashboards_archive_has_a_tags_layout_and_is_marked_simulated(mirror: Path) -> None:
    with tarfile.open(mirror / "github.com/aerospike/aerospike-monitoring/archive/refs/tags/v3.18.0.tar.gz") as tar:
        (name,) = [member.name for member in tar.getmembers() if member.isfile()]
        assert name.startswith("aerospike-monitoring-3.18.0/config/grafana/dashboards/")
        source = tar.extractfile(name)
        assert source is not None
        dashboard = json.loads(source.read())
    assert "SIMULATED" in dashboard["title"] and "SIMULATED" in dashboard["description"]


def test_plugin_has_the_layout_of_grafanas_site_and_is_marked_simulated(mirror: Path) -> None:
    with zipfile.ZipFile(mirror / "grafana.com/api/plugins/grafana-polystat-panel/versions/2.1.14/download") as archive:
        assert archive.namelist() == ["grafana-polystat-panel/plugin.json"]
        about = json.loads(archive.read("grafana-polystat-panel/plugin.json"))
    assert about["info"]["version"] == "2.1.14" and "SIMULATED" in about["name"]


def test_no_package_starts_or_enables_a_service(mirror: Path, tmp_path: Path) -> None:
    debs = list(mirror.rglob("*.deb"))
    for archive in mirror.rglob("aerospike-server-*debian12_x86_64.tgz"):
        with tarfile.open(archive) as tar:
            tar.extractall(tmp_path, filter="data")
    debs += tmp_path.rglob("*.deb")
    assert len(debs) >= 8
    for number, deb in enumerate(debs):
        subprocess.run(["dpkg-deb", "-e", deb, tmp_path / f"control-{number}"], check=True)
        for script in (tmp_path / f"control-{number}").glob("p*"):
            text = script.read_text()
            assert not any(word in text for word in (" enable", " start", " restart", "invoke-rc.d")), deb.name
            subprocess.run(["sh", "-n", script], check=True)


def test_second_build_does_nothing(tmp_path: Path) -> None:
    fake_wheel(tmp_path)
    lines: list[str] = []
    build_mirror(tmp_path, tmp_path / "mirror", lines.append)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "mirror").rglob("*")}
    assert lines
    lines.clear()
    build_mirror(tmp_path, tmp_path / "mirror", lines.append)
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "mirror").rglob("*")} == before
    assert lines == []


def test_same_sources_give_the_same_files(mirror: Path, tmp_path: Path) -> None:
    fake_wheel(tmp_path)
    build_mirror(tmp_path, tmp_path / "mirror", lambda _: None)
    assert digests(tmp_path / "mirror") == digests(mirror)


def test_changed_source_is_rebuilt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_wheel(tmp_path)
    simulators = tmp_path / "simulators"
    shutil.copytree(sources.SIMULATORS, simulators)
    monkeypatch.setattr(sources, "SIMULATORS", simulators)
    mirror = tmp_path / "mirror"
    build_mirror(tmp_path, mirror, lambda _: None)
    before = digests(mirror)
    with (simulators / "grafana/grafana.ini").open("a") as file:
        file.write("# changed\n")
    build_mirror(tmp_path, mirror, lambda _: None)
    after = digests(mirror)
    changed = {name for name in after if before.get(name) != after[name]}
    assert changed == {build.MANIFEST, *(name for name in after if "/grafana_" in name)}
    assert before.keys() == after.keys()


def test_foreign_files_stay_and_outdated_packages_are_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_wheel(tmp_path)
    mirror = tmp_path / "mirror"
    real = mirror / "dl.grafana.com/oss/release/grafana_12.4.3_amd64.deb"
    real.parent.mkdir(parents=True)
    real.write_text("a real package")
    lines: list[str] = []
    build_mirror(tmp_path, mirror, lines.append)
    assert real.read_text() == "a real package"
    assert any("grafana_12.4.3_amd64.deb" in line for line in lines)
    replaced = next(mirror.rglob("grafana_12.4.3_arm64.deb"))
    replaced.write_text("another real package, fetched later")

    monkeypatch.setattr(exporter, "VERSIONS", ("1.34.0",))
    monkeypatch.setattr(build, "_fingerprint", lambda wheel: "another")
    build_mirror(tmp_path, mirror, lines.append)
    assert real.read_text() == "a real package"
    assert replaced.read_text() == "another real package, fetched later"
    assert not (mirror / AEROSPIKE / "aerospike-prometheus-exporter/1.25.0").exists()
    assert (mirror / AEROSPIKE / "aerospike-prometheus-exporter/1.34.0").exists()


def test_lost_file_and_interrupted_build_are_repaired(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_wheel(tmp_path)
    mirror = tmp_path / "mirror"
    build_mirror(tmp_path, mirror, lambda _: None)
    before = digests(mirror)
    next(mirror.rglob("grafana_12.4.3_amd64.deb")).unlink()
    shutil.rmtree(mirror / PERSEUS)

    real = build._write_manifest
    calls: list[str] = []

    def interrupt(folder: Path, files: dict[str, str], fingerprint: str) -> None:
        calls.append(fingerprint)
        if fingerprint:
            raise KeyboardInterrupt
        real(folder, files, fingerprint)

    with monkeypatch.context() as patch:
        patch.setattr(build, "_write_manifest", interrupt)
        with pytest.raises(KeyboardInterrupt):
            build_mirror(tmp_path, mirror, lambda _: None)
    assert calls[0] == "", "before the first file the manifest marks the files as incomplete"
    build_mirror(tmp_path, mirror, lambda _: None)
    assert digests(mirror) == before
    assert not list(mirror.glob(".building-*"))


def test_perseus_is_cloned_built_and_run(mirror: Path, tmp_path: Path) -> None:
    """Over plain HTTP, without git on the server."""
    handler = partial(http.server.SimpleHTTPRequestHandler, directory=str(mirror))
    handler.log_message = lambda *_: None  # type: ignore[attr-defined]
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_address[1]}/{PERSEUS}"
        git = ["git", "-c", "http.proxy="]
        heads = subprocess.run([*git, "ls-remote", url], capture_output=True, text=True, check=True).stdout
        assert "refs/heads/master" in heads
        assert "refs/tags/v1.0-SIMULATED" in heads
        subprocess.run([*git, "clone", "-q", "--branch", "v1.0-SIMULATED", url, tmp_path / "p"], check=True)
        server.shutdown()
    assert list((tmp_path / "p/lib").glob("aerospike-*.whl"))
    built = subprocess.run(["./build"], cwd=tmp_path / "p", capture_output=True, text=True, check=True)
    assert "SIMULATED" in built.stdout
    jar = tmp_path / "p/target/perseus-1.0-SNAPSHOT-jar-with-dependencies.jar"
    version = subprocess.run([sys.executable, jar, "--version"], capture_output=True, text=True, check=True)
    assert "SIMULATED" in version.stdout
    status = subprocess.run(
        ["git", "status", "--porcelain"], cwd=tmp_path / "p", capture_output=True, text=True, check=True
    )
    assert status.stdout == "", "a build leaves the checkout clean"


def test_missing_dpkg_deb_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(PackageBuildError, match="dpkg-deb") as caught:
        build_mirror(tmp_path, tmp_path / "mirror", lambda _: None)
    assert "dpkg" in caught.value.next_step
    assert not (tmp_path / "mirror").exists()


def test_failed_download_of_the_wheel_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    with pytest.raises(PackageBuildError, match="aerospike") as caught:
        build_mirror(tmp_path, tmp_path / "mirror", lambda _: None)
    assert ".cache" in caught.value.next_step
    assert not list((tmp_path / ".cache").iterdir())


def test_corrupt_wheel_in_the_cache_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_wheel(tmp_path).write_bytes(b"half of a file")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    with pytest.raises(PackageBuildError):
        perseus.client_wheel(tmp_path / ".cache", lambda _: None)


def test_missing_source_file_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_wheel(tmp_path)
    simulators = tmp_path / "simulators"
    shutil.copytree(sources.SIMULATORS, simulators)
    next(path for path in simulators.rglob("aerospike.service")).unlink()
    monkeypatch.setattr(sources, "SIMULATORS", simulators)
    with pytest.raises(PackageBuildError, match=r"aerospike\.service"):
        build_mirror(tmp_path, tmp_path / "mirror", lambda _: None)
