# Copyright (c) Pegasus authors. SPDX-License-Identifier: Apache-2.0
"""The callback failed_hosts: no host waits for a host that has failed."""

from __future__ import annotations

DOCUMENTATION = r"""
name: failed_hosts
type: notification
short_description: Ends the waits for a host that has failed
description:
  - With the strategy free, hosts wait for each other inside their roles, such as a client for the cluster. Without this
    callback, such a wait for a failed host lasts until its timeout.
  - Records each host that fails or is unreachable. The modules of this collection that wait for other hosts read the
    record and end their wait. The report of an environment reads it too.
requirements:
  - Enabled in ansible.cfg.
author: Pegasus authors
"""

from typing import Any

from ansible.playbook.block import Block
from ansible.plugins.callback import CallbackBase

from ..plugin_utils.failures import FailedHost, record

ADDRESSES = ("ansible_host", "ec2_private_ip_address")


class CallbackModule(CallbackBase):
    """Ansible's entry point."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "notification"
    CALLBACK_NAME = "aerospike_community.pegasus.failed_hosts"
    CALLBACK_NEEDS_ENABLED = True

    def v2_runner_on_failed(self, result: Any, ignore_errors: bool = False) -> None:
        if not ignore_errors and not is_rescued(result._task):
            self._record(result)

    def v2_runner_on_unreachable(self, result: Any) -> None:
        if not result._task.ignore_unreachable:
            self._record(result)

    def _record(self, result: Any) -> None:
        host = result._host
        addresses = {str(host.vars[name]) for name in ADDRESSES if host.vars.get(name)}
        because = [str(name) for name in result._result.get("not_waited_for") or []]
        record(FailedHost(host.get_name(), sorted(addresses), because))


def is_rescued(task: Any) -> bool:
    """Return whether a task's failure isn't final, because a block around it has a rescue."""
    child, parent = task, task._parent
    while parent is not None:
        if isinstance(parent, Block) and parent.rescue and any(child._uuid == part._uuid for part in parent.block):
            return True
        child, parent = parent, parent._parent
    return False
