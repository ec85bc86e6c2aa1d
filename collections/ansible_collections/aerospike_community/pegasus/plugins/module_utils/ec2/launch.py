"""Brings an environment in EC2 to what was asked. Safe to be killed at any moment and run again.

ec2_removal takes it away.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

from . import keys as ec2_keys
from . import placement as ec2_place
from . import plan as ec2_plan
from . import preflight as ec2_preflight
from .api import Ec2, Found, in_parallel, own_address
from .errors import CAPACITY, CONFIGURATION, OTHER, QUOTA, Ec2Problem, error_code, joined
from .plan import Group, Instance, Launch
from .request import Surroundings, as_spot, client_token, run_request, shared_tags, tag_list

T = TypeVar("T")

# Any valid key, for asking whether one may be imported: nothing is made of it.
SOME_PUBLIC_KEY = b"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJqlBkCzjyzMvWEMHZcHvPyFeTsE0fOCyvA3oGWFbUEV dry-run"

# EC2 knows a token for a day after the end of its instances, which it lists for an hour: a node that was removed and is
# added again later has the token of the first time.
TOKEN_OF_THE_GONE = "IdempotentInstanceTerminated"
# A token answers for a launch whose instances are gone since at most a few times: once per launch within a day.
TOKEN_ATTEMPTS = 10
# Instead of the advice to name other zones: those of the nodes that exist are kept.
JOIN_THE_OTHERS = (
    "New nodes join those that exist in their zones, whatever ec2_provision_zones names. Try again later, or another "
    "instance type; or name a subnet of the same VPC in another zone (ec2_provision_subnet_ids), or destroy the "
    "environment first."
)
# Resources in one CreateTags call. EC2 takes 1000 and recommends fewer.
TAGGED_AT_ONCE = 50


@dataclass(frozen=True)
class Wish:
    """What was asked for."""

    environment: str
    groups: list[Group]
    owner: str
    private_key_file: Path
    image_name: str
    image_owner: str
    subnet_ids: list[str]
    zones: list[str]
    zone_count: int
    allowed_cidrs: list[str]
    public_address: str  # always, never, subnet
    placement: str  # none, cluster, spread
    root_volume_gb: int
    monitoring_volume_gb: int
    root_volume_type: str
    expiry_seconds: int
    tags: dict[str, str]
    timeout: float
    key_name: str = ""  # a key pair of the user's in EC2, '' for one of our own
    before: tuple[Ec2Problem, ...] = ()  # what earlier checks found: told with what is found here

    def told(self, value: str) -> bool:
        """Whether an earlier check names this value of the configuration, and with it what is wrong there."""
        return any(one.error_class == CONFIGURATION and value in one.message for one in self.before)

    @property
    def resource_name(self) -> str:
        """The name of the security group, of the key pair and of the placement group."""
        return f"pegasus-{self.environment}"


@dataclass
class Outcome:
    """What was done (or would be, in check mode): records as Instance.record makes them, and sentences."""

    instances: list[dict[str, Any]] = field(default_factory=list)
    launched: list[dict[str, Any]] = field(default_factory=list)
    changes: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    identity: str = ""  # whose credentials these are, where that was asked


@dataclass(frozen=True)
class Place:
    """What launches need to know.

    `subnets` are those to use (as many as `zone_count`), then those to fall back on. `images` maps an instance type to
    its image, `types` to its description. While problems are gathered, all of them hold only what could be found.
    """

    subnets: list[dict[str, Any]]
    zone_count: int
    images: dict[str, dict[str, Any]]
    types: dict[str, dict[str, Any]]

    @property
    def vpc_id(self) -> str:
        return str(self.subnets[0]["VpcId"]) if self.subnets else ""

    def parts(self, launches: list[Launch], live: list[Instance], full: Collection[str] = ()) -> list[Launch]:
        """The launches by zone, without the zones that turned out to be full; [] when too few are left."""
        left = [subnet for subnet in self.subnets if subnet["AvailabilityZone"] not in full]
        return ec2_place.spread(launches, left[: self.zone_count], live) if len(left) >= self.zone_count else []


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
    identity: str = ""
    notes: list[str] = field(default_factory=list)
    new_placement_group: bool = False

    def changes(self, wish: Wish) -> list[str]:
        """All of it as sentences."""
        names = {instance.id: instance.name or instance.id for instance in self.live}
        said = []
        if self.new_key:
            said.append(f"import the key pair {wish.resource_name} from {wish.private_key_file}")
        if self.place and not self.group_id:
            said.append(f"make the security group {wish.resource_name}")
        if self.place and self.new_placement_group:
            said.append(f"make the placement group {wish.resource_name} ({wish.placement})")
        said += [f"allow {rule.text()}" for rule in sorted(self.allow)]
        said += [f"no longer allow {rule.text()}" for rule in sorted(self.forbid)]
        said += [f"tag {names[one]}: {', '.join(sorted(tags))}" for one, tags in sorted(self.plan.retags.items())]
        said += [f"start {names[instance.id]}" for instance in self.plan.starts]
        return said + [launch.text() for launch in self.plan.launches]


def present(ec2: Ec2, wish: Wish, *, check: bool) -> Outcome:
    """Make what is missing. Refuses, before it makes anything, what it can't do without taking something away."""
    todo = _compare(ec2, wish)
    outcome = Outcome(changes=todo.changes(wish), notes=todo.plan.notes + todo.notes, identity=todo.identity)
    if check:
        outcome.instances = [instance.record() for instance in todo.live]
        if todo.place:
            parts = todo.place.parts(todo.plan.launches, todo.live)
            outcome.launched = [one for part in parts for one in _planned(part, todo.place)]
        return outcome
    around = _prepare(ec2, wish, todo)
    tags = dict(todo.plan.retags)
    launched: set[str] = set()
    if todo.place and around:
        fresh = _launch_all(ec2, todo, around, todo.place, outcome.notes)
        launched = {instance.id for instance in fresh}
        # One end for all: that of the last one.
        begin = max((one.launch_time for one in fresh if one.launch_time), default=datetime.now(UTC))
        end = {ec2_plan.TAG_EXPIRES: ec2_plan.end_of_life(begin, wish.expiry_seconds)}
        tags |= dict.fromkeys(launched, end)
    _set_tags(ec2, tags)
    _start(ec2, wish, todo.plan.starts)
    live = todo.live
    kinds = {group.kind for group in wish.groups}
    starting = launched | {one.id for one in todo.plan.starts}
    starting |= {one.id for one in live if one.state == "pending" and one.kind in kinds}
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
    """Look at what is there, find out what is missing. Raises all that stands against it at once; changes nothing."""
    try:
        found = ec2.find(placement_groups=wish.placement != "none")
    except Ec2Problem as problem:
        raise joined([*wish.before, problem]) from problem
    plan = ec2_plan.make_plan(
        wish.groups,
        found.instances,
        expiry_seconds=wish.expiry_seconds,
        extra_tags=wish.tags,
        now=datetime.now(UTC),
    )
    live = [instance for instance in found.instances if instance.live]
    problems: list[Ec2Problem] = list(wish.before)
    if plan.refusals:
        problems.append(Ec2Problem(CONFIGURATION, "\n".join(plan.refusals), "Nothing was changed."))

    notes: list[str] = []
    launches = plan.launches

    def nothing() -> None:
        return None

    new_key, place, cidrs, identity = in_parallel(
        [
            lambda: _attempt(problems, lambda: _check_key(ec2, wish, found, live)),
            (lambda: _find_place(ec2, wish, launches, live, problems)) if launches else nothing,
            lambda: wish.allowed_cidrs or _attempt(problems, lambda: [own_address()]),
            (lambda: _attempt(problems, lambda: ec2_preflight.identity(ec2, notes))) if launches else nothing,
        ]
    )
    group = _attempt(problems, lambda: _own_group(wish, found, place))
    rules = ec2_plan.found_rules(group["IpPermissions"]) if group else set()
    wanted = (
        ec2_plan.wanted_rules(group["GroupId"] if group else wish.resource_name, cidrs or [])
        if group or place
        else set()
    )
    todo = Todo(
        plan=plan,
        live=live,
        known=found.instances,
        new_key=bool(new_key),
        key_name=wish.key_name or (found.keys[0]["KeyName"] if found.keys else wish.resource_name),
        place=place,
        group_id=group["GroupId"] if group else None,
        cidrs=cidrs or [],
        allow=wanted - rules,
        forbid=rules - wanted,
        identity=identity or "",
        notes=notes,
        new_placement_group=wish.placement != "none"
        and wish.resource_name not in {one["GroupName"] for one in found.placement_groups},
    )
    if launches:
        problems += ec2_preflight.problems(
            ec2,
            [
                (part.group, len(part.indexes), _dry_request(wish, todo, part, place))
                for part in (place.parts(launches, live) if place else ())
                if part.group.instance_type in place.images
            ],
            [(launch.group, len(launch.indexes)) for launch in launches],
            plan.starts,
            place.types if place else {},
            _to_make(wish, todo, place),
            notes,
        )
    if problems:
        raise joined(problems)
    return todo


def _to_make(wish: Wish, todo: Todo, place: Place | None) -> dict[str, dict[str, Any]]:
    """The parameters of the calls that make what launches need, by operation, as far as they are known."""
    calls: dict[str, dict[str, Any]] = {}
    if todo.new_key:
        calls["import_key_pair"] = {
            "KeyName": wish.resource_name,
            "PublicKeyMaterial": SOME_PUBLIC_KEY,
            "TagSpecifications": _tag_specification("key-pair", wish),
        }
    if place and place.vpc_id and not todo.group_id:
        calls["create_security_group"] = _group_request(wish, place.vpc_id)
    if todo.new_placement_group:
        calls["create_placement_group"] = _placement_request(wish)
    return calls


def _dry_request(wish: Wish, todo: Todo, part: Launch, place: Place) -> dict[str, Any]:
    """A RunInstances as it will be, without what doesn't exist yet."""
    image = place.images[part.group.instance_type]
    around = _surroundings(wish, todo, todo.group_id or "")
    if todo.new_placement_group:
        around = replace(around, placement_group="")
    request = run_request(part, around, image["ImageId"], image["RootDeviceName"])
    if todo.new_key:
        del request["KeyName"]
    if not todo.group_id:
        request.pop("SecurityGroupIds", None)
        for interface in request.get("NetworkInterfaces", ()):
            del interface["Groups"]
    return as_spot(request) if part.group.spot else request


def _surroundings(wish: Wish, todo: Todo, group_id: str) -> Surroundings:
    return Surroundings(
        environment=wish.environment,
        owner=wish.owner,
        key_name=todo.key_name,
        group_id=group_id,
        root_volume_gb=wish.root_volume_gb,
        monitoring_volume_gb=wish.monitoring_volume_gb,
        expiry_seconds=wish.expiry_seconds,
        extra_tags=wish.tags,
        root_volume_type=wish.root_volume_type,
        public_address=wish.public_address,
        placement_group="" if wish.placement == "none" else wish.resource_name,
        placement=wish.placement,
    )


def _prepare(ec2: Ec2, wish: Wish, todo: Todo) -> Surroundings | None:
    """Make key pair, security and placement group as they have to be; returns what launches need, if there are any."""

    def key() -> None:
        if todo.new_key:
            _import_key(ec2, wish)

    def group() -> str | None:
        group_id = todo.group_id
        if group_id:
            _set_rules(ec2, group_id, add=todo.allow, remove=todo.forbid)
        elif todo.place:
            group_id = _make_group(ec2, wish, todo.place.vpc_id, todo.cidrs)
        return group_id

    def placement_group() -> None:
        if todo.place and todo.new_placement_group:
            _make_placement_group(ec2, wish)

    _, group_id, _ = in_parallel([key, group, placement_group])
    return _surroundings(wish, todo, group_id) if todo.place and group_id else None


def _check_key(ec2: Ec2, wish: Wish, found: Found, live: list[Instance]) -> bool:
    """Whether EC2 lacks the key pair; raises when nodes exist that this machine's private key doesn't open."""
    if wish.key_name:
        _check_given_key(ec2, wish, live)
        return False
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


def _check_given_key(ec2: Ec2, wish: Wish, live: list[Instance]) -> None:
    """A key pair of the user's: it is in EC2, its private key is here, and the nodes that exist have it."""
    name, path = wish.key_name, wish.private_key_file
    advice = (
        "Set ec2_provision_key_name to a key pair that EC2 has (aws ec2 describe-key-pairs), or empty it: then Pegasus "
        "makes one."
    )
    keys = ec2.call(
        "describe_key_pairs",
        f"look for the key pair {name}",
        Filters=[{"Name": "key-name", "Values": [name]}],
        IncludePublicKey=True,
    )["KeyPairs"]
    if not keys:
        raise Ec2Problem(CONFIGURATION, f"ec2_provision_key_name is {name!r}, which {ec2.region} doesn't have.", advice)
    if not path.is_file():
        raise Ec2Problem(
            CONFIGURATION,
            f"The private key of {name} isn't on this machine: {path} does not exist.",
            "Set ec2_provision_private_key_file to its path.",
        )
    ours, theirs = ec2_keys.public_key_of(path), ec2_keys.normal_key(keys[0].get("PublicKey") or "")
    if ours != theirs:
        raise Ec2Problem(
            CONFIGURATION,
            f"{path} isn't the private key of EC2's key pair {name}: its public key is '{ours}', EC2's is '{theirs}'.",
            "Set ec2_provision_private_key_file to the file that belongs to ec2_provision_key_name.",
        )
    others = [one for one in live if one.key_name != name]
    if others:
        raise Ec2Problem(
            CONFIGURATION,
            f"{', '.join(one.name or one.id for one in others)} were launched with the key pair "
            f"{others[0].key_name!r}, {name!r} was asked for. The key of a node can't be changed.",
            "Put the old value of ec2_provision_key_name back, or destroy the environment first.",
        )


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
    if place and place.vpc_id and group.get("VpcId") != place.vpc_id:
        raise Ec2Problem(
            CONFIGURATION,
            f"The environment's security group {group['GroupId']} is in {group.get('VpcId')}, the subnet "
            f"{place.subnets[0]['SubnetId']} in {place.vpc_id}; expected the same VPC.",
            "Use subnets of that VPC (ec2_provision_subnet_ids), or destroy the environment first.",
        )
    return group


def _group_request(wish: Wish, vpc_id: str) -> dict[str, Any]:
    return {
        "GroupName": wish.resource_name,
        "Description": f"Pegasus environment {wish.environment}",
        "VpcId": vpc_id,
        "TagSpecifications": _tag_specification("security-group", wish),
    }


def _placement_request(wish: Wish) -> dict[str, Any]:
    return {
        "GroupName": wish.resource_name,
        "Strategy": wish.placement,
        "TagSpecifications": _tag_specification("placement-group", wish),
    }


def _make_group(ec2: Ec2, wish: Wish, vpc_id: str, cidrs: list[str]) -> str:
    try:
        answer = ec2.call(
            "create_security_group",
            f"make the security group {wish.resource_name}",
            **_group_request(wish, vpc_id),
        )
    except Ec2Problem as problem:
        raise _foreign(
            problem, "InvalidGroup.Duplicate", f"a security group named {wish.resource_name}", wish
        ) from problem
    group_id = answer["GroupId"]
    _set_rules(ec2, group_id, add=ec2_plan.wanted_rules(group_id, cidrs), remove=set())
    return group_id


def _make_placement_group(ec2: Ec2, wish: Wish) -> None:
    try:
        ec2.call(
            "create_placement_group",
            f"make the placement group {wish.resource_name}",
            **_placement_request(wish),
        )
    except Ec2Problem as problem:
        raise _foreign(
            problem, "InvalidPlacementGroup.Duplicate", f"a placement group named {wish.resource_name}", wish
        ) from problem


def _attempt(problems: list[Ec2Problem], call: Callable[[], T]) -> T | None:
    """What the call returns; of one that fails, nothing, and its problem is kept, so that all can be told at once."""
    try:
        return call()
    except Ec2Problem as problem:
        problems.append(problem)
        return None


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


def _find_place(
    ec2: Ec2, wish: Wish, launches: list[Launch], live: list[Instance], problems: list[Ec2Problem]
) -> Place:
    """Look up types, subnets and images; what is wrong with them is added to `problems`.

    Then the place holds what was found, so that quota and permissions can be asked for the rest.
    """
    types = sorted({launch.group.instance_type for launch in launches})
    descriptions, offerings, subnets = in_parallel(
        [
            lambda: _attempt(
                problems,
                lambda: ec2.list(
                    "describe_instance_types",
                    "InstanceTypes",
                    f"describe the instance types {', '.join(types)}",
                    # By filter and not by name: EC2 describes none where one of them is unknown.
                    Filters=[{"Name": "instance-type", "Values": types}],
                ),
            ),
            lambda: _attempt(
                problems,
                lambda: ec2.list(
                    "describe_instance_type_offerings",
                    "InstanceTypeOfferings",
                    "learn which zones offer the instance types",
                    LocationType="availability-zone",
                    Filters=[{"Name": "instance-type", "Values": types}],
                ),
            ),
            lambda: _attempt(problems, lambda: _subnets(ec2, wish, live)),
        ]
    )
    used = [one.subnet_id for one in live]
    described = {one["InstanceType"]: one for one in descriptions or []}
    # A type that doesn't exist is offered nowhere, and needs neither zone nor image.
    known = set(described)
    count = sum(len(launch.indexes) for launch in launches if launch.group.instance_type in known)
    unknown = [name for name in types if name not in known] if descriptions is not None else []
    problems += [_unknown_type(ec2, name, launches) for name in unknown if not wish.told(name)]

    def choose() -> list[dict[str, Any]]:
        offering = ec2_place.usable_subnets(
            subnets or [], ec2_place.offered_types(offerings or []), known, wish.zones, preferred=used
        )
        return ec2_place.choose_subnets(offering, wish.zone_count, count)

    # Nothing follows from what EC2 didn't tell.
    answered = None not in (offerings, subnets)
    chosen = (_attempt(problems, choose) or []) if answered and known else []
    architecture: dict[str, str] = {}
    for one in described.values():
        try:
            architecture |= ec2_place.architectures([one])
        except Ec2Problem as problem:
            problems.append(problem)
    wanted = sorted(set(architecture.values()))
    of_image: list[Ec2Problem] = []
    found = in_parallel([lambda one=one: _attempt(of_image, lambda: _image(ec2, wish, one)) for one in wanted])
    images = {name: one for name, one in zip(wanted, found, strict=True) if one}
    problems += [one for one in of_image if one.error_class != CONFIGURATION or not wish.told(wish.image_name)]
    if used:
        # Who has nodes already keeps to their zones.
        chosen = chosen[: wish.zone_count]
    return Place(
        chosen,
        wish.zone_count,
        {name: images[architecture[name]] for name in types if architecture.get(name) in images},
        described,
    )


def _unknown_type(ec2: Ec2, name: str, launches: list[Launch]) -> Ec2Problem:
    kinds = ", ".join(launch.group.kind for launch in launches if launch.group.instance_type == name)
    return Ec2Problem(
        CONFIGURATION,
        f"{ec2.region} has no instance type {name}, which {kinds} nodes were asked to be of.",
        "What there is: aws ec2 describe-instance-type-offerings. Or choose another region.",
    )


def _subnets(ec2: Ec2, wish: Wish, live: list[Instance]) -> list[dict[str, Any]]:
    """The subnets that may be used: the given ones, else those of the nodes that exist, else each zone's default."""
    found: list[dict[str, Any]] = []
    named = list(wish.subnet_ids)
    if not named:
        named = sorted({one.subnet_id for one in live if one.subnet_id})
    if named:
        found = ec2.list("describe_subnets", "Subnets", f"describe the subnets {', '.join(named)}", SubnetIds=named)
    if wish.subnet_ids or (named and len({one["AvailabilityZone"] for one in found}) >= wish.zone_count):
        return found
    default = [{"Name": "default-for-az", "Values": ["true"]}]
    others = ec2.list("describe_subnets", "Subnets", "describe the subnet of each zone", Filters=default)
    return found + [one for one in others if one["SubnetId"] not in named]


def _image(ec2: Ec2, wish: Wish, architecture: str) -> dict[str, Any]:
    """The newest image of that name, or the one that a parameter of Systems Manager names."""
    pattern = ec2_place.image_name(wish.image_name, architecture)
    if ec2_place.is_parameter(pattern):
        answer = ec2.call("get_parameters", f"read the parameter {pattern}", service="ssm", Names=[pattern])
        ident = next((one["Value"] for one in answer["Parameters"]), "")
        if not ident:
            raise Ec2Problem(
                CONFIGURATION,
                f"{ec2.region} has no parameter {pattern} of Systems Manager.",
                "Check ec2_provision_image_name: aws ssm get-parameters-by-path --path /aws/service --recursive lists "
                "many; or give the pattern of an image's name.",
            )
        (image,) = ec2.call("describe_images", f"describe the image {ident}", ImageIds=[ident])["Images"]
        if image["Architecture"] != architecture:
            raise Ec2Problem(
                CONFIGURATION,
                f"The image {ident} of {pattern} is for {image['Architecture']}, the types are for {architecture}.",
                "Put {architecture} (amd64, arm64) or {machine} (x86_64, arm64) into ec2_provision_image_name.",
            )
        return image
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
        kind=launch.group.kind,
        state="planned",
        instance_type=launch.group.instance_type,
        image_id=place.images[launch.group.instance_type]["ImageId"],
        subnet_id=launch.subnet_id,
        zone=launch.zone,
        spot=launch.group.spot,
    )
    return [made.record() | {"index": index, "name": f"{launch.group.name}-{index}"} for index in launch.indexes]


def _launch_all(ec2: Ec2, todo: Todo, around: Surroundings, place: Place, notes: list[str]) -> list[Instance]:
    """Launch all groups at the same time, or none. Where a zone is full, all of them go to the next one.

    Never half of it: what other launches of the same attempt made is taken back.
    """
    full: set[str] = set()
    parts = place.parts(todo.plan.launches, todo.live)
    while True:
        made, problems = _launch_parts(ec2, parts, around, place, todo.known, notes)
        if not problems:
            return made
        undone = _take_back(ec2, made)
        full |= {part.zone for part, problem in problems if problem.error_class == CAPACITY}
        moved = place.parts(todo.plan.launches, todo.live, full)
        movable = all(problem.error_class == CAPACITY for _, problem in problems) and not undone.error_class
        if movable and moved:
            zones = " and ".join(sorted({part.zone for part in moved}))
            notes += [
                f"{part.zone} has no room: {problem.message} Trying {zones} instead.{undone.message}"
                for part, problem in problems
            ]
            parts = moved
            continue
        said = [
            Ec2Problem(
                problem.error_class,
                problem.message,
                f"{JOIN_THE_OTHERS if todo.live else problem.next_step} Tried: {', '.join(sorted(full))}."
                if problem.error_class == CAPACITY
                else problem.next_step,
            )
            for _, problem in problems
        ]
        whole = joined(said)
        raise Ec2Problem(whole.error_class, f"{whole.message}{undone.message}", whole.next_step) from problems[0][1]


@dataclass(frozen=True)
class Undone:
    """What became of launches that were taken back, as a sentence after others; error_class when they couldn't be."""

    message: str = ""
    error_class: str = ""


def _take_back(ec2: Ec2, made: list[Instance]) -> Undone:
    if not made:
        return Undone()
    ids = sorted(one.id for one in made)
    try:
        ec2.call(
            "terminate_instances",
            "take back the other launches",
            until_visible=("InvalidInstanceID.NotFound",),
            InstanceIds=ids,
        )
    except Ec2Problem as problem:
        said = f" {', '.join(ids)} were launched too, run, and could not be taken back: {problem}"
        return Undone(said, problem.error_class)
    return Undone(f" The {len(ids)} instances that this run had launched beside were terminated again.")


def _launch_parts(
    ec2: Ec2, parts: list[Launch], around: Surroundings, place: Place, known: list[Instance], notes: list[str]
) -> tuple[list[Instance], list[tuple[Launch, Ec2Problem]]]:
    """Launch all parts at the same time: what was made, and what could not be, with the reason."""

    def one(part: Launch) -> list[Instance] | Ec2Problem:
        image = place.images[part.group.instance_type]
        request = run_request(part, around, image["ImageId"], image["RootDeviceName"])
        own = [instance for instance in known if instance.kind == part.group.kind]
        try:
            if part.group.spot:
                try:
                    return _launch(ec2, part, as_spot(request), own)
                except Ec2Problem as problem:
                    if problem.error_class not in (CAPACITY, QUOTA):
                        raise
                    notes.append(f"No spot instances: {problem.message} On demand instead, at the full price.")
            return _launch(ec2, part, request, own)
        except Ec2Problem as problem:
            return problem

    results = in_parallel([lambda part=part: one(part) for part in parts])
    made = [one for result in results if not isinstance(result, Ec2Problem) for one in result]
    return made, [(part, one) for part, one in zip(parts, results, strict=True) if isinstance(one, Ec2Problem)]


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
            if error_code(problem.__cause__ or problem) == TOKEN_OF_THE_GONE:
                continue
            raise
        made = [Instance.from_description(one) for one in answer["Instances"]]
        if any(instance.live for instance in made):
            return made
        # EC2 still knows this token from a launch whose instances are gone since: it gives these, or says so.
    raise Ec2Problem(OTHER, f"EC2 answered {TOKEN_ATTEMPTS} times to {part.text()} with instances that are gone.")


def _set_tags(ec2: Ec2, tags: dict[str, dict[str, str]]) -> None:
    """Set each instance's tags, a call for up to TAGGED_AT_ONCE instances that get the same."""
    alike: dict[tuple[tuple[str, str], ...], list[str]] = {}
    for ident, own in tags.items():
        alike.setdefault(tuple(sorted(own.items())), []).append(ident)
    calls = [
        lambda some=some, own=own: ec2.call(
            "create_tags",
            f"tag {len(some)} instances",
            until_visible=("InvalidInstanceID.NotFound",),
            Resources=some,
            Tags=tag_list(dict(own)),
        )
        for own, idents in alike.items()
        for some in (sorted(idents)[start : start + TAGGED_AT_ONCE] for start in range(0, len(idents), TAGGED_AT_ONCE))
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


# --- ingress ----------------------------------------------------------------------------------------------------------


def allow(ec2: Ec2, allowed_cidrs: list[str], *, check: bool) -> tuple[list[str], list[str]]:
    """Let exactly these networks reach the environment; none means this machine's own address.

    Returns the changes as sentences, and the networks.
    """
    groups = ec2.security_groups()
    if not groups:
        raise Ec2Problem(
            CONFIGURATION, f"{ec2.environment} has no security group in {ec2.region}.", "Set the environment up: setup"
        )
    cidrs = allowed_cidrs or [own_address()]
    changes = []
    for group in groups:
        found = ec2_plan.found_rules(group["IpPermissions"])
        wanted = ec2_plan.wanted_rules(group["GroupId"], cidrs)
        changes += [f"allow {rule.text()}" for rule in sorted(wanted - found)]
        changes += [f"no longer allow {rule.text()}" for rule in sorted(found - wanted)]
        if not check:
            _set_rules(ec2, group["GroupId"], add=wanted - found, remove=found - wanted)
    return changes, cidrs
