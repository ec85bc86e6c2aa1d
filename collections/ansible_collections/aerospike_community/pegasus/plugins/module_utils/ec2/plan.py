"""What an environment in EC2 has, what was asked of it, and what has to be done: pure functions, no call to EC2.

State lives in EC2's tags alone:

- `pegasus:environment`, `pegasus:kind` (server, client, monitor), `pegasus:owner` on everything that is made;
- `Name` and `pegasus:launch` on instances: their group's name, and the indexes that their launch was for ("1-3"). With
  the number that EC2 itself gives each instance of a launch (AmiLaunchIndex: 0, 1, 2), the second of "4-6" is number 5
  and is named Bench-5. RunInstances sets them, so no node needs a call of its own, and an instance whose launch was
  interrupted has its index too;
- `pegasus:index`, and then `Name` with the index in it, only where that would give two instances one index;
- `pegasus:fixed` on servers: the settings that a running cluster can't change (module_utils/fixed_values.py);
- `pegasus:expires` on each instance, set right after the launch, one call for 50 instances.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

TAG_ENVIRONMENT = "pegasus:environment"
TAG_KIND = "pegasus:kind"
TAG_OWNER = "pegasus:owner"
TAG_INDEX = "pegasus:index"
TAG_LAUNCH = "pegasus:launch"
TAG_EXPIRES = "pegasus:expires"
TAG_FIXED = "pegasus:fixed"
TAG_NAME = "Name"

# Also the order in which results list them.
KINDS = ("server", "client", "monitor")
# ssh, Grafana, Prometheus.
OPEN_PORTS = (22, 3000, 9090)
GONE_STATES = ("shutting-down", "terminated")
STOPPED_STATES = ("stopping", "stopped")
# Names become host names in the inventory and tag values in EC2.
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}")
# As EC2 says why and when an instance stopped or ended: "User initiated (2026-11-25 12:00:00 GMT)".
_STATE_SINCE = re.compile(r"\((\d{4}-\d\d-\d\d \d\d:\d\d:\d\d) (?:GMT|UTC)\)")


@dataclass(frozen=True)
class Group:
    """What was asked for one kind."""

    kind: str
    name: str
    nodes: int
    instance_type: str
    # Indexes of terminated nodes that new nodes take over; every other new node gets an index after the last one.
    replace: tuple[int, ...] = ()
    # Nodes to launch beside those that exist, whatever `nodes` says; then what exists is left as it is.
    add: int = 0
    # Value of the tag pegasus:fixed of new nodes; '' for none.
    fixed: str = ""
    # Whether new nodes are asked for as spot instances first.
    spot: bool = False
    # How many nodes there may ever be, and why: "the licence is for 4"; 0 for any number.
    limit: int = 0
    limit_reason: str = ""


@dataclass(frozen=True)
class Instance:
    """One instance as EC2 describes it. `index` is None when the instance has none yet."""

    id: str
    kind: str
    state: str
    instance_type: str
    image_id: str = ""
    private_ip: str = ""
    public_ip: str = ""
    subnet_id: str = ""
    zone: str = ""
    key_name: str = ""
    spot: bool = False
    vcpus: int = 0  # 0 where EC2 doesn't say it
    launch_index: int = 0
    launch_time: datetime | None = None  # of its last start
    stop_time: datetime | None = None  # since when it is stopped or gone, where EC2 says it
    state_reason: str = ""
    tags: dict[str, str] = field(default_factory=dict, hash=False)

    @property
    def own_index(self) -> int | None:
        """The index in a tag of its own."""
        text = self.tags.get(TAG_INDEX, "")
        return int(text) if text.isdecimal() and int(text) > 0 else None

    @property
    def index(self) -> int | None:
        """Its own, or the one that its launch says."""
        if self.own_index:
            return self.own_index
        meant = parse_indexes(self.tags.get(TAG_LAUNCH, ""))
        return meant[self.launch_index] if self.launch_index < len(meant) else None

    @property
    def name(self) -> str:
        """Such as Bench-5; '' when it has none."""
        name = self.tags.get(TAG_NAME, "")
        return f"{name}-{self.index}" if name and self.index and not self.own_index else name

    def full_tags(self) -> dict[str, str]:
        """The tags as if index and name were tags of each instance's own: what readers of tags expect."""
        said = {TAG_INDEX: str(self.index), TAG_NAME: self.name} if self.index else {}
        return {**self.tags, **{key: value for key, value in said.items() if value}}

    @property
    def order(self) -> tuple[int, int, str]:
        """By kind, then by index."""
        return (KINDS.index(self.kind) if self.kind in KINDS else len(KINDS), self.index or 0, self.id)

    @property
    def live(self) -> bool:
        return self.state not in GONE_STATES

    @classmethod
    def from_description(cls, found: dict[str, Any]) -> Instance:
        """Make it from an element of DescribeInstances or RunInstances."""
        tags = {tag["Key"]: tag["Value"] for tag in found.get("Tags", [])}
        return cls(
            id=found["InstanceId"],
            kind=tags.get(TAG_KIND, ""),
            state=found["State"]["Name"],
            instance_type=found.get("InstanceType", ""),
            image_id=found.get("ImageId", ""),
            private_ip=found.get("PrivateIpAddress") or "",
            public_ip=found.get("PublicIpAddress") or "",
            subnet_id=found.get("SubnetId") or "",
            zone=found.get("Placement", {}).get("AvailabilityZone") or "",
            key_name=found.get("KeyName") or "",
            spot=found.get("InstanceLifecycle") == "spot",
            vcpus=_vcpus(found.get("CpuOptions") or {}),
            launch_index=int(found.get("AmiLaunchIndex") or 0),
            launch_time=found.get("LaunchTime"),
            stop_time=_state_since(found.get("StateTransitionReason") or ""),
            state_reason=(found.get("StateReason") or {}).get("Message") or "",
            tags=tags,
        )

    def record(self) -> dict[str, Any]:
        """The instance as the module returns it."""
        return {
            "id": self.id,
            "name": self.name,
            "kind": self.kind,
            "index": self.index or 0,
            "private_ip": self.private_ip,
            "public_ip": self.public_ip,
            "state": self.state,
            "instance_type": self.instance_type,
            "image_id": self.image_id,
            "zone": self.zone,
            "spot": self.spot,
            "expires": self.tags.get(TAG_EXPIRES, ""),
        }


def _vcpus(options: dict[str, Any]) -> int:
    return int(options.get("CoreCount", 0)) * int(options.get("ThreadsPerCore", 1))


def _state_since(reason: str) -> datetime | None:
    found = _STATE_SINCE.search(reason)
    return datetime.strptime(found[1], "%Y-%m-%d %H:%M:%S").replace(tzinfo=UTC) if found else None


@dataclass(frozen=True)
class Launch:
    """One RunInstances call: all of `indexes` or none. Subnet and zone are set once it is known where."""

    group: Group
    indexes: tuple[int, ...]
    subnet_id: str = ""
    zone: str = ""

    def names(self) -> list[str]:
        return [f"{self.group.name}-{index}" for index in self.indexes]

    def text(self) -> str:
        names = self.names()
        which = names[0] if len(names) == 1 else f"{names[0]} to {names[-1]}"
        where = f" in {self.zone}" if self.zone else ""
        return f"launch {len(names)} x {self.group.instance_type} as {which} ({self.group.kind}){where}"


@dataclass
class Plan:
    """What has to be done. Nothing may be done while `refusals` isn't empty."""

    launches: list[Launch] = field(default_factory=list)
    # Instance id -> tags to set.
    retags: dict[str, dict[str, str]] = field(default_factory=dict)
    starts: list[Instance] = field(default_factory=list)
    refusals: list[str] = field(default_factory=list)
    # What a user should know although nothing has to be done about it.
    notes: list[str] = field(default_factory=list)


def make_plan(
    groups: list[Group],
    instances: list[Instance],
    *,
    expiry_seconds: int,
    extra_tags: dict[str, str],
    now: datetime,
) -> Plan:
    """Compare what was asked with what is there (terminated instances may be among it).

    The index of a node never changes. New nodes get indexes after the last live one, so that the index of a terminated
    node isn't taken over while others exist after it, unless the group's `replace` names it. More nodes than asked are
    kept: `add-nodes` made them, and only `remove-node` and the destroying actions take one.
    """
    plan = Plan()
    live = [instance for instance in instances if instance.live]
    plan.refusals += [
        f"The instance {one.id} ({one.name or 'no name'}) carries the environment's tag with the kind {one.kind!r}; "
        f"expected one of {', '.join(KINDS)}. Terminate it, or remove its tag {TAG_ENVIRONMENT}."
        for one in live
        if one.kind not in KINDS
    ]
    for group in groups:
        _plan_group(plan, group, [one for one in live if one.kind == group.kind], expiry_seconds, extra_tags, now)
    return plan


def _plan_group(
    plan: Plan,
    group: Group,
    live: list[Instance],
    expiry_seconds: int,
    extra_tags: dict[str, str],
    now: datetime,
) -> None:
    indexes, doubles = _settle_indexes(live)
    for index, first, second in doubles:
        plan.refusals.append(
            f"Two instances are number {index} of {group.name} ({group.kind}): {first} and {second}. Terminate one "
            f"of them in EC2, then run this again."
        )
    if group.add and not live:
        plan.refusals.append(
            f"{group.name} ({group.kind}) has no node, so there is nothing to add to: set it up first."
        )
    if len(live) > group.nodes and not group.add:
        plan.notes.append(
            f"{group.name} ({group.kind}) keeps its {len(live)} nodes, although {group.nodes} were asked for: setup "
            f"takes no node away."
        )
    for instance in live:
        index = indexes[instance.id]
        plan.refusals += _refusals(instance, f"{group.name}-{index} ({instance.id})", group.instance_type, now)
        missing = _missing_tags(instance, group, index, expiry_seconds, extra_tags, now)
        if missing:
            plan.retags[instance.id] = missing
        if instance.state in STOPPED_STATES and not group.add:
            plan.starts.append(instance)
    wanted = group.add or group.nodes - len(live)
    if wanted > 0 and 0 < group.limit < len(live) + wanted:
        room = max(0, group.limit - len(live))
        plan.refusals.append(
            f"{group.name} ({group.kind}) would have {len(live) + wanted} nodes, the {len(live)} that exist and "
            f"{wanted} new; {group.limit_reason}, and a node that is stopped counts. "
            + (f"Ask for at most {room} more." if room else "No more can be added.")
        )
    if wanted > 0:
        plan.launches.append(Launch(group, _new_indexes(set(indexes.values()), wanted, group.replace)))


def _refusals(instance: Instance, name: str, instance_type: str, now: datetime) -> list[str]:
    """Why an existing node can't be what was asked."""
    said = []
    if instance.instance_type != instance_type:
        said.append(
            f"{name} is of type {instance.instance_type}, {instance_type} was asked for. The type of a node can't be "
            f"changed: ask for {instance.instance_type} again, or destroy the environment first."
        )
    expires = parse_time(instance.tags.get(TAG_EXPIRES, ""))
    if instance.state in STOPPED_STATES and expires is not None and expires <= now:
        said.append(
            f"{name} is stopped and expired at {format_time(expires)}: it would end itself as soon as it started. "
            f"Let reap take it, then run this again: another is launched. Or destroy the environment."
        )
    return said


def _settle_indexes(live: list[Instance]) -> tuple[dict[str, int], list[tuple[int, str, str]]]:
    """Return the index of each instance, by id, and the pairs that claim the same one in tags of their own.

    Where a launch says an index that another instance has, the later one gets another.
    """
    settled: dict[str, int] = {}
    owner: dict[int, str] = {}
    doubles = []
    for instance in sorted((one for one in live if one.own_index), key=lambda one: one.id):
        index = instance.own_index or 0
        settled[instance.id] = index
        if index in owner:
            doubles.append((index, owner[index], instance.id))
        owner.setdefault(index, instance.id)
    homeless = []
    never = datetime.max.replace(tzinfo=UTC)
    for instance in sorted(
        (one for one in live if not one.own_index), key=lambda one: (one.launch_time or never, one.launch_index, one.id)
    ):
        if not instance.index or instance.index in owner:
            homeless.append(instance)
            continue
        settled[instance.id] = instance.index
        owner[instance.index] = instance.id
    for instance in homeless:
        (index,) = _new_indexes(set(owner), 1, ())
        settled[instance.id] = index
        owner[index] = instance.id
    return settled, doubles


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
        wanted = {TAG_NAME: group.name}
    else:
        wanted = {TAG_NAME: f"{group.name}-{index}", TAG_INDEX: str(index)}
    # An expiry that was extended since is the truth.
    if not instance.tags.get(TAG_EXPIRES):
        wanted[TAG_EXPIRES] = end_of_life(instance.launch_time or now, expiry_seconds)
    wanted |= extra_tags
    return {key: value for key, value in wanted.items() if instance.tags.get(key) != value}


def end_of_life(launched: datetime, expiry_seconds: int) -> str:
    """The tag that says when an instance ends."""
    return format_time(launched + timedelta(seconds=expiry_seconds)) if expiry_seconds else "never"


def format_time(moment: datetime) -> str:
    """A moment in UTC as it stands in tags: 2026-01-31T12:00:00Z."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def parse_time(text: str) -> datetime | None:
    """The inverse of format_time; None for 'never' and for what isn't a time."""
    try:
        return datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
    except ValueError:
        return None


def format_indexes(indexes: tuple[int, ...]) -> str:
    """(1, 2, 3, 7) is '1-3,7'. A tag's value has at most 256 characters."""
    runs: list[list[int]] = []
    for index in sorted(indexes):
        if runs and index == runs[-1][1] + 1:
            runs[-1][1] = index
        else:
            runs.append([index, index])
    return ",".join(str(first) if first == last else f"{first}-{last}" for first, last in runs)


def parse_indexes(text: str) -> list[int]:
    """The inverse of format_indexes; an empty list for anything else."""
    found: list[int] = []
    for part in text.split(","):
        match = re.fullmatch(r"(\d+)(?:-(\d+))?", part)
        if not match:
            return []
        found.extend(range(int(match[1]), int(match[2] or match[1]) + 1))
    return found


# --- Checks of what was asked -----------------------------------------------------------------------------------------


def check_environment(name: str) -> str:
    """Return what is wrong with an environment's name, '' when nothing is."""
    return _check_name("pegasus_cluster_name", name)


def _check_name(what: str, name: str) -> str:
    if NAME.fullmatch(name):
        return ""
    return (
        f"{what} is {name!r}; expected letters, digits, '-', '_' and '.', at most 63, starting with a letter or digit."
    )


def check_request(groups: list[Group], extra_tags: dict[str, str]) -> list[str]:
    """Return what is wrong with what was asked, as sentences."""
    wrong = [text for group in groups if (text := _check_name(f"The name of the {group.kind} group", group.name))]
    for attribute in ("kind", "name"):
        values = [getattr(group, attribute) for group in groups]
        wrong.extend(
            f"Two groups have the {attribute} {value!r}; expected a different {attribute} for each group."
            for value in sorted(set(values))
            if values.count(value) > 1
        )
    wrong.extend(f"{g.name} asks for {g.nodes} nodes; expected 0 or more." for g in groups if g.nodes < 0)
    wrong.extend(f"{g.name} asks to add {g.add} nodes; expected 1 or more." for g in groups if g.add < 0)
    wrong.extend(
        f"The tag {key!r} can't be set; expected a key other than Name and without the prefix pegasus: or aws:."
        for key in extra_tags
        if key == TAG_NAME or key.startswith(("pegasus:", "aws:"))
    )
    return wrong


# --- Ingress ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, order=True)
class Rule:
    """One source that may reach a range of ports. `kind` is cidr4, cidr6, group or prefix; protocol -1 means all."""

    protocol: str
    first_port: int
    last_port: int
    kind: str
    source: str

    def permission(self) -> dict[str, Any]:
        """The rule in the form of EC2's IpPermissions."""
        field_name, key = {
            "cidr4": ("IpRanges", "CidrIp"),
            "cidr6": ("Ipv6Ranges", "CidrIpv6"),
            "group": ("UserIdGroupPairs", "GroupId"),
            "prefix": ("PrefixListIds", "PrefixListId"),
        }[self.kind]
        permission: dict[str, Any] = {"IpProtocol": self.protocol, field_name: [{key: self.source}]}
        if self.protocol != "-1":
            permission |= {"FromPort": self.first_port, "ToPort": self.last_port}
        return permission

    def text(self) -> str:
        ports = "all ports" if self.protocol == "-1" else f"port {self.first_port}"
        if self.last_port != self.first_port:
            ports += f" to {self.last_port}"
        return f"{ports} from {self.source}"


def normal_cidr(text: str) -> str:
    """Return the network in EC2's form; an address alone is a network of one. Raises ValueError."""
    try:
        return str(ipaddress.ip_network(text.strip(), strict=False))
    except ValueError:
        raise ValueError(
            f"{text!r} isn't an address range. Expected something like 203.0.113.7/32 or 2001:db8::/64."
        ) from None


def wanted_rules(group_id: str, cidrs: list[str]) -> set[Rule]:
    """Everything within the environment; from the given networks only the ports that people use."""
    rules = {Rule("-1", -1, -1, "group", group_id)}
    for cidr in cidrs:
        kind = "cidr6" if ":" in cidr else "cidr4"
        rules |= {Rule("tcp", port, port, kind, cidr) for port in OPEN_PORTS}
    return rules


def found_rules(permissions: list[dict[str, Any]]) -> set[Rule]:
    """Flatten EC2's IpPermissions."""
    rules = set()
    for permission in permissions:
        protocol = str(permission["IpProtocol"])
        given = (permission.get("FromPort", -1), permission.get("ToPort", -1))
        ports: tuple[int, int] = (-1, -1) if protocol == "-1" else given
        for kind, field_name, key in (
            ("cidr4", "IpRanges", "CidrIp"),
            ("cidr6", "Ipv6Ranges", "CidrIpv6"),
            ("group", "UserIdGroupPairs", "GroupId"),
            ("prefix", "PrefixListIds", "PrefixListId"),
        ):
            rules |= {
                Rule(protocol, *ports, kind, source[key]) for source in permission.get(field_name, []) if key in source
            }
    return rules
