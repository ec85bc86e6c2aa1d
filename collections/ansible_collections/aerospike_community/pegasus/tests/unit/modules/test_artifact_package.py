"""artifact_package: what is asked of a site, what is chosen, what is verified."""

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
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.host.facts import read_host
from ansible_collections.aerospike_community.pegasus.plugins.modules import artifact_package as subject

ROLE = Path(__file__).resolve().parents[3] / "roles/aerospike_server"
VALUES = {"distribution": "debian12", "architecture": "x86_64", "deb_architecture": "amd64", "format": "deb"}
SITE = "http://mirror/download.aerospike.com/artifacts/aerospike-server-community"
FILE = "aerospike-server-community_{version}_tools-*_{distribution}_{architecture}.tgz"


def page(*names: str) -> str:
    return '<a href="?C=N;O=D">Name</a><a href="../">Parent</a>' + "".join(
        f'<a href="{name}">{name}</a>' for name in names
    )


class Pages:
    """A site of pages, with what was read."""

    def __init__(self, **pages: str) -> None:
        self.pages = {f"{SITE}/{path}": text for path, text in pages.items()}
        self.read: list[str] = []

    def __call__(self, url: str) -> str:
        self.read.append(url)
        if url not in self.pages:
            raise NotFoundError(f"found nothing at {url} (HTTP 404)")
        return self.pages[url]


def archive(version: str, tools: str, distribution: str = "debian12", architecture: str = "x86_64") -> str:
    return f"aerospike-server-community_{version}_tools-{tools}_{distribution}_{architecture}.tgz"


@pytest.fixture
def site() -> Pages:
    listing = page(
        archive("8.0.0.10", "11.2.2"),
        archive("8.0.0.10", "11.10.0"),
        archive("8.0.0.10", "11.10.0", "ubuntu24.04"),
        archive("8.0.0.10", "11.10.0", "debian12", "aarch64"),
        archive("8.0.0.10", "11.10.0") + ".sha256",
    )
    return Pages(**{"": page("8.0.0.4/", "8.0.0.10/", "8.1.0.3/", "latest/", "readme.txt"), "8.0.0.10/": listing})


@pytest.mark.parametrize("asked", ["8.0.0.10", "8.0.*", "8.0.0.1?"])
def test_the_newest_fitting_file_for_the_host(site: Pages, asked: str) -> None:
    found = artifacts.locate(SITE + "/{version}", FILE, asked, VALUES, site)
    assert (found.version, found.file) == ("8.0.0.10", archive("8.0.0.10", "11.10.0"))
    assert found.url == f"{SITE}/8.0.0.10/{found.file}"
    assert len(site.read) == (1 if artifacts.is_exact(asked) else 2)


def test_latest(site: Pages) -> None:
    with pytest.raises(ArtifactError, match=r"8\.1\.0\.3/ \(HTTP 404\)"):
        artifacts.locate(SITE + "/{version}", FILE, "latest", VALUES, site)


def test_a_plain_name_needs_no_listing() -> None:
    site = Pages()
    found = artifacts.locate("http://grafana/oss", "grafana_{version}_{deb_architecture}.deb", "12.4.3", VALUES, site)
    assert found.url == "http://grafana/oss/grafana_12.4.3_amd64.deb"
    assert site.read == []


@pytest.mark.parametrize(
    ("version", "values", "said"),
    [
        ("8.0.0.99", {}, r"404\); the site has 8.0.0.4, 8.0.0.10, 8.1.0.3"),
        ("9.*", {}, "found no version '9.*'; the site has 8.0.0.4, 8.0.0.10, 8.1.0.3"),
        ("8.0.0.10", {"distribution": "el9"}, "tools-*_el9_x86_64.tgz', found aerospike"),
    ],
)
def test_what_is_not_there_names_what_is(site: Pages, version: str, values: dict[str, str], said: str) -> None:
    with pytest.raises(ArtifactError) as caught:
        artifacts.locate(SITE + "/{version}", FILE, version, {**VALUES, **values}, site)
    assert said.replace("\\", "") in str(caught.value)


def test_a_pattern_without_a_folder_per_version_and_an_unknown_word() -> None:
    with pytest.raises(ArtifactError, match="set an exact version"):
        artifacts.locate("http://x/y", "f_{version}", "1.*", VALUES, Pages())
    with pytest.raises(ArtifactError, match=r"found \{colour\} in '\{colour\}'; expected one of architecture"):
        artifacts.fill("{colour}", VALUES)


def test_listing_names() -> None:
    text = page("8.0.0.4/", "a%20b.tgz", "/artifacts/x/c.tgz", "http://other/d.tgz?x=1#y", "8.0.0.4/")
    assert artifacts.listing_names(text) == ["8.0.0.4", "a b.tgz", "c.tgz", "d.tgz"]


@pytest.mark.parametrize(
    ("installed", "asked", "fits"),
    [("8.0.0.4", "8.0.0.4", True), ("8.0.0.40", "8.0.0.4", False), ("8.0.0.4", "8.0.*", True), ("1.2", "latest", True)],
)
def test_what_satisfies(installed: str, asked: str, fits: bool) -> None:
    assert artifacts.satisfies(installed, asked) is fits


def test_checksums() -> None:
    digest = "a" * 64
    for text in (digest, f"{digest}\n", f"{digest}  x.tgz\n", f"{'b' * 64}  y.tgz\n{digest.upper()} *dir/x.tgz\n"):
        assert artifacts.checksum_of(text, "x.tgz") == digest
    for text in ("", "<html>", f"{digest}  y.tgz"):
        with pytest.raises(ArtifactError, match=r"expected the SHA-256 of x\.tgz in x\.tgz\.sha256, found"):
            artifacts.checksum_of(text, "x.tgz")


def tar(path: Path, **members: str) -> None:
    with tarfile.open(path, "w:gz") as stream:
        for name, text in members.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(text)
            stream.addfile(entry, io.BytesIO(text.encode()))


def test_members_are_taken_by_their_last_name(tmp_path: Path) -> None:
    tar(tmp_path / "a.tgz", **{"x/server_1.deb": "s", "../../tools_1.deb": "t", "x/asinstall": "i"})
    (tmp_path / "out").mkdir()
    paths = artifacts.extract(tmp_path / "a.tgz", ["server[-_]*.deb", "tools*.deb"], tmp_path / "out")
    assert [path.read_text() for path in paths] == ["s", "t"]
    assert {path.parent for path in paths} == {tmp_path / "out"}
    with pytest.raises(ArtifactError, match=r"in a.tgz: expected a file like '\*.rpm', found asinstall, server_1.deb"):
        artifacts.extract(tmp_path / "a.tgz", ["*.rpm"], tmp_path / "out")


def test_a_damaged_archive(tmp_path: Path) -> None:
    (tmp_path / "a.tgz").write_bytes(b"<html>")
    with pytest.raises(ArtifactError, match="can't be unpacked"):
        artifacts.extract(tmp_path / "a.tgz", ["*"], tmp_path)


@pytest.mark.parametrize(
    ("limit", "expected"), [(None, 8 << 30), ("max", 8 << 30), (str(2 << 30), 2 << 30), (str(1 << 60), 8 << 30)]
)
def test_memory_of_a_host(tmp_path: Path, limit: str | None, expected: int) -> None:
    for name, text in {
        "etc/os-release": "ID=debian\nVERSION_ID=12",
        "proc/meminfo": f"MemTotal: {8 << 20} kB\n",
    }.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    if limit:
        (tmp_path / "sys/fs/cgroup").mkdir(parents=True)
        (tmp_path / "sys/fs/cgroup/memory.max").write_text(limit)
    host = read_host(tmp_path, machine="arm64")
    assert (host.memory_bytes, host.architecture, host.deb_architecture) == (expected, "aarch64", "arm64")


@pytest.mark.parametrize(
    ("version", "upstream"),
    [
        ("8.0.0.4-1+simulated", "8.0.0.4"),
        ("1:12.4.3", "12.4.3"),
        ("8.0.0.4-1.el9", "8.0.0.4"),
        ("1.25.0~rc1", "1.25.0"),
    ],
)
def test_upstream_versions(version: str, upstream: str) -> None:
    assert host_packages.upstream_version(version) == upstream


@pytest.mark.parametrize(
    ("wanted", "there"),
    [
        ("tools", True),
        ("tools=11.2.2", True),
        ("tools=11.2.*", True),
        ("tools=11.2.2-1debian12", True),
        ("tools=11.2", False),
        ("tools=11.3.*", False),
        ("other", False),
    ],
)
def test_whether_a_package_is_there_in_the_asked_version(wanted: str, there: bool) -> None:
    assert host_packages.is_installed(wanted, {"tools": "11.2.2-1debian12"}) is there


def test_services_are_kept_still_and_strangers_policies_left_alone(tmp_path: Path) -> None:
    policy = tmp_path / "policy-rc.d"
    with host_packages.no_service_starts(policy):
        assert "exit 101" in policy.read_text() and policy.stat().st_mode & 0o111
    assert not policy.exists()
    policy.write_text(host_packages.POLICY_TEXT)  # an interrupted run's
    with host_packages.no_service_starts(policy):
        pass
    assert not policy.exists()
    policy.write_text("theirs")
    with host_packages.no_service_starts(policy):
        assert policy.read_text() == "theirs"
    assert policy.read_text() == "theirs"


def test_apt_heals_and_then_says_its_own_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mirror_main_binary-amd64_Packages").touch()
    monkeypatch.setattr(host_packages, "APT_LISTS", tmp_path)
    monkeypatch.setattr(host_packages, "POLICY", tmp_path / "policy")
    monkeypatch.setattr(host_packages.no_service_starts.__wrapped__, "__defaults__", (tmp_path / "policy",))  # type: ignore[attr-defined]
    calls: list[str] = []

    def run(command: list[str], **_: Any) -> tuple[int, str, str]:
        calls.append("update" if "update" in command else command[0])
        return (100, "", "E: Unable to locate package x") if "install" in command else (0, "", "")

    with pytest.raises(host_packages.PackageError, match="apt-get install x failed: E: Unable to locate package x"):
        host_packages.AptPackages(run).install(["x"])
    assert calls == ["apt-get", "dpkg", "update", "apt-get"]


@pytest.mark.parametrize(
    ("lists", "packages", "calls"),
    [
        ([], ["git"], ["update", "install"]),
        ([], ["/var/tmp/a.deb"], ["install"]),
        (["mirror_main_binary-amd64_Packages.lz4"], ["git"], ["install"]),
    ],
)
def test_apt_reads_its_lists_first_where_there_are_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lists: list[str], packages: list[str], calls: list[str]
) -> None:
    """On a new machine nothing is found without them; trying that first takes seconds."""
    for name in lists:
        (tmp_path / name).touch()
    monkeypatch.setattr(host_packages, "APT_LISTS", tmp_path)
    monkeypatch.setattr(host_packages, "no_service_starts", contextlib.nullcontext)
    made: list[str] = []
    host_packages.AptPackages(
        lambda command, **_: made.append("update" if "update" in command else "install") or (0, "", "")  # type: ignore[func-returns-value]
    ).install(packages)
    assert made == calls


def test_half_installed_packages_dont_count() -> None:
    out = "ii \taerospike-tools\t11.2.2-1\niU \taerospike-server-community\t8.0.0.4-1\n"
    manager = host_packages.AptPackages(lambda command, **_: (1, out, ""))
    assert manager.installed(["aerospike-tools", "aerospike-server-community", "absent"]) == {
        "aerospike-tools": "11.2.2-1"
    }


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
    """Install from a site in a folder; ``published`` is the text of the .sha256 file, '' for the right one."""
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


def test_a_choice_is_made_without_an_installation_and_installed_without_a_listing(
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
    ("asked", "builds", "chosen"),
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
def test_a_new_node_gets_what_its_cluster_runs(
    monkeypatch: pytest.MonkeyPatch, asked: str, builds: dict[str, str], chosen: str
) -> None:
    def ask(peer: str, command: str, timeout: float) -> str:
        assert command == "build"
        if peer not in builds:
            raise InfoError(f"{peer}:3000 does not answer")
        return builds[peer]

    sought: list[str] = []
    monkeypatch.setattr(subject, "info_value", ask)
    monkeypatch.setattr(subject, "locate", lambda directory, file, version, *_: sought.append(version))
    params = {"directory": SITE, "version": asked, "peers": ["a", "b", "c"], "chosen": {}}
    subject.choice(params, FILE, VALUES, subject.Site(1))
    assert sought == [chosen]


def test_what_the_cluster_runs_and_the_site_has_no_longer_is_said(monkeypatch: pytest.MonkeyPatch, site: Pages) -> None:
    monkeypatch.setattr(subject, "info_value", lambda *_, **__: "8.0.0.9")
    params = {"directory": SITE + "/{version}", "version": "8.0.*", "peers": ["a"], "chosen": {}}
    with pytest.raises(
        ArtifactError, match=r"the site has 8.0.0.4, .*The cluster runs 8.0.0.9, so this node needs it too"
    ):
        subject.choice(params, FILE, VALUES, SimpleNamespace(text=site))  # type: ignore[arg-type]


def test_a_wrong_checksum_a_missing_one_and_a_wrong_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ArtifactError, match=r"expected SHA-256 0{64}, found [0-9a-f]{64}: the file is damaged"):
        install(tmp_path, monkeypatch, "0" * 64)
    with pytest.raises(ArtifactError, match="checksum is 'required'"):
        install(tmp_path, monkeypatch, None, checksum="required")
    with pytest.raises(host_packages.PackageError, match=r"expected b 1\.0; found no such package"):
        install(tmp_path, monkeypatch, "", package="b")


def test_a_package_beside_it_has_to_have_its_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert install(tmp_path, monkeypatch, "", with_packages=["tools=9"])["version"] == "1.0"
    with pytest.raises(host_packages.PackageError, match=r"with tools=8; found 1\.0"):
        install(tmp_path, monkeypatch, "", with_packages=["tools=8"])


@pytest.mark.parametrize(
    ("previous", "asked", "refused"),
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
def test_an_earlier_release_is_refused_where_a_role_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, previous: str, asked: str, refused: bool
) -> None:
    if not refused:
        subject.check_downgrade(previous, asked, "because")
    else:
        with pytest.raises(subject.DowngradeError, match=rf"found {previous} installed, expected .* or newer: because"):
            subject.check_downgrade(previous, asked, "because")
    subject.check_downgrade(previous, asked, "")
    if asked == "1.0":
        # Before anything is downloaded, and in check mode too.
        with pytest.raises(subject.DowngradeError) if refused else contextlib.nullcontext():
            install(tmp_path, monkeypatch, "", previous, downgrade_refusal="because")


def test_a_refused_release_is_a_wrong_configuration(monkeypatch: pytest.MonkeyPatch) -> None:
    """The whole way: the role's words, the class that the driver's exit code comes from, the command that rebuilds."""
    (task,) = [
        one["aerospike_community.pegasus.artifact_package"]
        for one in yaml.safe_load((ROLE / "tasks/prepare.yml").read_text())
        if "aerospike_community.pegasus.artifact_package" in one
    ]
    refusal = task["downgrade_refusal"].replace("{{ __aerospike_server_config }}", "")
    told: dict[str, Any] = {}

    class Ended(Exception):
        pass

    def fail(**result: Any) -> None:
        told.update(result)
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
    assert told["error_class"] == "configuration"
    assert "a 8.0.0.4: found 8.1.0.3 installed, expected 8.1 or newer" in told["msg"]
    assert "aerospike_server_version" in told["msg"] and fixed_values.REBUILD in told["msg"]


@pytest.mark.parametrize(("tools", "changed"), [("tools", False), ("tools=9", False), ("tools=8", True)])
def test_other_tools_than_the_asked_ones_are_replaced(
    monkeypatch: pytest.MonkeyPatch, tools: str, changed: bool
) -> None:
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
