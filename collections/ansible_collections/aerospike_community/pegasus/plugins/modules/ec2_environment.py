#!/usr/bin/python
"""The module ec2_environment."""

from __future__ import annotations

DOCUMENTATION = r"""
module: ec2_environment
short_description: Makes, completes or takes away the EC2 side of a Pegasus environment
description:
  - Brings key pair, security group and instances of an environment to what was asked, or removes everything that
    carries the environment's tag.
  - State lives in EC2's tags alone; the module can be killed at any moment and run again.
  - Each group is launched by one RunInstances call for each zone, all of its nodes or none; if one group fails, the
    groups that were launched with it are taken back. Where a zone has no room, all go to the next one that may be used.
  - Credentials, permissions, quota, images, subnets and key are checked before anything is made; all problems are told
    at once.
  - It never takes a node away to reach a smaller number; it keeps what is there and says so.
requirements:
  - boto3
options:
  state:
    description: Whether the environment should exist.
    type: str
    choices: [present, absent]
    default: present
  environment:
    description: Name of the environment; the value of the tag C(pegasus:environment).
    type: str
    required: true
  groups:
    description: What should exist, a record per kind.
    type: list
    elements: dict
    default: []
    suboptions:
      kind:
        description: Value of the tag C(pegasus:kind).
        type: str
        choices: [server, client, monitor]
        required: true
      name:
        description: Nodes are named C(name-index).
        type: str
        required: true
      nodes:
        description: Number of nodes.
        type: int
        required: true
      instance_type:
        description: EC2 instance type.
        type: str
        required: true
      replace:
        description: Indexes of terminated nodes that new nodes take over; other new ones get one after the last.
        type: list
        elements: int
        default: []
      add:
        description: Nodes to launch beside those that exist, whatever C(nodes) says. What exists is left as it is.
        type: int
        default: 0
      fixed:
        description: Value of the tag C(pegasus:fixed) of new nodes, with which later runs compare; empty for none.
        type: str
        default: ""
      spot:
        description: Whether to ask for spot instances, and for others only where there are none.
        type: bool
        default: false
      limit:
        description: How many nodes there may ever be; nothing is launched beyond it. 0 is any number.
        type: int
        default: 0
      limit_reason:
        description: Why, such as C(the licence is for 4).
        type: str
        default: ""
  kinds:
    description: With O(state=absent), take the instances of these kinds only; empty takes everything.
    type: list
    elements: str
    choices: [server, client, monitor]
    default: []
  region:
    description: EC2 region; empty is boto's own choice.
    type: str
    default: ""
  endpoint_url:
    description: URL of the EC2 endpoint; empty is boto's own choice.
    type: str
    default: ""
  access_key:
    description: Access key; empty is boto's own chain.
    type: str
    default: ""
  secret_key:
    description: Secret key; empty is boto's own chain.
    type: str
    default: ""
  owner:
    description: Value of the tag C(pegasus:owner).
    type: str
    default: ""
  private_key_file:
    description: The environment's private ssh key on this machine, made if neither it nor the key pair in EC2 exists.
      Required when O(state=present).
    type: path
  key_name:
    description: A key pair that EC2 has and that stays; O(private_key_file) is its private key. Empty makes one.
    type: str
    default: ""
  image_name:
    description: >-
      Pattern of the image's name, the newest is taken; or, with a slash at its beginning, a parameter of Systems
      Manager that holds an image's id. C({architecture}) stands for amd64 or arm64, C({machine}) for x86_64 or arm64.
    type: str
    default: debian-12-{architecture}-*
  image_owner:
    description: Account that owns the image.
    type: str
    default: "136693071363"
  subnet_ids:
    description: Subnets of one VPC for new instances; empty is the default VPC's, in the first zones that offer all
      instance types.
    type: list
    elements: str
    default: []
  zones:
    description: >-
      Availability zones that may be used, the preferred first; empty is any. The O(subnet_ids), and the subnets of the
      nodes that exist, have to be in them too.
    type: list
    elements: str
    default: []
  zone_count:
    description: Over how many zones each group's nodes are spread, evenly.
    type: int
    default: 1
  placement:
    description: >-
      V(cluster) puts servers and clients near each other, V(spread) each server on hardware of its own, by a placement
      group that goes with the environment.
    type: str
    choices: [none, cluster, spread]
    default: none
  public_address:
    description: Whether instances get a public address; V(subnet) is as their subnet is set up.
    type: str
    choices: [subnet, always, never]
    default: subnet
  allowed_cidrs:
    description: Networks that may reach ssh, Grafana and Prometheus; empty is this machine's public address.
    type: list
    elements: str
    default: []
  root_volume_gb:
    description: Size of the root volume in GiB.
    type: int
    default: 50
  monitoring_volume_gb:
    description: Size of the monitor's root volume in GiB.
    type: int
    default: 100
  root_volume_type:
    description: Type of the root volumes.
    type: str
    choices: [gp3, gp2, standard]
    default: gp3
  expiry:
    description: Life of new instances, as C(20h 30m), C(90m), C(3600s) or plain seconds; 0 is without end.
    type: str
    default: 24h
  tags:
    description: Further tags for everything that is made.
    type: dict
    default: {}
  timeout:
    description: How long to wait for instances to run or to end, in seconds.
    type: int
    default: 600
  problems:
    description:
      - What checks before this one found, as their results have it. Nothing is made then; it is told together with what
        this one finds, so that a user hears of everything at once.
    type: list
    elements: dict
    default: []
    suboptions:
      msg: {description: What was found., type: str, required: true}
      error_class: {description: Its class; see RV(error_class)., type: str, required: true}
      next_step: {description: What to do about it., type: str, default: ""}
  unprotected:
    description: >-
      With O(state=absent), ids of instances that RV(unprotected) of an earlier look named: EC2 isn't asked again for
      each whether it is protected against termination. It refuses itself what was protected since.
    type: list
    elements: str
    default: []
  confirm:
    description: >-
      With O(state=present) and in check mode, what somebody has to say yes to before this is done. RV(question) says it
      once nothing stands against it.
    type: str
    default: ""
  plan:
    description: Lines about what will be done, for whoever is asked. RV(message) says them.
    type: list
    elements: str
    default: []
attributes:
  check_mode:
    support: full
    description: Says what would be launched, changed or taken, after the checks that come before anything is paid for.
author:
  - Pegasus developers (@aerospike-community)
"""

EXAMPLES = r"""
- name: Make the environment
  aerospike_community.pegasus.ec2_environment:
    environment: Benchmark
    region: us-east-1
    private_key_file: .pegasus/aws/us-east-1/Benchmark/id_ed25519
    groups:
      - {kind: server, name: Benchmark, nodes: 3, instance_type: r6gd.8xlarge}
      - {kind: client, name: BenchmarkClient, nodes: 1, instance_type: c6i.4xlarge}
      - {kind: monitor, name: BenchmarkGrafana, nodes: 1, instance_type: t3.xlarge}

- name: Take it away
  aerospike_community.pegasus.ec2_environment:
    environment: Benchmark
    region: us-east-1
    state: absent
"""

RETURN = r"""
instances:
  description:
    - The environment's instances afterwards, ordered by kind and index, with id, name, kind, index, private_ip,
      public_ip, state, instance_type, image_id, zone and expires.
  type: list
  elements: dict
  returned: success
launched:
  description: Those of them that this run launched; in check mode the ones that it would launch, with an empty id.
  type: list
  elements: dict
  returned: success
terminated:
  description: The instances that this run took, or would take.
  type: list
  elements: dict
  returned: success
changes:
  description: What was done, or would be, as sentences.
  type: list
  elements: str
  returned: success
notes:
  description: What a user should know, such as more nodes than were asked for.
  type: list
  elements: str
  returned: success
identity:
  description: Whose credentials were used (an ARN), where something was to be launched and it could be asked.
  type: str
  returned: success
message:
  description: >-
    With O(state=absent), all that is taken (or would be) and kept, as lines; else O(plan), with RV(notes) in check
    mode.
  type: list
  elements: str
  returned: success
unprotected:
  description: Ids of the instances that aren't protected against termination.
  type: list
  elements: str
  returned: when O(state=absent)
proof:
  description: What the last look found, after everything was taken.
  type: str
  returned: when O(state=absent)
question:
  description: In check mode, what to ask a user before it is done; empty when there is nothing to ask.
  type: str
  returned: success
api_calls:
  description: Number of EC2 API calls by name.
  type: dict
  returned: success
error_class:
  description: One of credentials, quota, capacity, permission, configuration, usage, endpoint, other.
  type: str
  returned: failure
next_step:
  description: What to do about the failure.
  type: str
  returned: failure
"""

from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.durations import parse_duration
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.ec2 import launch as ec2_launch
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.ec2 import plan as ec2_plan
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.ec2 import removal as ec2_removal
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.ec2.api import Ec2
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.ec2.errors import (
    CONFIGURATION,
    Ec2Problem,
    joined,
)
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.ec2.module import (
    CONNECTION_ARGUMENTS,
    connect,
    run,
)

ARGUMENTS: dict[str, Any] = {
    **CONNECTION_ARGUMENTS,
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
    "groups": {
        "type": "list",
        "elements": "dict",
        "default": [],
        "options": {
            "kind": {"type": "str", "choices": list(ec2_plan.KINDS), "required": True},
            "name": {"type": "str", "required": True},
            "nodes": {"type": "int", "required": True},
            "instance_type": {"type": "str", "required": True},
            "replace": {"type": "list", "elements": "int", "default": []},
            "add": {"type": "int", "default": 0},
            "fixed": {"type": "str", "default": ""},
            "spot": {"type": "bool", "default": False},
            "limit": {"type": "int", "default": 0},
            "limit_reason": {"type": "str", "default": ""},
        },
    },
    "kinds": {"type": "list", "elements": "str", "choices": list(ec2_plan.KINDS), "default": []},
    "owner": {"type": "str", "default": ""},
    "private_key_file": {"type": "path", "no_log": False},
    "key_name": {"type": "str", "default": "", "no_log": False},
    "image_name": {"type": "str", "default": "debian-12-{architecture}-*"},
    "image_owner": {"type": "str", "default": "136693071363"},
    "subnet_ids": {"type": "list", "elements": "str", "default": []},
    "zones": {"type": "list", "elements": "str", "default": []},
    "zone_count": {"type": "int", "default": 1},
    "placement": {"type": "str", "choices": ["none", "cluster", "spread"], "default": "none"},
    "public_address": {"type": "str", "choices": ["subnet", "always", "never"], "default": "subnet"},
    "allowed_cidrs": {"type": "list", "elements": "str", "default": []},
    "root_volume_gb": {"type": "int", "default": 50},
    "monitoring_volume_gb": {"type": "int", "default": 100},
    "root_volume_type": {"type": "str", "choices": ["gp3", "gp2", "standard"], "default": "gp3"},
    "expiry": {"type": "str", "default": "24h"},
    "tags": {"type": "dict", "default": {}},
    "timeout": {"type": "int", "default": 600},
    "problems": {
        "type": "list",
        "elements": "dict",
        "default": [],
        "options": {
            "msg": {"type": "str", "required": True},
            "error_class": {"type": "str", "required": True},
            "next_step": {"type": "str", "default": ""},
        },
    },
    "unprotected": {"type": "list", "elements": "str", "default": []},
    "confirm": {"type": "str", "default": ""},
    "plan": {"type": "list", "elements": "str", "default": []},
}


def wish_from(asked: dict[str, Any]) -> ec2_launch.Wish:
    """Turn the module's parameters into a Wish; raises Ec2Problem with everything that is wrong with them at once."""
    groups = [
        ec2_plan.Group(
            one["kind"],
            one["name"],
            one["nodes"],
            one["instance_type"],
            tuple(one["replace"]),
            one["add"],
            one["fixed"],
            one["spot"],
            one["limit"],
            one["limit_reason"],
        )
        for one in asked["groups"]
    ]
    tags = {str(key): str(value) for key, value in asked["tags"].items()}
    wrong = ec2_plan.check_request(groups, tags)
    expiry_seconds, cidrs = 0, []
    try:
        expiry_seconds = parse_duration(asked["expiry"])
    except ValueError as error:
        wrong.append(f"ec2_provision_expiry: {error}")
    for cidr in asked["allowed_cidrs"]:
        try:
            cidrs.append(ec2_plan.normal_cidr(cidr))
        except ValueError as error:
            wrong.append(f"ec2_provision_allowed_cidrs: {error}")
    for name, unit in (("root_volume_gb", " (GiB)"), ("monitoring_volume_gb", " (GiB)"), ("zone_count", "")):
        if asked[name] < 1:
            wrong.append(f"ec2_provision_{name} is {asked[name]}; expected at least 1{unit}.")
    # A module's message ends with its advice.
    before = tuple(
        Ec2Problem(one["error_class"], one["msg"].removesuffix(one["next_step"]).rstrip(), one["next_step"])
        for one in asked["problems"]
    )
    if wrong:
        raise joined([*before, Ec2Problem(CONFIGURATION, "\n".join(wrong))])
    return ec2_launch.Wish(
        environment=asked["environment"],
        groups=groups,
        owner=asked["owner"],
        private_key_file=Path(asked["private_key_file"]).absolute(),
        image_name=asked["image_name"],
        image_owner=asked["image_owner"],
        subnet_ids=asked["subnet_ids"],
        zones=asked["zones"],
        zone_count=asked["zone_count"],
        placement=asked["placement"],
        public_address=asked["public_address"],
        allowed_cidrs=cidrs,
        root_volume_gb=asked["root_volume_gb"],
        monitoring_volume_gb=asked["monitoring_volume_gb"],
        root_volume_type=asked["root_volume_type"],
        expiry_seconds=expiry_seconds,
        tags=tags,
        timeout=asked["timeout"],
        key_name=asked["key_name"],
        before=before,
    )


def _removed(asked: dict[str, Any], removal: ec2_removal.Removal, ec2: Ec2, *, check: bool) -> dict[str, Any]:
    """The result of O(state=absent)."""
    kept = [ec2_removal.protection_text(one) for one in removal.protected]
    nothing = f"nothing to destroy: nothing in {ec2.region} carries the tag of {asked['environment']}"
    if asked["kinds"]:
        nothing = f"nothing to destroy: {asked['environment']} has no {' or '.join(asked['kinds'])} instance"
    count = "this 1 part" if len(removal.changes) == 1 else f"these {len(removal.changes)} parts"
    return {
        "changed": bool(removal.changes),
        "instances": [],
        "launched": [],
        "terminated": [one.record() for one in removal.terminated],
        "changes": removal.changes,
        "notes": kept,
        "message": [*(removal.changes or [nothing]), *kept],
        "unprotected": removal.unprotected,
        "proof": removal.proof,
        "question": f"Destroy {count} of {asked['environment']} in {ec2.region}?" if removal.changes and check else "",
        "api_calls": dict(sorted(ec2.calls.items())),
    }


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec=ARGUMENTS,
        supports_check_mode=True,
        required_if=[("state", "present", ("private_key_file", "groups"))],
    )

    def work(asked: dict[str, Any]) -> dict[str, Any]:
        wish = wish_from(asked) if asked["state"] == "present" else None
        ec2 = connect(asked)
        if not wish:
            removal = ec2_removal.remove(
                ec2, asked["timeout"], asked["kinds"], check=module.check_mode, unprotected=asked["unprotected"]
            )
            return _removed(asked, removal, ec2, check=module.check_mode)
        outcome = ec2_launch.present(ec2, wish, check=module.check_mode)
        return {
            "changed": bool(outcome.changes),
            "instances": outcome.instances,
            "launched": outcome.launched,
            "terminated": [],
            "changes": outcome.changes,
            "notes": outcome.notes,
            "identity": outcome.identity,
            "message": [*asked["plan"], *(outcome.notes if module.check_mode else [])],
            "question": asked["confirm"] if module.check_mode else "",
            "api_calls": dict(sorted(ec2.calls.items())),
        }

    run(module, work)


if __name__ == "__main__":
    main()
