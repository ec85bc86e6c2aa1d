# Copyright (c) Pegasus authors. SPDX-License-Identifier: Apache-2.0
"""The tags that hold an environment's state in EC2, and the form of their values.

- `pegasus:environment`, `pegasus:kind` (server, client, monitor) and `pegasus:owner` on every resource;
- `Name` and `pegasus:launch` on instances: the name of their group, and the indexes that their launch was for ("1-3").
  EC2 numbers the instances of a launch (AmiLaunchIndex: 0, 1, 2), so the second instance of "4-6" has index 5 and the
  name Bench-5. RunInstances sets both tags: no instance needs a call of its own, and an instance whose launch was
  interrupted has its index too;
- `pegasus:index`, and then `Name` with the index in it, only where two instances would otherwise share an index;
- `pegasus:fixed` on servers: the settings that a running cluster can't change (config/fixed_values.py);
- `pegasus:expires` on each instance, set right after the launch, one call for 50 instances.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

TAG_ENVIRONMENT = "pegasus:environment"
TAG_KIND = "pegasus:kind"
TAG_OWNER = "pegasus:owner"
TAG_INDEX = "pegasus:index"
TAG_LAUNCH = "pegasus:launch"
TAG_EXPIRES = "pegasus:expires"
TAG_FIXED = "pegasus:fixed"
TAG_NAME = "Name"

# Values of TAG_KIND, in the order in which results list them.
KINDS = ("server", "client", "monitor")


def tag_list(tags: dict[str, str]) -> list[dict[str, str]]:
    """Tags in EC2's form, in a fixed order."""
    return [{"Key": key, "Value": tags[key]} for key in sorted(tags)]


def expiry_tag(launched: datetime, expiry_seconds: int) -> str:
    """The value of TAG_EXPIRES for an instance launched at this time; 0 seconds means never."""
    return format_time(launched + timedelta(seconds=expiry_seconds)) if expiry_seconds else "never"


def format_time(moment: datetime) -> str:
    """A time as tags hold it, in UTC: 2026-01-31T12:00:00Z."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def parse_time(text: str) -> datetime | None:
    """The inverse of format_time; None for `never` and for anything that isn't a time."""
    try:
        return datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
    except ValueError:
        return None


def format_indexes(indexes: tuple[int, ...]) -> str:
    """(1, 2, 3, 7) as '1-3,7'. The value of a tag has at most 256 characters."""
    runs: list[list[int]] = []
    for index in sorted(indexes):
        if runs and index == runs[-1][1] + 1:
            runs[-1][1] = index
        else:
            runs.append([index, index])
    return ",".join(str(first) if first == last else f"{first}-{last}" for first, last in runs)


def parse_indexes(text: str) -> list[int]:
    """The inverse of format_indexes; an empty list for anything else."""
    indexes: list[int] = []
    for part in text.split(","):
        match = re.fullmatch(r"(\d+)(?:-(\d+))?", part)
        if not match:
            return []
        indexes.extend(range(int(match[1]), int(match[2] or match[1]) + 1))
    return indexes
