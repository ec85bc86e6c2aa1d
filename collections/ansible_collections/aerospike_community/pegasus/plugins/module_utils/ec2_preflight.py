"""Asks, before anything is launched: whose credentials these are, whether they may do it, whether the quota suffices.

EC2 answers a call with DryRun whether it would be permitted, and does nothing. Only what makes things is asked for that
way: a permission to change or to end may be bound to the environment's tags, which nothing has yet.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

from ansible_collections.aerospike_community.pegasus.plugins.module_utils.ec2_api import Ec2, in_parallel
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.ec2_errors import (
    CREDENTIALS,
    QUOTA,
    Ec2Problem,
    error_code,
)
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.ec2_plan import Group

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
    types: dict[str, dict[str, Any]],
    make: dict[str, dict[str, Any]],
    notes: list[str],
) -> list[Ec2Problem]:
    """What stands against launches: group, number of instances and parameters of RunInstances of each.

    `types` are descriptions of the instance types, `make` the parameters of other calls that will make something, by
    operation. What can't be found out is added to `notes`.
    """
    calls: list[Callable[[], list[Ec2Problem]]] = [
        *(
            lambda group=group, count=count, request=request: _dry_run(
                ec2, "run_instances", f"launch {count} x {group.instance_type} ({group.role})", **request
            )
            for group, count, request in launches
        ),
        *(
            lambda operation=operation, request=request: _dry_run(
                ec2, operation, operation.replace("_", " "), **request
            )
            for operation, request in make.items()
        ),
        lambda: quotas(ec2, launches, types, notes),
    ]
    return [problem for found in in_parallel(calls) for problem in found]


def _dry_run(ec2: Ec2, operation: str, doing: str, **parameters: Any) -> list[Ec2Problem]:
    """Ask whether a call would be permitted: [] when it would."""
    try:
        ec2.call(operation, doing, DryRun=True, **parameters)
    except Ec2Problem as problem:
        return [] if error_code(problem.__cause__ or problem) == "DryRunOperation" else [problem]
    return []


def quotas(
    ec2: Ec2,
    launches: Sequence[tuple[Group, int, dict[str, Any]]],
    types: dict[str, dict[str, Any]],
    notes: list[str],
) -> list[Ec2Problem]:
    """Compare the vCPUs that are missing with those that the account's quotas leave."""
    needed: dict[tuple[str, str, bool], int] = {}
    for group, count, _ in launches:
        cpus = int(types[group.instance_type].get("VCpuInfo", {}).get("DefaultVCpus", 0))
        quota = quota_of(group.instance_type)
        if quota:
            name, on_demand, spot = quota
            key = (name, spot if group.spot else on_demand, group.spot)
            needed[key] = needed.get(key, 0) + cpus * count
    found: list[Ec2Problem] = []
    limits: dict[tuple[str, str, bool], int] = {}
    for key in needed:
        try:
            answer = ec2.call(
                "get_service_quota",
                f"read the quota {key[1]}",
                service="service-quotas",
                ServiceCode="ec2",
                QuotaCode=key[1],
            )
            limits[key] = int(answer["Quota"]["Value"])
        except Ec2Problem as problem:
            if error_code(problem.__cause__ or problem) not in NO_QUOTA:
                notes.append(f"Whether the vCPU quota suffices isn't known: {problem.message}")
    if not limits:
        return []
    try:
        used = _used(ec2)
    except Ec2Problem as problem:
        notes.append(f"Whether the vCPU quota suffices isn't known: {problem.message}")
        return []
    for (name, code, is_spot), limit in limits.items():
        in_use = used.get((code, is_spot), 0)
        wanted = needed[name, code, is_spot]
        if in_use + wanted > limit:
            market = "spot" if is_spot else "on-demand"
            found.append(
                Ec2Problem(
                    QUOTA,
                    f"{wanted} more vCPUs of {market} {name} instances are needed in {ec2.region}; found {in_use} in "
                    f"use of {limit} (quota {code}), expected {in_use + wanted} or more.",
                    f"Ask for more: aws service-quotas request-service-quota-increase --region {ec2.region} "
                    f"--service-code ec2 --quota-code {code} --desired-value {in_use + wanted}. Or ask for fewer or "
                    "smaller instances, or free others.",
                )
            )
    return found


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
        options = one.get("CpuOptions", {})
        key = (quota[2] if spot else quota[1], spot)
        used[key] = used.get(key, 0) + int(options.get("CoreCount", 0)) * int(options.get("ThreadsPerCore", 1))
    return used
