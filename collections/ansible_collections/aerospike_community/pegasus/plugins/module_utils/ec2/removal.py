# Copyright (c) Pegasus authors. SPDX-License-Identifier: Apache-2.0
"""Terminates and deletes everything with an environment's tag, and proves that nothing is left.

It can be killed at any moment and run again.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from .api import Ec2, backoff, in_parallel
from .errors import OTHER, PERMISSION, Ec2Problem
from .instances import Instance
from .tags import TAG_ENVIRONMENT

# Instances in one call. EC2 accepts 1000 and recommends fewer.
TERMINATE_AT_ONCE = 250
# Descriptions lag behind: EC2 may list deleted resources for some seconds.
FORGOTTEN_WITHIN = 60.0
_BUSY = (
    "DependencyViolation",
    "InvalidGroup.InUse",
    "InvalidNetworkInterface.InUse",
    "InvalidPlacementGroup.InUse",
    "VolumeInUse",
)
_NOT_FOUND = (".NotFound", ".Unknown")


@dataclass(frozen=True)
class ResourceType:
    """A type of resource that can have the environment's tag: boto3's operations and fields.

    `ident` is the field that `delete` needs; `label` is another field that users know it by.
    """

    word: str
    describe: str
    elements: str
    delete: str
    ident: str
    label: str = ""
    page: int | None = None  # elements in a page; None if EC2 returns all at once


# In the order in which they can be deleted once the instances are terminated.
TYPES = (
    ResourceType(
        "network interface",
        "describe_network_interfaces",
        "NetworkInterfaces",
        "delete_network_interface",
        "NetworkInterfaceId",
        page=1000,
    ),
    ResourceType("volume", "describe_volumes", "Volumes", "delete_volume", "VolumeId", page=500),
    ResourceType(
        "security group",
        "describe_security_groups",
        "SecurityGroups",
        "delete_security_group",
        "GroupId",
        label="GroupName",
        page=1000,
    ),
    ResourceType(
        "placement group", "describe_placement_groups", "PlacementGroups", "delete_placement_group", "GroupName"
    ),
    ResourceType("key pair", "describe_key_pairs", "KeyPairs", "delete_key_pair", "KeyName", label="KeyPairId"),
)
ALL_WORDS = ", ".join(kind.word for kind in TYPES[:-1]) + f" or {TYPES[-1].word}"


@dataclass(frozen=True)
class Resource:
    """A resource with the environment's tag, other than an instance."""

    type: ResourceType
    found: dict[str, Any]

    @property
    def ident(self) -> str:
        """What `delete` needs."""
        return str(self.found[self.type.ident])

    @property
    def text(self) -> str:
        """The resource in a message."""
        label = str(self.found.get(self.type.label) or "")
        if self.type.label == "GroupName":  # the name first, as users know it
            return f"{self.type.word} {label} ({self.ident})"
        return f"{self.type.word} {self.ident}" + (f" ({label})" if label else "")

    @property
    def instance_ids(self) -> set[str]:
        """The instances that it is attached to."""
        attached = [*self.found.get("Attachments", []), self.found.get("Attachment") or {}]
        return {item["InstanceId"] for item in attached if item.get("InstanceId")}


@dataclass
class Removal:
    """What was removed (or would be, in check mode), and lines about it. `proof` is the result of the last check."""

    terminated: list[Instance] = field(default_factory=list)
    changes: list[str] = field(default_factory=list)
    protected: list[Instance] = field(default_factory=list)
    unprotected: list[str] = field(default_factory=list)  # ids of live instances
    proof: str = ""


def remove(
    ec2: Ec2, timeout: float, kinds: Collection[str] = (), *, check: bool, unprotected: Collection[str] = ()
) -> Removal:
    """Remove everything with the environment's tag, and nothing else, in the order of dependencies.

    :param timeout: for each wait, in seconds
    :param kinds: terminate only the instances of these kinds; the others still need key pair and groups
    :param unprotected: ids of instances that an earlier check found without protection: a check costs a call for each,
        and EC2 refuses to terminate an instance that was protected since
    :raises Ec2Problem: also for instances that are protected against termination: they are kept, with what they need,
        and everything else is removed
    """
    instances, resources = find_all(ec2, kinds)
    removal = Removal(terminated=instances)
    live = [instance for instance in instances if instance.live]
    removal.protected = protected_instances(ec2, [instance for instance in live if instance.id not in unprotected])
    kept = {instance.id for instance in removal.protected}
    removal.unprotected = [instance.id for instance in live if instance.id not in kept]
    removal.terminated = [instance for instance in instances if instance.id not in kept]
    removal.changes = [_termination_text(instance) for instance in removal.terminated]
    if not kept:
        # EC2 deletes attached resources with their instance.
        ids = {instance.id for instance in instances}
        removal.changes += [f"delete the {resource.text}" for resource in resources if not ids & resource.instance_ids]
    if check:
        return removal
    doomed = sorted(removal.unprotected)
    for first in range(0, len(doomed), TERMINATE_AT_ONCE):
        some = doomed[first : first + TERMINATE_AT_ONCE]
        ec2.call("terminate_instances", f"terminate {len(some)} instances", InstanceIds=some)
    if removal.terminated:
        ids = {instance.id for instance in removal.terminated}
        ec2.wait_for(ids, _is_terminated, "terminated", timeout, ending=True)
    if kept:
        raise _protected_problem(removal, ec2.region)
    if resources:
        _delete_all(ec2, find_all(ec2, kinds)[1], timeout, _LateArrivals(ec2, removal, timeout).terminate)
    if removal.changes:
        instances, resources = _find_remaining(ec2, kinds, min(timeout, FORGOTTEN_WITHIN))
    removal.proof = proof(ec2, kinds, instances, resources)
    return removal


def _termination_text(instance: Instance) -> str:
    return f"terminate {instance.name or 'the instance'} ({instance.id}, {instance.kind})"


def _is_terminated(instance: Instance) -> bool:
    return instance.state == "terminated"


@dataclass
class _LateArrivals:
    """Instances that weren't listed at first: descriptions lag behind a launch whose run was killed.

    They are noticed because the resources that they use can't be deleted.
    """

    ec2: Ec2
    removal: Removal
    timeout: float
    lock: threading.Lock = field(default_factory=threading.Lock)

    def terminate(self) -> None:
        """Terminate the instances that are listed by now, and wait for it.

        :raises Ec2Problem: an instance is protected
        """
        with self.lock:  # several deletions may notice them
            live = [instance for instance in self.ec2.instances() if instance.live]
            if not live:
                return
            self.removal.protected = protected_instances(self.ec2, live)
            kept = {instance.id for instance in self.removal.protected}
            doomed = [instance for instance in live if instance.id not in kept]
            if doomed:
                ids = {instance.id for instance in doomed}
                self.ec2.call("terminate_instances", f"terminate {len(ids)} instances", InstanceIds=sorted(ids))
                self.removal.terminated += doomed
                self.removal.changes += [_termination_text(instance) for instance in doomed]
                self.ec2.wait_for(ids, _is_terminated, "terminated", self.timeout, ending=True)
            if kept:
                raise _protected_problem(self.removal, self.ec2.region)


def find_all(ec2: Ec2, kinds: Collection[str] = ()) -> tuple[list[Instance], list[Resource]]:
    """The instances that aren't terminated, and all other resources with the tag.

    With kinds, only the instances of these kinds: the other resources belong to all of them.
    """
    calls: list[Any] = [ec2.instances]
    if not kinds:
        calls += [partial(_describe, ec2, resource_type) for resource_type in TYPES]
    instances, *others = in_parallel(calls)
    remaining = [
        instance for instance in instances if instance.state != "terminated" and (not kinds or instance.kind in kinds)
    ]
    return remaining, [resource for resources in others for resource in resources]


def _describe(ec2: Ec2, kind: ResourceType) -> list[Resource]:
    found = ec2.list(
        kind.describe,
        kind.elements,
        f"describe {kind.word}s",
        Filters=[{"Name": f"tag:{TAG_ENVIRONMENT}", "Values": [ec2.environment]}],
        **({"MaxResults": kind.page} if kind.page else {}),
    )
    return [Resource(kind, item) for item in found if item.get("State") not in ("deleting", "deleted")]


def protected_instances(ec2: Ec2, instances: Sequence[Instance]) -> list[Instance]:
    """The instances that a user protected against termination. One call for each instance."""

    def is_protected(instance: Instance) -> bool:
        try:
            answer = ec2.call(
                "describe_instance_attribute",
                f"check the termination protection of {instance.label}",
                InstanceId=instance.id,
                Attribute="disableApiTermination",
            )
        except Ec2Problem as problem:
            if problem.code.endswith(_NOT_FOUND):
                return False
            raise
        return bool((answer.get("DisableApiTermination") or {}).get("Value"))

    answers = in_parallel([partial(is_protected, instance) for instance in instances])
    return [instance for instance, answer in zip(instances, answers, strict=True) if answer]


def protection_text(instance: Instance) -> str:
    """A protected instance in a message."""
    return f"kept {instance.name or 'the instance'} ({instance.id}): it is protected against termination"


def unprotect_step(instances: Sequence[Instance], region: str) -> str:
    """The commands that remove the protection."""
    lines = [
        f"aws ec2 modify-instance-attribute --region {region} --instance-id {instance.id} --no-disable-api-termination"
        for instance in instances
    ]
    return f"If the protection isn't needed any more: {'; '.join(lines)} - then run this again."


def _protected_problem(removal: Removal, region: str) -> Ec2Problem:
    kept = "; ".join(protection_text(instance) for instance in removal.protected)
    count = len(removal.terminated)
    rest = f"{count} other instances were terminated. " if count else ""
    return Ec2Problem(
        PERMISSION,
        f"{kept}. {rest}The environment's other resources are kept while a protected instance exists.",
        unprotect_step(removal.protected, region),
    )


def _delete_all(ec2: Ec2, resources: Sequence[Resource], timeout: float, free: Callable[[], None]) -> None:
    for kind in TYPES:
        own = [resource for resource in resources if resource.type is kind]
        in_parallel([partial(_delete, ec2, resource, timeout, free) for resource in own])


def _delete(ec2: Ec2, resource: Resource, timeout: float, free: Callable[[], None]) -> None:
    """Delete a resource, if it still exists. While it is in use, call `free` and try again."""
    for passed in backoff(timeout):
        try:
            parameters: dict[str, Any] = {resource.type.ident: resource.ident}
            ec2.call(resource.type.delete, f"delete the {resource.text}", **parameters)
            return
        except Ec2Problem as problem:
            if problem.code.endswith(_NOT_FOUND):
                return
            # EC2 has no error code for a network interface in use.
            if problem.code not in _BUSY and "currently in use" not in problem.message:
                raise
            if passed >= timeout:
                raise Ec2Problem(
                    problem.error_class,
                    f"After {timeout:.0f} s the {resource.text} is still in use: {problem.message}",
                    "Find in EC2 what uses it and doesn't belong to Pegasus (a network interface, a rule of another "
                    "security group, an attached instance), remove that, then run destroy again.",
                ) from problem
            free()


def _find_remaining(ec2: Ec2, kinds: Collection[str], timeout: float) -> tuple[list[Instance], list[Resource]]:
    """Describe everything again until nothing is listed, for `timeout` seconds at most."""
    for _ in backoff(timeout):
        instances, resources = find_all(ec2, kinds)
        if not instances and not resources:
            break
    return instances, resources


def proof(ec2: Ec2, kinds: Collection[str], instances: Sequence[Instance], resources: Sequence[Resource]) -> str:
    """The sentence about the last check.

    :raises Ec2Problem: something is left
    """
    tag = f"{TAG_ENVIRONMENT}={ec2.environment}"
    left = [f"the instance {instance.id} ({instance.state})" for instance in instances]
    left += [f"the {resource.text}" for resource in resources]
    if left:
        raise Ec2Problem(
            OTHER,
            f"Expected nothing with the tag {tag} in {ec2.region}; found: {', '.join(left)}.",
            "It was created in the meantime, or EC2 still lists it: run destroy again.",
        )
    if kinds:
        return f"verified: no instance of {ec2.environment} with the kind {' or '.join(sorted(kinds))} is left"
    return f"verified: no instance, {ALL_WORDS} in {ec2.region} has the tag {tag}"
