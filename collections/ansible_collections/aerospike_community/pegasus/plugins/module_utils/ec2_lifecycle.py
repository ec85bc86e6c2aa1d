"""Brings an environment in EC2 to what was asked, or takes it away. Safe to be killed at any moment and run again."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ansible_collections.aerospike_community.pegasus.plugins.module_utils import ec2_keys, ec2_place, ec2_plan
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.ec2_api import (
    Ec2,
    Found,
    backoff,
    in_parallel,
    own_address,
)
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.ec2_errors import (
    CAPACITY,
    CONFIGURATION,
    OTHER,
    Ec2Problem,
    error_code,
)
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.ec2_launch import (
    Surroundings,
    client_token,
    run_request,
    shared_tags,
    tag_list,
)
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.ec2_plan import Group, Instance, Launch

# A token answers for a launch whose instances are gone since at most a few times: once per launch within a day.
TOKEN_ATTEMPTS = 10


@dataclass(frozen=True)
class Wish:
    """What was asked for."""

    environment: str
    groups: list[Group]
    owner: str
    private_key_file: Path
    image_name: str
    image_owner: str
    subnet_id: str
    zones: list[str]
    allowed_cidrs: list[str]
    root_volume_gb: int
    monitoring_volume_gb: int
    expiry_seconds: int
    tags: dict[str, str]
    timeout: float

    @property
    def resource_name(self) -> str:
        """The name of the security group and of the key pair."""
        return f"pegasus-{self.environment}"


@dataclass
class Outcome:
    """What was done (or would be, in check mode): records as Instance.record makes them, and sentences."""

    instances: list[dict[str, Any]] = field(default_factory=list)
    launched: list[dict[str, Any]] = field(default_factory=list)
    terminated: list[dict[str, Any]] = field(default_factory=list)
    changes: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Place:
    """What launches need to know; `images` maps an instance type to its image."""

    subnet: dict[str, Any]
    images: dict[str, dict[str, Any]]


# --- present ----------------------------------------------------------------------------------------------------------


@dataclass
class Todo:
    """What separates an environment from what was asked, found out before anything is made."""

    plan: ec2_plan.Plan
    live: list[Instance]
    known: list[Instance]
    new_key: bool
    key_name: str
    # None when nothing is launched.
    place: Place | None
    # None when EC2 has none yet.
    group_id: str | None
    cidrs: list[str]
    allow: set[ec2_plan.Rule]
    forbid: set[ec2_plan.Rule]

    def changes(self, wish: Wish) -> list[str]:
        """All of it as sentences."""
        names = {instance.id: instance.name or instance.id for instance in self.live}
        said = []
        if self.new_key:
            said.append(f"import the key pair {wish.resource_name} from {wish.private_key_file}")
        if self.place and not self.group_id:
            said.append(f"make the security group {wish.resource_name}")
        said += [f"allow {rule.text()}" for rule in sorted(self.allow)]
        said += [f"no longer allow {rule.text()}" for rule in sorted(self.forbid)]
        said += [f"tag {names[one]}: {', '.join(sorted(tags))}" for one, tags in sorted(self.plan.retags.items())]
        said += [f"start {names[instance.id]}" for instance in self.plan.starts]
        return said + [launch.text() for launch in self.plan.launches]


def present(ec2: Ec2, wish: Wish, *, check: bool) -> Outcome:
    """Make what is missing. Refuses, before it makes anything, what it can't do without taking something away."""
    todo = _compare(ec2, wish)
    outcome = Outcome(changes=todo.changes(wish), notes=todo.plan.notes)
    if check:
        outcome.instances = [instance.record() for instance in todo.live]
        if todo.place:
            outcome.launched = [one for launch in todo.plan.launches for one in _planned(launch, todo.place)]
        return outcome
    around = _prepare(ec2, wish, todo)
    tags = dict(todo.plan.retags)
    launched: set[str] = set()
    if todo.place and around:
        fresh = _launch_all(ec2, wish, todo.plan.launches, around, todo.place, todo.known)
        launched = set(fresh)
        tags |= fresh
    _set_tags(ec2, tags)
    _start(ec2, wish, todo.plan.starts)
    live = todo.live
    roles = {group.role for group in wish.groups}
    starting = launched | {one.id for one in todo.plan.starts}
    starting |= {one.id for one in live if one.state == "pending" and one.role in roles}
    if starting or tags:
        # The tags are waited for too: the inventory, which is read next, stands on them.
        def ready(one: Instance) -> bool:
            return (one.id not in starting or one.state == "running") and (
                tags.get(one.id, {}).items() <= one.tags.items()
            )

        live = ec2.wait_for(starting | set(tags), ready, "running and tagged", wish.timeout)
    outcome.instances = [instance.record() for instance in live if instance.live]
    outcome.launched = [record for record in outcome.instances if record["id"] in launched]
    return outcome


def _compare(ec2: Ec2, wish: Wish) -> Todo:
    """Look at what is there and find out what is missing; raises what stands against it. Changes nothing."""
    found = ec2.find()
    plan = ec2_plan.make_plan(
        wish.groups,
        found.instances,
        expiry_seconds=wish.expiry_seconds,
        extra_tags=wish.tags,
        now=datetime.now(UTC),
    )
    if plan.refusals:
        raise Ec2Problem(CONFIGURATION, "\n".join(plan.refusals), "Nothing was changed.")
    live = [instance for instance in found.instances if instance.live]
    new_key = _check_key(wish, found, live)
    place = _find_place(ec2, wish, plan.launches, live) if plan.launches else None
    group = _own_group(wish, found, place)
    cidrs = wish.allowed_cidrs or [own_address()]
    rules = ec2_plan.found_rules(group["IpPermissions"]) if group else set()
    wanted = (
        ec2_plan.wanted_rules(group["GroupId"] if group else wish.resource_name, cidrs) if group or place else set()
    )
    return Todo(
        plan=plan,
        live=live,
        known=found.instances,
        new_key=new_key,
        key_name=found.keys[0]["KeyName"] if found.keys else wish.resource_name,
        place=place,
        group_id=group["GroupId"] if group else None,
        cidrs=cidrs,
        allow=wanted - rules,
        forbid=rules - wanted,
    )


def _prepare(ec2: Ec2, wish: Wish, todo: Todo) -> Surroundings | None:
    """Make key pair and security group as they have to be; returns what launches need, if there are any."""

    def key() -> None:
        if todo.new_key:
            _import_key(ec2, wish)

    def group() -> str | None:
        if todo.group_id:
            _set_rules(ec2, todo.group_id, add=todo.allow, remove=todo.forbid)
            return todo.group_id
        return _make_group(ec2, wish, todo.place.subnet["VpcId"], todo.cidrs) if todo.place else None

    _, group_id = in_parallel([key, group])
    if not todo.place or not group_id:
        return None
    return Surroundings(
        environment=wish.environment,
        owner=wish.owner,
        key_name=todo.key_name,
        group_id=group_id,
        subnet_id=todo.place.subnet["SubnetId"],
        root_volume_gb=wish.root_volume_gb,
        monitoring_volume_gb=wish.monitoring_volume_gb,
        expiry_seconds=wish.expiry_seconds,
        extra_tags=wish.tags,
    )


def _check_key(wish: Wish, found: Found, live: list[Instance]) -> bool:
    """Whether EC2 lacks the key pair; raises when nodes exist that this machine's private key doesn't open."""
    path = wish.private_key_file
    here = path.is_file()
    if not found.keys:
        if live and not here:
            raise Ec2Problem(
                CONFIGURATION,
                f"{wish.environment} has {len(live)} nodes, but neither a key pair in EC2 nor the private key {path}.",
                f"Copy the private key from the machine that made it to {path}, or destroy the environment.",
            )
        return True
    key = found.keys[0]
    what = f"EC2 has the key pair {key['KeyName']} (made {str(key.get('CreateTime') or 'elsewhere')[:19]})"
    theirs = ec2_keys.normal_key(key.get("PublicKey") or "")
    next_step = (
        f"Copy the private key of '{theirs}' from the machine that made the environment (there in the file of the same "
        f"name) to {path}, mode 0600, or destroy the environment."
    )
    if not here:
        raise Ec2Problem(
            CONFIGURATION, f"{what}, but its private key isn't on this machine: {path} does not exist.", next_step
        )
    ours = ec2_keys.public_key_of(path)
    if ours != theirs:
        raise Ec2Problem(CONFIGURATION, f"{what}, but {path} is another key: its public key is '{ours}'.", next_step)
    return False


def _import_key(ec2: Ec2, wish: Wish) -> None:
    if not wish.private_key_file.is_file():
        ec2_keys.make_key(wish.private_key_file, wish.resource_name)
    try:
        ec2.call(
            "import_key_pair",
            f"import the key pair {wish.resource_name}",
            KeyName=wish.resource_name,
            PublicKeyMaterial=ec2_keys.public_key_of(wish.private_key_file).encode(),
            TagSpecifications=_tag_specification("key-pair", wish),
        )
    except Ec2Problem as problem:
        raise _foreign(problem, "InvalidKeyPair.Duplicate", f"a key pair named {wish.resource_name}", wish) from problem


def _tag_specification(kind: str, wish: Wish) -> list[dict[str, Any]]:
    tags = shared_tags(wish.environment, wish.owner, wish.tags) | {ec2_plan.TAG_NAME: wish.resource_name}
    return [{"ResourceType": kind, "Tags": tag_list(tags)}]


def _foreign(problem: Ec2Problem, code: str, what: str, wish: Wish) -> Ec2Problem:
    """Explain a name that is taken by something without our tag; any other problem stays as it is."""
    if error_code(problem.__cause__ or problem) != code:
        return problem
    return Ec2Problem(
        CONFIGURATION,
        f"EC2 has {what} without the tag {ec2_plan.TAG_ENVIRONMENT}={wish.environment}, so it isn't the environment's.",
        "Remove it in EC2, or choose another pegasus_cluster_name.",
    )


def _own_group(wish: Wish, found: Found, place: Place | None) -> dict[str, Any] | None:
    """The environment's security group; raises when new instances would be in another VPC."""
    if not found.groups:
        return None
    group = next((one for one in found.groups if one["GroupName"] == wish.resource_name), found.groups[0])
    if place and group.get("VpcId") != place.subnet["VpcId"]:
        raise Ec2Problem(
            CONFIGURATION,
            f"The environment's security group {group['GroupId']} is in {group.get('VpcId')}, the subnet "
            f"{place.subnet['SubnetId']} in {place.subnet['VpcId']}; expected the same VPC.",
            "Use a subnet of that VPC (ec2_provision_subnet_id), or destroy the environment first.",
        )
    return group


def _make_group(ec2: Ec2, wish: Wish, vpc_id: str, cidrs: list[str]) -> str:
    try:
        answer = ec2.call(
            "create_security_group",
            f"make the security group {wish.resource_name}",
            GroupName=wish.resource_name,
            Description=f"Pegasus environment {wish.environment}",
            VpcId=vpc_id,
            TagSpecifications=_tag_specification("security-group", wish),
        )
    except Ec2Problem as problem:
        raise _foreign(
            problem, "InvalidGroup.Duplicate", f"a security group named {wish.resource_name}", wish
        ) from problem
    group_id = answer["GroupId"]
    _set_rules(ec2, group_id, add=ec2_plan.wanted_rules(group_id, cidrs), remove=set())
    return group_id


def _set_rules(ec2: Ec2, group_id: str, *, add: set[ec2_plan.Rule], remove: set[ec2_plan.Rule]) -> None:
    for operation, doing, rules in (
        ("authorize_security_group_ingress", "open ports of", add),
        ("revoke_security_group_ingress", "close ports of", remove),
    ):
        if rules:
            ec2.call(
                operation,
                f"{doing} the security group {group_id}",
                until_visible=("InvalidGroup.NotFound",),
                GroupId=group_id,
                IpPermissions=[rule.permission() for rule in sorted(rules)],
            )


def _find_place(ec2: Ec2, wish: Wish, launches: list[Launch], live: list[Instance]) -> Place:
    """Look up subnet and images; everything that can be wrong with them is said before anything is paid for."""
    types = sorted({launch.group.instance_type for launch in launches})
    subnet_id = wish.subnet_id or next((one.subnet_id for one in live if one.subnet_id), "")
    which: dict[str, Any] = {"Filters": [{"Name": "default-for-az", "Values": ["true"]}]}
    if subnet_id:
        which = {"SubnetIds": [subnet_id]}
    descriptions, offerings, subnets = in_parallel(
        [
            lambda: ec2.list(
                "describe_instance_types",
                "InstanceTypes",
                f"describe the instance types {', '.join(types)}",
                InstanceTypes=types,
            ),
            lambda: ec2.list(
                "describe_instance_type_offerings",
                "InstanceTypeOfferings",
                "learn which zones offer the instance types",
                LocationType="availability-zone",
                Filters=[{"Name": "instance-type", "Values": types}],
            ),
            lambda: ec2.list(
                "describe_subnets", "Subnets", f"describe the subnet {subnet_id or 'of each zone'}", **which
            ),
        ]
    )
    architecture = ec2_place.architectures(descriptions)
    subnet = ec2_place.choose_subnet(
        subnets,
        ec2_place.offered_types(offerings),
        set(types),
        sum(len(launch.indexes) for launch in launches),
        wish.zones,
    )
    wanted = sorted(set(architecture.values()))
    images = dict(zip(wanted, in_parallel([lambda one=one: _image(ec2, wish, one) for one in wanted]), strict=True))
    return Place(subnet, {name: images[architecture[name]] for name in types})


def _image(ec2: Ec2, wish: Wish, architecture: str) -> dict[str, Any]:
    pattern = wish.image_name.replace("{architecture}", ec2_place.IMAGE_ARCHITECTURE[architecture])
    filters = {"name": pattern, "architecture": architecture, "state": "available"}
    images = ec2.list(
        "describe_images",
        "Images",
        f"look for the image {pattern}",
        Owners=[wish.image_owner],
        Filters=[{"Name": key, "Values": [value]} for key, value in filters.items()],
    )
    return ec2_place.newest_image(images, pattern, wish.image_owner, architecture, ec2.region)


def _planned(launch: Launch, place: Place) -> list[dict[str, Any]]:
    """What a launch would make, in the form of Instance.record."""
    made = Instance(
        id="",
        role=launch.group.role,
        state="planned",
        instance_type=launch.group.instance_type,
        image_id=place.images[launch.group.instance_type]["ImageId"],
        subnet_id=place.subnet["SubnetId"],
        zone=place.subnet["AvailabilityZone"],
    )
    return [made.record() | {"index": index, "name": f"{launch.group.name}-{index}"} for index in launch.indexes]


def _launch_all(
    ec2: Ec2, wish: Wish, launches: list[Launch], around: Surroundings, place: Place, known: list[Instance]
) -> dict[str, dict[str, str]]:
    """Launch all groups at the same time, or none: returns instance id -> the tags that it needs for itself."""

    def one(launch: Launch) -> dict[str, dict[str, str]] | Ec2Problem:
        try:
            return _launch(ec2, wish, launch, around, place, [inst for inst in known if inst.role == launch.group.role])
        except Ec2Problem as problem:
            return problem

    results = in_parallel([lambda launch=launch: one(launch) for launch in launches])
    problems = [result for result in results if isinstance(result, Ec2Problem)]
    tags = {ident: tags for result in results if not isinstance(result, Ec2Problem) for ident, tags in result.items()}
    if not problems:
        return tags
    problem = problems[0]
    if tags:
        undone = f"The {len(tags)} instances that this run had launched for the other groups were terminated again."
        try:
            ec2.call("terminate_instances", "take back the launches of the other groups", InstanceIds=sorted(tags))
        except Ec2Problem as second:
            undone = f"{', '.join(sorted(tags))} of the other groups run and could not be taken back: {second}"
        problem = Ec2Problem(problem.error_class, f"{problem.message} {undone}", problem.next_step)
    if problem.error_class == CAPACITY:
        problem = Ec2Problem(
            CAPACITY, problem.message, f"{problem.next_step} The zone was {place.subnet['AvailabilityZone']}."
        )
    raise problem


def _launch(
    ec2: Ec2, wish: Wish, launch: Launch, around: Surroundings, place: Place, known: list[Instance]
) -> dict[str, dict[str, str]]:
    image = place.images[launch.group.instance_type]
    request = run_request(launch, around, image["ImageId"], image["RootDeviceName"])
    for attempt in range(TOKEN_ATTEMPTS):
        answer = ec2.call(
            "run_instances",
            launch.text(),
            until_visible=("InvalidGroup.NotFound", "InvalidKeyPair.NotFound"),
            ClientToken=client_token(request, known, attempt),
            **request,
        )
        made = [Instance.from_description(one) for one in answer["Instances"]]
        if any(instance.live for instance in made):
            break
        # EC2 still knows this token from a launch whose instances are gone since.
    else:
        raise Ec2Problem(OTHER, f"EC2 answered {TOKEN_ATTEMPTS} times to {launch.text()} with instances that are gone.")
    now = datetime.now(UTC)
    return {
        instance.id: ec2_plan.own_tags(
            launch.group, launch.indexes[instance.launch_index], instance.launch_time or now, wish.expiry_seconds
        )
        for instance in made
    }


def _set_tags(ec2: Ec2, tags: dict[str, dict[str, str]]) -> None:
    calls = [
        lambda ident=ident, own=own: ec2.call(
            "create_tags",
            f"tag the instance {ident}",
            until_visible=("InvalidInstanceID.NotFound",),
            Resources=[ident],
            Tags=tag_list(own),
        )
        for ident, own in tags.items()
    ]
    if calls:
        in_parallel(calls)


def _start(ec2: Ec2, wish: Wish, stopped: list[Instance]) -> None:
    if not stopped:
        return
    ids = {instance.id for instance in stopped}
    if any(instance.state == "stopping" for instance in stopped):
        ec2.wait_for(ids, lambda one: one.state != "stopping", "stopped", wish.timeout)
    ec2.call("start_instances", f"start {', '.join(one.name or one.id for one in stopped)}", InstanceIds=sorted(ids))


# --- absent -----------------------------------------------------------------------------------------------------------


def absent(ec2: Ec2, timeout: float, roles: tuple[str, ...] = (), *, check: bool) -> Outcome:
    """Take everything that carries the environment's tag, and nothing else, what depends on others first.

    With `roles`, only the instances of these (and the volumes that end with them): the others need key and group.
    """
    found = Found(ec2.instances()) if roles else ec2.find(volumes=True)
    standing = [
        instance
        for instance in found.instances
        if instance.state != "terminated" and (not roles or instance.role in roles)
    ]
    outcome = Outcome(terminated=[instance.record() for instance in standing])
    outcome.changes = [f"terminate {one.name or 'the instance'} ({one.id}, {one.role})" for one in standing]
    # Volumes that EC2 deletes with their instance are listed with it.
    ids = {instance.id for instance in standing}
    orphans = [
        volume for volume in found.volumes if not ids & {at["InstanceId"] for at in volume.get("Attachments", [])}
    ]
    outcome.changes += [f"delete the volume {volume['VolumeId']}" for volume in orphans]
    outcome.changes += [
        f"delete the security group {group['GroupName']} ({group['GroupId']})" for group in found.groups
    ]
    outcome.changes += [f"delete the key pair {key['KeyName']} ({key['KeyPairId']})" for key in found.keys]
    if check:
        outcome.instances = [instance.record() for instance in standing if instance.live]
        return outcome
    live = sorted(instance.id for instance in standing if instance.live)
    if live:
        ec2.call("terminate_instances", f"terminate {len(live)} instances", InstanceIds=live)
    if ids:
        ec2.wait_for(ids, lambda one: one.state == "terminated", "terminated", timeout, ending=True)
    volumes = ec2.volumes() if found.volumes else []
    for volume in volumes:
        _delete(ec2, "delete_volume", f"the volume {volume['VolumeId']}", timeout, VolumeId=volume["VolumeId"])
    for group in found.groups:
        _delete(
            ec2, "delete_security_group", f"the security group {group['GroupId']}", timeout, GroupId=group["GroupId"]
        )
    for key in found.keys:
        _delete(ec2, "delete_key_pair", f"the key pair {key['KeyName']}", timeout, KeyName=key["KeyName"])
    return outcome


def _delete(ec2: Ec2, operation: str, what: str, timeout: float, **which: str) -> None:
    """Delete one thing; wait while something that is just going still uses it; gone already is good."""
    for passed in backoff(timeout):
        try:
            ec2.call(operation, f"delete {what}", **which)
            return
        except Ec2Problem as problem:
            code = error_code(problem.__cause__ or problem)
            if code.endswith(".NotFound"):
                return
            if code not in ("DependencyViolation", "VolumeInUse", "InvalidGroup.InUse"):
                raise
            if passed >= timeout:
                raise Ec2Problem(
                    problem.error_class,
                    f"After {timeout:.0f} s {what} is still in use: {problem.message}",
                    "Look in EC2 for what uses it and isn't Pegasus's (a network interface, a rule of another security "
                    "group, an attached instance), remove that, then run destroy again.",
                ) from problem
