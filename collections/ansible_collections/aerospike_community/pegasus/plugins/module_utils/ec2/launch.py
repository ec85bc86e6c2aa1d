# Copyright (c) Pegasus authors. SPDX-License-Identifier: Apache-2.0
"""Makes an environment in EC2 match its spec. It can be killed at any moment and run again.

removal.py terminates it.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from typing import Any

from .api import PARALLEL_CALLS, Ec2, in_parallel
from .diff import Diff, compare
from .errors import CAPACITY, OTHER, QUOTA, Ec2Problem, joined
from .ingress import set_rules
from .instances import Instance
from .keys import import_key
from .placement import create_placement_group, spread_over_zones
from .plan import Launch
from .request import LaunchContext, as_spot, client_token, run_request
from .security_group import create_group
from .spec import Spec
from .tags import TAG_EXPIRES, expiry_tag, tag_list

# EC2 keeps a token for a day after its instances terminated, and lists these for an hour: a node that was removed and
# is added again later has the token of the first launch.
TOKEN_OF_TERMINATED = "IdempotentInstanceTerminated"
# A token belongs to terminated instances at most once for each launch within a day.
TOKEN_ATTEMPTS = 10
# Replaces the advice to use other zones: new nodes stay in the zones of the nodes that exist.
JOIN_EXISTING_ZONES = (
    "New nodes are launched in the zones of the nodes that exist, regardless of ec2_provision_zones. Try again later, "
    "or use another instance type, or a subnet of the same VPC in another zone (ec2_provision_subnet_ids), or destroy "
    "the environment first."
)
# Resources in one CreateTags call. EC2 accepts 1000 and recommends fewer.
TAGGED_AT_ONCE = 50


@dataclass
class Outcome:
    """What was done, or would be done in check mode: instances as Instance.record, changes and notes as lines."""

    instances: list[dict[str, Any]] = field(default_factory=list)
    launched: list[dict[str, Any]] = field(default_factory=list)
    changes: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    identity: str = ""  # whose credentials were used, if something is launched


def present(ec2: Ec2, spec: Spec, *, check: bool) -> Outcome:
    """Create what is missing.

    :raises Ec2Problem: before anything is created, if a change would need a termination or can't work
    """
    diff = compare(ec2, spec)
    outcome = Outcome(changes=diff.changes(), notes=diff.notes, identity=diff.identity)
    if check:
        outcome.instances = [instance.record() for instance in diff.live]
        outcome.launched = _planned(diff)
        return outcome
    context = _create_resources(ec2, diff)
    tags = dict(diff.plan.retags)
    launched: set[str] = set()
    if context:
        new = _launch_all(ec2, diff, context)
        launched = {instance.id for instance in new}
        # All new nodes expire together, when the last of them does.
        begin = max((instance.launch_time for instance in new if instance.launch_time), default=datetime.now(UTC))
        tags |= {instance_id: {TAG_EXPIRES: expiry_tag(begin, spec.expiry)} for instance_id in launched}
    _set_tags(ec2, tags)
    _start(ec2, diff.plan.starts, spec.timeout)
    live = _wait(ec2, diff, launched, tags)
    outcome.instances = [instance.record() for instance in live if instance.live]
    outcome.launched = [record for record in outcome.instances if record["id"] in launched]
    return outcome


def _planned(diff: Diff) -> list[dict[str, Any]]:
    """The instances that would be launched, as Instance.record."""
    if not diff.context:
        return []
    records = []
    for launch in spread_over_zones(diff.context, diff.plan.launches, diff.live):
        instance = Instance(
            id="",
            kind=launch.group.kind,
            state="planned",
            instance_type=launch.group.instance_type,
            image_id=diff.context.images[launch.group.instance_type]["ImageId"],
            subnet_id=launch.subnet_id,
            zone=launch.zone,
            spot=launch.group.spot,
        )
        records += [
            instance.record() | {"index": index, "name": f"{launch.group.name}-{index}"} for index in launch.indexes
        ]
    return records


def _create_resources(ec2: Ec2, diff: Diff) -> LaunchContext | None:
    """Create the key pair, the security group and the placement group; return the context with them."""
    spec, context = diff.spec, diff.context

    def group() -> str:
        if diff.group_id:
            set_rules(ec2, diff.group_id, diff.rules)
        elif context:
            return create_group(ec2, spec, context.vpc_id, diff.cidrs)
        return diff.group_id

    with ThreadPoolExecutor(PARALLEL_CALLS) as pool:
        created = [pool.submit(import_key, ec2, spec)] if diff.import_key else []
        group_id = pool.submit(group)
        if context and diff.create_placement_group:
            created.append(pool.submit(create_placement_group, ec2, spec))
        for future in created:
            future.result()
    if not context:
        group_id.result()
        return None
    placement_group = "" if spec.placement == "none" else spec.resource_name
    return replace(context, key_name=diff.key_name, group_id=group_id.result(), placement_group=placement_group)


def _wait(ec2: Ec2, diff: Diff, launched: set[str], tags: dict[str, dict[str, str]]) -> list[Instance]:
    """Wait until new, started and pending instances run, and until EC2 shows the new tags: the inventory needs them."""
    kinds = {group.kind for group in diff.spec.groups}
    starting = launched | {instance.id for instance in diff.plan.starts}
    starting |= {instance.id for instance in diff.live if instance.state == "pending" and instance.kind in kinds}
    if not starting and not tags:
        return diff.live

    def ready(instance: Instance) -> bool:
        running = instance.id not in starting or instance.state == "running"
        return running and tags.get(instance.id, {}).items() <= instance.tags.items()

    return ec2.wait_for(starting | set(tags), ready, "running and tagged", diff.spec.timeout)


def _launch_all(ec2: Ec2, diff: Diff, context: LaunchContext) -> list[Instance]:
    """Launch all groups concurrently, or none: if one fails, the others are rolled back.

    If a zone is full, all groups move to the next zone.
    """
    launches, live = diff.plan.launches, diff.live
    full: set[str] = set()
    parts = spread_over_zones(context, launches, live)
    while True:
        new, failures = _launch_parts(ec2, parts, context, diff)
        if not failures:
            return new
        rollback = _roll_back(ec2, new)
        full |= {part.zone for part, problem in failures if problem.error_class == CAPACITY}
        moved = spread_over_zones(context, launches, live, full)
        only_capacity = all(problem.error_class == CAPACITY for _, problem in failures)
        if not (moved and only_capacity and not rollback.error_class):
            break
        zones = " and ".join(sorted({part.zone for part in moved}))
        diff.notes += [
            f"{part.zone} has no capacity: {problem.message} Trying {zones} instead.{rollback.message}"
            for part, problem in failures
        ]
        parts = moved
    problems = []
    for _, problem in failures:
        next_step = problem.next_step
        if problem.error_class == CAPACITY:
            next_step = f"{JOIN_EXISTING_ZONES if live else next_step} Tried: {', '.join(sorted(full))}."
        problems.append(replace(problem, next_step=next_step))
    total = joined(problems)
    raise Ec2Problem(total.error_class, f"{total.message}{rollback.message}", total.next_step) from failures[0][1]


@dataclass(frozen=True)
class Rollback:
    """The result of a rollback: a sentence to append, and the class of the error if it failed."""

    message: str = ""
    error_class: str = ""


def _roll_back(ec2: Ec2, instances: list[Instance]) -> Rollback:
    if not instances:
        return Rollback()
    ids = sorted(instance.id for instance in instances)
    try:
        ec2.call(
            "terminate_instances",
            "roll back the other launches",
            until_visible=("InvalidInstanceID.NotFound",),
            InstanceIds=ids,
        )
    except Ec2Problem as problem:
        message = f" {', '.join(ids)} were launched too, are running, and could not be rolled back: {problem}"
        return Rollback(message, problem.error_class)
    return Rollback(f" The {len(ids)} other instances that this run had launched were terminated.")


def _launch_parts(
    ec2: Ec2, parts: Sequence[Launch], context: LaunchContext, diff: Diff
) -> tuple[list[Instance], list[tuple[Launch, Ec2Problem]]]:
    """Launch all parts concurrently: the new instances, and the parts that failed."""

    def launch(part: Launch) -> list[Instance] | Ec2Problem:
        request = run_request(part, context)
        known = [instance for instance in diff.instances if instance.kind == part.group.kind]
        try:
            if part.group.spot:
                try:
                    return _launch(ec2, part, as_spot(request), known)
                except Ec2Problem as problem:
                    if problem.error_class not in (CAPACITY, QUOTA):
                        raise
                    diff.notes.append(f"No spot instances: {problem.message} On demand instead, at the full price.")
            return _launch(ec2, part, request, known)
        except Ec2Problem as problem:
            return problem

    results = in_parallel([partial(launch, part) for part in parts])
    new = [instance for result in results if not isinstance(result, Ec2Problem) for instance in result]
    return new, [(part, item) for part, item in zip(parts, results, strict=True) if isinstance(item, Ec2Problem)]


def _launch(ec2: Ec2, part: Launch, request: dict[str, Any], known: list[Instance]) -> list[Instance]:
    for attempt in range(TOKEN_ATTEMPTS):
        try:
            answer = ec2.call(
                "run_instances",
                part.text(),
                until_visible=("InvalidGroup.NotFound", "InvalidKeyPair.NotFound", "InvalidPlacementGroup.Unknown"),
                ClientToken=client_token(request, known, attempt),
                **request,
            )
        except Ec2Problem as problem:
            if problem.code == TOKEN_OF_TERMINATED:
                continue
            raise
        instances = [Instance.from_description(description) for description in answer["Instances"]]
        if any(instance.live for instance in instances):
            return instances
        # EC2 knows the token from an earlier launch and answers with its terminated instances: use another token.
    raise Ec2Problem(OTHER, f"EC2 answered {TOKEN_ATTEMPTS} times to {part.text()} with terminated instances.")


def _set_tags(ec2: Ec2, tags: dict[str, dict[str, str]]) -> None:
    """Set the tags of each instance, one call for up to TAGGED_AT_ONCE instances that get the same tags."""
    ids_by_tags: dict[tuple[tuple[str, str], ...], list[str]] = {}
    for instance_id, own in tags.items():
        ids_by_tags.setdefault(tuple(sorted(own.items())), []).append(instance_id)

    def tag(own: dict[str, str], ids: list[str]) -> None:
        ec2.call(
            "create_tags",
            f"tag {len(ids)} instances",
            until_visible=("InvalidInstanceID.NotFound",),
            Resources=ids,
            Tags=tag_list(own),
        )

    in_parallel(
        [
            partial(tag, dict(own), sorted(ids)[start : start + TAGGED_AT_ONCE])
            for own, ids in ids_by_tags.items()
            for start in range(0, len(ids), TAGGED_AT_ONCE)
        ]
    )


def _start(ec2: Ec2, stopped: list[Instance], timeout: float) -> None:
    if not stopped:
        return
    ids = {instance.id for instance in stopped}
    if any(instance.state == "stopping" for instance in stopped):
        ec2.wait_for(ids, lambda instance: instance.state != "stopping", "stopped", timeout)
    names = ", ".join(instance.label for instance in stopped)
    ec2.call("start_instances", f"start {names}", InstanceIds=sorted(ids))
