# Copyright (c) Pegasus authors. SPDX-License-Identifier: Apache-2.0
"""Check a configuration against EC2 and the artifact source, before anything is launched.

Three parallel calls to EC2 (DescribeInstanceTypes, DescribeInstances, DescribeImages), then parallel requests to the
artifact source (artifact_checks). Only for the control machine.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from ..ec2.api import Ec2, in_parallel
from ..ec2.errors import Ec2Problem
from ..ec2.images import IMAGE_ARCHITECTURE, image_name, is_parameter
from ..ec2.instances import Instance
from . import launch_rules
from .artifact_checks import Unchecked, check_artifacts, known_value
from .report import Report

# EC2 isn't queried unless these keys are valid.
PLACE_KEYS = ("pegasus_cluster_name", "pegasus_backend", "pegasus_region", "pegasus_ec2_endpoint_url")
EC2_RULES = "the instance types (architecture, disks, memory), the image, and the fixed settings of a running cluster"
ARTIFACT_RULES = "that the configured versions of the server, its exporter, Grafana and Perseus exist"


@dataclass
class Answers:
    """EC2's answers."""

    types: dict[str, dict[str, Any]] = field(default_factory=dict)
    instances: list[Instance] = field(default_factory=list)
    images: list[dict[str, Any]] | None = None  # None: an SSM parameter names the image, and a launch resolves it


def check_remote(report: Report, *, launching: bool) -> list[Unchecked]:
    """Check against EC2 and the artifact source: add the mistakes to the report, return the rules left unchecked.

    Rules that need a value which is already reported as wrong are skipped.

    :param launching: instances will be launched next, so a missing licence is a mistake
    """
    if not report.values:
        return [Unchecked("the rules that need EC2 and the artifact source", "checked once the mistakes are corrected")]
    unchecked = [*_licence(report, launching), *_unknown(report)]
    try:
        answers: Answers | None = _query_ec2(report)
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
        unchecked += check_artifacts(report, answers.types if answers else {})
    except LookupError as error:
        unchecked.append(Unchecked(ARTIFACT_RULES, str(error.args[0])))
    report.problems = sorted(set(report.problems))
    return unchecked


def _query_ec2(report: Report) -> Answers:
    for key in PLACE_KEYS:
        known_value(report, key)
    names = sorted({known_value(report, key) for key in launch_rules.TYPE_KEYS})
    image, owner = known_value(report, "ec2_provision_image_name"), known_value(report, "ec2_provision_image_owner")
    connection = {
        name: str(report.value(f"ec2_provision_{name}"))
        for name in ("region", "endpoint_url", "access_key", "secret_key")
    }
    ec2 = Ec2(str(report.values["pegasus_cluster_name"]), **connection)
    # A filter instead of names: EC2 refuses a call with an unknown type without naming the type.
    filters = [{"Name": "instance-type", "Values": names}]
    patterns = sorted({image_name(image, architecture) for architecture in IMAGE_ARCHITECTURE})
    of_image = [{"Name": "name", "Values": patterns}, {"Name": "state", "Values": ["available"]}]
    calls: list[Callable[[], Any]] = [
        lambda: ec2.list("describe_instance_types", "InstanceTypes", f"describe {', '.join(names)}", Filters=filters),
        ec2.instances,
    ]
    if not is_parameter(image):
        calls.append(
            lambda: ec2.list("describe_images", "Images", f"find the image {image}", Owners=[owner], Filters=of_image)
        )
    described, instances, *images = in_parallel(calls)
    types = {element["InstanceType"]: element for element in described}
    return Answers(types, instances, images[0] if images else None)


def _licence(report: Report, launching: bool) -> list[Unchecked]:
    """A real enterprise cluster needs a licence. The content of a named licence is already checked."""
    values, key = report.values, "aerospike_server_features_file"
    nodes = values.get("pegasus_cluster_nodes", 1)
    real = (
        values.get("pegasus_artifact_source") == "upstream" and values.get("aerospike_server_edition") == "enterprise"
    )
    if not real or nodes < 2 or values.get(key):
        return []
    advice = "expected a licence (features.conf)"
    community = f"a real enterprise cluster of {nodes} nodes needs it. Or set aerospike_server_edition: community"
    if launching:
        report.add(key, f"found nothing, {advice}: {community}")
        return []
    return [Unchecked(f"the licence ({key})", f"no licence is configured, and setup requires it: {community}")]


def _unknown(report: Report) -> list[Unchecked]:
    """Report the templates that can't be rendered here; the rules that need them were skipped."""
    if not report.unknown:
        return []
    return [Unchecked(f"the rules for {', '.join(report.unknown)}", "not known yet; the playbook checks them")]
