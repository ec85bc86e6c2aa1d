"""Single nodes of an environment: find them by index, take them, move their end. Calls to EC2 go through ec2_api."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from ansible_collections.aerospike_community.pegasus.plugins.module_utils.durations import format_duration

from . import plan as ec2_plan
from . import removal as ec2_removal
from .api import Ec2, in_parallel
from .errors import OTHER, PERMISSION, USAGE, Ec2Problem
from .plan import Instance
from .request import tag_list

# --- By index ---------------------------------------------------------------------------------------------------------


def choose(instances: Sequence[Instance], kind: str, indexes: Sequence[int]) -> dict[int, Instance]:
    """The instance of each index of a kind: the live one, else the one that ended. Pure.

    Raises Ec2Problem for an index that none ever had (as far as EC2 remembers: it forgets an hour after the end).
    """
    own = [one for one in instances if one.kind == kind and one.index]
    # Live ones last, so that they win.
    by_index = {one.index: one for one in sorted(own, key=lambda one: one.live)}
    unknown = sorted(set(indexes) - set(by_index))
    if not indexes or unknown:
        said = ", ".join(str(one) for one in sorted(one.index for one in own if one.live)) or "none"
        found = f"found {', '.join(map(str, unknown))}" if unknown else "found no index"
        raise Ec2Problem(
            USAGE,
            f"{found}; expected the index of a {kind} node that exists: {said}.",
            "./pegasus-driver status lists the nodes with their indexes. Without the driver: -e chaos_nodes=2",
        )
    return {index: by_index[index] for index in sorted(set(indexes))}


def ended_text(instance: Instance) -> str:
    """What to say of a node that ended."""
    return f"{instance.name or instance.id} ({instance.id}) is terminated"


def check_survival(chosen: Sequence[Instance]) -> None:
    """Raise Ec2Problem where a node that was launched a moment ago doesn't run any more."""
    lost = [f"{one.name} ({one.id}) is {one.state}{reason_text(one)}" for one in chosen if one.state != "running"]
    if lost:
        raise Ec2Problem(
            OTHER,
            f"{'; '.join(lost)}; expected it to run, as it did a moment ago.",
            "Run this again: it launches another in its place.",
        )


def reason_text(instance: Instance) -> str:
    """EC2's own reason for a state, where it gives one."""
    return f" ({instance.state_reason})" if instance.state_reason else ""


def terminate(ec2: Ec2, chosen: Sequence[Instance], timeout: float, *, check: bool) -> list[Instance]:
    """Terminate what is live among `chosen`, wait for the end, and return it."""
    live = [one for one in chosen if one.live]
    if live and not check:
        ids = [one.id for one in live]
        ec2.call("terminate_instances", f"terminate {', '.join(one.name or one.id for one in live)}", InstanceIds=ids)
        ec2.wait_for(set(ids), lambda one: one.state == "terminated", "terminated", timeout, ending=True)
    return live


# --- The end of their life --------------------------------------------------------------------------------------------


@dataclass
class Extension:
    """`end` is the new value of the tag; `moved` maps an instance's name to the old one."""

    end: str
    moved: dict[str, str] = field(default_factory=dict)
    skipped: list[str] = field(default_factory=list)


def extend(ec2: Ec2, seconds: int, now: datetime, kinds: Collection[str] = (), *, check: bool) -> Extension:
    """Set the tag of every running instance (of these kinds, if any are named) to `seconds` from now, 0 to never.

    A stopped one keeps its end: the timer inside it can't be reached.
    """
    part = set(kinds) if set(kinds) < set(ec2_plan.KINDS) else set()
    live = [one for one in ec2.instances() if one.live and (not part or one.kind in part)]
    if not live:
        which = f"instance with the kind {' or '.join(sorted(part))}" if part else "instance"
        raise Ec2Problem(USAGE, f"{ec2.environment} has no {which} whose life could be extended.", "Set it up: setup")
    extension = Extension(ec2_plan.format_time(now + timedelta(seconds=seconds)) if seconds else "never")
    moved = [one for one in live if one.state in ("running", "pending")]
    extension.moved = {one.name or one.id: one.tags.get(ec2_plan.TAG_EXPIRES, "") for one in moved}
    extension.skipped = [_skipped(one, now) for one in live if one not in moved]
    if moved and not check:
        ec2.call(
            "create_tags",
            "move the end of the instances",
            Resources=[one.id for one in moved],
            Tags=tag_list({ec2_plan.TAG_EXPIRES: extension.end}),
        )
    return extension


def _skipped(one: Instance, now: datetime) -> str:
    """What to say of a stopped instance: its timer can't be reached. Past its end, it would end itself as it starts."""
    said = one.tags.get(ec2_plan.TAG_EXPIRES, "a time that nobody knows")
    end = ec2_plan.parse_time(said)
    over = end is not None and end <= now
    rest = (
        f"ended at {said} (reap takes it)" if over else f"still ends at {said} (start it with setup, then extend again)"
    )
    return f"{one.name or one.id} is {one.state}: skipped, its life {rest}"


class Unseen(Ec2Problem):
    """This account may not look at a region at all."""


@dataclass
class Sweep:
    """Instances past their end, and sentences about them and about those that are kept although they may be."""

    expired: list[Instance] = field(default_factory=list)
    changes: list[str] = field(default_factory=list)
    unreadable: list[str] = field(default_factory=list)
    protected: list[str] = field(default_factory=list)
    live: int = 0


def find_expired(instances: Sequence[Instance], now: datetime) -> Sweep:
    """Which live instances are past their tag. Pure. What is neither a time nor `never` is kept and named."""
    sweep = Sweep(live=sum(one.live for one in instances))
    for one in instances:
        text = one.tags.get(ec2_plan.TAG_EXPIRES, "")
        if not one.live or text == "never":
            continue
        end = ec2_plan.parse_time(text)
        if end is None:
            found = f"is {text!r}" if text else "is missing"
            sweep.unreadable.append(
                f"kept {_full_name(one)}: its tag {ec2_plan.TAG_EXPIRES} {found}, expected a time such as "
                f"2026-01-31T12:00:00Z or never"
            )
        elif end <= now:
            sweep.expired.append(one)
            minutes = int((now - end).total_seconds()) // 60
            ago = f"{format_duration(60 * minutes)} ago" if minutes else "just now"
            sweep.changes.append(f"terminate {_full_name(one)}: expired {text}, {ago}")
    return sweep


def _full_name(one: Instance) -> str:
    return f"{one.name or one.id} ({one.id}, {one.kind or 'no kind'} of {one.tags.get(ec2_plan.TAG_ENVIRONMENT)})"


def reap(ec2: Ec2, now: datetime, *, every_environment: bool, check: bool) -> Sweep:
    """Terminate what is past its tag in one region, and isn't protected. Not waited for: nothing comes after it.

    Raises Unseen where already the look isn't permitted, other Ec2Problems for all else that fails.
    """
    try:
        instances = all_instances(ec2) if every_environment else ec2.instances()
    except Ec2Problem as problem:
        if problem.error_class == PERMISSION:
            raise Unseen(problem.error_class, problem.message, problem.next_step) from problem
        raise
    sweep = find_expired(instances, now)
    kept = ec2_removal.protected(ec2, sweep.expired)
    if kept:
        step = ec2_removal.unprotect_step(kept, ec2.region)
        sweep.protected = [
            f"kept {_full_name(one)}: expired {one.tags[ec2_plan.TAG_EXPIRES]}, but it is protected against termination"
            for one in kept
        ] + [step]
        pairs = [pair for pair in zip(sweep.expired, sweep.changes, strict=True) if pair[0] not in kept]
        sweep.expired, sweep.changes = [one for one, _ in pairs], [text for _, text in pairs]
    if not check:
        terminate_each(ec2, sweep.expired)
    return sweep


def all_instances(ec2: Ec2) -> list[Instance]:
    """The instances of every environment in the region."""
    reservations = ec2.list(
        "describe_instances",
        "Reservations",
        "describe the instances of all environments",
        Filters=[{"Name": "tag-key", "Values": [ec2_plan.TAG_ENVIRONMENT]}],
        MaxResults=1000,
    )
    found = [Instance.from_description(one) for reservation in reservations for one in reservation["Instances"]]
    return sorted(found, key=lambda one: (one.tags.get(ec2_plan.TAG_ENVIRONMENT, ""), one.order))


def regions(ec2: Ec2) -> list[str]:
    """The regions that the account can use."""
    found = ec2.call("describe_regions", "list the regions")["Regions"]
    return sorted(one["RegionName"] for one in found)


def in_regions(names: Sequence[str], work: Callable[[str], Sweep]) -> tuple[dict[str, Sweep], dict[str, Ec2Problem]]:
    """Do the same in several regions at a time: what came of it, and where it failed. One's failure stops no other."""

    def one(name: str) -> Sweep | Ec2Problem:
        try:
            return work(name)
        except Ec2Problem as problem:
            return problem

    results = dict(zip(names, in_parallel([lambda name=name: one(name) for name in names]), strict=True))
    return (
        {name: result for name, result in results.items() if isinstance(result, Sweep)},
        {name: result for name, result in results.items() if isinstance(result, Ec2Problem)},
    )


def terminate_each(ec2: Ec2, instances: Sequence[Instance]) -> None:
    """Terminate instances, of several environments perhaps."""
    calls: list[Any] = [
        lambda one=one: ec2.call("terminate_instances", f"terminate {one.name or one.id}", InstanceIds=[one.id])
        for one in instances
    ]
    if calls:
        in_parallel(calls)
