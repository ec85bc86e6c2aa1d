"""artifact_package: its queries to a site, its choice, its verification."""

from __future__ import annotations

import contextlib
import hashlib
import io
import tarfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.aerospike.info import InfoError
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.config import fixed_values
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.host import artifacts
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.host import packages as host_packages
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.host.artifacts import (
    ArtifactError,
    NotFoundError,
)
from ansible_collections.aerospike_community.pegasus.plugins.modules import artifact_package as subject
from ansible_collections.aerospike_community.pegasus.tests.unit.artifact_site import (
    FILE,
    SITE,
    VALUES,
    Pages,
    server_site,
)

ROLE = Path(__file__).resolve().parents[3] / "roles/aerospike_server"


@pytest.fixture
def site() -> Pages:
    return server_site()


def tar(path: Path, **members: str) -> None:
    with tarfile.open(path, "w:gz") as stream:
        for name, text in members.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(text)
            stream.addfile(entry, io.BytesIO(text.encode()))


class Manager:
    """A package manager in memory."""

    format = "deb"

    def __init__(self) -> None:
        self.have: dict[str, str] = {}

    def installed(self, names: list[str]) -> dict[str, str]:
        return {name: version for name, version in self.have.items() if name in names}

    def install(self, packages: list[str]) -> None:
        for package in packages:
            name, version = Path(package).name.split("_")[:2]
            self.have[name] = version


def install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, published: str | None, previous: str = "", **params: Any
) -> dict[str, Any]:
    """Install from a site in a folder; ``published`` is the text of the .sha256 file, '' for the correct one."""
    source = tmp_path / "a_1.0_debian12.tgz"
    tar(source, **{"a/a_1.0-1_amd64.deb": "x", "a/tools_9-1_amd64.deb": "y"})
    digest = hashlib.sha256(source.read_bytes()).hexdigest()

    def text(self: Any, url: str) -> str:
        if not url.endswith(".sha256") or published is None:
            raise NotFoundError(f"found nothing at {url}")
        return published or digest

    monkeypatch.setattr(subject.Site, "text", text)
    monkeypatch.setattr(subject.Site, "file", lambda self, url, path: path.write_bytes(source.read_bytes()))
    values = {
        "package": "a", "with_packages": ["tools"], "version": "1.0", "directory": "http://s/{version}", "file_rpm": "",
        "file": "a_{version}_{distribution}.tgz", "install": ["a_*.{format}", "tools_*.{format}"],
        "checksum": "auto", "timeout": 1, "downgrade_refusal": "", "peers": [], "choose": False, "chosen": {},
    }  # fmt: skip
    module = SimpleNamespace(params={**values, **params}, check_mode=False)
    return subject.install(module, Manager(), VALUES, previous)  # type: ignore[arg-type]


@pytest.mark.parametrize(("published", "verified"), [("", True), (None, False)])
def test_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, published: str | None, verified: bool) -> None:
    done = install(tmp_path, monkeypatch, published)
    assert done == {
        "version": "1.0",
        "file": "a_1.0_debian12.tgz",
        "url": "http://s/1.0/a_1.0_debian12.tgz",
        "verified": verified,
    }


KIND = "http://s/{version} a_{version}_{distribution}.tgz 1.* debian12 x86_64"
CHOICE = {"version": "1.0", "file": "a_1.0_debian12.tgz", "url": "http://s/1.0/a_1.0_debian12.tgz"}


def test_a_choice_installs_nothing_and_its_installation_needs_no_listing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def locate(directory: str, file: str, version: str, values: dict[str, str], read: Any) -> artifacts.Located:
        listings.append(version)
        return artifacts.Located(**CHOICE)

    listings: list[str] = []
    monkeypatch.setattr(subject, "locate", locate)
    monkeypatch.setattr(Manager, "install", lambda *_: pytest.fail("it installs"))
    chosen = install(tmp_path, monkeypatch, "", version="1.*", choose=True)["choice"]
    assert chosen == {KIND: CHOICE} and listings == ["1.*"]
    monkeypatch.undo()
    monkeypatch.setattr(subject, "locate", lambda *_: pytest.fail("it reads the listing"))
    for choose in (True, False):
        done = install(tmp_path, monkeypatch, "", version="1.*", choose=choose, chosen=chosen)
        assert done["version"] == "1.0" and "choice" not in done


@pytest.mark.parametrize(
    ("requested", "builds", "chosen"),
    [
        ("8.0.*", {"a": "8.0.0.4"}, "8.0.0.4"),
        ("latest", {"a": "8.0.0.4"}, "8.0.0.4"),
        ("latest", {"a": "8.0.0.4", "b": "8.0.0.10"}, "8.0.0.10"),
        ("8.1.*", {"a": "8.0.0.4"}, "8.1.*"),
        ("8.0.*", {}, "8.0.*"),
        ("8.0.*", {"a": "<html>"}, "8.0.*"),
        ("8.0.0.10", {"a": "8.0.0.4"}, "8.0.0.10"),
    ],
)
def test_a_new_node_gets_the_version_of_its_cluster(
    monkeypatch: pytest.MonkeyPatch, requested: str, builds: dict[str, str], chosen: str
) -> None:
    def ask(peer: str, command: str, timeout: float) -> str:
        assert command == "build"
        if peer not in builds:
            raise InfoError(f"{peer}:3000 does not answer")
        return builds[peer]

    sought: list[str] = []
    monkeypatch.setattr(subject, "info_value", ask)
    monkeypatch.setattr(subject, "locate", lambda directory, file, version, *_: sought.append(version))
    params = {"directory": SITE, "version": requested, "peers": ["a", "b", "c"], "chosen": {}}
    subject.choice(params, FILE, VALUES, subject.Site(1))
    assert sought == [chosen]


def test_a_clusters_version_that_the_site_lacks_is_reported(monkeypatch: pytest.MonkeyPatch, site: Pages) -> None:
    monkeypatch.setattr(subject, "info_value", lambda *_, **__: "8.0.0.9")
    params = {"directory": SITE + "/{version}", "version": "8.0.*", "peers": ["a"], "chosen": {}}
    with pytest.raises(
        ArtifactError, match=r"the site has 8.0.0.4, .*The cluster runs 8.0.0.9, so this node needs it too"
    ):
        subject.choice(params, FILE, VALUES, SimpleNamespace(text=site))  # type: ignore[arg-type]


def test_wrong_and_missing_checksums_and_a_wrong_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ArtifactError, match=r"expected SHA-256 0{64}, found [0-9a-f]{64}: the file is damaged"):
        install(tmp_path, monkeypatch, "0" * 64)
    with pytest.raises(ArtifactError, match="checksum is 'required'"):
        install(tmp_path, monkeypatch, None, checksum="required")
    with pytest.raises(host_packages.PackageError, match=r"expected b 1\.0; found no such package"):
        install(tmp_path, monkeypatch, "", package="b")


def test_another_package_of_the_archive_must_have_its_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert install(tmp_path, monkeypatch, "", with_packages=["tools=9"])["version"] == "1.0"
    with pytest.raises(host_packages.PackageError, match=r"with tools=8; found 1\.0"):
        install(tmp_path, monkeypatch, "", with_packages=["tools=8"])


@pytest.mark.parametrize(
    ("previous", "requested", "refused"),
    [
        ("", "1.0", False),
        ("0.9", "1.0", False),
        ("1.0.0.8", "1.0", False),
        ("1.1", "1.0", True),
        ("1.10.0.1", "1.9.0.1", True),
        ("1.9.0.1", "1.10.0.1", False),
        ("10.0", "9.1", True),
    ],
)
def test_an_earlier_release_is_refused_if_the_role_has_a_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, previous: str, requested: str, refused: bool
) -> None:
    if not refused:
        subject.check_downgrade(previous, requested, "because")
    else:
        with pytest.raises(subject.DowngradeError, match=rf"found {previous} installed, expected .* or newer: because"):
            subject.check_downgrade(previous, requested, "because")
    subject.check_downgrade(previous, requested, "")
    if requested == "1.0":
        # Before any download, and also in check mode.
        with pytest.raises(subject.DowngradeError) if refused else contextlib.nullcontext():
            install(tmp_path, monkeypatch, "", previous, downgrade_refusal="because")


def test_a_refused_release_is_a_configuration_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """The message has the role's text and the command that rebuilds; the class determines the driver's exit code."""
    (arguments,) = [
        task["aerospike_community.pegasus.artifact_package"]
        for task in yaml.safe_load((ROLE / "tasks/prepare.yml").read_text())
        if "aerospike_community.pegasus.artifact_package" in task
    ]
    refusal = arguments["downgrade_refusal"].replace("{{ __aerospike_server_config }}", "")
    failure: dict[str, Any] = {}

    class Ended(Exception):
        pass

    def fail(**result: Any) -> None:
        failure.update(result)
        raise Ended

    manager = Manager()
    manager.have = {"a": "8.1.0.3-1+simulated"}
    params = {"package": "a", "with_packages": [], "version": "8.0.0.4", "directory": "http://s", "timeout": 1,
              "file": "a.tgz", "file_rpm": "", "install": [], "checksum": "auto", "chosen": {},
              "downgrade_refusal": refusal}  # fmt: skip
    module = SimpleNamespace(params=params, run_command=None, fail_json=fail)
    monkeypatch.setattr(subject, "AnsibleModule", lambda **_: module)
    monkeypatch.setattr(subject, "package_manager", lambda run: manager)
    with pytest.raises(Ended):
        subject.main()
    assert failure["error_class"] == "configuration"
    assert "a 8.0.0.4: found 8.1.0.3 installed, expected 8.1 or newer" in failure["msg"]
    assert "aerospike_server_version" in failure["msg"] and fixed_values.REBUILD in failure["msg"]


@pytest.mark.parametrize(("tools", "changed"), [("tools", False), ("tools=9", False), ("tools=8", True)])
def test_another_version_of_the_tools_is_replaced(monkeypatch: pytest.MonkeyPatch, tools: str, changed: bool) -> None:
    class Ended(Exception):
        pass

    def end(**result: Any) -> None:
        raise Ended(result)

    manager = Manager()
    manager.have = {"a": "1.0-1", "tools": "9-1"}
    params = {"package": "a", "with_packages": [tools], "version": "1.0"}
    module = SimpleNamespace(params=params, run_command=None, exit_json=end)
    monkeypatch.setattr(subject, "AnsibleModule", lambda **_: module)
    monkeypatch.setattr(subject, "package_manager", lambda run: manager)
    monkeypatch.setattr(subject, "install", lambda *_: {"version": "1.0"})
    with pytest.raises(Ended) as caught:
        subject.main()
    assert caught.value.args[0]["changed"] is changed


def test_documentation_is_yaml_with_every_option() -> None:
    options = yaml.safe_load(subject.DOCUMENTATION)["options"]
    expected = "package with_packages version directory file file_rpm install checksum timeout downgrade_refusal"
    assert set(options) == set(expected.split()) | {"peers", "choose", "chosen"}
