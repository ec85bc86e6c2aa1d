# Copyright (c) Pegasus authors. SPDX-License-Identifier: Apache-2.0
"""What an environment needs to match its spec: a comparison with the instances that exist, without calls to EC2."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime

from .instances import STOPPED_STATES, Instance
from .spec import Group
from .tags import KINDS, TAG_ENVIRONMENT, TAG_EXPIRES, TAG_INDEX, TAG_NAME, expiry_tag, format_time, parse_time


@dataclass(frozen=True)
class Launch:
    """One RunInstances call: all of `indexes` or none. Subnet and zone are '' until they are chosen."""

    group: Group
    indexes: tuple[int, ...]
    subnet_id: str = ""
    zone: str = ""

    def text(self) -> str:
        """The launch in a message."""
        names = [f"{self.group.name}-{index}" for index in self.indexes]
        which = names[0] if len(names) == 1 else f"{names[0]} to {names[-1]}"
        where = f" in {self.zone}" if self.zone else ""
        return f"launch {len(names)} x {self.group.instance_type} as {which} ({self.group.kind}){where}"


@dataclass
class Plan:
    """What must change. Nothing may change if there are refusals."""

    launches: list[Launch] = field(default_factory=list)
    # Instance id -> tags to set.
    retags: dict[str, dict[str, str]] = field(default_factory=dict)
    starts: list[Instance] = field(default_factory=list)
    refusals: list[str] = field(default_factory=list)
    # For the user's information.
    notes: list[str] = field(default_factory=list)


def make_plan(
    groups: list[Group],
    instances: list[Instance],
    *,
    expiry_seconds: int,
    extra_tags: dict[str, str],
    now: datetime,
) -> Plan:
    """Compare the groups with the instances that exist (terminated instances may be among them).

    The index of a node never changes. New nodes get indexes after the last live node, so the index of a terminated node
    isn't reused while higher indexes exist, unless the group's `replace` names it. Extra nodes are kept: `add-nodes`
    launched them, and only `remove-node` and the destroy actions terminate nodes.
    """
    plan = Plan()
    live = [instance for instance in instances if instance.live]
    plan.refusals += [
        f"The instance {instance.id} ({instance.name or 'no name'}) has the environment's tag with the kind "
        f"{instance.kind!r}; expected one of {', '.join(KINDS)}. Terminate it, or remove its tag {TAG_ENVIRONMENT}."
        for instance in live
        if instance.kind not in KINDS
    ]
    for group in groups:
        own = [instance for instance in live if instance.kind == group.kind]
        _plan_group(plan, group, own, expiry_seconds, extra_tags, now)
    return plan


def _plan_group(
    plan: Plan,
    group: Group,
    live: list[Instance],
    expiry_seconds: int,
    extra_tags: dict[str, str],
    now: datetime,
) -> None:
    indexes, duplicates = _settle_indexes(live)
    for index, first, second in duplicates:
        plan.refusals.append(
            f"Two instances have the index {index} of {group.name} ({group.kind}): {first} and {second}. Terminate one "
            f"of them in EC2, then run this again."
        )
    if group.add and not live:
        plan.refusals.append(f"{group.name} ({group.kind}) has no node, so nothing can be added: set it up first.")
    if len(live) > group.nodes and not group.add:
        plan.notes.append(
            f"{group.name} ({group.kind}) keeps its {len(live)} nodes, although {group.nodes} are configured: setup "
            f"terminates no node."
        )
    for instance in live:
        index = indexes[instance.id]
        plan.refusals += _refusals(instance, f"{group.name}-{index} ({instance.id})", group.instance_type, now)
        missing = _missing_tags(instance, group, index, expiry_seconds, extra_tags, now)
        if missing:
            plan.retags[instance.id] = missing
        if instance.state in STOPPED_STATES and not group.add:
            plan.starts.append(instance)
    new = group.add or group.nodes - len(live)
    if new > 0 and 0 < group.limit < len(live) + new:
        room = max(0, group.limit - len(live))
        plan.refusals.append(
            f"{group.name} ({group.kind}) would have {len(live) + new} nodes, the {len(live)} that exist and "
            f"{new} new; {group.limit_reason}. Stopped nodes count. "
            + (f"Add at most {room}." if room else "No more can be added.")
        )
    if new > 0:
        plan.launches.append(Launch(group, _new_indexes(set(indexes.values()), new, group.replace)))


def _refusals(instance: Instance, name: str, instance_type: str, now: datetime) -> list[str]:
    """Why an existing node can't match the spec."""
    refusals = []
    if instance.instance_type != instance_type:
        refusals.append(
            f"{name} has the type {instance.instance_type}, expected {instance_type}. The type of a node can't be "
            f"changed: configure {instance.instance_type} again, or destroy the environment first."
        )
    expires = parse_time(instance.tags.get(TAG_EXPIRES, ""))
    if instance.state in STOPPED_STATES and expires is not None and expires <= now:
        refusals.append(
            f"{name} is stopped and expired at {format_time(expires)}: it would power itself off as soon as it starts. "
            f"Terminate it with reap, then run this again to launch a new node. Or destroy the environment."
        )
    return refusals


def _settle_indexes(live: list[Instance]) -> tuple[dict[str, int], list[tuple[int, str, str]]]:
    """Return the index of each instance by id, and the pairs whose own tags claim the same index.

    If a launch gives an index that another instance has, the later instance gets a new index.
    """
    settled: dict[str, int] = {}
    owner: dict[int, str] = {}
    duplicates = []
    for instance in sorted((item for item in live if item.own_index), key=lambda item: item.id):
        index = instance.own_index or 0
        settled[instance.id] = index
        if index in owner:
            duplicates.append((index, owner[index], instance.id))
        owner.setdefault(index, instance.id)
    unplaced = []
    never = datetime.max.replace(tzinfo=UTC)
    for instance in sorted(
        (item for item in live if not item.own_index),
        key=lambda item: (item.launch_time or never, item.launch_index, item.id),
    ):
        if not instance.index or instance.index in owner:
            unplaced.append(instance)
            continue
        settled[instance.id] = instance.index
        owner[instance.index] = instance.id
    for instance in unplaced:
        (index,) = _new_indexes(set(owner), 1, ())
        settled[instance.id] = index
        owner[index] = instance.id
    return settled, duplicates


def _new_indexes(taken: set[int], count: int, replace: tuple[int, ...]) -> tuple[int, ...]:
    chosen = [index for index in sorted(set(replace)) if index > 0 and index not in taken][:count]
    following = max(taken | set(chosen), default=0) + 1
    chosen.extend(range(following, following + count - len(chosen)))
    return tuple(sorted(chosen))


def _missing_tags(
    instance: Instance,
    group: Group,
    index: int,
    expiry_seconds: int,
    extra_tags: dict[str, str],
    now: datetime,
) -> dict[str, str]:
    if instance.index == index and not instance.own_index:
        desired = {TAG_NAME: group.name}
    else:
        desired = {TAG_NAME: f"{group.name}-{index}", TAG_INDEX: str(index)}
    # An existing expiry stays: it may have been extended.
    if not instance.tags.get(TAG_EXPIRES):
        desired[TAG_EXPIRES] = expiry_tag(instance.launch_time or now, expiry_seconds)
    desired |= extra_tags
    return {key: value for key, value in desired.items() if instance.tags.get(key) != value}
