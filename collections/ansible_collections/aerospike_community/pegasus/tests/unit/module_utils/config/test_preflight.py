"""Checks against EC2 and the artifact source, with moto and fake pages."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from urllib.error import HTTPError

import boto3
import pytest
import yaml
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.config import (
    artifact_checks,
    fixed_values,
    launch_rules,
    preflight,
)
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.config.file import ConfigFile
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.config.report import Places, Report
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.ec2.errors import Ec2Problem
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.ec2.instances import Instance
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.ec2.tags import TAG_FIXED
from ansible_collections.aerospike_community.pegasus.tests.unit.module_utils.config.examples import (
    TYPES,
    VALUES,
    server,
)
from moto import mock_aws
from moto.ec2.models import amis

ROLES = Path(__file__).resolve().parents[4] / "roles"
MIRRORED = {
    "http://mirror/exporter/1.34.0/exporter_1.34.0_amd64.deb": "",
    "http://mirror/grafana/grafana_12.4.3_amd64.deb": "",
}
LISTING = '<a href="aerospike-server-enterprise_8.0.0.4_tools-11.2.2_debian12_{arch}.tgz">x</a>'
DIRECTORY = "http://mirror/enterprise/{version}"
FILE = "aerospike-server-enterprise_{version}_tools-*_{distribution}_{architecture}.tgz"


def image(architecture: str, word: str) -> dict[str, Any]:
    """An element of moto's list of images."""
    return {
        "ami_id": f"ami-{architecture[:3]}00000",
        "name": f"debian-12-{word}-20260101",
        "owner_id": "136693071363",
        "architecture": architecture,
        "virtualization_type": "hvm",
        "hypervisor": "xen",
    }


@pytest.fixture
def check(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> Callable[..., Any]:
    """Checks a configuration: returns the report and the unchecked rules. pages: URL -> text, or an exception."""
    for name in ("AWS_PROFILE", "AWS_ENDPOINT_URL"):
        monkeypatch.delenv(name, raising=False)

    def run(
        changes: dict[str, Any] | None = None,
        pages: dict[str, Any] | None = None,
        launching: bool = True,
        other: dict[str, Any] | None = None,
        before: Sequence[str] = (),
        unknown: Sequence[str] = (),
    ) -> Any:
        """before: keys that are already reported as wrong."""
        values = {**VALUES, "ec2_provision_cluster_instance_type": "i4i.large", **(changes or {})}
        values = {key: value for key, value in values.items() if value is not None}
        others = {
            "ec2_provision_region": "us-east-1",
            "ec2_provision_endpoint_url": "",
            "ec2_provision_access_key": "testing",
            "ec2_provision_secret_key": "testing",
            "ec2_provision_image_name": "debian-12-{architecture}-*",
            "perseus_client_repository": "http://mirror/perseus.git",
            "aerospike_server_artifact_directory": DIRECTORY,
            "aerospike_server_artifact_file": FILE,
            "grafana_prometheus_exporter_directory": "http://mirror/exporter/{version}",
            "grafana_prometheus_exporter_file": "exporter_{version}_{deb_architecture}.deb",
            "grafana_prometheus_exporter_file_rpm": "exporter-{version}.{architecture}.rpm",
            "grafana_prometheus_grafana_directory": "http://mirror/grafana",
            "grafana_prometheus_grafana_file": "grafana_{version}_{deb_architecture}.deb",
            **(other or {}),
        }
        places = Places(tmp_path, [ConfigFile(tmp_path / "config.yml")], "preset")
        report = Report(values=values, value=lambda key: others[key], places=places, unknown=list(unknown))
        for key in before:
            report.add(key, "found a mistake, expected none")
        given_pages = {"http://mirror/enterprise/8.0.0.4/": LISTING.format(arch="x86_64"), **MIRRORED, **(pages or {})}

        def open_page(request: Any, timeout: float) -> Any:
            assert request.get_method() == ("GET" if request.full_url.endswith(("/", "pack")) else "HEAD")
            page = given_pages.get(request.full_url, HTTPError(request.full_url, 404, "", {}, None))  # type: ignore[arg-type]
            if isinstance(page, Exception):
                raise page
            return _Answer(page)

        monkeypatch.setattr(artifact_checks, "urlopen", open_page)
        # moto has read the variable at import; now it keeps moto from loading its own list, most of a test's time.
        monkeypatch.setenv("MOTO_AMIS_PATH", "unused")
        monkeypatch.setattr(amis, "AMIS", [image("x86_64", "amd64"), image("arm64", "arm64")])
        with mock_aws():
            return report, preflight.check_remote(report, launching=launching)

    return run


class _Answer:
    def __init__(self, text: str) -> None:
        self.text = text

    def __enter__(self) -> _Answer:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def read(self, _: int) -> bytes:
        return self.text.encode()


def test_a_right_configuration_passes_with_three_calls(
    check: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    clients = []
    real = preflight.Ec2
    monkeypatch.setattr(preflight, "Ec2", lambda *args, **more: clients.append(real(*args, **more)) or clients[-1])
    report, unchecked = check()
    assert report.problems == [] and unchecked == []
    assert dict(clients[0].calls) == {"describe_instance_types": 1, "describe_instances": 1, "describe_images": 1}


@pytest.mark.parametrize("name", ["/aws/service/debian/release/12/latest/{architecture}", "debian-12-*{machine}*"])
def test_an_image_may_be_named_by_a_parameter_or_by_the_machine(
    check: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """A launch resolves the parameter; {machine} is x86_64 where {architecture} is amd64."""
    renamed = {"name": "debian-12-x86_64-1"}
    monkeypatch.setitem(globals(), "image", lambda architecture, word, old=image: old(architecture, word) | renamed)
    report, _ = check({"ec2_provision_image_name": name})
    assert report.problems == []
    assert {problem.key for problem in check({"ec2_provision_image_name": "x-{machine}"})[0].problems}


def test_mistakes_of_all_kinds_are_reported_together(check: Callable[..., Any]) -> None:
    wrong = {
        "ec2_provision_client_instance_type": "c6i.none",
        "aerospike_server_version": "8.0.0.5",
        "ec2_provision_image_name": "nothing-*",
    }
    report, _ = check(wrong)
    assert {problem.key for problem in report.problems} == set(wrong)
    assert all("found" in problem.message and "expected" in problem.message for problem in report.problems)


def test_remote_mistakes_are_reported_with_earlier_ones(check: Callable[..., Any]) -> None:
    def reported(*keys: str, **changes: Any) -> tuple[set[str], list[str]]:
        report, unchecked = check(dict.fromkeys(keys) | changes, before=keys)
        return {problem.key for problem in report.problems}, [rule.text for rule in unchecked]

    client = "ec2_provision_client_instance_type"
    assert reported("pegasus_replication_factor", **{client: "c6i.none"}) == (
        {"pegasus_replication_factor", client},
        [],
    )
    # Rules that need a wrong value are reported as unchecked; a version isn't checked for a wrong edition.
    keys, unchecked = reported(
        "pegasus_region", "aerospike_server_edition", grafana_prometheus_grafana_version="12.9.9"
    )
    assert keys == {"pegasus_region", "aerospike_server_edition"}
    assert "and the fixed settings of a running cluster: checked once pegasus_region is corrected" in unchecked[0]
    _, unchecked = reported("pegasus_artifact_source")
    assert unchecked == [f"{preflight.ARTIFACT_RULES}: checked once pegasus_artifact_source is corrected"]


def test_an_unreadable_file_causes_no_remote_check() -> None:
    (unchecked,) = preflight.check_remote(Report(), launching=False)
    assert unchecked.text == "the rules that need EC2 and the artifact source: checked once the mistakes are corrected"


def test_an_image_for_each_architecture(check: Callable[..., Any]) -> None:
    """Each architecture of the instance types needs one; an environment with instances needs none."""
    both = {"ec2_provision_monitoring_instance_type": "t4g.medium"}
    problems = check(both | {"ec2_provision_image_name": "debian-12-amd64-*"})[0].problems
    (image,) = [problem for problem in problems if problem.key == "ec2_provision_image_name"]
    assert image.message == (
        "found 'debian-12-amd64-*', expected the name of an image for arm64 (of t4g.medium) in us-east-1, owned by "
        "136693071363"
    )
    assert "ec2_provision_image_name" not in {problem.key for problem in check(both)[0].problems}
    types = {name: TYPES[name] for name in ("r6gd.8xlarge", "c6i.4xlarge", "t3.xlarge")}
    assert len(launch_rules.problems(VALUES, types, [], [])) == 2
    assert launch_rules.problems(VALUES, types, [server(VALUES)], []) == []


def test_unrendered_templates_are_reported(check: Callable[..., Any]) -> None:
    _, unchecked = check(unknown=["pegasus_cluster_nodes"])
    assert [rule.text for rule in unchecked] == [
        "the rules for pegasus_cluster_nodes: not known yet; the playbook checks them"
    ]


def test_an_architecture_without_packages(check: Callable[..., Any]) -> None:
    report, _ = check({"ec2_provision_cluster_instance_type": "r6gd.8xlarge"})
    exporter, server = sorted(report.problems, key=lambda problem: problem.key, reverse=True)
    assert server.key == "aerospike_server_version" and "debian12_aarch64" in server.message
    assert exporter.key == "grafana_prometheus_exporter_version" and "exporter_1.34.0_arm64.deb" in exporter.message


def test_every_part_is_checked_for_its_own_hosts(check: Callable[..., Any]) -> None:
    for key, version, url in (
        ("grafana_prometheus_exporter_version", "1.99.0", "http://mirror/exporter/1.99.0/exporter_1.99.0_amd64.deb"),
        ("grafana_prometheus_grafana_version", "12.9.9", "http://mirror/grafana/grafana_12.9.9_amd64.deb"),
    ):
        report, unchecked = check({key: version})
        (problem,) = report.problems
        assert problem.key == key and not unchecked
        assert (
            f"found {version!r}, expected a version that http://mirror has: found nothing at {url}" in problem.message
        )
        for refusal in (403, 410):
            refused = HTTPError(url, refusal, "", {}, None)  # type: ignore[arg-type]
            assert [problem.key for problem in check({key: version}, {url: refused})[0].problems] == [key]
        report, unchecked = check({key: version}, {url: OSError("no route")})
        assert report.problems == [] and "can't be read from this machine: no route" in unchecked[0].text
        assert check({key: version}, {url: ""})[0].problems == []
    # Each part by the instance type of its own hosts.
    report, _ = check({"ec2_provision_monitoring_instance_type": "t4g.medium"})
    (problem,) = report.problems
    assert problem.key == "grafana_prometheus_grafana_version" and "grafana_12.4.3_arm64.deb" in problem.message


def test_the_parts_are_those_that_the_roles_install() -> None:
    installed = set()
    for path in ROLES.glob("*/tasks/*.yml"):
        for task in yaml.safe_load(path.read_text()):
            given = task.get("aerospike_community.pegasus.artifact_package")
            if given:
                fields = ("version", "directory", "file", "file_rpm")
                installed.add(tuple(given.get(field, "").strip("{ }") for field in fields))
    known = {(part.version, part.directory, part.file, part.file_rpm) for part in artifact_checks.PACKAGES}
    assert installed == known and len(known) == 3


SMART = "001e# service=git-upload-pack\n0000010a{0} HEAD\0symref=HEAD:refs/heads/master\n003f{0} refs/heads/master\n"
DUMB = "{0}\trefs/heads/master\n{0}\trefs/tags/v1.0\n{0}\trefs/tags/v1.0^{{}}\n"


@pytest.mark.parametrize("page", [SMART, DUMB])
@pytest.mark.parametrize(
    ("ref", "found"), [("master", True), ("a" * 40, True), ("maste", False), ("HEAD", False), ("a" * 12, False)]
)
def test_perseus_has_the_configured_branch(check: Callable[..., Any], page: str, ref: str, found: bool) -> None:
    """In the formats of git's smart and dumb HTTP protocols."""
    url = "http://mirror/perseus.git/info/refs?service=git-upload-pack"
    changes = {"perseus_client_ref": ref, "pegasus_client_nodes": 1}
    report, unchecked = check(changes, {url: page.format("0123456789abcdef" * 2 + "01234567")})
    assert not unchecked
    assert [problem.key for problem in report.problems] == ([] if found else ["perseus_client_ref"])
    for problem in report.problems:
        assert f"found {ref!r}, expected a branch or a tag of http://mirror/perseus.git (master" in problem.message
        assert ("did you mean master?" in problem.message) is (ref == "maste")
    assert (
        check({**changes, "pegasus_client_nodes": 0})[1]
        == []
        == check({**changes, "perseus_client_given_jar": "/x"})[1]
    )


def test_a_repository_that_cant_be_read_from_this_machine(check: Callable[..., Any]) -> None:
    changes = {"perseus_client_ref": "master", "pegasus_client_nodes": 1}
    report, (unchecked,) = check(changes)
    assert report.problems == [] and unchecked.text.startswith(
        "that Perseus has 'master': found nothing at http://mirror"
    )
    report, (unchecked,) = check(changes, other={"perseus_client_repository": "git@host:perseus.git"})
    assert report.problems == [] and "isn't an http(s) address" in unchecked.text


def test_hosts_with_rpm_need_rpm_packages(check: Callable[..., Any]) -> None:
    rpm = {"ec2_provision_image_name": "al2023-ami-2023*"}
    pages = {"http://mirror/enterprise/8.0.0.4/": LISTING.replace("debian12", "amzn2023").format(arch="x86_64")}
    (problem,) = check(pages=pages, other=rpm)[0].problems
    assert problem.key == "grafana_prometheus_exporter_version" and "exporter-1.34.0.x86_64.rpm" in problem.message
    assert (
        check(pages=pages | {"http://mirror/exporter/1.34.0/exporter-1.34.0.x86_64.rpm": ""}, other=rpm)[0].problems
        == []
    )


def test_tools_that_dont_exist_for_the_version(check: Callable[..., Any]) -> None:
    changes = {"aerospike_server_tools_version": "11.9.9"}
    (problem,) = check(changes, other={"aerospike_server_artifact_file": FILE.replace("*", "11.9.9")})[0].problems
    assert problem.key == "aerospike_server_version"
    assert "found '8.0.0.4' with aerospike_server_tools_version '11.9.9', expected" in problem.message


def test_without_an_architecture_a_file_stays_unchecked(
    check: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def down(report: Any) -> Any:
        raise Ec2Problem("endpoint", "No EC2 endpoint answers.")

    monkeypatch.setattr(preflight, "_query_ec2", down)
    report, unchecked = check()
    assert report.problems == []
    assert [rule.rules.partition("version of ")[2] for rule in unchecked[1:]] == [
        "Aerospike's exporter has packages",
        "Grafana has packages",
    ]


def test_an_unreachable_source_isnt_a_mistake(check: Callable[..., Any]) -> None:
    report, unchecked = check(pages={"http://mirror/enterprise/8.0.0.4/": OSError("no route")})
    assert report.problems == []
    assert [rule.text for rule in unchecked] == [
        "that the configured version of the server has packages: "
        "http://mirror/enterprise/8.0.0.4/ can't be read from this machine: no route"
    ]


def test_unknown_values_stay_unchecked(check: Callable[..., Any]) -> None:
    report, unchecked = check({"ec2_provision_cluster_instance_type": None, "pegasus_artifact_source": None})
    assert report.problems == []
    assert ["isn't known yet" in rule.text for rule in unchecked] == [True, True]


def test_a_real_enterprise_cluster_needs_a_licence(check: Callable[..., Any]) -> None:
    upstream = {"pegasus_artifact_source": "upstream"}
    report, _ = check(upstream)
    (problem,) = report.problems
    assert problem.key == "aerospike_server_features_file" and "expected a licence" in problem.message
    # Without a launch it stays unchecked: the configuration itself has no mistake.
    report, unchecked = check(upstream, launching=False)
    assert report.problems == [] and "setup requires it" in unchecked[0].text
    for enough in (
        {"pegasus_cluster_nodes": 1, "pegasus_replication_factor": 1},
        {"aerospike_server_features_file": "/x"},
        {"aerospike_server_edition": "community"},
    ):
        assert check(upstream | enough)[0].problems == []


def test_the_tag_of_a_real_instance_is_found(check: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    tags = {"pegasus:environment": "Bench", "pegasus:kind": "server", TAG_FIXED: fixed_values.tag_value(VALUES)}

    def launched(ec2: Any) -> list[Instance]:
        client = boto3.client("ec2", region_name="us-east-1", aws_access_key_id="x", aws_secret_access_key="x")
        image = client.describe_images()["Images"][0]["ImageId"]
        specification = [{"ResourceType": "instance", "Tags": [{"Key": key, "Value": tags[key]} for key in tags]}]
        client.run_instances(ImageId=image, MinCount=1, MaxCount=1, TagSpecifications=specification)
        return real(ec2)

    real = preflight.Ec2.instances
    monkeypatch.setattr(preflight.Ec2, "instances", launched)
    report, _ = check({"pegasus_namespace": "Other"})
    (problem,) = report.problems
    assert (
        problem.key == "pegasus_namespace"
        and "expected 'Test', the value of the running cluster Bench" in problem.message
    )
