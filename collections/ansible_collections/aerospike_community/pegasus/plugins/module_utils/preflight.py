# Copyright (c) Pegasus authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""Asks EC2 and the artifact source what a configuration depends on, before anything is launched.

Two calls to EC2, at the same time (DescribeInstanceTypes, DescribeInstances), and a page or two of the artifact source.
Only for the control machine.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.client import HTTPException
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from ansible_collections.aerospike_community.pegasus.plugins.module_utils import launch_rules
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.artifacts import (
    ArtifactError,
    NotFoundError,
    locate,
)
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.configuration import Report
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.ec2_api import Ec2, in_parallel
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.ec2_errors import Ec2Problem
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.ec2_place import (
    IMAGE_ARCHITECTURE,
    architectures,
)
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.ec2_plan import Instance

PAGE_TIMEOUT = 10  # seconds
EC2_RULES = "the instance types (architecture, disks, memory), and what a running cluster can't change"
ARTIFACT_RULES = "that the asked version of the server has packages"


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


def ask(report: Report, *, launching: bool) -> list[Unchecked]:
    """Ask what can be asked: adds the mistakes to the report, and returns what stays unchecked.

    launching: something is about to be launched, so what is still to come has to be there.
    """
    unchecked = _licence(report, launching)
    try:
        answers: Answers | None = _ask_ec2(report)
    except Ec2Problem as problem:
        answers = None
        unchecked.append(Unchecked(EC2_RULES, problem.message, problem))
    except LookupError as error:
        answers = None
        unchecked.append(Unchecked(EC2_RULES, f"{error.args[0]} isn't known yet (does the local cloud run?)"))
    if answers:
        for key, message in launch_rules.problems(report.values, answers.types, answers.instances):
            report.add(key, message)
    try:
        _ask_artifacts(report, answers.types if answers else {})
    except LookupError as error:
        unchecked.append(Unchecked(ARTIFACT_RULES, f"{error.args[0]} isn't known yet (does the local cloud run?)"))
    except ArtifactError as error:
        unchecked.append(Unchecked(ARTIFACT_RULES, str(error)))
    report.problems = sorted(set(report.problems))
    return unchecked


def _ask_ec2(report: Report) -> Answers:
    names = sorted({_known(report, key) for key in launch_rules.TYPE_KEYS})
    connection = {
        name: str(report.value(f"ec2_provision_{name}"))
        for name in ("region", "endpoint_url", "access_key", "secret_key")
    }
    ec2 = Ec2(str(report.values["pegasus_cluster_name"]), **connection)
    # By filter and not by name: EC2 refuses a call that names an unknown type, and doesn't say which.
    filters = [{"Name": "instance-type", "Values": names}]
    calls: list[Callable[[], Any]] = [
        lambda: ec2.list("describe_instance_types", "InstanceTypes", f"describe {', '.join(names)}", Filters=filters),
        ec2.instances,
    ]
    described, instances = in_parallel(calls)
    return Answers({one["InstanceType"]: one for one in described}, instances)


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
    if key not in report.values:
        raise LookupError(key)
    return str(report.values[key])


def _ask_artifacts(report: Report, types: Mapping[str, Mapping[str, Any]]) -> None:
    """The server's package, for the architecture of its instance type."""
    source = _known(report, "pegasus_artifact_source")
    values = report.values
    version = _known(report, "aerospike_server_version")
    described = types.get(str(values.get(launch_rules.SERVER_TYPE)))
    architecture = deb = "*"
    if described:
        try:
            (name,) = architectures([dict(described)]).values()
        except Ec2Problem:
            return  # told already
        architecture, deb = launch_rules.PACKAGE_ARCHITECTURE[name], IMAGE_ARCHITECTURE[name]
    placeholders = {
        "distribution": launch_rules.distribution_of(str(report.value("ec2_provision_image_name"))),
        "architecture": architecture,
        "deb_architecture": deb,
        "format": "*",
    }
    try:
        locate(
            str(report.value("aerospike_server_artifact_directory")),
            str(report.value("aerospike_server_artifact_file")),
            version,
            placeholders,
            read_page,
        )
    except NotFoundError as error:
        report.add("aerospike_server_version", f"found {version!r}, expected a version that {source} has: {error}")
    except UnreadableError:
        raise
    except ArtifactError as error:
        report.add("aerospike_server_version", f"found {version!r}, expected a package in {source}: {error}")


class UnreadableError(ArtifactError):
    """The artifact source doesn't answer: nothing is known."""


def read_page(url: str) -> str:
    """A page of the artifact source. Raises NotFoundError, or UnreadableError when it doesn't answer."""
    try:
        with urlopen(Request(url, headers={"User-Agent": "pegasus"}), timeout=PAGE_TIMEOUT) as answer:
            return answer.read(5_000_000).decode(errors="replace")
    except HTTPError as error:
        if error.code in (403, 404, 410):
            raise NotFoundError(f"found nothing at {url} (HTTP {error.code})") from error
        raise UnreadableError(f"{url} answers HTTP {error.code}") from error
    except (OSError, HTTPException, ValueError) as error:
        raise UnreadableError(f"{url} can't be read from this machine: {getattr(error, 'reason', error)}") from error
