#!/usr/bin/python
# Copyright (c) Pegasus authors. SPDX-License-Identifier: Apache-2.0
"""Report what an environment consists of and whether it is ready."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: environment_report
short_description: Report what an environment consists of and whether it is ready
description:
  - Joins what EC2 and the Ansible roles reported for every host into one record.
  - Fails if the environment isn't ready, unless O(require_ready=false). The message names host, check, expected and
    found.
author: Pegasus authors
options:
  environment: {description: Name of the environment., type: str, required: true}
  backend: {description: Where it runs., type: str, required: true}
  hosts: {description: The hosts from the filter host_results., type: list, elements: dict, required: true}
  namespace: {description: The namespace under load., type: str, default: ""}
  replication_factor: {description: Copies of each record., type: int, default: 0}
  expected: {description: "How many instances each kind (server, client, monitor) must have.", type: dict, default: {}}
  agreed:
    description: The result of M(aerospike_community.pegasus.cluster_stable), which checks all nodes at the same moment.
    type: dict
    default: {}
  cost: {description: "RV(aerospike_community.pegasus.ec2_cost#module:cost), if queried.", type: dict, default: {}}
  kinds:
    description: The kinds whose hosts must be ready. Hosts of other kinds are only listed.
    type: list
    elements: str
    default: [server, client, monitor]
  require_ready: {description: Whether the module fails if the environment isn't ready., type: bool, default: true}
attributes:
  check_mode: {description: Reports in the same way; it changes nothing., support: full}
  diff_mode: {description: Has none., support: none}
"""

EXAMPLES = r"""
- name: Report the environment
  aerospike_community.pegasus.environment_report:
    environment: Benchmark
    backend: aws
    hosts: "{{ hostvars | aerospike_community.pegasus.host_results(groups) }}"
"""

RETURN = r"""
report: {description: The environment in one record., type: dict, returned: always}
lines: {description: The report as plain text., type: list, elements: str, returned: always}
problems: {description: Why the environment isn't ready; empty if it is., type: list, elements: str, returned: always}
error_class: {description: C(readiness)., returned: failure, type: str}
"""

from ansible.module_utils.basic import AnsibleModule

from ..module_utils.evidence import environment_report
from ..module_utils.results import READINESS


def main() -> None:
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
            "kinds": {"type": "list", "elements": "str", "default": list(environment_report.KINDS)},
            "require_ready": {"type": "bool", "default": True},
        },
        supports_check_mode=True,
    )
    params = dict(module.params)
    require_ready = params.pop("require_ready")
    report = environment_report.build_report(**params)
    problems = [str(problem) for problem in report.problems]
    result = {"report": report.data, "lines": environment_report.report_lines(report.data), "problems": problems}
    if problems and require_ready:
        message = (
            "The environment isn't ready:\n"
            + "\n".join(f"  {problem}" for problem in problems)
            + "\nCheck the host's log over ssh, then run setup again: it continues where it stopped."
        )
        module.fail_json(msg=message, error_class=READINESS, **result)
    module.exit_json(changed=False, **result)


if __name__ == "__main__":
    main()
