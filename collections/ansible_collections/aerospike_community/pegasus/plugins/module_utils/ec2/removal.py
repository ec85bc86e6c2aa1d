"""Takes what carries an environment's tag in EC2, and proves that nothing is left. Safe to be killed and run again."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import Any

from .api import Ec2, backoff, in_parallel
from .errors import OTHER, PERMISSION, Ec2Problem, error_code
from .plan import TAG_ENVIRONMENT, Instance

# EC2 takes up to 1000 in a call, and recommends fewer.
TERMINATE_AT_ONCE = 250
# Descriptions lag behind: what was deleted may be listed for some seconds.
FORGOTTEN_WITHIN = 60.0
_BUSY = (
    "DependencyViolation",
    "InvalidGroup.InUse",
    "InvalidNetworkInterface.InUse",
    "InvalidPlacementGroup.InUse",
    "VolumeInUse",
)
_GONE = (".NotFound", ".Unknown")


@dataclass(frozen=True)
class Kind:
    """A kind of thing that can carry the environment's tag: boto3's operations and fields for it.

    `ident` is the field that `delete` wants; `label` is another one that a user knows it by, where there is one.
    """

    word: str
    describe: str
    elements: str
    delete: str
    ident: str
    label: str = ""
    page: int | None = None  # elements in a page; None where EC2 gives all at once


# In the order in which they can go once the instances are gone.
KINDS = (
    Kind(
        "network interface",
        "describe_network_interfaces",
        "NetworkInterfaces",
        "delete_network_interface",
        "NetworkInterfaceId",
        page=1000,
    ),
    Kind("volume", "describe_volumes", "Volumes", "delete_volume", "VolumeId", page=500),
    Kind(
        "security group",
        "describe_security_groups",
        "SecurityGroups",
        "delete_security_group",
        "GroupId",
        label="GroupName",
        page=1000,
    ),
    Kind("placement group", "describe_placement_groups", "PlacementGroups", "delete_placement_group", "GroupName"),
    Kind("key pair", "describe_key_pairs", "KeyPairs", "delete_key_pair", "KeyName", label="KeyPairId"),
)
ALL_WORDS = ", ".join(kind.word for kind in KINDS[:-1]) + f" or {KINDS[-1].word}"


@dataclass(frozen=True)
class Thing:
    """One thing that carries the environment's tag and isn't an instance."""

    kind: Kind
    found: dict[str, Any]

    @property
    def ident(self) -> str:
        return str(self.found[self.kind.ident])

    @property
    def text(self) -> str:
        label = str(self.found.get(self.kind.label) or "")
        if self.kind.label == "GroupName":  # the name first, as users know it
            return f"{self.kind.word} {label} ({self.ident})"
        return f"{self.kind.word} {self.ident}" + (f" ({label})" if label else "")

    @property
    def users(self) -> set[str]:
        """The instances that it is attached to."""
        attached = [*self.found.get("Attachments", []), self.found.get("Attachment") or {}]
        return {one["InstanceId"] for one in attached if one.get("InstanceId")}


@dataclass
class Removal:
    """What was taken (or would be, in check mode), and sentences about it. `proof` says what the last look found."""

    terminated: list[Instance] = field(default_factory=list)
    changes: list[str] = field(default_factory=list)
    protected: list[Instance] = field(default_factory=list)
    unprotected: list[str] = field(default_factory=list)  # ids of the live ones that aren't
    proof: str = ""


def remove(
    ec2: Ec2, timeout: float, kinds: Collection[str] = (), *, check: bool, unprotected: Collection[str] = ()
) -> Removal:
    """Take everything that carries the environment's tag, and nothing else, what depends on others first.

    With `kinds`, only the instances of these (and what ends with them): the others need key and groups. `timeout`, in
    seconds, is for each wait. `unprotected` are ids that an earlier look found without protection: asking costs a call
    for each, and one that was protected since is EC2's to refuse. Raises Ec2Problem, also for instances that are
    protected against termination: they stay, with what they need, and everything else goes.
    """
    standing, things = look(ec2, kinds)
    removal = Removal(terminated=standing)
    live = [one for one in standing if one.live]
    removal.protected = protected(ec2, [one for one in live if one.id not in unprotected])
    kept = {one.id for one in removal.protected}
    removal.unprotected = [one.id for one in live if one.id not in kept]
    removal.terminated = [one for one in standing if one.id not in kept]
    removal.changes = [_termination_text(one) for one in removal.terminated]
    if not kept:
        # What EC2 deletes with its instance is listed with it.
        ids = {one.id for one in standing}
        removal.changes += [f"delete the {thing.text}" for thing in things if not ids & thing.users]
    if check:
        return removal
    ending = sorted(one.id for one in live if one.id not in kept)
    for first in range(0, len(ending), TERMINATE_AT_ONCE):
        some = ending[first : first + TERMINATE_AT_ONCE]
        ec2.call("terminate_instances", f"terminate {len(some)} instances", InstanceIds=some)
    if removal.terminated:
        ids = {one.id for one in removal.terminated}
        ec2.wait_for(ids, lambda one: one.state == "terminated", "terminated", timeout, ending=True)
    if kept:
        raise _protected_problem(removal, ec2.region)
    if things:
        _delete_all(ec2, look(ec2, kinds)[1], timeout, _Latecomers(ec2, removal, timeout).take)
    if removal.changes:
        standing, things = _look_again(ec2, kinds, min(timeout, FORGOTTEN_WITHIN))
    removal.proof = proof(ec2, kinds, standing, things)
    return removal


def _termination_text(one: Instance) -> str:
    return f"terminate {one.name or 'the instance'} ({one.id}, {one.kind})"


@dataclass
class _Latecomers:
    """Instances that weren't listed at first: descriptions lag behind a launch, and a run may have died after one.

    What they use can't be deleted, which is how they are noticed.
    """

    ec2: Ec2
    removal: Removal
    timeout: float
    lock: threading.Lock = field(default_factory=threading.Lock)

    def take(self) -> None:
        """Terminate those that are listed by now, wait for it and note it. Raises Ec2Problem for protected ones."""
        with self.lock:  # several deletions may come upon them
            live = [one for one in self.ec2.instances() if one.live]
            if not live:
                return
            self.removal.protected = protected(self.ec2, live)
            kept = {one.id for one in self.removal.protected}
            ending = [one for one in live if one.id not in kept]
            if ending:
                ids = {one.id for one in ending}
                self.ec2.call("terminate_instances", f"terminate {len(ids)} instances", InstanceIds=sorted(ids))
                self.removal.terminated += ending
                self.removal.changes += [_termination_text(one) for one in ending]
                self.ec2.wait_for(ids, lambda one: one.state == "terminated", "terminated", self.timeout, ending=True)
            if kept:
                raise _protected_problem(self.removal, self.ec2.region)


def look(ec2: Ec2, kinds: Collection[str] = ()) -> tuple[list[Instance], list[Thing]]:
    """The instances that haven't ended (of these kinds, if any are named), and everything else with the tag.

    With kinds, nothing else: it belongs to all of them.
    """
    calls: list[Any] = [ec2.instances]
    if not kinds:
        calls += [lambda kind=kind: _describe(ec2, kind) for kind in KINDS]
    instances, *others = in_parallel(calls)
    standing = [one for one in instances if one.state != "terminated" and (not kinds or one.kind in kinds)]
    return standing, [thing for things in others for thing in things]


def _describe(ec2: Ec2, kind: Kind) -> list[Thing]:
    found = ec2.list(
        kind.describe,
        kind.elements,
        f"describe {kind.word}s",
        Filters=[{"Name": f"tag:{TAG_ENVIRONMENT}", "Values": [ec2.environment]}],
        **({"MaxResults": kind.page} if kind.page else {}),
    )
    return [Thing(kind, one) for one in found if one.get("State") not in ("deleting", "deleted")]


def protected(ec2: Ec2, instances: Sequence[Instance]) -> list[Instance]:
    """Those of the instances that somebody protected against termination. A call for each."""

    def ask(one: Instance) -> bool:
        try:
            answer = ec2.call(
                "describe_instance_attribute",
                f"see whether {one.name or one.id} is protected",
                InstanceId=one.id,
                Attribute="disableApiTermination",
            )
        except Ec2Problem as problem:
            if error_code(problem.__cause__ or problem).endswith(_GONE):
                return False
            raise
        return bool((answer.get("DisableApiTermination") or {}).get("Value"))

    answers = in_parallel([lambda one=one: ask(one) for one in instances]) if instances else []
    return [one for one, is_protected in zip(instances, answers, strict=True) if is_protected]


def protection_text(one: Instance) -> str:
    """What to say of an instance that is kept because of its protection."""
    return f"kept {one.name or 'the instance'} ({one.id}): it is protected against termination"


def unprotect_step(instances: Sequence[Instance], region: str) -> str:
    """How to take the protection away, as commands."""
    lines = [
        f"aws ec2 modify-instance-attribute --region {region} --instance-id {one.id} --no-disable-api-termination"
        for one in instances
    ]
    return f"If it isn't needed any more: {'; '.join(lines)} - then run this again."


def _protected_problem(removal: Removal, region: str) -> Ec2Problem:
    said = "; ".join(protection_text(one) for one in removal.protected)
    count = len(removal.terminated)
    rest = f"{count} other instances were terminated. " if count else ""
    return Ec2Problem(
        PERMISSION,
        f"{said}. {rest}What carries the environment's tag beside instances stays as long as one of them does.",
        unprotect_step(removal.protected, region),
    )


def _delete_all(ec2: Ec2, things: Sequence[Thing], timeout: float, free: Callable[[], None]) -> None:
    for kind in KINDS:
        own = [thing for thing in things if thing.kind is kind]
        if own:
            in_parallel([lambda thing=thing: _delete(ec2, thing, timeout, free) for thing in own])


def _delete(ec2: Ec2, thing: Thing, timeout: float, free: Callable[[], None]) -> None:
    """Delete one thing; wait while something still uses it, which `free` is called to end; gone already is good."""
    for passed in backoff(timeout):
        try:
            ec2.call(thing.kind.delete, f"delete the {thing.text}", **{thing.kind.ident: thing.ident})
            return
        except Ec2Problem as problem:
            code = error_code(problem.__cause__ or problem)
            if code.endswith(_GONE):
                return
            # EC2 has no code of its own for an interface in use.
            if code not in _BUSY and "currently in use" not in problem.message:
                raise
            if passed >= timeout:
                raise Ec2Problem(
                    problem.error_class,
                    f"After {timeout:.0f} s the {thing.text} is still in use: {problem.message}",
                    "Look in EC2 for what uses it and isn't Pegasus's (a network interface, a rule of another security "
                    "group, an attached instance), remove that, then run destroy again.",
                ) from problem
            free()


def _look_again(ec2: Ec2, kinds: Collection[str], timeout: float) -> tuple[list[Instance], list[Thing]]:
    """Look until nothing is listed any more, for so many seconds at most."""
    for _ in backoff(timeout):
        standing, things = look(ec2, kinds)
        if not standing and not things:
            break
    return standing, things


def proof(ec2: Ec2, kinds: Collection[str], standing: Sequence[Instance], things: Sequence[Thing]) -> str:
    """The sentence about the last look; raises Ec2Problem for what is still there."""
    tag = f"{TAG_ENVIRONMENT}={ec2.environment}"
    left = [f"the instance {one.id} ({one.state})" for one in standing] + [f"the {thing.text}" for thing in things]
    if left:
        raise Ec2Problem(
            OTHER,
            f"Expected nothing with the tag {tag} in {ec2.region}; found: {', '.join(left)}.",
            "Somebody made it meanwhile, or EC2 is slow to forget it: run destroy again.",
        )
    if kinds:
        return f"looked again: no instance of {ec2.environment} with the kind {' or '.join(sorted(kinds))} is left"
    return f"looked again: in {ec2.region} no instance, {ALL_WORDS} has the tag {tag}"
