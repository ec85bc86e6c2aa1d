"""Asks, before anything is launched: whose credentials these are, whether they may do it, whether the quota suffices.

EC2 answers a call with DryRun whether it would be permitted, and does nothing. Only what makes things is asked for that
way: a permission to change or to end may be bound to the environment's tags, which nothing has yet.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from .api import Ec2, in_parallel
from .errors import CAPACITY, CREDENTIALS, QUOTA, Ec2Problem, error_code
from .plan import Group, Instance

# Letters that an instance type's name begins with -> (name of the quota, its code on demand, its code for spot).
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
# Codes of an account that knows no such quota.
NO_QUOTA = ("NoSuchResourceException",)


def identity(ec2: Ec2, notes: list[str]) -> str:
    """The ARN of the caller. Raises Ec2Problem for wrong credentials only; another failure becomes a note."""
    try:
        return str(ec2.call("get_caller_identity", "ask whose credentials these are", service="sts").get("Arn", ""))
    except Ec2Problem as problem:
        if problem.error_class == CREDENTIALS:
            raise
        notes.append(f"Whose credentials these are isn't known: {problem.message}")
        return ""


def problems(
    ec2: Ec2,
    launches: Sequence[tuple[Group, int, dict[str, Any]]],
    needed: Sequence[tuple[Group, int]],
    starts: Sequence[Instance],
    types: dict[str, dict[str, Any]],
    make: dict[str, dict[str, Any]],
    notes: list[str],
) -> list[Ec2Problem]:
    """What stands against launches: group, number of instances and parameters of RunInstances of each.

    `needed` are all groups with the number of their new instances, also those that can't be asked for as they will be.
    `starts` are stopped instances that will be started beside them: vCPUs count while an instance runs.
    `types` are descriptions of the instance types, `make` the parameters of other calls that will make something, by
    operation. What can't be found out is added to `notes`.
    """
    calls: list[Callable[[], list[Ec2Problem]]] = [
        *(
            lambda group=group, count=count, request=request: _dry_launch(ec2, group, count, request)
            for group, count, request in launches
        ),
        *(
            lambda operation=operation, request=request: _dry_run(
                ec2, operation, operation.replace("_", " "), **request
            )
            for operation, request in make.items()
        ),
        lambda: quotas(ec2, needed, starts, types, notes),
    ]
    return [problem for found in in_parallel(calls) for problem in found]


def _dry_launch(ec2: Ec2, group: Group, count: int, request: dict[str, Any]) -> list[Ec2Problem]:
    """Ask for a launch as it will be. Without room for spot instances it goes on demand: nothing stands against it."""
    found = _dry_run(ec2, "run_instances", f"launch {count} x {group.instance_type} ({group.kind})", **request)
    return [one for one in found if not (group.spot and one.error_class in (CAPACITY, QUOTA))]


def _dry_run(ec2: Ec2, operation: str, doing: str, **parameters: Any) -> list[Ec2Problem]:
    """Ask whether a call would be permitted: [] when it would."""
    try:
        ec2.call(operation, doing, DryRun=True, **parameters)
    except Ec2Problem as problem:
        return [] if error_code(problem.__cause__ or problem) == "DryRunOperation" else [problem]
    return []


def quotas(
    ec2: Ec2,
    needed: Sequence[tuple[Group, int]],
    starts: Sequence[Instance],
    types: dict[str, dict[str, Any]],
    notes: list[str],
) -> list[Ec2Problem]:
    """Compare the vCPUs that are missing with those that the account's quotas leave.

    Spot instances that their quota has no room for are launched on demand: that is a note, and a problem only where the
    quota on demand has no room for them either. A type that EC2 didn't describe is left out.
    """
    wanted: dict[_Quota, int] = {}
    for group, count in needed:
        cpus = int(types.get(group.instance_type, {}).get("VCpuInfo", {}).get("DefaultVCpus", 0))
        quota = quota_of(group.instance_type)
        if not quota:
            notes.append(
                f"Whether the vCPU quota suffices for {group.instance_type} isn't known: see Service Quotas, EC2."
            )
        elif cpus:
            name, on_demand, spot = quota
            key = _Quota(name, spot if group.spot else on_demand, group.spot, on_demand)
            wanted[key] = wanted.get(key, 0) + cpus * count
    for one in starts:
        quota = quota_of(one.instance_type)
        if quota and one.vcpus and not one.spot:
            key = _Quota(quota[0], quota[1], False, quota[1])
            wanted[key] = wanted.get(key, 0) + one.vcpus
    room = _Room(ec2, notes)
    left = {key: room.left(key) for key in wanted}
    short = [key for key, free in left.items() if free is not None and wanted[key] > free]
    found: list[Ec2Problem] = []
    for key in sorted(short, key=lambda one: not one.spot):
        if not key.spot:
            if not any(one.on_demand == key.code and one.spot for one in short):
                found.append(room.problem(key, wanted[key]))
            continue
        instead = _Quota(key.name, key.on_demand, False, key.on_demand)
        both = wanted[key] + wanted.get(instead, 0)
        free = room.left(instead)
        spot_problem = room.problem(key, wanted[key])
        if free is None or both <= free:
            notes.append(
                f"Not all can be spot instances: {spot_problem.message} Those for which there is no room are launched "
                "on demand, at the full price."
            )
        else:
            found += [spot_problem, room.problem(instead, both)]
    return found


@dataclass(frozen=True)
class _Quota:
    """A quota of vCPUs. `on_demand` is the code of the one that counts where its spot instances go on demand."""

    name: str
    code: str
    spot: bool
    on_demand: str


class _Room:
    """What the account's quotas leave, each asked for once. What can't be found out is None, and a note."""

    def __init__(self, ec2: Ec2, notes: list[str]) -> None:
        self._ec2, self._notes = ec2, notes
        self._limits: dict[str, int | None] = {}
        self._vcpus: dict[tuple[str, bool], int] | None = None
        self._counted = False

    def left(self, quota: _Quota) -> int | None:
        """vCPUs that a quota leaves."""
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
            if error_code(problem.__cause__ or problem) not in NO_QUOTA:
                self._unknown(problem)
            return None
        return int(answer["Quota"]["Value"])

    def _unknown(self, problem: Ec2Problem) -> None:
        self._notes.append(f"Whether the vCPU quota suffices isn't known: {problem.message}")

    def problem(self, quota: _Quota, wanted: int) -> Ec2Problem:
        """What to say of a quota, which left() knows, that is too small."""
        market = "spot" if quota.spot else "on-demand"
        in_use = self._in_use(quota)
        return Ec2Problem(
            QUOTA,
            f"{wanted} more vCPUs of {market} {quota.name} instances are needed in {self._ec2.region}; found {in_use} "
            f"in use of {self._limits[quota.code]} (quota {quota.code}), expected {in_use + wanted} or more.",
            f"Ask for more: aws service-quotas request-service-quota-increase --region {self._ec2.region} "
            f"--service-code ec2 --quota-code {quota.code} --desired-value {in_use + wanted}. Or ask for fewer or "
            "smaller instances, or free others.",
        )


def quota_of(instance_type: str) -> tuple[str, str, str] | None:
    """The vCPU quota that counts for a type: name, code on demand, code for spot; None for one that isn't known."""
    match = re.match(r"[a-z]+", instance_type)
    return QUOTAS.get(match[0]) if match else None


def _used(ec2: Ec2) -> dict[tuple[str, bool], int]:
    """vCPUs in use in the region, everybody's, by (quota's code, whether spot)."""
    reservations = ec2.list(
        "describe_instances",
        "Reservations",
        "count the vCPUs in use",
        Filters=[{"Name": "instance-state-name", "Values": ["pending", "running"]}],
        MaxResults=1000,
    )
    instances = [one for reservation in reservations for one in reservation["Instances"]]
    used: dict[tuple[str, bool], int] = {}
    for one in instances:
        quota = quota_of(one.get("InstanceType", ""))
        if not quota:
            continue
        spot = one.get("InstanceLifecycle") == "spot"
        key = (quota[2] if spot else quota[1], spot)
        used[key] = used.get(key, 0) + Instance.from_description(one).vcpus
    return used
