#!/usr/bin/python
"""The module ec2_reap."""

from __future__ import annotations

DOCUMENTATION = r"""
module: ec2_reap
short_description: Terminates instances that are past the end in their tag
description:
  - Takes instances whose tag C(pegasus:expires) is a time that has passed, and nothing else. What isn't a time is kept
    and named, and so is what is protected against termination. Key pair and security group stay until the
    environment is destroyed.
requirements:
  - boto3
options:
  every_environment:
    description: Whether to look at every environment in the region instead of O(environment) alone.
    type: bool
    default: false
  all_regions:
    description: Whether to look at every environment in every region that the account can use. O(region) is where their
      list is asked for.
    type: bool
    default: false
  environment: {description: Name of the environment., type: str, required: true}
  region: {description: EC2 region; empty is boto's own choice., type: str, default: ""}
  endpoint_url: {description: URL of the EC2 endpoint; empty is boto's own choice., type: str, default: ""}
  access_key: {description: Access key; empty is boto's own chain., type: str, default: ""}
  secret_key: {description: Secret key; empty is boto's own chain., type: str, default: ""}
attributes:
  check_mode: {description: Says what it would do., support: full}
  diff_mode: {description: Has none., support: none}
author:
  - Pegasus developers (@aerospike-community)
"""

EXAMPLES = r"""
- name: Sweep
  aerospike_community.pegasus.ec2_reap:
    environment: Benchmark
"""

RETURN = r"""
terminated: {description: What was taken, or would be in check mode., type: list, elements: dict, returned: success}
changes: {description: The same as sentences., type: list, elements: str, returned: success}
unreadable: {description: What was kept because its end can't be read., type: list, elements: str, returned: success}
protected:
  description: What was kept because it is protected against termination, and how to take the protection away.
  type: list
  elements: str
  returned: success
unseen: {description: Regions that this account may not look at, type: list, elements: str, returned: success}
message: {description: All of it as lines., type: list, elements: str, returned: success}
error_class:
  description: One of credentials, quota, capacity, permission, configuration, endpoint, other.
  type: str
  returned: failure
next_step: {description: What to do about the failure., type: str, returned: failure}
"""

from datetime import UTC, datetime
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.ec2 import nodes as ec2_nodes
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.ec2.errors import Ec2Problem
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.ec2.module import (
    CONNECTION_ARGUMENTS,
    connect,
    run,
)


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            **CONNECTION_ARGUMENTS,
            "every_environment": {"type": "bool", "default": False},
            "all_regions": {"type": "bool", "default": False},
        },
        supports_check_mode=True,
    )

    def work(asked: dict[str, Any]) -> dict[str, Any]:
        now, ec2 = datetime.now(UTC), connect(asked)

        def sweep_one(region: str) -> ec2_nodes.Sweep:
            there = ec2 if region == ec2.region else connect({**asked, "region": region})
            everything = asked["every_environment"] or asked["all_regions"]
            return ec2_nodes.reap(there, now, every_environment=everything, check=module.check_mode)

        if not asked["all_regions"]:
            return _result({ec2.region: sweep_one(ec2.region)}, [])
        sweeps, problems = ec2_nodes.in_regions(ec2_nodes.regions(ec2), sweep_one)
        # Organisations close regions by policy: that is no failure, unless nothing is left to look at. Nor is it that
        # policy where only what comes after the look is refused: what is past its end runs on then.
        closed = {name: one for name, one in problems.items() if isinstance(one, ec2_nodes.Unseen) and sweeps}
        unseen = [f"did not look at {name}: {one.message}" for name, one in closed.items()]
        failed = {name: one for name, one in problems.items() if name not in closed}
        result = _result(sweeps, unseen)
        if failed:
            first = next(iter(failed.values()))
            said = "; ".join(f"{name}: {one.message}" for name, one in failed.items())
            done = (
                "\n".join(["The other regions were swept:", *result["message"]]) if sweeps else "No region was swept."
            )
            raise Ec2Problem(first.error_class, f"{said}\n{done}", first.next_step)
        return result

    run(module, work)


def _result(sweeps: dict[str, ec2_nodes.Sweep], unseen: list[str]) -> dict[str, Any]:
    """The module's result; where there are several regions, each line says which one it is about."""

    def lines(name: str) -> list[str]:
        return [
            f"{region}: {text}" if len(sweeps) > 1 else text
            for region, sweep in sweeps.items()
            for text in getattr(sweep, name)
        ]

    terminated = [{**one.record(), "region": region} for region, sweep in sweeps.items() for one in sweep.expired]
    live = sum(sweep.live for sweep in sweeps.values())
    kept = f"{live - len(terminated)} of {live} instances are kept"
    where = f" in {len(sweeps)} regions" if len(sweeps) > 1 else ""
    changes, unreadable, protected = lines("changes"), lines("unreadable"), lines("protected")
    return {
        "changed": bool(terminated),
        "terminated": terminated,
        "changes": changes,
        "unreadable": unreadable,
        "protected": protected,
        "unseen": unseen,
        "message": [*changes, *unreadable, *protected, *unseen, kept + where],
    }


if __name__ == "__main__":
    main()
