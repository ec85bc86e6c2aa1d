#!/usr/bin/python
"""The module environment_report."""

from __future__ import annotations

DOCUMENTATION = r"""
module: environment_report
short_description: Says what an environment consists of and whether it is ready
description:
  - Joins what EC2 and the roles said of every host into one record.
  - Fails when the environment isn't ready, naming host, check, expected and found, unless O(require_ready=false).
options:
  environment:
    description: Name of the environment.
    type: str
    required: true
  backend:
    description: Where it runs.
    type: str
    required: true
  hosts:
    description: The records of the filter aerospike_community.pegasus.host_results.
    type: list
    elements: dict
    required: true
  namespace:
    description: The namespace under load.
    type: str
    default: ""
  replication_factor:
    description: Copies of each record.
    type: int
    default: 0
  expected:
    description: How many instances each kind (server, client, monitor) should have.
    type: dict
    default: {}
  agreed:
    description: The result of M(aerospike_community.pegasus.cluster_stable), which asked all nodes at the same moment.
    type: dict
    default: {}
  cost:
    description: RV(aerospike_community.pegasus.ec2_cost#module:cost), where it was asked for.
    type: dict
    default: {}
  kinds:
    description: The kinds whose hosts have to be ready. The others are listed, as far as anything is known of them.
    type: list
    elements: str
    default: [server, client, monitor]
  require_ready:
    description: Whether an environment that isn't ready is a failure.
    type: bool
    default: true
author:
  - Pegasus developers (@aerospike-community)
"""

EXAMPLES = r"""
- name: Report the environment
  aerospike_community.pegasus.environment_report:
    environment: Benchmark
    backend: aws
    hosts: "{{ hostvars | aerospike_community.pegasus.host_results(groups) }}"
"""

RETURN = r"""
error_class: {description: C(readiness)., returned: failure, type: str}
report:
  description: The environment in one record.
  type: dict
  returned: always
lines:
  description: The same as plain text.
  type: list
  elements: str
  returned: always
problems:
  description: Why it isn't ready; empty when it is.
  type: list
  elements: str
  returned: always
"""

from datetime import UTC, datetime

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.evidence.environment_report import (
    KIND_OF_GROUP,
    build_report,
    report_lines,
)
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.results import READINESS


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "environment": {"type": "str", "required": True},
            "backend": {"type": "str", "required": True},
            "hosts": {"type": "list", "elements": "dict", "required": True},
            "namespace": {"type": "str", "default": ""},
            "replication_factor": {"type": "int", "default": 0},
            "expected": {"type": "dict", "default": {}},
            "agreed": {"type": "dict", "default": {}},
            "cost": {"type": "dict", "default": {}},
            "kinds": {"type": "list", "elements": "str", "default": list(KIND_OF_GROUP.values())},
            "require_ready": {"type": "bool", "default": True},
        },
        supports_check_mode=True,
    )
    asked = module.params
    report = build_report(
        asked["environment"],
        asked["backend"],
        asked["hosts"],
        asked["namespace"],
        asked["replication_factor"],
        {kind: int(count) for kind, count in asked["expected"].items()},
        {name: asked["agreed"][name] for name in ("cluster_key", "cluster_size") if name in asked["agreed"]},
        asked["kinds"],
        asked["cost"],
        datetime.now(UTC),
    )
    problems = [str(problem) for problem in report.problems]
    result = {"report": report.data, "lines": report_lines(report.data), "problems": problems}
    if problems and asked["require_ready"]:
        module.fail_json(
            msg="The environment isn't ready:\n"
            + "\n".join(f"  {problem}" for problem in problems)
            + "\nLook at the host's log with ssh, then run setup again: it goes on where this stopped.",
            error_class=READINESS,
            **result,
        )
    module.exit_json(changed=False, **result)


if __name__ == "__main__":
    main()
