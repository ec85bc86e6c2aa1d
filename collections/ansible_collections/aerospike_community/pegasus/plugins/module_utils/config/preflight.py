# Copyright (c) Pegasus authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""Asks EC2 and the artifact source what a configuration depends on, before anything is launched.

Three calls to EC2, at the same time (DescribeInstanceTypes, DescribeInstances, DescribeImages). Then the artifact
source, for all parts at the same time: a page or two for the server, the refs of Perseus's repository, the head of a
file for each other part. Only for the control machine.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.client import HTTPException
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from ansible_collections.aerospike_community.pegasus.plugins.module_utils.ec2.api import Ec2, in_parallel
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.ec2.errors import Ec2Problem
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.ec2.placement import (
    IMAGE_ARCHITECTURE,
    architectures,
    image_name,
    is_parameter,
)
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.ec2.plan import Instance
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.host.artifacts import (
    ArtifactError,
    NotFoundError,
    is_exact,
    locate,
    shortened,
)
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.host.distributions import (
    DEBIAN_ARCHITECTURES,
    EC2_ARCHITECTURES,
    package_format,
    token_of_image,
)

from . import launch_rules
from .check import Report
from .schema import nearest, show

# Without a right value of these EC2 isn't asked.
PLACE_KEYS = ("pegasus_cluster_name", "pegasus_backend", "pegasus_region", "pegasus_ec2_endpoint_url")
CLIENTS = "pegasus_client_nodes"
COMMIT = re.compile(r"[0-9a-f]{40}")
PAGE_TIMEOUT = 10  # seconds
EC2_RULES = "the instance types (architecture, disks, memory), the image, and what a running cluster can't change"
ARTIFACT_RULES = "that the asked versions of the server, its exporter, Grafana and Perseus are there"


@dataclass
class Unchecked:
    """Rules that could not be checked, and why. `problem` is EC2's error where that is the reason."""

    rules: str
    reason: str
    problem: Ec2Problem | None = None

    @property
    def text(self) -> str:
        return f"{self.rules}: {self.reason}"


@dataclass
class Answers:
    """What EC2 said."""

    types: dict[str, dict[str, Any]] = field(default_factory=dict)
    instances: list[Instance] = field(default_factory=list)
    images: list[dict[str, Any]] | None = None  # None: a parameter names the image, which a launch reads


def ask(report: Report, *, launching: bool) -> list[Unchecked]:
    """Ask what can be asked: adds the mistakes to the report, and returns what stays unchecked.

    launching: something is about to be launched, so what is still to come has to be there.
    A value that is wrong already is left out, with the rules that need it.
    """
    if not report.values:
        return [Unchecked("what EC2 and the artifact source say", "asked once the mistakes are corrected")]
    unchecked = [*_licence(report, launching), *_unknown(report)]
    try:
        answers: Answers | None = _ask_ec2(report)
    except Ec2Problem as problem:
        answers = None
        unchecked.append(Unchecked(EC2_RULES, problem.message, problem))
    except LookupError as error:
        answers = None
        unchecked.append(Unchecked(EC2_RULES, str(error.args[0])))
    if answers:
        config = str(report.files[-1].path) if len(report.files) > 1 else ""
        found = launch_rules.problems(report.values, answers.types, answers.instances, answers.images, config)
        for key, message in found:
            report.add(key, message)
    try:
        unchecked += _ask_artifacts(report, answers.types if answers else {})
    except LookupError as error:
        unchecked.append(Unchecked(ARTIFACT_RULES, str(error.args[0])))
    report.problems = sorted(set(report.problems))
    return unchecked


def _ask_ec2(report: Report) -> Answers:
    for key in PLACE_KEYS:
        _known(report, key)
    names = sorted({_known(report, key) for key in launch_rules.TYPE_KEYS})
    image, owner = _known(report, "ec2_provision_image_name"), _known(report, "ec2_provision_image_owner")
    connection = {
        name: str(report.value(f"ec2_provision_{name}"))
        for name in ("region", "endpoint_url", "access_key", "secret_key")
    }
    ec2 = Ec2(str(report.values["pegasus_cluster_name"]), **connection)
    # By filter and not by name: EC2 refuses a call that names an unknown type, and doesn't say which.
    filters = [{"Name": "instance-type", "Values": names}]
    patterns = sorted({image_name(image, architecture) for architecture in IMAGE_ARCHITECTURE})
    of_image = [{"Name": "name", "Values": patterns}, {"Name": "state", "Values": ["available"]}]
    calls: list[Callable[[], Any]] = [
        lambda: ec2.list("describe_instance_types", "InstanceTypes", f"describe {', '.join(names)}", Filters=filters),
        ec2.instances,
    ]
    if not is_parameter(image):
        calls.append(
            lambda: ec2.list(
                "describe_images", "Images", f"look for the image {image}", Owners=[owner], Filters=of_image
            )
        )
    described, instances, *asked = in_parallel(calls)
    images = asked[0] if asked else None
    return Answers({one["InstanceType"]: one for one in described}, instances, images)


def _licence(report: Report, launching: bool) -> list[Unchecked]:
    """A real enterprise cluster needs a licence. Where it is named, its content was checked already."""
    values, key = report.values, "aerospike_server_features_file"
    nodes = values.get("pegasus_cluster_nodes", 1)
    real = (
        values.get("pegasus_artifact_source") == "upstream" and values.get("aerospike_server_edition") == "enterprise"
    )
    if not real or nodes < 2 or values.get(key):
        return []
    advice = "expected a licence (features.conf)"
    community = f"a real enterprise cluster of {nodes} nodes needs one. Or set aerospike_server_edition: community"
    if launching:
        report.add(key, f"found nothing, {advice}: {community}")
        return []
    return [Unchecked(f"the licence ({key})", f"none is named, and setup demands one: {community}")]


def _known(report: Report, key: str) -> str:
    """The value of a key, as text. Raises LookupError with the reason why it has none that could be used."""
    if any(problem.key == key for problem in report.problems):
        raise LookupError(f"asked once {key} is right")
    if key not in report.values:
        raise LookupError(f"{key} isn't known yet (does the local cloud run?)")
    return str(report.values[key])


def _unknown(report: Report) -> list[Unchecked]:
    """Templates that can't be made here: their own rules, and those across fields, were silent."""
    if not report.unknown:
        return []
    return [Unchecked(f"the rules of {', '.join(report.unknown)}", "not known yet; the playbook checks them")]


@dataclass(frozen=True)
class Package:
    """A part that hosts get from the artifact source: the keys that say what it is, and the type of its hosts.

    `file_rpm` is the key of the file on hosts with rpm; '' when the other one serves them too. `beside` are keys that
    choose the file, too; the last of them is told beside the version.
    """

    name: str
    version: str
    directory: str
    file: str
    file_rpm: str
    instance_type: str
    beside: tuple[str, ...] = ()


# As the roles' tasks with artifact_package have them.
PACKAGES = (
    Package(
        "the server",
        "aerospike_server_version",
        "aerospike_server_artifact_directory",
        "aerospike_server_artifact_file",
        "",
        launch_rules.SERVER_TYPE,
        ("aerospike_server_edition", "aerospike_server_tools_version"),
    ),
    Package(
        "Aerospike's exporter",
        "grafana_prometheus_exporter_version",
        "grafana_prometheus_exporter_directory",
        "grafana_prometheus_exporter_file",
        "grafana_prometheus_exporter_file_rpm",
        launch_rules.SERVER_TYPE,
    ),
    Package(
        "Grafana",
        "grafana_prometheus_grafana_version",
        "grafana_prometheus_grafana_directory",
        "grafana_prometheus_grafana_file",
        "",
        launch_rules.MONITORING_TYPE,
    ),
)


def _ask_artifacts(report: Report, types: Mapping[str, Mapping[str, Any]]) -> list[Unchecked]:
    """Each part's package, for the architecture of the instance type that it runs on; and Perseus's ref."""
    _known(report, "pegasus_artifact_source")
    calls = [call for package in PACKAGES if (call := _question(report, package, types))]
    if ref := _question_of_ref(report):
        calls.append(ref)
    unchecked = []
    for answer in in_parallel(calls) if calls else []:
        if isinstance(answer, Unchecked):
            unchecked.append(answer)
        elif answer:
            report.add(*answer)
    return unchecked


# What asks for one part: it returns a mistake (key, text), or what it couldn't check.
Question = Callable[[], Unchecked | tuple[str, str] | None]


def _question(report: Report, package: Package, types: Mapping[str, Mapping[str, Any]]) -> Question | None:
    """What asks for one package; None when there is nothing to ask."""
    values = report.values
    if any(problem.key in (package.version, *package.beside) for problem in report.problems):
        return None  # told already
    version = _known(report, package.version)
    described = types.get(str(values.get(package.instance_type)))
    architecture = deb = "*"
    if described:
        try:
            (name,) = architectures([dict(described)]).values()
        except Ec2Problem:
            return None  # told already
        architecture = EC2_ARCHITECTURES[name]
        deb = DEBIAN_ARCHITECTURES[architecture]
    distribution = token_of_image(str(report.value("ec2_provision_image_name")))
    rpm = package_format(distribution) == "rpm"
    directory = str(report.value(package.directory))
    file = str(report.value(package.file_rpm if rpm and package.file_rpm else package.file))
    if rpm and file.endswith(".deb"):
        return None  # the role has no such package for these hosts
    placeholders = {
        "distribution": distribution,
        "architecture": architecture,
        "deb_architecture": deb,
        "format": "*",
    }
    whole = is_exact(file)
    rules = f"that the asked version of {package.name} has packages"
    beside = values.get(package.beside[-1]) if package.beside else ""
    found = f"found {version!r}{f' with {package.beside[-1]} {beside!r}' if beside else ''}"
    source = _known(report, "pegasus_artifact_source")

    def ask_for_it() -> Unchecked | tuple[str, str] | None:
        if whole and not described:
            return Unchecked(rules, f"the architecture of {package.instance_type} isn't known")
        try:
            located = locate(directory, file, version, placeholders, read_page)
            if whole:
                read_head(located.url)
        except NotFoundError as error:
            return package.version, f"{found}, expected a version that {source} has: {error}"
        except UnreadableError as error:
            return Unchecked(rules, str(error))
        except ArtifactError as error:
            return package.version, f"{found}, expected a package in {source}: {error}"
        return None

    return ask_for_it


def _question_of_ref(report: Report) -> Question | None:
    """The same for the branch or tag of Perseus. A whole commit is left to git: no page lists them."""
    values, key = report.values, "perseus_client_ref"
    ref = values.get(key)
    if ref is None or COMMIT.fullmatch(ref) or values.get("perseus_client_given_jar") or not values.get(CLIENTS):
        return None
    repository = str(report.value("perseus_client_repository"))

    def ask_for_it() -> Unchecked | tuple[str, str] | None:
        rules = f"that Perseus has {ref!r}"
        if not repository.startswith(("http://", "https://")):
            return Unchecked(rules, f"{repository} is no address that is read from here")
        try:
            page = read_page(f"{repository.rstrip('/')}/info/refs?service=git-upload-pack")
        except ArtifactError as error:
            return Unchecked(rules, str(error))
        names = dict.fromkeys(re.findall(r"[0-9a-f]{40}[ \t]refs/(?:heads|tags)/([^\s^\0]+)", page))
        if ref in names:
            return None
        near = nearest(ref, names)
        hint = f": did you mean {near}?" if near else ""
        listed = f"a branch or a tag of {repository} ({shortened(list(names))})"
        return key, f"found {show(ref)}, expected {listed}, or a commit of 40 digits{hint}"

    return ask_for_it


class UnreadableError(ArtifactError):
    """The artifact source doesn't answer: nothing is known."""


def read_page(url: str) -> str:
    """A page of the artifact source. Raises NotFoundError, or UnreadableError when it doesn't answer."""
    return _read(url, "GET")


def read_head(url: str) -> None:
    """Ask whether a file is there, without reading it. Raises as read_page does."""
    _read(url, "HEAD")


def _read(url: str, method: str) -> str:
    try:
        request = Request(url, headers={"User-Agent": "pegasus"}, method=method)
        with urlopen(request, timeout=PAGE_TIMEOUT) as answer:
            return "" if method == "HEAD" else answer.read(5_000_000).decode(errors="replace")
    except HTTPError as error:
        if error.code in (403, 404, 410):
            raise NotFoundError(f"found nothing at {url} (HTTP {error.code})") from error
        raise UnreadableError(f"{url} answers HTTP {error.code}") from error
    except (OSError, HTTPException, ValueError) as error:
        raise UnreadableError(f"{url} can't be read from this machine: {getattr(error, 'reason', error)}") from error
