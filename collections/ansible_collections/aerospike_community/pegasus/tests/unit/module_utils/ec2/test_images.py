"""The machine image for an architecture."""

from __future__ import annotations

import pytest
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.ec2.errors import Ec2Problem
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.ec2.images import (
    architectures,
    image_name,
    is_parameter,
    newest_image,
)


@pytest.mark.parametrize(
    ("name", "architecture", "found"),
    [
        ("debian-12-{architecture}-*", "x86_64", "debian-12-amd64-*"),
        (
            "/aws/service/debian/release/12/latest/{architecture}",
            "arm64",
            "/aws/service/debian/release/12/latest/arm64",
        ),
        ("al2023-ami-*-{machine}", "x86_64", "al2023-ami-*-x86_64"),
    ],
)
def test_the_name_of_an_image_follows_the_architecture(name, architecture, found):
    assert image_name(name, architecture) == found
    assert is_parameter(found) == found.startswith("/aws")


def test_the_architecture_follows_from_the_type():
    def described(name, *supported):
        return {"InstanceType": name, "ProcessorInfo": {"SupportedArchitectures": list(supported)}}

    found = architectures([described("m1", "i386", "x86_64"), described("m2", "arm64")])
    assert found == {"m1": "x86_64", "m2": "arm64"}
    with pytest.raises(Ec2Problem, match="mac1 is x86_64_mac; expected x86_64 or arm64"):
        architectures([described("mac1", "x86_64_mac")])


def test_the_newest_image_is_used():
    images = [{"ImageId": f"ami-{year}", "CreationDate": f"{year}-01-01T00:00:00.000Z"} for year in (2024, 2026, 2025)]
    assert newest_image(images, "p", "o", "arm64", "r")["ImageId"] == "ami-2026"
    with pytest.raises(Ec2Problem, match="No image in r is named p, is owned by o and is for arm64"):
        newest_image([], "p", "o", "arm64", "r")
