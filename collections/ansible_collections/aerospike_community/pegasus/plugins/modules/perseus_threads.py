#!/usr/bin/python
# Copyright (c) Pegasus authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""Set the live load: check threads.yaml, put it in place in one step, and see that Perseus took it over."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: perseus_threads
short_description: "Set the live load: check threads.yaml, put it in place, and see that Perseus took it over"
description:
  - Refuses everything that Perseus would misunderstand, with all problems at once, before the host's file is touched.
  - Replaces the file by renaming. Perseus reads it every second and starts all workloads when it is missing even for a
    moment, so it is never written in place.
  - With O(prove), waits until Perseus shows the new load, by its process or by its next Threads row, see RV(proof).
author: Pegasus authors
options:
  content: {description: The text of threads.yaml., type: str, required: true}
  path:
    description: Where Perseus reads it. A missing folder is made.
    type: path
    default: /var/lib/perseus/threads.yaml
  prove: {description: "Whether to see that Perseus, which has to run, takes it over.", type: bool, default: false}
  rows_file: {description: "Where Perseus prints its rows.", type: path, default: /var/log/perseus/perseus.log}
  service: {description: Perseus's service., type: str, default: perseus}
  timeout: {description: Seconds that Perseus has to show the new load., type: float, default: 40}
  programs:
    description:
      - Folder of the host in which the role perseus_client installs this collection's programs. With it they do the
        work where they are there, which is faster than sending the module.
    type: path
attributes:
  action: {description: Checks the content on the controller., support: full}
  check_mode: {description: Checks the content and says whether it would change., support: full}
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
before: {description: "The same before; empty where there was no file, or no good one.", returned: success, type: dict}
proof:
  description: >-
    What shows that the load is the new one. C(process), its process has exactly as many workload threads as the file
    asks for, and since the file was in place as many of them began and ended as the change asks for, or, where the load
    stays as it was, it printed a row; C(threads row),
    Perseus printed these counts after the file was in place. Empty where nothing was asked to be proven.
  returned: success
  type: str
seconds: {description: From the new file to the proof., returned: success, type: float}
message: {description: The proof in words., returned: success, type: str}
note: {description: RV(message) after the name of the host., returned: when there is a message, type: str}
error_class: {description: C(configuration)., returned: when threads.yaml is refused, type: str}
problems: {description: What is wrong with the file., returned: failure, type: list, elements: str}
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.perseus.live_load import ARGUMENTS, set_load


def main() -> None:
    """Run the module."""
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    result = set_load(**module.params, check=module.check_mode)
    if result.pop("failed", False):
        module.fail_json(**result)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
