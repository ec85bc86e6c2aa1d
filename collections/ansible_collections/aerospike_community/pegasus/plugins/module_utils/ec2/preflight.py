# Copyright (c) Pegasus authors. SPDX-License-Identifier: Apache-2.0
"""Checks before a launch: whose credentials these are, what they permit, and whether the vCPU quota suffices.

With DryRun, EC2 reports whether a call is permitted, and does nothing. Only calls that create resources are checked
this way: a permission to change or terminate may depend on the environment's tags, which no resource has yet.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from .api import Ec2, in_parallel
from .errors import CAPACITY, CREDENTIALS, QUOTA, Ec2Problem
from .instances import Instance
from .placement import spread_over_zones
from .plan import Launch, Plan
from .request import LaunchContext, as_spot, run_request

# The letters at the start of an instance type -> (name of the quota, its code on demand, its code for spot).
# Codes: https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/ec2-instance-quotas.html
_STANDARD = ("Standard (A, C, D, H, I, M, R, T, Z)", "L-1216C47A", "L-34B43A08")
QUOTAS = {
    **dict.fromkeys(("a", "c", "d", "h", "i", "im", "is", "m", "r", "t", "z"), _STANDARD),
    "f": ("F", "L-74FC7D96", "L-88CF9481"),
    **dict.fromkeys(("g", "vt"), ("G and VT", "L-DB2E81BA", "L-3819A6DF")),
    "p": ("P", "L-417A185B", "L-7212CCBC"),
    "x": ("X", "L-7295265B", "L-E3A00192"),
    "inf": ("Inf", "L-1945791B", "L-B5D1601B"),
}
# Codes for an account without such a quota.
NO_QUOTA = ("NoSuchResourceException",)


def identity(ec2: Ec2, notes: list[str]) -> str:
    """The ARN of the caller. Wrong credentials raise Ec2Problem; any other failure becomes a note."""
    try:
        return str(ec2.call("get_caller_identity", "identify the caller", service="sts").get("Arn", ""))
    except Ec2Problem as problem:
        if problem.error_class == CREDENTIALS:
            raise
        notes.append(f"The caller's identity is unknown: {problem.message}")
        return ""


def check(
    ec2: Ec2,
    plan: Plan,
    context: LaunchContext,
    live: Sequence[Instance],
    creations: dict[str, dict[str, Any]],
    notes: list[str],
) -> list[Ec2Problem]:
    """What prevents the launches of a plan.

    :param context: what was found for the launches; a launch without an image is checked against the quota only
    :param creations: the parameters of other calls that will create resources, by operation
    :param notes: gets what can't be checked
    """
    parts = [
        part for part in spread_over_zones(context, plan.launches, live) if part.group.instance_type in context.images
    ]
    calls: list[Callable[[], list[Ec2Problem]]] = [
        *(partial(_dry_launch, ec2, part, run_request(part, context)) for part in parts),
        *(
            partial(_dry_run, ec2, operation, operation.replace("_", " "), request)
            for operation, request in creations.items()
        ),
        partial(quotas, ec2, plan.launches, plan.starts, context.types, notes),
    ]
    return [problem for found in in_parallel(calls) for problem in found]


def _dry_launch(ec2: Ec2, part: Launch, request: dict[str, Any]) -> list[Ec2Problem]:
    """Check a launch. Without room for spot instances it is launched on demand, so nothing prevents it."""
    group = part.group
    task = f"launch {len(part.indexes)} x {group.instance_type} ({group.kind})"
    found = _dry_run(ec2, "run_instances", task, as_spot(request) if group.spot else request)
    return [problem for problem in found if not (group.spot and problem.error_class in (CAPACITY, QUOTA))]


def _dry_run(ec2: Ec2, operation: str, task: str, parameters: dict[str, Any]) -> list[Ec2Problem]:
    """Check whether a call is permitted: [] if it is."""
    try:
        ec2.call(operation, task, DryRun=True, **parameters)
    except Ec2Problem as problem:
        return [] if problem.code == "DryRunOperation" else [problem]
    return []


def quotas(
    ec2: Ec2,
    launches: Sequence[Launch],
    starts: Sequence[Instance],
    types: dict[str, dict[str, Any]],
    notes: list[str],
) -> list[Ec2Problem]:
    """Compare the vCPUs that launches and starts need with the vCPUs that the account's quotas leave.

    Spot instances beyond their quota are launched on demand: that is a note, and a problem only if the on-demand quota
    has no room for them either. A type without a description is left out.
    """
    needed: dict[_Quota, int] = {}
    for launch in launches:
        group = launch.group
        cpus = int(types.get(group.instance_type, {}).get("VCpuInfo", {}).get("DefaultVCpus", 0))
        quota = quota_of(group.instance_type)
        if not quota:
            notes.append(
                f"It is unknown whether the vCPU quota suffices for {group.instance_type}: see Service Quotas, EC2."
            )
        elif cpus:
            name, on_demand, spot = quota
            key = _Quota(name, spot if group.spot else on_demand, group.spot, on_demand)
            needed[key] = needed.get(key, 0) + cpus * len(launch.indexes)
    for instance in starts:
        quota = quota_of(instance.instance_type)
        if quota and instance.vcpus and not instance.spot:
            key = _Quota(quota[0], quota[1], False, quota[1])
            needed[key] = needed.get(key, 0) + instance.vcpus
    room = _Room(ec2, notes)
    left = {key: room.left(key) for key in needed}
    short = [key for key, free in left.items() if free is not None and needed[key] > free]
    found: list[Ec2Problem] = []
    for key in sorted(short, key=lambda quota: not quota.spot):
        if not key.spot:
            if not any(other.on_demand == key.code and other.spot for other in short):
                found.append(room.problem(key, needed[key]))
            continue
        instead = _Quota(key.name, key.on_demand, False, key.on_demand)
        both = needed[key] + needed.get(instead, 0)
        free = room.left(instead)
        spot_problem = room.problem(key, needed[key])
        if free is None or both <= free:
            notes.append(
                f"Not all can be spot instances: {spot_problem.message} Instances beyond the quota are launched on "
                "demand, at the full price."
            )
        else:
            found += [spot_problem, room.problem(instead, both)]
    return found


@dataclass(frozen=True)
class _Quota:
    """A quota of vCPUs. `on_demand` is the code of the quota that counts if spot instances are launched on demand."""

    name: str
    code: str
    spot: bool
    on_demand: str


class _Room:
    """What the account's quotas leave, each read once. What is unknown is None, and a note."""

    def __init__(self, ec2: Ec2, notes: list[str]) -> None:
        self._ec2, self._notes = ec2, notes
        self._limits: dict[str, int | None] = {}
        self._vcpus: dict[tuple[str, bool], int] | None = None
        self._counted = False

    def left(self, quota: _Quota) -> int | None:
        """The vCPUs that a quota leaves."""
        if quota.code not in self._limits:
            self._limits[quota.code] = self._limit(quota.code)
        limit = self._limits[quota.code]
        if limit is None:
            return None
        if not self._counted:
            self._counted = True
            try:
                self._vcpus = _used(self._ec2)
            except Ec2Problem as problem:
                self._unknown(problem)
        return None if self._vcpus is None else limit - self._in_use(quota)

    def _in_use(self, quota: _Quota) -> int:
        return (self._vcpus or {}).get((quota.code, quota.spot), 0)

    def _limit(self, code: str) -> int | None:
        try:
            answer = self._ec2.call(
                "get_service_quota",
                f"read the quota {code}",
                service="service-quotas",
                ServiceCode="ec2",
                QuotaCode=code,
            )
        except Ec2Problem as problem:
            if problem.code not in NO_QUOTA:
                self._unknown(problem)
            return None
        return int(answer["Quota"]["Value"])

    def _unknown(self, problem: Ec2Problem) -> None:
        self._notes.append(f"It is unknown whether the vCPU quota suffices: {problem.message}")

    def problem(self, quota: _Quota, needed: int) -> Ec2Problem:
        """The problem of a quota that is too small; left() has read it."""
        market = "spot" if quota.spot else "on-demand"
        in_use = self._in_use(quota)
        return Ec2Problem(
            QUOTA,
            f"{needed} more vCPUs of {market} {quota.name} instances are needed in {self._ec2.region}; found {in_use} "
            f"in use of {self._limits[quota.code]} (quota {quota.code}), expected {in_use + needed} or more.",
            f"Request more: aws service-quotas request-service-quota-increase --region {self._ec2.region} "
            f"--service-code ec2 --quota-code {quota.code} --desired-value {in_use + needed}. Or use fewer or "
            "smaller instances, or terminate others.",
        )


def quota_of(instance_type: str) -> tuple[str, str, str] | None:
    """The vCPU quota of a type: name, code on demand, code for spot; None for an unknown type."""
    match = re.match(r"[a-z]+", instance_type)
    return QUOTAS.get(match[0]) if match else None


def _used(ec2: Ec2) -> dict[tuple[str, bool], int]:
    """The vCPUs that the account uses in the region, by (code of the quota, whether spot)."""
    reservations = ec2.list(
        "describe_instances",
        "Reservations",
        "count the vCPUs in use",
        Filters=[{"Name": "instance-state-name", "Values": ["pending", "running"]}],
        MaxResults=1000,
    )
    used: dict[tuple[str, bool], int] = {}
    for reservation in reservations:
        for description in reservation["Instances"]:
            instance = Instance.from_description(description)
            quota = quota_of(instance.instance_type)
            if quota:
                key = (quota[2] if instance.spot else quota[1], instance.spot)
                used[key] = used.get(key, 0) + instance.vcpus
    return used
