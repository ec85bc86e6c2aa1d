"""Distributions: their tokens, and the archive and packages for each of them."""

from __future__ import annotations

import io
import itertools
import tarfile
from pathlib import Path

import pytest
import yaml
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.host.artifacts import (
    ArtifactError,
    NotFoundError,
    extract,
    fill,
    host_values,
    locate,
)
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.host.distributions import (
    MIRRORED,
    SIMULATED,
    package_format,
    token_of_host,
    token_of_image,
)
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.host.facts import read_host
from jinja2 import Template

ROLE = Path(__file__).resolve().parents[4] / "roles/aerospike_server"
SITE = "https://download.aerospike.com/artifacts/aerospike-server-enterprise"
RELEASES = {
    "debian12": 'ID=debian\nVERSION_ID="12"\n',
    "debian13": 'ID=debian\nVERSION_ID="13"\n',
    "ubuntu22.04": 'ID=ubuntu\nVERSION_ID="22.04"\n',
    "ubuntu24.04": 'ID=ubuntu\nVERSION_ID="24.04"\n',
    "amzn2023": 'ID="amzn"\nVERSION_ID="2023"\n',
}
ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


def listing(*names: str) -> str:
    return "".join(f'<a href="{name}">{name}</a>\n' for name in ("../", *names))


@pytest.fixture
def pages() -> dict[str, str]:
    """Listings as upstream has them; the version of the tools differs from release to release."""
    names = [
        f"aerospike-server-enterprise_8.0.0.15_tools-11.2.2_{distribution}_{machine}.tgz{suffix}"
        for distribution in (*RELEASES, "debian11", "el8", "el9")
        for machine in ARCHITECTURES
        for suffix in ("", ".sha256", ".asc")
    ]
    return {
        f"{SITE}/": listing("7.2.0.10/", "8.0.0.9/", "8.0.0.15/", "8.1.0.3/", "latest/"),
        f"{SITE}/8.0.0.15/": listing(*names),
    }


@pytest.mark.parametrize(("distribution", "machine"), list(itertools.product(RELEASES, ARCHITECTURES)))
@pytest.mark.parametrize("requested", ["8.0.0.15", "8.0.*"])
def test_every_host_gets_its_own_archive_and_packages(
    distribution: str, machine: str, requested: str, pages: dict[str, str], tmp_path: Path
) -> None:
    for name, text in (("etc/os-release", RELEASES[distribution]), ("proc/meminfo", "MemTotal: 1048576 kB\n")):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    host = read_host(tmp_path, machine)
    assert (host.distribution, host.architecture, host.deb_architecture) == (
        distribution,
        machine,
        ARCHITECTURES[machine],
    )
    kind = "rpm" if distribution == "amzn2023" else "deb"
    read: list[str] = []

    def page(url: str) -> str:
        read.append(url)
        return pages[url]

    defaults = yaml.safe_load((ROLE / "defaults/main.yml").read_text())
    settings = {"aerospike_server_edition": "enterprise", "aerospike_server_tools_version": ""}
    pattern = Template(defaults["aerospike_server_artifact_file"]).render(settings)
    located = locate(f"{SITE}/{{version}}", pattern, requested, host_values(host, kind), page)
    assert located.file == f"aerospike-server-enterprise_8.0.0.15_tools-11.2.2_{distribution}_{machine}.tgz"
    # Each listing is read once, the listing of versions only to choose a version.
    assert read == ([f"{SITE}/"] if requested == "8.0.*" else []) + [f"{SITE}/8.0.0.15/"]

    folder = located.file.removesuffix(".tgz")
    members = (
        [
            f"aerospike-server-enterprise-8.0.0.15-1.amzn2023.{machine}.rpm",
            f"aerospike-tools-11.2.2-amzn2023.{machine}.rpm",
        ]
        if kind == "rpm"
        else [
            f"aerospike-server-enterprise_8.0.0.15-1{distribution}_{ARCHITECTURES[machine]}.deb",
            f"aerospike-tools_11.2.2-{distribution}_{ARCHITECTURES[machine]}.deb",
        ]
    )
    with tarfile.open(tmp_path / "a.tgz", "w:gz") as archive:
        for name in (*members, "asinstall", "LICENSE"):
            archive.addfile(tarfile.TarInfo(f"{folder}/{name}"), io.BytesIO())
    (task,) = [
        task["aerospike_community.pegasus.artifact_package"]
        for task in yaml.safe_load((ROLE / "tasks/prepare.yml").read_text())
        if "aerospike_community.pegasus.artifact_package" in task
    ]
    patterns = [
        fill(text.replace("{{ aerospike_server_edition }}", "enterprise"), host_values(host, kind))
        for text in task["install"]
    ]
    taken = extract(tmp_path / "a.tgz", patterns, tmp_path)
    assert [path.name for path in taken] == members


def test_a_missing_package_for_a_distribution_is_reported(pages: dict[str, str], tmp_path: Path) -> None:
    pages[f"{SITE}/8.0.0.15/"] = listing("aerospike-server-enterprise_8.0.0.15_tools-11.2.2_el9_x86_64.tgz")
    host = {"distribution": "debian13", "architecture": "x86_64", "deb_architecture": "amd64", "format": "deb"}
    with pytest.raises(ArtifactError, match="is there a package for this distribution and architecture"):
        locate(f"{SITE}/{{version}}", "a_{version}_*_{distribution}.tgz", "8.0.0.15", host, pages.__getitem__)


def test_a_missing_version_is_reported_with_the_available_ones(pages: dict[str, str]) -> None:
    def page(url: str) -> str:
        if url not in pages:
            raise NotFoundError(f"found nothing at {url}")
        return pages[url]

    with pytest.raises(ArtifactError, match=r"the site has 7.2.0.10, 8.0.0.9, 8.0.0.15, 8.1.0.3"):
        locate(f"{SITE}/{{version}}", "a-*.tgz", "8.0.0.99", {}, page)


@pytest.mark.parametrize(("token", "os_release"), [*RELEASES.items(), ("el9", 'ID="rocky"\nVERSION_ID="9.4"')])
def test_a_hosts_token(token: str, os_release: str) -> None:
    assert token_of_host(os_release) == token


def test_an_unsupported_distribution_is_reported() -> None:
    with pytest.raises(ValueError, match="found distribution 'arch ' on this host; expected Debian"):
        token_of_host("ID=arch")


@pytest.mark.parametrize(
    ("image", "token"),
    [
        ("debian-12-{architecture}-*", "debian12"),
        ("ubuntu/images/hvm-ssd-gp3/ubuntu-noble-24.04-amd64-server-*", "ubuntu24.04"),
        ("al2023-ami-2023.*", "amzn2023"),
        ("RHEL-9.4.0_HVM-*", "el9"),
        ("my-own-image", "*"),
    ],
)
def test_an_images_token(image: str, token: str) -> None:
    assert token_of_image(image) == token


def test_the_mirror_has_every_release_and_the_local_cloud_only_debs() -> None:
    assert set(MIRRORED) == set(RELEASES)
    assert set(SIMULATED) <= set(MIRRORED)
    assert {package_format(token) for token in SIMULATED} == {"deb"}
    assert [package_format(token) for token in ("amzn2023", "el9", "*")] == ["rpm", "rpm", "deb"]
