# Copyright (c) Pegasus authors. SPDX-License-Identifier: Apache-2.0
"""Checks that the artifact source has the configured versions, for the architecture and distribution of their hosts.

The requests run in parallel: a page or two for the server, the refs of Perseus's repository, and a HEAD request per
file of the other parts. Only for the control machine.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http.client import HTTPException
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from ..ec2.api import in_parallel
from ..ec2.errors import Ec2Problem
from ..ec2.images import architectures
from ..host.artifacts import ArtifactError, NotFoundError, is_exact, locate, shortened
from ..host.distributions import DEBIAN_ARCHITECTURES, EC2_ARCHITECTURES, package_format, token_of_image
from . import launch_rules
from .report import Report
from .schema import nearest, show

CLIENTS = "pegasus_client_nodes"
COMMIT = re.compile(r"[0-9a-f]{40}")
PAGE_TIMEOUT = 10  # seconds


@dataclass
class Unchecked:
    """Rules that couldn't be checked, and why. `problem` is EC2's error if that is the reason."""

    rules: str
    reason: str
    problem: Ec2Problem | None = None

    @property
    def text(self) -> str:
        return f"{self.rules}: {self.reason}"


def known_value(report: Report, key: str) -> str:
    """Return the value of a key as text.

    :raises LookupError: it has no usable value; the message is the reason
    """
    if any(problem.key == key for problem in report.problems):
        raise LookupError(f"checked once {key} is corrected")
    if key not in report.values:
        raise LookupError(f"{key} isn't known yet (is the local cloud running?)")
    return str(report.values[key])


@dataclass(frozen=True)
class Package:
    """A part that hosts get from the artifact source: the keys that describe it, and the instance type of its hosts.

    `file_rpm` is the key of the file on hosts with rpm, '' if `file` serves them too. `related` are further keys that
    choose the file; messages name the last of them with the version.
    """

    name: str
    version: str
    directory: str
    file: str
    file_rpm: str
    instance_type: str
    related: tuple[str, ...] = ()


# The same as in the roles' artifact_package tasks.
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


def check_artifacts(report: Report, types: Mapping[str, Mapping[str, Any]]) -> list[Unchecked]:
    """Check each part's package for the architecture of the instance type that it runs on, and Perseus's ref.

    :raises LookupError: the artifact source is unknown
    """
    known_value(report, "pegasus_artifact_source")
    calls = [call for package in PACKAGES if (call := _package_check(report, package, types))]
    if ref := _ref_check(report):
        calls.append(ref)
    unchecked = []
    for answer in in_parallel(calls) if calls else []:
        if isinstance(answer, Unchecked):
            unchecked.append(answer)
        elif answer:
            report.add(*answer)
    return unchecked


# Checks one part against the artifact source: returns a mistake (key, text), or what it couldn't check.
Check = Callable[[], Unchecked | tuple[str, str] | None]


def _package_check(report: Report, package: Package, types: Mapping[str, Mapping[str, Any]]) -> Check | None:
    """Prepare the check of one package; None if there is nothing to check."""
    values = report.values
    if any(problem.key in (package.version, *package.related) for problem in report.problems):
        return None  # already reported
    version = known_value(report, package.version)
    described = types.get(str(values.get(package.instance_type)))
    architecture = deb = "*"
    if described:
        try:
            (name,) = architectures([dict(described)]).values()
        except Ec2Problem:
            return None  # already reported
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
    exact = is_exact(file)
    rules = f"that the configured version of {package.name} has packages"
    related = values.get(package.related[-1]) if package.related else ""
    found = f"found {version!r}{f' with {package.related[-1]} {related!r}' if related else ''}"
    source = known_value(report, "pegasus_artifact_source")

    def check() -> Unchecked | tuple[str, str] | None:
        if exact and not described:
            return Unchecked(rules, f"the architecture of {package.instance_type} isn't known")
        try:
            located = locate(directory, file, version, placeholders, read_page)
            if exact:
                read_head(located.url)
        except NotFoundError as error:
            return package.version, f"{found}, expected a version that {source} has: {error}"
        except UnreadableError as error:
            return Unchecked(rules, str(error))
        except ArtifactError as error:
            return package.version, f"{found}, expected a package in {source}: {error}"
        return None

    return check


def _ref_check(report: Report) -> Check | None:
    """Prepare the check of Perseus's branch or tag. Git checks a full commit hash: no page lists commits."""
    values, key = report.values, "perseus_client_ref"
    ref = values.get(key)
    if ref is None or COMMIT.fullmatch(ref) or values.get("perseus_client_given_jar") or not values.get(CLIENTS):
        return None
    repository = str(report.value("perseus_client_repository"))

    def check() -> Unchecked | tuple[str, str] | None:
        rules = f"that Perseus has {ref!r}"
        if not repository.startswith(("http://", "https://")):
            return Unchecked(rules, f"{repository} isn't an http(s) address, and this machine reads no others")
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
        return key, f"found {show(ref)}, expected {listed}, or a full commit hash{hint}"

    return check


class UnreadableError(ArtifactError):
    """The artifact source doesn't answer."""


def read_page(url: str) -> str:
    """Return a page of the artifact source.

    :raises NotFoundError: there is no such page
    :raises UnreadableError: the artifact source doesn't answer
    """
    return _read(url, "GET")


def read_head(url: str) -> None:
    """Check that a file exists without reading it. Raises as read_page does."""
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
