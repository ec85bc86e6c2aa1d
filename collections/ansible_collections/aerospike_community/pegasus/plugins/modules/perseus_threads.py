#!/usr/bin/python
# Copyright (c) Pegasus authors. SPDX-License-Identifier: Apache-2.0
"""Set the live load: check threads.yaml, replace it in one step, and verify that Perseus applies it."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: perseus_threads
short_description: "Set the live load: check threads.yaml, replace it, and verify that Perseus applies it"
description:
  - Refuses everything that Perseus would misunderstand, and reports all problems at once, before it changes the file.
  - Replaces the file by renaming. Perseus reads it every second and starts all workloads if it is missing even for a
    moment, so the file is never written in place.
  - With O(prove), waits until Perseus runs the new load. Its process or its next Threads row proves it, see RV(proof).
author: Pegasus authors
options:
  content: {description: The text of threads.yaml., type: str, required: true}
  path: {description: The file that Perseus reads., type: path, default: /var/lib/perseus/threads.yaml}
  prove: {description: Whether to verify that a running Perseus applies the file., type: bool, default: false}
  rows_file: {description: The file with Perseus's output., type: path, default: /var/log/perseus/perseus.log}
  service: {description: Perseus's systemd service., type: str, default: perseus}
  timeout: {description: Seconds to wait for the new load., type: float, default: 40}
  programs:
    description:
      - Folder on the host in which the role perseus_client installs this collection's programs. If they are installed,
        they set the load, which is faster than copying the module.
    type: path
attributes:
  action: {description: Checks the content on the controller., support: full}
  check_mode: {description: Checks the content and reports whether the file would change., support: full}
  diff_mode: {description: Shows the difference., support: full}
"""

EXAMPLES = r"""
- name: Set the load
  aerospike_community.pegasus.perseus_threads:
    content: "{{ lookup('ansible.builtin.file', 'threads.yaml') }}"
    prove: true
"""

RETURN = r"""
threads: {description: Threads by workload., returned: success, type: dict}
before: {description: Threads by workload before; empty without a valid file., returned: success, type: dict}
proof:
  description: >-
    What proves that Perseus runs the new load. V(process) means that its process has exactly the requested number of
    workload threads, and that as many of them started and ended as the change requires. If the load is unchanged, it
    also printed a row. V(threads row) means that Perseus printed these counts after the file was replaced. Empty
    without O(prove).
  returned: success
  type: str
seconds: {description: Time from the new file to the proof., returned: success, type: float}
message: {description: The proof as a sentence., returned: success, type: str}
note: {description: The message with the host's name., returned: if there is a message, type: list, elements: str}
annotation: {description: The change with the host's name., returned: changed, type: list, elements: str}
problems: {description: The problems of the file., returned: failure, type: list, elements: str}
error_class: {description: C(configuration) if the file has problems., returned: failure, type: str}
"""

from ansible.module_utils.basic import AnsibleModule

from ..module_utils.perseus.live_load import ARGUMENTS, set_load


def main() -> None:
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    result = set_load(module.params, module.check_mode)
    if result.pop("failed", False):
        module.fail_json(**result)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
