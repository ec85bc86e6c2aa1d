#!/usr/bin/python
# Copyright (c) Pegasus authors. SPDX-License-Identifier: Apache-2.0
"""The module ec2_environment."""

from __future__ import annotations

DOCUMENTATION = r"""
module: ec2_environment
short_description: Create, complete or remove the EC2 resources of a Pegasus environment
description:
  - Makes key pair, security group and instances of an environment match the parameters, or removes everything with the
    environment's tag.
  - State is kept in EC2's tags only; the module can be killed at any moment and run again.
  - Each group is launched by one RunInstances call for each zone, all of its nodes or none; if one group fails, the
    other launches of the run are rolled back. If a zone has no capacity, all groups move to the next zone.
  - Credentials, permissions, quota, images, subnets and key are checked before anything is created; all problems are
    reported at once.
  - It never terminates a node to reach a smaller number; extra nodes are kept and reported.
options:
  state:
    description: Whether the environment should exist.
    type: str
    choices: [present, absent]
    default: present
  groups:
    description: What should exist, a record for each kind.
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
        description: Indexes of terminated nodes to reuse for new nodes; other new nodes get indexes after the last.
        type: list
        elements: int
        default: []
      add:
        description: Nodes to launch in addition to the existing nodes, which don't change, regardless of C(nodes).
        type: int
        default: 0
      fixed:
        description: Value of the tag C(pegasus:fixed) of new nodes, which later runs compare; empty for none.
        type: str
        default: ""
      spot:
        description: Whether to request spot instances, with on-demand instances as the fallback.
        type: bool
        default: false
      limit:
        description: Maximum number of nodes; nothing is launched beyond it. 0 for any number.
        type: int
        default: 0
      limit_reason:
        description: The reason for the limit, such as C(the licence is for 4).
        type: str
        default: ""
  kinds:
    description: With O(state=absent), terminate the instances of these kinds only; empty removes everything.
    type: list
    elements: str
    choices: [server, client, monitor]
    default: []
  owner:
    description: Value of the tag C(pegasus:owner).
    type: str
    default: ""
  private_key_file:
    description: The environment's private ssh key on this machine, created if neither it nor the key pair in EC2
      exists. Required if O(state=present).
    type: path
  key_name:
    description: >-
      An existing key pair in EC2, which is never deleted; O(private_key_file) is its private key. Empty creates one.
    type: str
    default: ""
  image_name:
    description: >-
      Pattern of the image's name, of which the newest image is used; or, starting with a slash, a parameter of Systems
      Manager that holds an image's id. C({architecture}) becomes amd64 or arm64, C({machine}) x86_64 or arm64.
    type: str
    default: debian-12-{architecture}-*
  image_owner:
    description: Account that owns the image.
    type: str
    default: "136693071363"
  subnet_ids:
    description: Subnets of one VPC for new instances; empty for those of the default VPC in the first zones that offer
      all instance types.
    type: list
    elements: str
    default: []
  zones:
    description: >-
      Availability zones that may be used, the preferred zone first; empty for any. O(subnet_ids) and the subnets of the
      nodes that exist must be in them too.
    type: list
    elements: str
    default: []
  zone_count:
    description: Number of zones over which the nodes of each group are spread evenly.
    type: int
    default: 1
  placement:
    description: >-
      V(cluster) puts servers and clients near each other, V(spread) puts each server on different hardware, by a
      placement group that is removed with the environment.
    type: str
    choices: [none, cluster, spread]
    default: none
  public_address:
    description: Whether instances get a public address; V(subnet) uses the setting of their subnet.
    type: str
    choices: [subnet, always, never]
    default: subnet
  allowed_cidrs:
    description: Networks that may reach ssh, Grafana and Prometheus; empty for this machine's public address.
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
    description: Lifetime of new instances, such as C(20h 30m), C(90m), C(3600s) or plain seconds; 0 for unlimited.
    type: str
    default: 24h
  tags:
    description: Additional tags for all resources.
    type: dict
    default: {}
  timeout:
    description: How long to wait until instances run or are terminated, in seconds.
    type: int
    default: 600
  problems:
    description:
      - What earlier checks found, from their results. Then nothing is created, and they are reported together with what
        this module finds, so that a user sees everything at once.
    type: list
    elements: dict
    default: []
    suboptions:
      msg: {description: What was found., type: str, required: true}
      error_class: {description: Its class; see RV(error_class)., type: str, required: true}
      next_step: {description: What to do about it., type: str, default: ""}
  unprotected:
    description: >-
      With O(state=absent), ids of instances in RV(unprotected) of an earlier run in check mode: their termination
      protection isn't checked again. EC2 refuses to terminate an instance that was protected since.
    type: list
    elements: str
    default: []
  confirm:
    description: >-
      With O(state=present) and in check mode, what the user must confirm before the launch. RV(question) returns it if
      nothing prevents the launch.
    type: str
    default: ""
  plan:
    description: Lines about the launch for the user who confirms it. RV(message) starts with them.
    type: list
    elements: str
    default: []
attributes:
  check_mode:
    support: full
    description: Reports what would be launched, changed or removed, after all checks.
extends_documentation_fragment:
  - aerospike_community.pegasus.ec2
  - aerospike_community.pegasus.ec2.module
author: Pegasus authors
"""

EXAMPLES = r"""
- name: Create the environment
  aerospike_community.pegasus.ec2_environment:
    environment: Benchmark
    region: us-east-1
    private_key_file: .pegasus/aws/us-east-1/Benchmark/id_ed25519
    groups:
      - {kind: server, name: Benchmark, nodes: 3, instance_type: r6gd.8xlarge}
      - {kind: client, name: BenchmarkClient, nodes: 1, instance_type: c6i.4xlarge}
      - {kind: monitor, name: BenchmarkGrafana, nodes: 1, instance_type: t3.xlarge}

- name: Remove it
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
  description: The instances that this run launched, in check mode with an empty id.
  type: list
  elements: dict
  returned: success
terminated:
  description: The instances that this run terminated or would terminate.
  type: list
  elements: dict
  returned: success
changes:
  description: What changed or would change, as lines.
  type: list
  elements: str
  returned: success
notes:
  description: Information for the user, such as extra nodes that are kept.
  type: list
  elements: str
  returned: success
identity:
  description: Whose credentials were used (an ARN), if something is launched and AWS reports it.
  type: str
  returned: success
message:
  description: >-
    With O(state=absent), what is removed (or would be) and what is kept, as lines; else O(plan), in check mode with
    RV(notes).
  type: list
  elements: str
  returned: success
unprotected:
  description: Ids of the instances without termination protection.
  type: list
  elements: str
  returned: if O(state=absent)
proof:
  description: The result of the last check, after everything was removed.
  type: str
  returned: if O(state=absent)
question:
  description: In check mode, what the user must confirm; empty if nothing.
  type: str
  returned: success
api_calls: {description: Number of API calls by name., type: dict, returned: success}
error_class:
  description: Class of the failure, such as credentials, quota, capacity, permission, configuration, usage or endpoint.
  type: str
  returned: failure
next_step: {description: What to do about the failure., type: str, returned: failure}
"""

from typing import Any

from ..module_utils.ec2.api import Ec2
from ..module_utils.ec2.launch import present
from ..module_utils.ec2.module import connect, run_module
from ..module_utils.ec2.removal import Removal, protection_text, remove
from ..module_utils.ec2.spec import Spec
from ..module_utils.ec2.tags import KINDS

ARGUMENTS: dict[str, Any] = {
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
    "groups": {
        "type": "list",
        "elements": "dict",
        "default": [],
        "options": {
            "kind": {"type": "str", "choices": list(KINDS), "required": True},
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
    "kinds": {"type": "list", "elements": "str", "choices": list(KINDS), "default": []},
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


def work(params: dict[str, Any], check: bool) -> dict[str, Any]:
    """Create, complete or remove the environment."""
    if params["state"] == "absent":
        ec2 = connect(params)
        removal = remove(ec2, params["timeout"], params["kinds"], check=check, unprotected=params["unprotected"])
        return _removal_result(params, removal, ec2, check=check)
    spec = Spec.from_params(params)
    ec2 = connect(params)
    outcome = present(ec2, spec, check=check)
    return {
        "changed": bool(outcome.changes),
        "instances": outcome.instances,
        "launched": outcome.launched,
        "terminated": [],
        "changes": outcome.changes,
        "notes": outcome.notes,
        "identity": outcome.identity,
        "message": [*params["plan"], *(outcome.notes if check else [])],
        "question": params["confirm"] if check else "",
        "api_calls": dict(sorted(ec2.calls.items())),
    }


def _removal_result(params: dict[str, Any], removal: Removal, ec2: Ec2, *, check: bool) -> dict[str, Any]:
    """The result of O(state=absent)."""
    kept = [protection_text(instance) for instance in removal.protected]
    nothing = f"nothing to destroy: no resource in {ec2.region} has the tag of {params['environment']}"
    if params["kinds"]:
        nothing = f"nothing to destroy: {params['environment']} has no {' or '.join(params['kinds'])} instance"
    count = "this resource" if len(removal.changes) == 1 else f"these {len(removal.changes)} resources"
    question = f"Destroy {count} of {params['environment']} in {ec2.region}?"
    return {
        "changed": bool(removal.changes),
        "instances": [],
        "launched": [],
        "terminated": [instance.record() for instance in removal.terminated],
        "changes": removal.changes,
        "notes": kept,
        "message": [*(removal.changes or [nothing]), *kept],
        "unprotected": removal.unprotected,
        "proof": removal.proof,
        "question": question if removal.changes and check else "",
        "api_calls": dict(sorted(ec2.calls.items())),
    }


def main() -> None:
    """Run the module."""
    run_module(ARGUMENTS, work, required_if=[("state", "present", ("private_key_file", "groups"))])


if __name__ == "__main__":
    main()
