# Copyright (c) Pegasus authors. SPDX-License-Identifier: Apache-2.0
"""An instance as EC2 describes it, with the name and the index that its tags give it."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from .tags import KINDS, TAG_EXPIRES, TAG_INDEX, TAG_KIND, TAG_LAUNCH, TAG_NAME, parse_indexes

TERMINATED_STATES = ("shutting-down", "terminated")
STOPPED_STATES = ("stopping", "stopped")
# EC2's reason for a state change: "User initiated (2026-11-25 12:00:00 GMT)".
_STATE_SINCE = re.compile(r"\((\d{4}-\d\d-\d\d \d\d:\d\d:\d\d) (?:GMT|UTC)\)")


@dataclass(frozen=True)
class Instance:
    """An instance of an environment. `index` is None while it has none."""

    id: str
    kind: str
    state: str
    instance_type: str
    image_id: str = ""
    private_ip: str = ""
    public_ip: str = ""
    subnet_id: str = ""
    zone: str = ""
    key_name: str = ""
    spot: bool = False
    vcpus: int = 0  # 0 if EC2 doesn't report it
    launch_index: int = 0
    launch_time: datetime | None = None  # of its last start
    stop_time: datetime | None = None  # when it stopped or terminated, if EC2 reports it
    state_reason: str = ""
    tags: dict[str, str] = field(default_factory=dict, hash=False)

    @property
    def own_index(self) -> int | None:
        """The index in the tag pegasus:index."""
        text = self.tags.get(TAG_INDEX, "")
        return int(text) if text.isdecimal() and int(text) > 0 else None

    @property
    def index(self) -> int | None:
        """The index in its own tag, else the index that its launch gives it."""
        if self.own_index:
            return self.own_index
        indexes = parse_indexes(self.tags.get(TAG_LAUNCH, ""))
        return indexes[self.launch_index] if self.launch_index < len(indexes) else None

    @property
    def name(self) -> str:
        """The name with the index, such as Bench-5; '' if it has none."""
        name = self.tags.get(TAG_NAME, "")
        return f"{name}-{self.index}" if name and self.index and not self.own_index else name

    @property
    def label(self) -> str:
        """The name for messages: the id if it has no name."""
        return self.name or self.id

    def full_tags(self) -> dict[str, str]:
        """The tags with index and name as if the instance had tags of its own for them."""
        derived = {TAG_INDEX: str(self.index), TAG_NAME: self.name} if self.index else {}
        return {**self.tags, **{key: value for key, value in derived.items() if value}}

    @property
    def order(self) -> tuple[int, int, str]:
        """The sort key: by kind, then by index."""
        return (KINDS.index(self.kind) if self.kind in KINDS else len(KINDS), self.index or 0, self.id)

    @property
    def live(self) -> bool:
        """Whether it exists, running or stopped."""
        return self.state not in TERMINATED_STATES

    @classmethod
    def from_description(cls, description: dict[str, Any]) -> Instance:
        """Build it from an element of DescribeInstances or RunInstances."""
        tags = {tag["Key"]: tag["Value"] for tag in description.get("Tags", [])}
        return cls(
            id=description["InstanceId"],
            kind=tags.get(TAG_KIND, ""),
            state=description["State"]["Name"],
            instance_type=description.get("InstanceType", ""),
            image_id=description.get("ImageId", ""),
            private_ip=description.get("PrivateIpAddress") or "",
            public_ip=description.get("PublicIpAddress") or "",
            subnet_id=description.get("SubnetId") or "",
            zone=description.get("Placement", {}).get("AvailabilityZone") or "",
            key_name=description.get("KeyName") or "",
            spot=description.get("InstanceLifecycle") == "spot",
            vcpus=_vcpus(description.get("CpuOptions") or {}),
            launch_index=int(description.get("AmiLaunchIndex") or 0),
            launch_time=description.get("LaunchTime"),
            stop_time=_state_since(description.get("StateTransitionReason") or ""),
            state_reason=(description.get("StateReason") or {}).get("Message") or "",
            tags=tags,
        )

    def record(self) -> dict[str, Any]:
        """The instance as modules return it."""
        return {
            "id": self.id,
            "name": self.name,
            "kind": self.kind,
            "index": self.index or 0,
            "private_ip": self.private_ip,
            "public_ip": self.public_ip,
            "state": self.state,
            "instance_type": self.instance_type,
            "image_id": self.image_id,
            "zone": self.zone,
            "spot": self.spot,
            "expires": self.tags.get(TAG_EXPIRES, ""),
        }


def _vcpus(options: dict[str, Any]) -> int:
    return int(options.get("CoreCount", 0)) * int(options.get("ThreadsPerCore", 1))


def _state_since(reason: str) -> datetime | None:
    match = _STATE_SINCE.search(reason)
    return datetime.strptime(match[1], "%Y-%m-%d %H:%M:%S").replace(tzinfo=UTC) if match else None
