#!/usr/bin/python
"""The module ec2_cost."""

from __future__ import annotations

DOCUMENTATION = r"""
module: ec2_cost
short_description: Says what an environment costs, and what a launch will cost
description:
  - With O(groups), what would be launched for them, with the price an hour and until the expiry. Above O(limit), or
    where a price is unknown, it fails unless O(approved) or O(ask) is set, before anything is launched.
  - Without, what the environment costs an hour, has cost at least, and will cost until its expiry.
  - Prices come from O(prices), the spot price history and AWS's Price List API; one that none of them has is unknown.
    They are those of instances; volumes, public addresses and traffic aren't in them.
  - Changes nothing.
requirements:
  - boto3
options:
  groups:
    description: >-
      What is to exist, with the keys kind, name, nodes, instance_type, replace, add and spot of
      M(aerospike_community.pegasus.ec2_environment); other keys are allowed.
    type: list
    elements: dict
    default: []
  expiry:
    description: Life of new instances, as C(20h 30m), C(90m), C(3600s) or plain seconds; 0 is without end.
    type: str
    default: 24h
  zones:
    description: Zones that new instances may be in; empty is any. For spot prices.
    type: list
    elements: str
    default: []
  prices:
    description: >-
      Prices that are known already, in US dollars an hour, by patterns of instance types. They are asked first; C('*')
      stands for every type.
    type: dict
    default: {}
  cache:
    description: File for prices that were looked up; they are asked for again after a day. Empty keeps none.
    type: path
  limit:
    description: How many US dollars the environment may cost an hour without a question.
    type: float
    default: 10.0
  approved:
    description: Whether somebody said yes already to what is above the limit.
    type: bool
    default: false
  ask:
    description: Whether somebody can be asked. Then RV(question) says what, instead of a failure.
    type: bool
    default: false
  environment: {description: Name of the environment., type: str, required: true}
  region: {description: EC2 region; empty is boto's own choice., type: str, default: ""}
  endpoint_url: {description: URL of the EC2 endpoint; empty is boto's own choice., type: str, default: ""}
  access_key: {description: Access key; empty is boto's own chain., type: str, default: ""}
  secret_key: {description: Secret key; empty is boto's own chain., type: str, default: ""}
attributes:
  check_mode: {description: Says the same, and neither fails nor asks above the limit., support: full}
  diff_mode: {description: Has none., support: none}
author:
  - Pegasus developers (@aerospike-community)
"""

EXAMPLES = r"""
- name: See what the environment costs
  aerospike_community.pegasus.ec2_cost:
    environment: Benchmark
"""

RETURN = r"""
message: {description: The launch as lines; empty when there is none., type: list, elements: str, returned: success}
question: {description: What somebody has to say yes to; empty when nothing., type: str, returned: success}
cost:
  description: >-
    currency, per_hour, spent (at least: EC2 knows no start before an instance's last one, and lists those that ended
    for about an hour), until_expiry (null for an environment without end), unknown (types without a price, with the
    reason), sources, text.
  type: dict
  returned: success
error_class:
  description: One of credentials, quota, capacity, permission, configuration, usage, endpoint, other.
  type: str
  returned: failure
next_step: {description: What to do about the failure., type: str, returned: failure}
"""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.durations import parse_duration
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.ec2 import costs as ec2_costs
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.ec2 import plan as ec2_plan
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.ec2 import prices as ec2_prices
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.ec2.errors import (
    CONFIGURATION,
    USAGE,
    Ec2Problem,
)
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.ec2.module import (
    CONNECTION_ARGUMENTS,
    connect,
    run,
)

APPROVE = (
    "Run it on a terminal to be asked, or say yes beforehand: --yes (without the driver: "
    "-e ec2_provision_approved=true). Or raise ec2_provision_price_limit (USD an hour), or name the prices "
    "in ec2_provision_prices."
)


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            **CONNECTION_ARGUMENTS,
            "groups": {"type": "list", "elements": "dict", "default": []},
            "expiry": {"type": "str", "default": "24h"},
            "zones": {"type": "list", "elements": "str", "default": []},
            "prices": {"type": "dict", "default": {}},
            "cache": {"type": "path"},
            "limit": {"type": "float", "default": 10.0},
            "approved": {"type": "bool", "default": False},
            "ask": {"type": "bool", "default": False},
        },
        supports_check_mode=True,
    )

    def work(asked: dict[str, Any]) -> dict[str, Any]:
        now, ec2 = datetime.now(UTC), connect(asked)
        instances = ec2.instances()
        expiry_seconds = _seconds(asked["expiry"])
        plan = ec2_plan.make_plan(
            [_group(one) for one in asked["groups"]],
            instances,
            expiry_seconds=expiry_seconds,
            extra_tags={},
            now=now,
        )
        prices = ec2_prices.look_up(
            ec2,
            ec2_costs.offers_of(plan.launches, instances),
            given=_given(asked["prices"]),
            listed=ec2_prices.price_list(
                ec2.region,
                endpoint_url=asked["endpoint_url"],
                access_key=asked["access_key"],
                secret_key=asked["secret_key"],
            ),
            cache=Path(asked["cache"]) if asked["cache"] else None,
            zones=asked["zones"],
            since=min((one.launch_time for one in instances if one.spot and one.launch_time), default=now),
            now=now,
        )
        estimate = ec2_costs.estimate(plan.launches, plan.starts, instances, prices, expiry_seconds, now)
        lines, question = list(estimate.lines), ""
        problem = ec2_costs.limit_problem(estimate, asked["limit"]) if lines else ""
        if problem and not asked["approved"]:
            if module.check_mode:
                lines.append(f"a question would be asked: {problem}")
            elif not asked["ask"]:
                said = "\n".join(f"  {line}" for line in lines)
                raise Ec2Problem(USAGE, f"Nothing was launched, because {problem}.\n{said}\n", APPROVE)
            else:
                question = f"Launch, although {problem}?"
        return {
            "changed": False,
            "message": lines,
            "question": question,
            "cost": ec2_costs.account(instances, prices, now),
        }

    run(module, work)


def _group(one: dict[str, Any]) -> ec2_plan.Group:
    """A group, from a record in which Ansible may have left numbers and truths as text."""
    return ec2_plan.Group(
        one["kind"],
        one["name"],
        int(one["nodes"]),
        one["instance_type"],
        tuple(int(index) for index in one.get("replace", ())),
        int(one.get("add", 0)),
        spot=str(one.get("spot", False)).lower() == "true",
    )


def _seconds(expiry: str) -> int:
    try:
        return parse_duration(expiry)
    except ValueError as error:
        raise Ec2Problem(CONFIGURATION, f"ec2_provision_expiry: {error}") from error


def _given(prices: dict[str, Any]) -> dict[str, float]:
    try:
        return {str(pattern): float(usd) for pattern, usd in prices.items()}
    except (TypeError, ValueError) as error:
        raise Ec2Problem(
            CONFIGURATION, f"ec2_provision_prices: {error}; expected US dollars an hour by type."
        ) from error


if __name__ == "__main__":
    main()
