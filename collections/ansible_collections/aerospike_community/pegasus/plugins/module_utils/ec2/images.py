# Copyright (c) Pegasus authors. SPDX-License-Identifier: Apache-2.0
"""The machine image for an architecture."""

from __future__ import annotations

from typing import Any

from .api import Ec2
from .errors import CONFIGURATION, Ec2Problem
from .spec import Spec

# EC2's name of an architecture -> its name in Debian's images.
IMAGE_ARCHITECTURE = {"x86_64": "amd64", "arm64": "arm64"}


def architectures(descriptions: list[dict[str, Any]]) -> dict[str, str]:
    """The architecture (x86_64 or arm64) of each instance type, from DescribeInstanceTypes."""
    result = {}
    for description in descriptions:
        supported = description.get("ProcessorInfo", {}).get("SupportedArchitectures", [])
        usable = [name for name in IMAGE_ARCHITECTURE if name in supported]
        if not usable:
            raise Ec2Problem(
                CONFIGURATION,
                f"The architecture of {description['InstanceType']} is {', '.join(supported) or 'unknown'}; expected "
                f"{' or '.join(IMAGE_ARCHITECTURE)}.",
            )
        result[description["InstanceType"]] = usable[0]
    return result


def image_name(pattern: str, architecture: str) -> str:
    """The pattern for an architecture: {architecture} becomes amd64 or arm64, {machine} x86_64 or arm64."""
    return pattern.replace("{architecture}", IMAGE_ARCHITECTURE[architecture]).replace("{machine}", architecture)


def is_parameter(name: str) -> bool:
    """Whether ec2_provision_image_name names a parameter of Systems Manager, which starts with a slash."""
    return name.startswith("/")


def newest_image(
    images: list[dict[str, Any]], pattern: str, owner: str, architecture: str, region: str
) -> dict[str, Any]:
    """The image with the latest creation date."""
    if not images:
        raise Ec2Problem(
            CONFIGURATION,
            f"No image in {region} is named {pattern}, is owned by {owner} and is for {architecture}.",
            "Check ec2_provision_image_name and ec2_provision_image_owner, and that the instance types have the "
            "architecture you mean; the local cloud has images for the architecture of this machine only.",
        )
    return max(images, key=lambda image: (image.get("CreationDate", ""), image["ImageId"]))


def find_image(ec2: Ec2, spec: Spec, architecture: str) -> dict[str, Any]:
    """The newest image with the name of the spec, or the image that a parameter of Systems Manager names."""
    pattern = image_name(spec.image_name, architecture)
    if is_parameter(pattern):
        return _image_of_parameter(ec2, pattern, architecture)
    filters = {"name": pattern, "architecture": architecture, "state": "available"}
    images = ec2.list(
        "describe_images",
        "Images",
        f"find the image {pattern}",
        Owners=[spec.image_owner],
        Filters=[{"Name": key, "Values": [value]} for key, value in filters.items()],
    )
    return newest_image(images, pattern, spec.image_owner, architecture, ec2.region)


def _image_of_parameter(ec2: Ec2, name: str, architecture: str) -> dict[str, Any]:
    answer = ec2.call("get_parameters", f"read the parameter {name}", service="ssm", Names=[name])
    image_id = next((parameter["Value"] for parameter in answer["Parameters"]), "")
    if not image_id:
        raise Ec2Problem(
            CONFIGURATION,
            f"{ec2.region} has no parameter {name} in Systems Manager.",
            "Check ec2_provision_image_name: aws ssm get-parameters-by-path --path /aws/service --recursive lists "
            "many; or set a pattern of an image's name.",
        )
    image: dict[str, Any]
    (image,) = ec2.call("describe_images", f"describe the image {image_id}", ImageIds=[image_id])["Images"]
    if image["Architecture"] != architecture:
        raise Ec2Problem(
            CONFIGURATION,
            f"The image {image_id} of {name} is for {image['Architecture']}, the instance types are {architecture}.",
            "Put {architecture} (amd64, arm64) or {machine} (x86_64, arm64) into ec2_provision_image_name.",
        )
    return image
