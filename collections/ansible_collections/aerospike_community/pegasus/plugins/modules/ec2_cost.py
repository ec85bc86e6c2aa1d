#!/usr/bin/python
# Copyright (c) Pegasus authors. SPDX-License-Identifier: Apache-2.0
"""The module ec2_cost."""

from __future__ import annotations

DOCUMENTATION = r"""
module: ec2_cost
short_description: Show what an environment costs, and what a launch will cost
description:
  - With O(groups), shows what would be launched for them, with the price an hour and until the expiry. Above O(limit),
    or with an unknown price, it fails before anything is launched, unless O(approved) or O(ask) is set.
  - Without O(groups), shows what the environment costs an hour, has cost at least, and will cost until its expiry.
  - Prices come from O(prices), the spot price history and AWS's Price List API; a price in none of them is unknown.
    They are prices of instances, without volumes, public addresses and traffic.
  - Changes nothing.
options:
  groups:
    description: >-
      What should exist, with the keys kind, name, nodes, instance_type, replace, add and spot of
      M(aerospike_community.pegasus.ec2_environment); other keys are ignored.
    type: list
    elements: dict
    default: []
  expiry:
    description: Lifetime of new instances, such as C(20h 30m), C(90m), C(3600s) or plain seconds; 0 for unlimited.
    type: str
    default: 24h
  zones:
    description: Zones of new instances, for spot prices; empty for any.
    type: list
    elements: str
    default: []
  prices:
    description: >-
      Known prices in US dollars an hour, by patterns of instance types. They override all other sources; C('*') matches
      every type.
    type: dict
    default: {}
  cache:
    description: File that caches prices for a day. Empty for no cache.
    type: path
  limit:
    description: US dollars an hour that the environment may cost without confirmation.
    type: float
    default: 10.0
  approved:
    description: Whether a launch above the limit is already confirmed.
    type: bool
    default: false
  ask:
    description: Whether to return RV(confirmation) instead of a failure.
    type: bool
    default: false
attributes:
  check_mode: {description: Returns the same result. Above the limit, it neither fails nor asks., support: full}
extends_documentation_fragment:
  - aerospike_community.pegasus.ec2
  - aerospike_community.pegasus.ec2.module
author: Pegasus authors
"""


EXAMPLES = r"""
- name: Show what the environment costs
  aerospike_community.pegasus.ec2_cost:
    environment: Benchmark
"""

RETURN = r"""
message: {description: The launch as lines; empty if there is none., type: list, elements: str, returned: success}
confirmation: {description: What the user must confirm; empty if nothing., type: str, returned: success}
cost:
  description: >-
    currency, per_hour, spent (at least: EC2 keeps only the last start of an instance, and lists terminated instances
    for about an hour), until_expiry (null without expiry), unknown (types without a price, with the reason), sources,
    text.
  type: dict
  returned: success
error_class:
  description: Class of the failure, such as credentials, quota, capacity, permission, configuration, usage or endpoint.
  type: str
  returned: failure
next_step: {description: What to do about the failure., type: str, returned: failure}
"""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ..module_utils.durations import parse_duration
from ..module_utils.ec2 import costs, prices
from ..module_utils.ec2.errors import CONFIGURATION, USAGE, Ec2Problem
from ..module_utils.ec2.module import connect, run_module
from ..module_utils.ec2.plan import make_plan
from ..module_utils.ec2.spec import Group

ARGUMENTS = {
    "groups": {"type": "list", "elements": "dict", "default": []},
    "expiry": {"type": "str", "default": "24h"},
    "zones": {"type": "list", "elements": "str", "default": []},
    "prices": {"type": "dict", "default": {}},
    "cache": {"type": "path"},
    "limit": {"type": "float", "default": 10.0},
    "approved": {"type": "bool", "default": False},
    "ask": {"type": "bool", "default": False},
}
CONFIRM = (
    "Run this on a terminal to confirm it there, or confirm it beforehand: --yes (without the driver: "
    "-e ec2_provision_approved=true). Or raise ec2_provision_price_limit (USD an hour), or set the prices "
    "in ec2_provision_prices."
)


def work(params: dict[str, Any], check: bool) -> dict[str, Any]:
    """Estimate the launch and the environment."""
    now, ec2 = datetime.now(UTC), connect(params)
    instances = ec2.instances()
    expiry_seconds = _seconds(params["expiry"])
    plan = make_plan(
        [Group.from_params(group) for group in params["groups"]],
        instances,
        expiry_seconds=expiry_seconds,
        extra_tags={},
        now=now,
    )
    found = prices.look_up(
        ec2,
        costs.offers_of(plan.launches, instances),
        given=_given(params["prices"]),
        listed=prices.price_list(
            ec2.region, **{name: params[name] for name in ("endpoint_url", "access_key", "secret_key")}
        ),
        cache=Path(params["cache"]) if params["cache"] else None,
        zones=params["zones"],
        since=min(
            (instance.launch_time for instance in instances if instance.spot and instance.launch_time), default=now
        ),
        now=now,
    )
    estimate = costs.estimate(plan.launches, plan.starts, instances, found, expiry_seconds, now)
    lines, confirmation = list(estimate.lines), ""
    problem = costs.limit_problem(estimate, params["limit"]) if lines else ""
    if problem and not params["approved"]:
        if check:
            lines.append(f"this launch needs confirmation: {problem}")
        elif params["ask"]:
            confirmation = f"Launch, although {problem}?"
        else:
            launch = "\n".join(f"  {line}" for line in lines)
            raise Ec2Problem(USAGE, f"Nothing was launched, because {problem}.\n{launch}\n", CONFIRM)
    return {
        "changed": False,
        "message": lines,
        "confirmation": confirmation,
        "cost": costs.account(instances, found, now),
    }


def _seconds(expiry: str) -> int:
    try:
        return parse_duration(expiry)
    except ValueError as error:
        raise Ec2Problem(CONFIGURATION, f"ec2_provision_expiry: {error}") from error


def _given(known: dict[str, Any]) -> dict[str, float]:
    try:
        return {str(pattern): float(usd) for pattern, usd in known.items()}
    except (TypeError, ValueError) as error:
        raise Ec2Problem(
            CONFIGURATION, f"ec2_provision_prices: {error}; expected US dollars an hour by type."
        ) from error


def main() -> None:
    """Run the module."""
    run_module(ARGUMENTS, work)


if __name__ == "__main__":
    main()
