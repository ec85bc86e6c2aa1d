"""Artifacts on a site: listings, versions, checksums, archives."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.host import artifacts
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.host.artifacts import (
    ArtifactError,
)
from ansible_collections.aerospike_community.pegasus.tests.unit.artifact_site import (
    FILE,
    SITE,
    VALUES,
    Pages,
    archive,
    page,
    server_site,
)


@pytest.fixture
def site() -> Pages:
    return server_site()


@pytest.mark.parametrize("requested", ["8.0.0.10", "8.0.*", "8.0.0.1?"])
def test_the_newest_matching_file_for_the_host(site: Pages, requested: str) -> None:
    found = artifacts.locate(SITE + "/{version}", FILE, requested, VALUES, site)
    assert (found.version, found.file) == ("8.0.0.10", archive("8.0.0.10", "11.10.0"))
    assert found.url == f"{SITE}/8.0.0.10/{found.file}"
    assert len(site.read) == (1 if artifacts.is_exact(requested) else 2)


def test_latest(site: Pages) -> None:
    with pytest.raises(ArtifactError, match=r"8\.1\.0\.3/ \(HTTP 404\)"):
        artifacts.locate(SITE + "/{version}", FILE, "latest", VALUES, site)


def test_an_exact_name_needs_no_listing() -> None:
    site = Pages()
    found = artifacts.locate("http://grafana/oss", "grafana_{version}_{deb_architecture}.deb", "12.4.3", VALUES, site)
    assert found.url == "http://grafana/oss/grafana_12.4.3_amd64.deb"
    assert site.read == []


@pytest.mark.parametrize(
    ("version", "values", "text"),
    [
        ("8.0.0.99", {}, r"404\); the site has 8.0.0.4, 8.0.0.10, 8.1.0.3"),
        ("9.*", {}, "found no version '9.*'; the site has 8.0.0.4, 8.0.0.10, 8.1.0.3"),
        ("8.0.0.10", {"distribution": "el9"}, "tools-*_el9_x86_64.tgz', found aerospike"),
    ],
)
def test_the_available_artifacts_are_reported(site: Pages, version: str, values: dict[str, str], text: str) -> None:
    with pytest.raises(ArtifactError) as caught:
        artifacts.locate(SITE + "/{version}", FILE, version, {**VALUES, **values}, site)
    assert text.replace("\\", "") in str(caught.value)


def test_a_pattern_without_a_listing_and_an_unknown_placeholder() -> None:
    with pytest.raises(ArtifactError, match="set an exact version"):
        artifacts.locate("http://x/y", "f_{version}", "1.*", VALUES, Pages())
    with pytest.raises(ArtifactError, match=r"found \{colour\} in '\{colour\}'; expected one of architecture"):
        artifacts.fill("{colour}", VALUES)


def test_listing_names() -> None:
    text = page("8.0.0.4/", "a%20b.tgz", "/artifacts/x/c.tgz", "http://other/d.tgz?x=1#y", "8.0.0.4/")
    assert artifacts.listing_names(text) == ["8.0.0.4", "a b.tgz", "c.tgz", "d.tgz"]


@pytest.mark.parametrize(
    ("installed", "requested", "fits"),
    [("8.0.0.4", "8.0.0.4", True), ("8.0.0.40", "8.0.0.4", False), ("8.0.0.4", "8.0.*", True), ("1.2", "latest", True)],
)
def test_installed_versions_that_satisfy_a_request(installed: str, requested: str, fits: bool) -> None:
    assert artifacts.satisfies(installed, requested) is fits


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


def test_members_are_extracted_by_base_name(tmp_path: Path) -> None:
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
