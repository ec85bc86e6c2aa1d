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
  - Each group is launched by one RunInstances call, all of its nodes or none; if one group fails, the groups that were
    launched with it are taken back.
  - It never takes a node away to reach a smaller number; it refuses and says what is there.
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
    description: What should exist, a record per role.
    type: list
    elements: dict
    default: []
    suboptions:
      role:
        description: Value of the tag C(pegasus:role).
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
      fixed:
        description: Value of the tag C(pegasus:fixed) of new nodes, with which later runs compare; empty for none.
        type: str
        default: ""
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
  image_name:
    description: Pattern of the image's name; C({architecture}) stands for amd64 or arm64. The newest is taken.
    type: str
    default: debian-12-{architecture}-*
  image_owner:
    description: Account that owns the image.
    type: str
    default: "136693071363"
  subnet_id:
    description: Subnet for new instances; empty is the default VPC's, in the first zone that offers all instance types.
    type: str
    default: ""
  allowed_cidrs:
    description: Networks that may reach ssh, Grafana and Prometheus; empty is this machine's public address.
    type: list
    elements: str
    default: []
  root_volume_gb:
    description: Size of the root volume in GiB.
    type: int
    default: 50
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
    private_key_file: .pegasus/Benchmark/id_ed25519
    groups:
      - {role: server, name: Benchmark, nodes: 3, instance_type: r6gd.8xlarge}
      - {role: client, name: BenchmarkClient, nodes: 1, instance_type: c6i.4xlarge}
      - {role: monitor, name: BenchmarkGrafana, nodes: 1, instance_type: t3.xlarge}

- name: Take it away
  aerospike_community.pegasus.ec2_environment:
    environment: Benchmark
    region: us-east-1
    state: absent
"""

RETURN = r"""
instances:
  description:
    - The environment's instances afterwards, ordered by role and index, with id, name, role, index, private_ip,
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
api_calls:
  description: Number of EC2 API calls by name.
  type: dict
  returned: success
error_class:
  description: One of credentials, quota, capacity, permission, configuration, endpoint, other.
  type: str
  returned: failure
next_step:
  description: What to do about the failure.
  type: str
  returned: failure
"""

import traceback
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.aerospike_community.pegasus.plugins.module_utils import ec2_lifecycle, ec2_plan
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.durations import parse_duration
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.ec2_api import Ec2
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.ec2_errors import (
    CONFIGURATION,
    OTHER,
    Ec2Problem,
)

# AWS's secret keys have 40 characters. A much shorter one is the stand-in of a local endpoint, often a plain word, and
# Ansible would blot that word out of every name and path in the result.
SHORTEST_SECRET = 16

ARGUMENTS: dict[str, Any] = {
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
    "environment": {"type": "str", "required": True},
    "groups": {
        "type": "list",
        "elements": "dict",
        "default": [],
        "options": {
            "role": {"type": "str", "choices": list(ec2_plan.ROLES), "required": True},
            "name": {"type": "str", "required": True},
            "nodes": {"type": "int", "required": True},
            "instance_type": {"type": "str", "required": True},
            "replace": {"type": "list", "elements": "int", "default": []},
            "fixed": {"type": "str", "default": ""},
        },
    },
    "region": {"type": "str", "default": ""},
    "endpoint_url": {"type": "str", "default": ""},
    "access_key": {"type": "str", "default": "", "no_log": False},
    "secret_key": {"type": "str", "default": "", "no_log": True},
    "owner": {"type": "str", "default": ""},
    "private_key_file": {"type": "path", "no_log": False},
    "image_name": {"type": "str", "default": "debian-12-{architecture}-*"},
    "image_owner": {"type": "str", "default": "136693071363"},
    "subnet_id": {"type": "str", "default": ""},
    "allowed_cidrs": {"type": "list", "elements": "str", "default": []},
    "root_volume_gb": {"type": "int", "default": 50},
    "expiry": {"type": "str", "default": "24h"},
    "tags": {"type": "dict", "default": {}},
    "timeout": {"type": "int", "default": 600},
}


def wish_from(asked: dict[str, Any]) -> ec2_lifecycle.Wish:
    """Turn the module's parameters into a Wish; raises Ec2Problem with everything that is wrong with them at once."""
    groups = [
        ec2_plan.Group(
            one["role"], one["name"], one["nodes"], one["instance_type"], tuple(one["replace"]), one["fixed"]
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
    if asked["root_volume_gb"] < 1:
        wrong.append(f"ec2_provision_root_volume_gb is {asked['root_volume_gb']}; expected at least 1 (GiB).")
    if wrong:
        raise Ec2Problem(CONFIGURATION, "\n".join(wrong))
    return ec2_lifecycle.Wish(
        environment=asked["environment"],
        groups=groups,
        owner=asked["owner"],
        private_key_file=Path(asked["private_key_file"]).absolute(),
        image_name=asked["image_name"],
        image_owner=asked["image_owner"],
        subnet_id=asked["subnet_id"],
        allowed_cidrs=cidrs,
        root_volume_gb=asked["root_volume_gb"],
        expiry_seconds=expiry_seconds,
        tags=tags,
        timeout=asked["timeout"],
    )


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec=ARGUMENTS,
        supports_check_mode=True,
        required_if=[("state", "present", ("private_key_file", "groups"))],
    )
    asked = module.params
    if len(asked["secret_key"]) < SHORTEST_SECRET:
        module.no_log_values.discard(asked["secret_key"])
    try:
        # For both states: EC2's filters know wildcards, so a name with one in it would take other environments too.
        wrong = ec2_plan.check_environment(asked["environment"])
        if wrong:
            raise Ec2Problem(CONFIGURATION, wrong)
        wish = wish_from(asked) if asked["state"] == "present" else None
        ec2 = Ec2(
            asked["environment"],
            region=asked["region"],
            endpoint_url=asked["endpoint_url"],
            access_key=asked["access_key"],
            secret_key=asked["secret_key"],
        )
        if wish:
            outcome = ec2_lifecycle.present(ec2, wish, check=module.check_mode)
        else:
            outcome = ec2_lifecycle.absent(ec2, asked["timeout"], check=module.check_mode)
    except Ec2Problem as problem:
        module.fail_json(msg=str(problem), error_class=problem.error_class, next_step=problem.next_step)
    except ImportError as error:
        module.fail_json(
            msg=f"A Python library is missing: {error}. Expected boto3 beside Ansible: see requirements.txt.",
            error_class=CONFIGURATION,
            next_step="pip install -r requirements.txt",
        )
    except Exception as error:
        module.fail_json(
            msg=f"Unexpected {type(error).__name__} from EC2: {error}. Run it again with -vvv and report this.",
            error_class=OTHER,
            next_step="Run it again with -vvv and report this.",
            exception=traceback.format_exc(),
        )
    module.exit_json(
        changed=bool(outcome.changes),
        instances=outcome.instances,
        launched=outcome.launched,
        terminated=outcome.terminated,
        changes=outcome.changes,
        api_calls=dict(sorted(ec2.calls.items())),
    )


if __name__ == "__main__":
    main()
