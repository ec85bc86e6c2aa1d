# Copyright (c) Pegasus authors. SPDX-License-Identifier: Apache-2.0
"""The Linux distributions that hosts may run. Support for another distribution or release starts with this table.

Hosts, the checks of a configuration, the artifact mirror and the local cloud read it. Standard library only.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

# Names of an architecture: the kernel's (uname -m, also in Aerospike's file names) to Debian's; EC2's to the kernel's.
DEBIAN_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
EC2_ARCHITECTURES = {"x86_64": "x86_64", "arm64": "aarch64"}


@dataclass(frozen=True)
class Distribution:
    """One distribution, or a family whose packages are interchangeable."""

    ids: tuple[str, ...]  # ID in /etc/os-release
    prefix: str  # of its token in Aerospike's file names: debian12 is prefix and release
    image: str  # regular expression of an EC2 image's name; its group is the release
    package_format: str  # deb or rpm
    releases: tuple[str, ...] = ()  # what `mirror fetch` downloads by default
    simulated: tuple[str, ...] = ()  # what the local cloud builds simulated server packages for
    minor_release: bool = False  # whether 24.04 and 24.10 are different releases

    def release(self, version: str) -> str:
        """Return the release of a VERSION_ID."""
        return version if self.minor_release else version.partition(".")[0]


DISTRIBUTIONS = (
    Distribution(("debian",), "debian", r"debian-(\d+)", "deb", ("12", "13"), ("12", "13")),
    Distribution(
        ("ubuntu",), "ubuntu", r"ubuntu\D.*?(\d\d\.\d\d)", "deb", ("22.04", "24.04"), ("24.04",), minor_release=True
    ),
    Distribution(("amzn",), "amzn", r"al(2023)-", "rpm", ("2023",)),
    Distribution(
        ("rhel", "centos", "rocky", "almalinux", "ol"), "el", r"(?i)(?:RHEL|Rocky|AlmaLinux|CentOS)\D*(\d+)", "rpm"
    ),
)
EXPECTED = "Debian, Ubuntu, Amazon Linux 2023 or a distribution of the Red Hat family"  # for messages

MIRRORED = tuple(f"{item.prefix}{release}" for item in DISTRIBUTIONS for release in item.releases)
SIMULATED = tuple(f"{item.prefix}{release}" for item in DISTRIBUTIONS for release in item.simulated)


def token_of_host(os_release: str) -> str:
    """Return a host's token in Aerospike's file names (debian12, ubuntu24.04, amzn2023, el9).

    :param os_release: the text of /etc/os-release
    :raises ValueError: the distribution is not supported
    """
    fields = {}
    for line in os_release.splitlines():
        name, separator, value = line.partition("=")
        if separator:
            fields[name.strip()] = value.strip().strip("\"'")
    identity, version = fields.get("ID", ""), fields.get("VERSION_ID", "")
    for distribution in DISTRIBUTIONS:
        if identity in distribution.ids:
            return distribution.prefix + distribution.release(version)
    raise ValueError(
        f"found distribution '{identity or 'unknown'} {version}' on this host; expected {EXPECTED}: "
        f"choose another image"
    )


def token_of_image(name: str) -> str:
    """Return the token of an EC2 image's distribution; '*' if its name doesn't contain it."""
    for distribution in DISTRIBUTIONS:
        match = re.search(distribution.image, name)
        if match:
            return distribution.prefix + match[1]
    return "*"


def package_format(token: str) -> str:
    """Return deb or rpm for a token; deb for '*'."""
    return next((item.package_format for item in DISTRIBUTIONS if token.startswith(item.prefix)), "deb")
