# Copyright (c) Pegasus authors. SPDX-License-Identifier: Apache-2.0
"""Terminates instances that are past the expiry in their tag."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial

from ..durations import format_duration
from .api import Ec2, in_parallel
from .errors import PERMISSION, Ec2Problem
from .instances import Instance
from .removal import protected_instances, unprotect_step
from .tags import TAG_ENVIRONMENT, TAG_EXPIRES, parse_time


class RegionDenied(Ec2Problem):
    """This account may not describe the instances of a region at all."""


@dataclass
class Sweep:
    """Expired instances, and lines about them and about instances that are kept."""

    expired: list[Instance] = field(default_factory=list)
    changes: list[str] = field(default_factory=list)
    unreadable: list[str] = field(default_factory=list)
    protected: list[str] = field(default_factory=list)
    live: int = 0


def find_expired(instances: Sequence[Instance], now: datetime) -> Sweep:
    """Find the live instances that are past their expiry. Pure. An unreadable expiry is kept and named."""
    sweep = Sweep(live=sum(instance.live for instance in instances))
    for instance in instances:
        text = instance.tags.get(TAG_EXPIRES, "")
        if not instance.live or text == "never":
            continue
        expires = parse_time(text)
        if expires is None:
            found = f"is {text!r}" if text else "is missing"
            sweep.unreadable.append(
                f"kept {_full_name(instance)}: its tag {TAG_EXPIRES} {found}, expected a time such as "
                f"2026-01-31T12:00:00Z or never"
            )
        elif expires <= now:
            sweep.expired.append(instance)
            minutes = int((now - expires).total_seconds()) // 60
            ago = f"{format_duration(60 * minutes)} ago" if minutes else "just now"
            sweep.changes.append(f"terminate {_full_name(instance)}: expired {text}, {ago}")
    return sweep


def _full_name(instance: Instance) -> str:
    return f"{instance.label} ({instance.id}, {instance.kind or 'no kind'} of {instance.tags.get(TAG_ENVIRONMENT)})"


def reap(ec2: Ec2, now: datetime, *, every_environment: bool, check: bool) -> Sweep:
    """Terminate the expired instances in a region that aren't protected, without waiting for it.

    :raises RegionDenied: the account may not describe the instances
    """
    try:
        instances = all_instances(ec2) if every_environment else ec2.instances()
    except Ec2Problem as problem:
        if problem.error_class == PERMISSION:
            raise RegionDenied(problem.error_class, problem.message, problem.next_step) from problem
        raise
    sweep = find_expired(instances, now)
    kept = protected_instances(ec2, sweep.expired)
    if kept:
        sweep.protected = [
            f"kept {_full_name(instance)}: expired {instance.tags[TAG_EXPIRES]}, but it is protected against "
            "termination"
            for instance in kept
        ] + [unprotect_step(kept, ec2.region)]
        pairs = [pair for pair in zip(sweep.expired, sweep.changes, strict=True) if pair[0] not in kept]
        sweep.expired, sweep.changes = [instance for instance, _ in pairs], [text for _, text in pairs]
    if not check:
        terminate_each(ec2, sweep.expired)
    return sweep


def all_instances(ec2: Ec2) -> list[Instance]:
    """The instances of every environment in the region."""
    reservations = ec2.list(
        "describe_instances",
        "Reservations",
        "describe the instances of all environments",
        Filters=[{"Name": "tag-key", "Values": [TAG_ENVIRONMENT]}],
        MaxResults=1000,
    )
    instances = [Instance.from_description(item) for reservation in reservations for item in reservation["Instances"]]
    return sorted(instances, key=lambda instance: (instance.tags.get(TAG_ENVIRONMENT, ""), instance.order))


def regions(ec2: Ec2) -> list[str]:
    """The regions that the account can use."""
    return sorted(region["RegionName"] for region in ec2.call("describe_regions", "list the regions")["Regions"])


def in_regions(names: Sequence[str], work: Callable[[str], Sweep]) -> tuple[dict[str, Sweep], dict[str, Ec2Problem]]:
    """Sweep several regions concurrently: the results, and the problems of the regions that failed."""

    def attempt(name: str) -> Sweep | Ec2Problem:
        try:
            return work(name)
        except Ec2Problem as problem:
            return problem

    results = dict(zip(names, in_parallel([partial(attempt, name) for name in names]), strict=True))
    return (
        {name: result for name, result in results.items() if isinstance(result, Sweep)},
        {name: result for name, result in results.items() if isinstance(result, Ec2Problem)},
    )


def terminate_each(ec2: Ec2, instances: Sequence[Instance]) -> None:
    """Terminate instances with a call for each: a refusal of one doesn't stop the others."""
    in_parallel(
        [
            partial(ec2.call, "terminate_instances", f"terminate {instance.label}", InstanceIds=[instance.id])
            for instance in instances
        ]
    )
