"""Rules that need EC2's and the artifact source's answers, by table and against moto."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from urllib.error import HTTPError

import boto3
import pytest
import yaml
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.config import check as configuration
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.config import (
    fixed_values,
    launch_rules,
    preflight,
)
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.config.file import ConfigFile
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.ec2.errors import Ec2Problem
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.ec2.plan import TAG_FIXED, Instance
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.host.disk_plan import parse_partitions
from hypothesis import given, settings
from hypothesis import strategies as st
from moto import mock_aws
from moto.ec2.models import amis

ROLES = Path(__file__).resolve().parents[4] / "roles"
VALUES: dict[str, Any] = {
    "pegasus_backend": "aws",
    "pegasus_ec2_endpoint_url": "",
    "ec2_provision_image_name": "debian-12-{architecture}-*",
    "ec2_provision_image_owner": "136693071363",
    "pegasus_region": "us-east-1",
    "pegasus_cluster_name": "Bench",
    "pegasus_cluster_nodes": 3,
    "pegasus_namespace": "Test",
    "pegasus_replication_factor": 2,
    "pegasus_data_storage": "disk",
    "pegasus_primary_index_storage": "memory",
    "pegasus_secondary_index_storage": "memory",
    "pegasus_artifact_source": "http://mirror",
    "aerospike_server_edition": "enterprise",
    "aerospike_server_version": "8.0.0.4",
    "grafana_prometheus_exporter_version": "1.34.0",
    "grafana_prometheus_grafana_version": "12.4.3",
    "aerospike_server_default_ttl": 0,
    "aerospike_server_partition_tree_sprigs": 256,
    "aerospike_server_data_size": "",
    "aerospike_server_features_file": "",
    "nvme_partition_count": 5,
    "nvme_partition_overprovisioning": 15,
    "nvme_partition_primary_index_partitions": "",
    "nvme_partition_secondary_index_partitions": "",
    "nvme_partition_data_partitions": "1-5",
    "ec2_provision_cluster_instance_type": "r6gd.8xlarge",
    "ec2_provision_client_instance_type": "c6i.4xlarge",
    "ec2_provision_monitoring_instance_type": "t3.xlarge",
}
MEMORY = {"pegasus_data_storage": "memory"}
FLASH = {
    "pegasus_primary_index_storage": "disk",
    "nvme_partition_primary_index_partitions": "1",
    "nvme_partition_data_partitions": "2-5",
}


def described(
    name: str, disks: list[int] | None = None, memory: int = 256, architecture: str = "arm64"
) -> dict[str, Any]:
    """An element of DescribeInstanceTypes. disks: sizes in GB; memory: GiB."""
    found: dict[str, Any] = {
        "InstanceType": name,
        "ProcessorInfo": {"SupportedArchitectures": [architecture]},
        "MemoryInfo": {"SizeInMiB": memory * 1024},
    }
    if disks:
        found["InstanceStorageInfo"] = {"Disks": [{"Count": 1, "SizeInGB": size, "Type": "ssd"} for size in disks]}
    return found


TYPES = {
    one["InstanceType"]: one
    for one in (
        described("r6gd.8xlarge", [1900]),
        described("small.disk", [2]),
        described("tiny.disk", [1]),
        described("many.disks", [1000] * 24),
        described("r6g.8xlarge"),
        described("mac1.metal", architecture="x86_64_mac"),
        described("c6i.4xlarge", architecture="x86_64"),
        described("t3.xlarge", architecture="x86_64"),
        described("little.memory", [100], memory=2),
        {**described("least.memory"), "MemoryInfo": {"SizeInMiB": 512}},
    )
}
SERVER = "ec2_provision_cluster_instance_type"


@pytest.mark.parametrize(
    ("good", "bad", "key", "said"),
    [
        ({}, {SERVER: "r6gd.9xlarge"}, SERVER, "found 'r6gd.9xlarge', expected an instance type that EC2 offers in us-east-1"),
        ({}, {"ec2_provision_client_instance_type": "c6i.x"}, "ec2_provision_client_instance_type", "that EC2 offers"),
        ({}, {"ec2_provision_monitoring_instance_type": "mac1.metal"}, "ec2_provision_monitoring_instance_type", "architecture"),
        ({SERVER: "r6g.8xlarge", **MEMORY}, {SERVER: "r6g.8xlarge"}, SERVER, "which has no instance-store disk, expected"),
        ({SERVER: "r6g.8xlarge", "nvme_partition_devices": ["/dev/sdb"]}, {SERVER: "r6g.8xlarge"}, SERVER, "is disk"),
        ({SERVER: "small.disk"}, {SERVER: "small.disk", "nvme_partition_count": 60}, "nvme_partition_count", "use fewer partitions"),
        (FLASH, {**FLASH, SERVER: "small.disk"}, "nvme_partition_primary_index_partitions", "expected at least 4.0 GiB"),
        (
            {SERVER: "many.disks", "nvme_partition_data_partitions": "1-5"},
            {SERVER: "many.disks", "nvme_partition_count": 6, "nvme_partition_data_partitions": "1-6"},
            "nvme_partition_data_partitions",
            "6 partitions on each of 24 disks, expected at most 128",
        ),
        (
            # 1900 GB x 85 % / 5 x 95 % = 285.8 GiB for the index; 16384 sprigs need 170.7 GiB on each of 3 nodes.
            {**FLASH, "aerospike_server_partition_tree_sprigs": 16384},
            {**FLASH, "aerospike_server_partition_tree_sprigs": 32768},
            "aerospike_server_partition_tree_sprigs",
            "found 32768, which need 341.3 GiB on each node for the primary index, where its partitions give 285.8 GiB, "
            "expected at most 16384",
        ),
        (
            {**MEMORY, SERVER: "little.memory", "aerospike_server_data_size": "1G"},
            {**MEMORY, SERVER: "little.memory", "aerospike_server_data_size": "2G"},
            "aerospike_server_data_size",
            "at most 90 percent of the 2.0 GiB",
        ),
        (
            # 4096 partitions x 2 copies / 3 nodes x 2^24 sprigs x 5 bytes = 213.3 GiB, of 90 % of 256 GiB.
            {"aerospike_server_partition_tree_sprigs": 2**24},
            {"aerospike_server_partition_tree_sprigs": 2**28},
            "aerospike_server_partition_tree_sprigs",
            "found 268435456, which need 3413.3 GiB of memory on each node, wherever the index is, expected at most "
            "16777216, for 90 percent of the 256.0 GiB of r6gd.8xlarge",
        ),
        (
            {**MEMORY, "aerospike_server_data_size": "200G", "aerospike_server_partition_tree_sprigs": 2**20},
            {**MEMORY, "aerospike_server_data_size": "200G", "aerospike_server_partition_tree_sprigs": 2**22},
            "aerospike_server_data_size",
            "90 percent of the 256.0 GiB of r6gd.8xlarge, less 53.3 GiB for the sprigs",
        ),
        (
            {**MEMORY, SERVER: "least.memory", "aerospike_server_version": "8.0.0.4"},
            {**MEMORY, SERVER: "least.memory", "aerospike_server_version": "8.1.0.3"},
            SERVER,
            "with 0.5 GiB of memory, expected a type with room for the least of data in memory (512 MiB)",
        ),
    ],
)  # fmt: skip
def test_each_rule(good: dict[str, Any], bad: dict[str, Any], key: str, said: str) -> None:
    assert launch_rules.problems({**VALUES, **good}, TYPES, []) == []
    found = launch_rules.problems({**VALUES, **bad}, TYPES, [])
    assert [text for about, text in found if about == key and said in text], found
    assert all("found" in text and "expected" in text for _, text in found)


def test_the_space_of_sprigs_is_spread_over_the_nodes() -> None:
    # 4096 x 2 x 256 x 4096 bytes in the cluster.
    assert launch_rules.sprig_bytes(256, 2, 2) == 4096 * 256 * 4096
    assert launch_rules.sprig_bytes(256, 2, 4) == 4096 * 256 * 4096 // 2
    assert launch_rules.sprig_bytes(256, 2, 1) == 4096 * 256 * 4096, "one node keeps one copy"
    assert launch_rules.largest_sprigs(1, 2, 3) == 0


@settings(deadline=None)
@given(st.integers(1, 10**15), st.integers(1, 8), st.integers(1, 256))
def test_the_largest_number_of_sprigs_fits_and_the_next_doesnt(budget: int, copies: int, nodes: int) -> None:
    sprigs = launch_rules.largest_sprigs(budget, copies, nodes)
    if sprigs:
        assert launch_rules.sprig_bytes(sprigs, copies, nodes) <= budget
        assert sprigs & (sprigs - 1) == 0
    larger = sprigs * 2 or 256
    assert larger > 268435456 or launch_rules.sprig_bytes(larger, copies, nodes) > budget


def test_the_message_gives_the_largest_that_fits() -> None:
    crowded = {**VALUES, **FLASH, "pegasus_cluster_nodes": 8, "pegasus_replication_factor": 8}
    crowded["aerospike_server_partition_tree_sprigs"] = 512
    budget = 4 * 1024**3  # exactly 256 sprigs
    (text,) = dict(launch_rules._flash(crowded, "primary_index", budget)).values()
    assert "which need 8.0 GiB" in text and text.endswith("expected at most 256")


# --- what a running cluster can't change ------------------------------------------------------------------------------------


def server(values: dict[str, Any], **changes: Any) -> Instance:
    tags = {TAG_FIXED: fixed_values.tag_value(values)}
    return Instance(
        **{"id": "i-1", "kind": "server", "state": "running", "instance_type": "x", "tags": tags, **changes}
    )


ON_DISK = {**VALUES, **FLASH}


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("aerospike_server_edition", "community"),
        ("pegasus_namespace", "Other"),
        ("pegasus_replication_factor", 3),
        ("aerospike_server_default_ttl", 60),
        ("pegasus_data_storage", "memory"),
        ("pegasus_primary_index_storage", "memory"),
        ("pegasus_secondary_index_storage", "disk"),
        ("aerospike_server_partition_tree_sprigs", 512),
        ("nvme_partition_count", 6),
        ("nvme_partition_overprovisioning", 20),
        ("nvme_partition_data_partitions", "3-5"),
        ("nvme_partition_primary_index_partitions", "1-2"),
    ],
)
def test_a_running_cluster_keeps_its_values(key: str, value: Any) -> None:
    assert launch_rules.problems(ON_DISK, TYPES, [server(ON_DISK)]) == []
    changed = {**ON_DISK, key: value}
    texts = [text for about, text in launch_rules.problems(changed, TYPES, [server(ON_DISK)]) if about == key]
    assert any(
        "it can't be changed, because" in text
        and text.endswith("./pegasus-driver destroy-cluster && ./pegasus-driver setup-cluster")
        for text in texts
    )
    # What is gone, and what never was a server, binds nothing; nor does a server of before this tag.
    for other in (server(ON_DISK, state="terminated"), server(ON_DISK, kind="client"), server(ON_DISK, tags={})):
        assert not [text for _, text in launch_rules.problems(changed, TYPES, [other]) if "can't be changed" in text]


def test_a_server_of_before_its_edition_was_kept_binds_the_rest() -> None:
    tag = fixed_values.tag_value(VALUES).replace("edition=enterprise ", "")
    changed = {**VALUES, "aerospike_server_edition": "community", "pegasus_namespace": "Other"}
    assert [key for key, _ in fixed_values.changed_values(tag, changed, "B")] == ["pegasus_namespace"]


def test_the_command_that_rebuilds_is_about_the_same_environment() -> None:
    """Without the file of --config it would take another one down."""
    changed = {**VALUES, "pegasus_namespace": "Other"}
    ((_, text),) = launch_rules.problems(changed, TYPES, [server(VALUES)], config="/my own/other.yml")
    assert text.endswith(
        "./pegasus-driver destroy-cluster --config '/my own/other.yml' && "
        "./pegasus-driver setup-cluster --config '/my own/other.yml'"
    )


def test_partitions_of_what_is_in_memory_are_free_to_change() -> None:
    values = {**VALUES, **MEMORY}
    assert (
        list(fixed_values.changed_values(fixed_values.tag_value(values), values | {"nvme_partition_count": 9}, "B"))
        == []
    )


def test_another_way_to_write_the_same_partitions_is_no_change() -> None:
    tag = fixed_values.tag_value(VALUES)
    assert list(fixed_values.changed_values(tag, VALUES | {"nvme_partition_data_partitions": "1,2,3-5"}, "B")) == []
    odd = {**VALUES, "nvme_partition_count": 40, "nvme_partition_data_partitions": ",".join(map(str, range(1, 40, 2)))}
    assert "on-data=digest:" in fixed_values.tag_value(odd)
    # A tag of before lists were shortened that far.
    tag = fixed_values.tag_value(odd).replace("on-data=digest:", "on-data=1,3,5,7,9,11,13,15,17,19,21,23 was=")
    same = odd | {"nvme_partition_data_partitions": "1,3,5,7,9,11,13,15,17,19,21,23"}
    assert list(fixed_values.changed_values(tag, same, "B")) == []
    assert [key for key, _ in fixed_values.changed_values(tag, odd, "B")] == ["nvme_partition_data_partitions"]


@settings(deadline=None)
@given(st.lists(st.sampled_from(["data", "primary", "secondary", ""]), min_size=128, max_size=128))
def test_the_tag_fits_whatever_the_partitions(purposes: list[str]) -> None:
    values = {
        **VALUES,
        "pegasus_namespace": "n" * 31,
        "pegasus_replication_factor": 8,
        "aerospike_server_default_ttl": 315360000,
    }
    values |= {"aerospike_server_partition_tree_sprigs": 268435456, "nvme_partition_count": 128}
    for word, key in (("data", "data"), ("primary", "primary_index"), ("secondary", "secondary_index")):
        values[f"pegasus_{key}_storage"] = "disk"
        numbers = [str(number) for number, purpose in enumerate(purposes, 1) if purpose == word]
        values[f"nvme_partition_{key}_partitions"] = ",".join(numbers)
        parse_partitions(",".join(numbers))
    tag = fixed_values.tag_value(values)
    assert len(tag) < 256 and len(tag.split(" ")) == len(fixed_values.FIXED)
    assert list(fixed_values.changed_values(tag, values, "B")) == []


# --- asking ------------------------------------------------------------------------------------------------------------------

MIRRORED = {
    "http://mirror/exporter/1.34.0/exporter_1.34.0_amd64.deb": "",
    "http://mirror/grafana/grafana_12.4.3_amd64.deb": "",
}
LISTING = '<a href="aerospike-server-enterprise_8.0.0.4_tools-11.2.2_debian12_{arch}.tgz">x</a>'
DIRECTORY = "http://mirror/enterprise/{version}"
FILE = "aerospike-server-enterprise_{version}_tools-*_{distribution}_{architecture}.tgz"


def image(architecture: str, word: str) -> dict[str, Any]:
    """An image as moto's own list has them."""
    return {
        "ami_id": f"ami-{architecture[:3]}00000",
        "name": f"debian-12-{word}-20260101",
        "owner_id": "136693071363",
        "architecture": architecture,
        "virtualization_type": "hvm",
        "hypervisor": "xen",
    }


@pytest.fixture
def ask(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> Callable[..., Any]:
    """Asks for a configuration: returns the report and what stayed unchecked. pages: address -> text, or an exception."""
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
        """before: keys that were found wrong already."""
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
        places = configuration.Places(tmp_path, [ConfigFile(tmp_path / "config.yml")], "preset")
        report = configuration.Report(
            values=values, value=lambda key: others[key], places=places, unknown=list(unknown)
        )
        for key in before:
            report.add(key, "found a mistake, expected none")
        given_pages = {"http://mirror/enterprise/8.0.0.4/": LISTING.format(arch="x86_64"), **MIRRORED, **(pages or {})}

        def open_page(request: Any, timeout: float) -> Any:
            assert request.get_method() == ("GET" if request.full_url.endswith(("/", "pack")) else "HEAD")
            page = given_pages.get(request.full_url, HTTPError(request.full_url, 404, "", {}, None))  # type: ignore[arg-type]
            if isinstance(page, Exception):
                raise page
            return _Answer(page)

        monkeypatch.setattr(preflight, "urlopen", open_page)
        # The variable was read at moto's import; now it keeps out moto's own list, which is most of the work of a test.
        monkeypatch.setenv("MOTO_AMIS_PATH", "unused")
        monkeypatch.setattr(amis, "AMIS", [image("x86_64", "amd64"), image("arm64", "arm64")])
        with mock_aws():
            return report, preflight.ask(report, launching=launching)

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


def test_what_is_right_passes_with_three_calls(ask: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    made = []
    real = preflight.Ec2
    monkeypatch.setattr(preflight, "Ec2", lambda *args, **more: made.append(real(*args, **more)) or made[-1])
    report, unchecked = ask()
    assert report.problems == [] and unchecked == []
    assert dict(made[0].calls) == {"describe_instance_types": 1, "describe_instances": 1, "describe_images": 1}


@pytest.mark.parametrize("name", ["/aws/service/debian/release/12/latest/{architecture}", "debian-12-*{machine}*"])
def test_an_image_may_be_named_by_a_parameter_or_by_the_machine(
    ask: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """What a parameter holds is read when it is launched; a machine is x86_64 where Debian says amd64."""
    made = {"name": "debian-12-x86_64-1"}
    monkeypatch.setitem(globals(), "image", lambda architecture, word, old=image: old(architecture, word) | made)
    report, _ = ask({"ec2_provision_image_name": name})
    assert report.problems == []
    assert {problem.key for problem in ask({"ec2_provision_image_name": "x-{machine}"})[0].problems}


def test_mistakes_of_all_kinds_are_told_together(ask: Callable[..., Any]) -> None:
    wrong = {
        "ec2_provision_client_instance_type": "c6i.none",
        "aerospike_server_version": "8.0.0.5",
        "ec2_provision_image_name": "nothing-*",
    }
    report, _ = ask(wrong)
    assert {problem.key for problem in report.problems} == set(wrong)
    assert all("found" in problem.message and "expected" in problem.message for problem in report.problems)


def test_what_is_asked_is_told_together_with_what_was_wrong_already(ask: Callable[..., Any]) -> None:
    def told(*keys: str, **changes: Any) -> tuple[set[str], list[str]]:
        report, unchecked = ask(dict.fromkeys(keys) | changes, before=keys)
        return {problem.key for problem in report.problems}, [one.text for one in unchecked]

    client = "ec2_provision_client_instance_type"
    assert told("pegasus_replication_factor", **{client: "c6i.none"}) == ({"pegasus_replication_factor", client}, [])
    # What can't be asked without a wrong value is said; a version of a wrong edition is nobody's mistake.
    keys, unchecked = told("pegasus_region", "aerospike_server_edition", grafana_prometheus_grafana_version="12.9.9")
    assert keys == {"pegasus_region", "aerospike_server_edition"}
    assert "and what a running cluster can't change: asked once pegasus_region is right" in unchecked[0]
    _, unchecked = told("pegasus_artifact_source")
    assert unchecked == [f"{preflight.ARTIFACT_RULES}: asked once pegasus_artifact_source is right"]


def test_a_file_that_cant_be_read_is_no_reason_to_ask() -> None:
    (unchecked,) = preflight.ask(configuration.Report(), launching=False)
    assert unchecked.text == "what EC2 and the artifact source say: asked once the mistakes are corrected"


def test_an_image_for_each_architecture(ask: Callable[..., Any]) -> None:
    """As many as the instance types have; an environment that has its machines needs none any more."""
    both = {"ec2_provision_monitoring_instance_type": "t4g.medium"}
    problems = ask(both | {"ec2_provision_image_name": "debian-12-amd64-*"})[0].problems
    (image,) = [one for one in problems if one.key == "ec2_provision_image_name"]
    assert image.message == (
        "found 'debian-12-amd64-*', expected the name of an image for arm64 (of t4g.medium) in us-east-1, owned by "
        "136693071363"
    )
    assert "ec2_provision_image_name" not in {one.key for one in ask(both)[0].problems}
    types = {one: TYPES[one] for one in ("r6gd.8xlarge", "c6i.4xlarge", "t3.xlarge")}
    assert len(launch_rules.problems(VALUES, types, [], [])) == 2
    assert launch_rules.problems(VALUES, types, [server(VALUES)], []) == []


def test_templates_that_stay_are_named(ask: Callable[..., Any]) -> None:
    _, unchecked = ask(unknown=["pegasus_cluster_nodes"])
    assert [one.text for one in unchecked] == [
        "the rules of pegasus_cluster_nodes: not known yet; the playbook checks them"
    ]


def test_an_architecture_without_packages(ask: Callable[..., Any]) -> None:
    report, _ = ask({"ec2_provision_cluster_instance_type": "r6gd.8xlarge"})
    exporter, server = sorted(report.problems, key=lambda problem: problem.key, reverse=True)
    assert server.key == "aerospike_server_version" and "debian12_aarch64" in server.message
    assert exporter.key == "grafana_prometheus_exporter_version" and "exporter_1.34.0_arm64.deb" in exporter.message


def test_every_part_is_asked_for_on_its_own_hosts(ask: Callable[..., Any]) -> None:
    for key, version, url in (
        ("grafana_prometheus_exporter_version", "1.99.0", "http://mirror/exporter/1.99.0/exporter_1.99.0_amd64.deb"),
        ("grafana_prometheus_grafana_version", "12.9.9", "http://mirror/grafana/grafana_12.9.9_amd64.deb"),
    ):
        report, unchecked = ask({key: version})
        (problem,) = report.problems
        assert problem.key == key and not unchecked
        assert (
            f"found {version!r}, expected a version that http://mirror has: found nothing at {url}" in problem.message
        )
        for refusal in (403, 410):
            refused = HTTPError(url, refusal, "", {}, None)  # type: ignore[arg-type]
            assert [one.key for one in ask({key: version}, {url: refused})[0].problems] == [key]
        report, unchecked = ask({key: version}, {url: OSError("no route")})
        assert report.problems == [] and "can't be read from this machine: no route" in unchecked[0].text
        assert ask({key: version}, {url: ""})[0].problems == []
    # Each by the type of the hosts that it runs on.
    report, _ = ask({"ec2_provision_monitoring_instance_type": "t4g.medium"})
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
    known = {(one.version, one.directory, one.file, one.file_rpm) for one in preflight.PACKAGES}
    assert installed == known and len(known) == 3


SMART = "001e# service=git-upload-pack\n0000010a{0} HEAD\0symref=HEAD:refs/heads/master\n003f{0} refs/heads/master\n"
DUMB = "{0}\trefs/heads/master\n{0}\trefs/tags/v1.0\n{0}\trefs/tags/v1.0^{{}}\n"


@pytest.mark.parametrize("page", [SMART, DUMB])
@pytest.mark.parametrize(
    ("ref", "found"), [("master", True), ("a" * 40, True), ("maste", False), ("HEAD", False), ("a" * 12, False)]
)
def test_perseus_has_the_asked_branch(ask: Callable[..., Any], page: str, ref: str, found: bool) -> None:
    """As git's two ways over HTTP list them."""
    url = "http://mirror/perseus.git/info/refs?service=git-upload-pack"
    asked = {"perseus_client_ref": ref, "pegasus_client_nodes": 1}
    report, unchecked = ask(asked, {url: page.format("0123456789abcdef" * 2 + "01234567")})
    assert not unchecked
    assert [one.key for one in report.problems] == ([] if found else ["perseus_client_ref"])
    for problem in report.problems:
        assert f"found {ref!r}, expected a branch or a tag of http://mirror/perseus.git (master" in problem.message
        assert ("did you mean master?" in problem.message) is (ref == "maste")
    assert ask({**asked, "pegasus_client_nodes": 0})[1] == [] == ask({**asked, "perseus_client_given_jar": "/x"})[1]


def test_a_repository_that_isnt_read_from_here(ask: Callable[..., Any]) -> None:
    asked = {"perseus_client_ref": "master", "pegasus_client_nodes": 1}
    report, (unchecked,) = ask(asked)
    assert report.problems == [] and unchecked.text.startswith(
        "that Perseus has 'master': found nothing at http://mirror"
    )
    report, (unchecked,) = ask(asked, other={"perseus_client_repository": "git@host:perseus.git"})
    assert report.problems == [] and "is no address that is read from here" in unchecked.text


def test_hosts_with_rpm_are_asked_for_theirs(ask: Callable[..., Any]) -> None:
    rpm = {"ec2_provision_image_name": "al2023-ami-2023*"}
    pages = {"http://mirror/enterprise/8.0.0.4/": LISTING.replace("debian12", "amzn2023").format(arch="x86_64")}
    (problem,) = ask(pages=pages, other=rpm)[0].problems
    assert problem.key == "grafana_prometheus_exporter_version" and "exporter-1.34.0.x86_64.rpm" in problem.message
    assert (
        ask(pages=pages | {"http://mirror/exporter/1.34.0/exporter-1.34.0.x86_64.rpm": ""}, other=rpm)[0].problems == []
    )


def test_tools_that_the_version_doesnt_have(ask: Callable[..., Any]) -> None:
    asked = {"aerospike_server_tools_version": "11.9.9"}
    (problem,) = ask(asked, other={"aerospike_server_artifact_file": FILE.replace("*", "11.9.9")})[0].problems
    assert problem.key == "aerospike_server_version"
    assert "found '8.0.0.4' with aerospike_server_tools_version '11.9.9', expected" in problem.message


def test_without_an_architecture_a_file_stays_unchecked(
    ask: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def down(report: Any) -> Any:
        raise Ec2Problem("endpoint", "No EC2 endpoint answers.")

    monkeypatch.setattr(preflight, "_ask_ec2", down)
    report, unchecked = ask()
    assert report.problems == []
    assert [one.rules.partition("version of ")[2] for one in unchecked[1:]] == [
        "Aerospike's exporter has packages",
        "Grafana has packages",
    ]


def test_a_source_that_doesnt_answer_is_no_mistake(ask: Callable[..., Any]) -> None:
    report, unchecked = ask(pages={"http://mirror/enterprise/8.0.0.4/": OSError("no route")})
    assert report.problems == []
    assert [one.text for one in unchecked] == [
        "that the asked version of the server has packages: http://mirror/enterprise/8.0.0.4/ can't be read from this machine: no route"
    ]


def test_what_isnt_known_yet_stays_unchecked(ask: Callable[..., Any]) -> None:
    report, unchecked = ask({"ec2_provision_cluster_instance_type": None, "pegasus_artifact_source": None})
    assert report.problems == []
    assert ["isn't known yet" in one.text for one in unchecked] == [True, True]


def test_a_real_enterprise_cluster_needs_a_licence(ask: Callable[..., Any]) -> None:
    upstream = {"pegasus_artifact_source": "upstream"}
    report, _ = ask(upstream)
    (problem,) = report.problems
    assert problem.key == "aerospike_server_features_file" and "expected a licence" in problem.message
    # A look in advance says so, and is content: the configuration itself has no mistake.
    report, unchecked = ask(upstream, launching=False)
    assert report.problems == [] and "setup demands one" in unchecked[0].text
    for enough in (
        {"pegasus_cluster_nodes": 1, "pegasus_replication_factor": 1},
        {"aerospike_server_features_file": "/x"},
        {"aerospike_server_edition": "community"},
    ):
        assert ask(upstream | enough)[0].problems == []


def test_the_tag_of_a_real_instance_is_found(ask: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    tags = {"pegasus:environment": "Bench", "pegasus:kind": "server", TAG_FIXED: fixed_values.tag_value(VALUES)}

    def launched(ec2: Any) -> list[Instance]:
        client = boto3.client("ec2", region_name="us-east-1", aws_access_key_id="x", aws_secret_access_key="x")
        image = client.describe_images()["Images"][0]["ImageId"]
        specification = [{"ResourceType": "instance", "Tags": [{"Key": key, "Value": tags[key]} for key in tags]}]
        client.run_instances(ImageId=image, MinCount=1, MaxCount=1, TagSpecifications=specification)
        return real(ec2)

    real = preflight.Ec2.instances
    monkeypatch.setattr(preflight.Ec2, "instances", launched)
    report, _ = ask({"pegasus_namespace": "Other"})
    (problem,) = report.problems
    assert (
        problem.key == "pegasus_namespace" and "expected 'Test', with which the cluster Bench runs" in problem.message
    )
