#!/usr/bin/python
# Copyright (c) Pegasus authors. SPDX-License-Identifier: Apache-2.0
"""The module ec2_reap."""

from __future__ import annotations

DOCUMENTATION = r"""
module: ec2_reap
short_description: Terminate instances that are past their expiry
description:
  - Terminates instances whose tag C(pegasus:expires) is a time in the past, and nothing else. Instances with an
    unreadable tag or with termination protection are kept and named. Key pair and security group are kept until the
    environment is destroyed.
options:
  every_environment:
    description: Whether to check every environment in the region instead of O(environment) only.
    type: bool
    default: false
  all_regions:
    description: Whether to check every environment in every region that the account can use. The list of regions comes
      from O(region).
    type: bool
    default: false
attributes:
  check_mode: {description: Reports what it would change., support: full}
extends_documentation_fragment:
  - aerospike_community.pegasus.ec2
  - aerospike_community.pegasus.ec2.module
author: Pegasus authors
"""

EXAMPLES = r"""
- name: Terminate the expired instances
  aerospike_community.pegasus.ec2_reap:
    environment: Benchmark
"""

RETURN = r"""
terminated: {description: What was or would be terminated., type: list, elements: dict, returned: success}
changes: {description: The same as lines., type: list, elements: str, returned: success}
unreadable: {description: What was kept because its tag is unreadable., type: list, elements: str, returned: success}
protected:
  description: What was kept because of termination protection, and how to remove the protection.
  type: list
  elements: str
  returned: success
denied: {description: Regions that this account may not describe., type: list, elements: str, returned: success}
message: {description: The result as lines., type: list, elements: str, returned: success}
error_class:
  description: Class of the failure, such as credentials, quota, capacity, permission, configuration, usage or endpoint.
  type: str
  returned: failure
next_step: {description: What to do about the failure., type: str, returned: failure}
"""

from datetime import UTC, datetime
from typing import Any

from ..module_utils.ec2.errors import Ec2Problem
from ..module_utils.ec2.module import connect, run_module
from ..module_utils.ec2.reap import RegionDenied, Sweep, in_regions, reap, regions

ARGUMENTS = {
    "every_environment": {"type": "bool", "default": False},
    "all_regions": {"type": "bool", "default": False},
}


def work(params: dict[str, Any], check: bool) -> dict[str, Any]:
    """Sweep the region, or all regions."""
    now, ec2 = datetime.now(UTC), connect(params)

    def sweep(region: str) -> Sweep:
        client = ec2 if region == ec2.region else connect({**params, "region": region})
        every_environment = params["every_environment"] or params["all_regions"]
        return reap(client, now, every_environment=every_environment, check=check)

    if not params["all_regions"]:
        return _result({ec2.region: sweep(ec2.region)}, [])
    sweeps, problems = in_regions(regions(ec2), sweep)
    # Organisations close regions by policy: that is no failure unless no region is left. A refused termination in a
    # region that may be described is a failure: expired instances keep running.
    closed = {name: problem for name, problem in problems.items() if isinstance(problem, RegionDenied) and sweeps}
    denied = [f"did not check {name}: {problem.message}" for name, problem in closed.items()]
    failed = {name: problem for name, problem in problems.items() if name not in closed}
    result = _result(sweeps, denied)
    if failed:
        first = next(iter(failed.values()))
        found = "; ".join(f"{name}: {problem.message}" for name, problem in failed.items())
        done = "\n".join(["The other regions were swept:", *result["message"]]) if sweeps else "No region was swept."
        raise Ec2Problem(first.error_class, f"{found}\n{done}", first.next_step)
    return result


def _result(sweeps: dict[str, Sweep], denied: list[str]) -> dict[str, Any]:
    """The module's result. With several regions, each line names its region."""

    def lines(name: str) -> list[str]:
        return [
            f"{region}: {text}" if len(sweeps) > 1 else text
            for region, sweep in sweeps.items()
            for text in getattr(sweep, name)
        ]

    terminated = [
        {**instance.record(), "region": region} for region, sweep in sweeps.items() for instance in sweep.expired
    ]
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
        "denied": denied,
        "message": [*changes, *unreadable, *protected, *denied, kept + where],
    }


def main() -> None:
    """Run the module."""
    run_module(ARGUMENTS, work)


if __name__ == "__main__":
    main()
